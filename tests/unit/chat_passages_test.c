/* chat_passages_test.c - what the chat encoding reads besides messages: the checkpoint's passages, and numbers. */
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/text.h"
#include "core/model/chat_internal.h"

static char last_log[512];
static int n_logged;

static void
log_keep(void *context, int level, const char *text)
{
    (void)context;
    (void)level;
    snprintf(last_log, sizeof last_log, "%s", text);
    n_logged++;
}

static struct chat_passages *
passages_open(const char *folder)
{
    struct chat_passages *passages;
    struct hearth_error err = {0};
    ck_assert_msg(chat_passages_load(folder, &passages, &err) == 0, "%s", err.text);
    return passages;
}

/* ---- passages -------------------------------------------------------------------------------- */

static void
file_write(const char *folder, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text, 1, strlen(text), file), strlen(text));
    ck_assert_int_eq(fclose(file), 0);
}

struct folder {
    char path[64], encoding[96];
};

static void
folder_make(struct folder *folder)
{
    snprintf(folder->path, sizeof folder->path,
             "chat_test-XX"
             "XX"
             "XX");
    ck_assert_ptr_nonnull(mkdtemp(folder->path));
    snprintf(folder->encoding, sizeof folder->encoding, "%s/encoding", folder->path);
    ck_assert_int_eq(mkdir(folder->encoding, 0700), 0);
}

static void
folder_remove(const struct folder *folder, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder->encoding, name);
    unlink(path);
    rmdir(folder->encoding);
    ck_assert_int_eq(rmdir(folder->path), 0);
}

START_TEST(takes_passages_of_an_unknown_revision_by_name_and_says_so)
{
    static const char source[] =
        "#!/usr/bin/env python\n\"\"\"A file of \"quotes\".\"\"\"\nimport json  # \"not this\"\n"
        "OTHER = f\"{x}\" 'y'\n"
        "response_format_template: str = (\n    'Shape: '  # a comment\n    \"{schema}!\"\n)\n"
        "TOOLS_TEMPLATE = \"\"\"Tools \\x41\\u00e9\\\n {{x}} "
        "<{dsml_token}invoke>\n{tool_schemas}\n{thinking_start_token}\"\"\"\n"
        "REASONING_EFFORT_PROMPTS = {\"low\": '', 'high': \"High.\\n\", \"max\": (r\"Max\\n\" \"!\"),}\n"
        "def f(a, TOOLS_TEMPLATE=\"wrong {tool_schemas}\"):\n    return a == \"x\"\n";
    struct folder folder;
    folder_make(&folder);
    file_write(folder.encoding, "encoding_dsv9.py", source);
    n_logged = 0;
    hearth_log_set(log_keep, NULL);
    struct chat_passages *passages = passages_open(folder.path);
    hearth_log_set(NULL, NULL);
    ck_assert_int_eq(n_logged, CHAT_N_PASSAGES);
    ck_assert_ptr_nonnull(
        strstr(last_log, "the prefix of maximum effort is none that this release knows by its digest"));
    ck_assert_str_eq(passages->at[CHAT_PASSAGE_FORMAT].before, "Shape: ");
    ck_assert_str_eq(passages->at[CHAT_PASSAGE_FORMAT].after, "!");
    ck_assert_str_eq(passages->at[CHAT_PASSAGE_TOOLS].before, "Tools A\xC3\xA9 {x} <" CHAT_DSML "invoke>\n");
    ck_assert_str_eq(passages->at[CHAT_PASSAGE_TOOLS].after, "\n<think>");
    ck_assert_str_eq(passages->at[CHAT_PASSAGE_EFFORT].before, "High.\n");
    ck_assert_str_eq(passages->at[CHAT_PASSAGE_EFFORT_MAX].before, "Max\\n!");
    chat_passages_free(passages);
    folder_remove(&folder, "encoding_dsv9.py");
}
END_TEST

START_TEST(reads_on_without_passages)
{
    struct folder folder;
    folder_make(&folder);
    struct chat_passages *passages = passages_open(folder.path);
    for (int i = 0; i < CHAT_N_PASSAGES; i++) {
        ck_assert_ptr_null(passages->at[i].before);
    }
    chat_passages_free(passages);
    passages = passages_open("/nonexistent/model");
    chat_passages_free(passages);
    /* an unfinished string: said, not fatal */
    file_write(folder.encoding, "encoding_x.py", "REASONING_EFFORT_MAX = 'all'\nX = 'open\n");
    hearth_log_set(log_keep, NULL);
    n_logged = 0;
    passages = passages_open(folder.path);
    hearth_log_set(NULL, NULL);
    ck_assert_int_eq(n_logged, 2);
    ck_assert_str_eq(passages->at[CHAT_PASSAGE_EFFORT].before, "all");
    chat_passages_free(passages);
    folder_remove(&folder, "encoding_x.py");
}
END_TEST

START_TEST(refuses_a_passages_file_without_the_place_to_fill)
{
    struct folder folder;
    struct chat_passages *passages = NULL;
    struct hearth_error err = {0};
    folder_make(&folder);
    file_write(folder.encoding, "p.json", "{\"tools_section\": \"no place\"}");
    ck_assert_int_eq(chat_passages_load(folder.path, &passages, &err), HEARTH_EFORMAT);
    ck_assert_ptr_null(passages);
    ck_assert_ptr_nonnull(
        strstr(err.text, "p.json: field tools_section: a text with the place {tools} wanted, none found"));
    file_write(folder.encoding, "p.json", "{\"effort_prefix\": 5}");
    ck_assert_int_eq(chat_passages_load(folder.path, &passages, &err), HEARTH_EFORMAT);
    folder_remove(&folder, "p.json");
}
END_TEST

/* ---- numbers --------------------------------------------------------------------------------- */

START_TEST(prints_the_shortest_digits_that_read_back)
{
    srand(42);
    for (int i = 0; i < 20000; i++) {
        union {
            uint64_t bits;
            double number;
        } value = {.bits = (uint64_t)rand() << 42 ^ (uint64_t)rand() << 21 ^ (uint64_t)rand()};
        struct text out = {0};
        chat_json_print_float(&out, value.number);
        if (value.number == value.number) {
            ck_assert_msg(strtod(out.bytes, NULL) == value.number, "%s", out.bytes);
        }
        text_free(&out);
    }
}
END_TEST

struct float_case {
    double number;
    const char *text;
};

START_TEST(prints_floats_as_python)
{
    static const struct float_case cases[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1.0, "1.0"},
        {1e15, "1000000000000000.0"},
        {1e16, "1e+16"},
        {9999999999999998.0, "9999999999999998.0"},
        {0.0001, "0.0001"},
        {0.00001, "1e-05"},
        {1.5e-7, "1.5e-07"},
        {5e-324, "5e-324"},
        {0x1p-44, "5.684341886080802e-14"}, /* the nearest 16 digits do not read back */
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {0.1 + 0.2, "0.30000000000000004"},
        {-123.456, "-123.456"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct text out = {0};
        chat_json_print_float(&out, cases[i].number);
        ck_assert_str_eq(out.bytes, cases[i].text);
        text_free(&out);
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("chat_passages");
    TCase *tests = tcase_create("chat_passages");
    tcase_add_test(tests, takes_passages_of_an_unknown_revision_by_name_and_says_so);
    tcase_add_test(tests, reads_on_without_passages);
    tcase_add_test(tests, refuses_a_passages_file_without_the_place_to_fill);
    tcase_add_test(tests, prints_the_shortest_digits_that_read_back);
    tcase_add_test(tests, prints_floats_as_python);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
