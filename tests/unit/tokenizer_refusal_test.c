/* tokenizer_refusal_test.c - tokenizer files that are broken or of another kind, and memory that runs out.
 *
 * Each case changes one place of small.json; the error must have the right status and name that place. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/json.h"
#include "core/model/tokenizer.h"

#define SMALL_JSON SOURCE_FOLDER "/tests/data/tokenizer/small.json"

struct change {
    const char *place, *value; /* keys with / between; JSON, NULL: removed */
    int status;
    const char *wanted; /* in the error */
};

static struct json_object *
small_read(void)
{
    struct json_object *root = NULL;
    struct hearth_error err = {0};
    ck_assert_msg(json_parse_file(SMALL_JSON, 1 << 20, &root, &err) == HEARTH_OK, "%s", err.text);
    return root;
}

static void
change_make(struct json_object *root, const char *place, const char *value)
{
    char key[128];
    struct json_object *at = root;
    for (const char *slash; (slash = strchr(place, '/')); place = slash + 1) {
        snprintf(key, sizeof key, "%.*s", (int)(slash - place), place);
        at = json_object_is_type(at, json_type_array) ? json_object_array_get_idx(at, (size_t)atoi(key))
                                                      : json_object_object_get(at, key);
        ck_assert_msg(at, "small.json has no %s", key);
    }
    if (!value) {
        json_object_object_del(at, place);
    } else if (json_object_is_type(at, json_type_array)) {
        json_object_array_put_idx(at, (size_t)atoi(place), json_tokener_parse(value));
    } else {
        json_object_object_add(at, place, json_tokener_parse(value));
    }
}

static int
changed_parse(struct json_object *root, struct tokenizer **ret_tokenizer, struct hearth_error *err)
{
    const char *json = json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    return tokenizer_parse("changed.json", json, strlen(json), ret_tokenizer, err);
}

static const struct change changes[] = {
    {"normalizer", "{\"type\":\"NFC\"}", HEARTH_EUNSUPPORTED, "field normalizer"},
    {"normalizer", "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}]}", HEARTH_EUNSUPPORTED,
     "field normalizer"},
    {"decoder", "null", HEARTH_EUNSUPPORTED, "field decoder"},
    {"decoder/type", "\"WordPiece\"", HEARTH_EUNSUPPORTED, "field decoder"},
    {"model", NULL, HEARTH_EFORMAT, "field model"},
    {"model/type", "\"Unigram\"", HEARTH_EUNSUPPORTED, "field model.type"},
    {"model/dropout", "0.1", HEARTH_EUNSUPPORTED, "field model.dropout"},
    {"model/end_of_word_suffix", "\"</w>\"", HEARTH_EUNSUPPORTED, "field model.end_of_word_suffix"},
    {"model/continuing_subword_prefix", "\"##\"", HEARTH_EUNSUPPORTED, "field model.continuing_subword_prefix"},
    {"model/ignore_merges", "3", HEARTH_EFORMAT, "field model.ignore_merges"},
    {"model/vocab", "[]", HEARTH_EFORMAT, "field vocab"},
    {"model/vocab/e", "-1", HEARTH_EFORMAT, "field model.vocab"},
    {"model/vocab/e", "5000000", HEARTH_EFORMAT, "field model.vocab"},
    {"model/vocab/e", "99999999999999999999", HEARTH_EFORMAT, "field model.vocab"},
    {"model/vocab/e", "\"7\"", HEARTH_EFORMAT, "field model.vocab"},
    {"model/vocab/e", "70.5", HEARTH_EFORMAT, "field model.vocab"},
    {"added_tokens/3", "{\"content\":\"line\\nbreak\",\"id\":-1}", HEARTH_EFORMAT, "token \"line\""},
    {"model/vocab/e", "4", HEARTH_EFORMAT, "field model.vocab"},
    {"model/vocab/ÿ", NULL, HEARTH_EFORMAT, "model.vocab"},
    {"model/merges", "{}", HEARTH_EFORMAT, "field merges"},
    {"model/merges/5", "\"th\"", HEARTH_EFORMAT, "model.merges[5]"},
    {"model/merges/5", "\"t h e\"", HEARTH_EFORMAT, "model.merges[5]"},
    {"model/merges/5", "[\"t\"]", HEARTH_EFORMAT, "model.merges[5]"},
    {"model/merges/5", "[\"t\",1]", HEARTH_EFORMAT, "model.merges[5]"},
    {"model/merges/5", "[\"t\",\"unheard of\"]", HEARTH_EFORMAT, "two tokens of model.vocab"},
    {"model/merges/5", "[\"ÿ\",\"ÿ\"]", HEARTH_EFORMAT, "a result in model.vocab"},
    {"added_tokens", "{}", HEARTH_EFORMAT, "field added_tokens"},
    {"added_tokens/3", "7", HEARTH_EFORMAT, "added_tokens[3]"},
    {"added_tokens/3/content", "\"\"", HEARTH_EFORMAT, "added_tokens[3]"},
    {"added_tokens/3/content", "\"<think>\"", HEARTH_EFORMAT, "added_tokens"},
    {"added_tokens/3/content", "\"e\"", HEARTH_EFORMAT, "added_tokens[3]"},
    {"added_tokens/3/id", "10", HEARTH_EFORMAT, "added_tokens[3]"},
    {"added_tokens/3/id", "1012", HEARTH_EFORMAT, "for every id"},
    {"added_tokens/3/id", "2000000", HEARTH_EFORMAT, "field added_tokens"},
    {"added_tokens/3/normalized", "1", HEARTH_EFORMAT, "added_tokens[3]"},
    {"added_tokens/3/lstrip", "true", HEARTH_EUNSUPPORTED, "added_tokens[3].lstrip"},
    {"added_tokens/3/rstrip", "true", HEARTH_EUNSUPPORTED, "added_tokens[3].rstrip"},
    {"added_tokens/3/single_word", "true", HEARTH_EUNSUPPORTED, "added_tokens[3].single_word"},
    {"pre_tokenizer", "null", HEARTH_EUNSUPPORTED, "field pre_tokenizer"},
    {"pre_tokenizer", "{\"type\":\"Whitespace\"}", HEARTH_EUNSUPPORTED, "field pre_tokenizer"},
    {"pre_tokenizer/pretokenizers", "[]", HEARTH_EUNSUPPORTED, "pre_tokenizer.pretokenizers"},
    {"pre_tokenizer/pretokenizers/0", "{\"type\":\"Digits\"}", HEARTH_EUNSUPPORTED, "pretokenizers[0].type"},
    {"pre_tokenizer/pretokenizers/1/behavior", "\"Removed\"", HEARTH_EUNSUPPORTED, "pretokenizers[1]"},
    {"pre_tokenizer/pretokenizers/1/invert", "true", HEARTH_EUNSUPPORTED, "pretokenizers[1]"},
    {"pre_tokenizer/pretokenizers/1/pattern", "{\"String\":\" \"}", HEARTH_EUNSUPPORTED, "pretokenizers[1]"},
    {"pre_tokenizer/pretokenizers/3/use_regex", "true", HEARTH_EUNSUPPORTED, "use_regex"},
    {"pre_tokenizer/pretokenizers/3/add_prefix_space", "true", HEARTH_EUNSUPPORTED, "add_prefix_space"},
};

START_TEST(changed_file)
{
    struct json_object *root = small_read();
    struct tokenizer *tokenizer = NULL;
    struct hearth_error err = {0};
    change_make(root, changes[_i].place, changes[_i].value);
    const int status = changed_parse(root, &tokenizer, &err);
    ck_assert_msg(status == changes[_i].status, "%s = %s: status %d, %s", changes[_i].place, changes[_i].value, status,
                  err.text);
    ck_assert_msg(strstr(err.text, changes[_i].wanted), "%s wanted, found: %s", changes[_i].wanted, err.text);
    ck_assert_msg(strncmp(err.text, "changed.json: ", 14) == 0, "%s", err.text);
    ck_assert_msg(!strchr(err.text, '\n'), "%s", err.text);
    ck_assert_ptr_null(tokenizer);
    json_object_put(root);
}
END_TEST

/* Patterns that Oniguruma and PCRE2 read differently, or that are none. */
static const char *const patterns[] = {
    "[[a-c]d]",  "[a&&b]",  "[]a]",    "[^]a]", "\\\\w+",  "\\\\h",   "\\\\bx", "\\\\x41",    "(?m:a.)",
    "(?s)a",     "(?<n>a)", "(*UTF)a", "a{2}+", "a{1,2}?", "a{,3}",   "\\\\pL", "\\\\p{Han}", "\\\\p{L&}",
    "\\\\p{Lx}", "(",       "a**",     "a\\\\", "[b-a]",   "\\u0000", "(?i",    "[a",         "\\\\p{",
};

START_TEST(foreign_pattern)
{
    struct json_object *root = small_read();
    struct tokenizer *tokenizer = NULL;
    struct hearth_error err = {0};
    char value[64];
    snprintf(value, sizeof value, "\"%s\"", patterns[_i]);
    change_make(root, "pre_tokenizer/pretokenizers/1/pattern/Regex", value);
    ck_assert_msg(changed_parse(root, &tokenizer, &err) == HEARTH_EUNSUPPORTED, "%s was taken", value);
    ck_assert_msg(strstr(err.text, "pre_tokenizer.pretokenizers[1].pattern.Regex"), "%s", err.text);
    json_object_put(root);
}
END_TEST

START_TEST(repeated_entries)
{
    struct json_object *root = small_read();
    struct tokenizer *tokenizer = NULL;
    struct hearth_error err = {0};
    struct json_object *merges = json_object_object_get(json_object_object_get(root, "model"), "merges");
    json_object_array_put_idx(merges, 8, json_object_get(json_object_array_get_idx(merges, 3)));
    ck_assert_int_eq(changed_parse(root, &tokenizer, &err), HEARTH_EFORMAT);
    ck_assert_msg(strstr(err.text, "model.merges[8]"), "%s", err.text);
    json_object_put(root);

    root = small_read();
    struct json_object *added = json_object_object_get(root, "added_tokens");
    json_object_array_add(added, json_object_get(json_object_array_get_idx(added, 1)));
    ck_assert_int_eq(changed_parse(root, &tokenizer, &err), HEARTH_EFORMAT);
    ck_assert_msg(strstr(err.text, "that no earlier entry has"), "%s", err.text);
    json_object_put(root);

    /* "Ġ" is the byte 0x20 to the vocabulary, and would be two bytes as an added token */
    root = small_read();
    added = json_object_object_get(root, "added_tokens");
    struct json_object *vocab = json_object_object_get(json_object_object_get(root, "model"), "vocab");
    char entry[64];
    snprintf(entry, sizeof entry, "{\"content\":\"Ġ\",\"id\":%d}",
             json_object_get_int(json_object_object_get(vocab, "Ġ")));
    json_object_array_add(added, json_tokener_parse(entry));
    ck_assert_int_eq(changed_parse(root, &tokenizer, &err), HEARTH_EUNSUPPORTED);
    ck_assert_msg(strstr(err.text, "added_tokens"), "%s", err.text);
    json_object_put(root);
}
END_TEST

START_TEST(no_file)
{
    struct tokenizer *tokenizer = NULL;
    struct hearth_error err = {0};
    ck_assert_int_eq(tokenizer_open(SOURCE_FOLDER "/tests/data/tokenizer/absent.json", &tokenizer, &err), HEARTH_EIO);
    ck_assert_ptr_nonnull(strstr(err.text, "absent.json"));
    ck_assert_int_eq(tokenizer_parse("cut.json", "{\"model\":", 9, &tokenizer, &err), HEARTH_EFORMAT);
    ck_assert_int_eq(tokenizer_parse("list.json", "[]", 2, &tokenizer, &err), HEARTH_EFORMAT);
    ck_assert_int_eq(tokenizer_parse("null.json", "null", 4, &tokenizer, NULL), HEARTH_EFORMAT);
    ck_assert_ptr_null(tokenizer);
}
END_TEST

/* An exponential pattern is stopped with an error, soon. */
START_TEST(costly_pattern)
{
    struct json_object *root = small_read();
    struct tokenizer *tokenizer = NULL;
    struct hearth_error err = {0};
    int32_t *ids = NULL;
    size_t n;
    change_make(root, "pre_tokenizer/pretokenizers/1/pattern/Regex", "\"(?:a|[a-b])+[xy]\"");
    ck_assert_msg(changed_parse(root, &tokenizer, &err) == HEARTH_OK, "%s", err.text);
    const char *text = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaz";
    ck_assert_int_eq(tokenizer_encode(tokenizer, text, strlen(text), true, &ids, &n, &err), HEARTH_EUNSUPPORTED);
    ck_assert_msg(strstr(err.text, "pre_tokenizer, pattern 2"), "%s", err.text);
    ck_assert_ptr_null(ids);
    tokenizer_free(tokenizer);
    json_object_put(root);
}
END_TEST

/* With ignore_merges a piece that is a token stays whole though no merge makes it. */
START_TEST(ignore_merges)
{
    struct json_object *root = small_read();
    struct tokenizer *tokenizer = NULL;
    struct hearth_error err = {0};
    const char *const flags[] = {"false", "true"};
    for (int ignore = 0; ignore < 2; ignore++) {
        int32_t *ids = NULL;
        size_t n = 0;
        change_make(root, "model/ignore_merges", flags[ignore]);
        change_make(root, "model/merges", "[]");
        ck_assert_msg(changed_parse(root, &tokenizer, &err) == HEARTH_OK, "%s", err.text);
        ck_assert_int_eq(tokenizer_encode(tokenizer, " was Q7!", 8, false, &ids, &n, &err), HEARTH_OK);
        ck_assert_uint_eq(n, ignore ? 5 : 8);
        ck_assert_int_eq(ids[0], tokenizer_find(tokenizer, ignore ? "Ġwas" : "Ġ"));
        free(ids);
        tokenizer_free(tokenizer);
    }
    json_object_put(root);
}
END_TEST

/* ---- memory that runs out (the linker sends the calls of our code here) ------------------------------------------ */

static long allocations_left = -1; /* -1: as many as wanted */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *memory, size_t size);

static bool
allocation_fails(void)
{
    return allocations_left >= 0 && allocations_left-- == 0;
}

void *
__wrap_malloc(size_t size)
{
    return allocation_fails() ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t n, size_t size)
{
    return allocation_fails() ? NULL : __real_calloc(n, size);
}

void *
__wrap_realloc(void *memory, size_t size)
{
    return allocation_fails() ? NULL : __real_realloc(memory, size);
}

static int
everything(void)
{
    struct tokenizer *tokenizer = NULL;
    struct text_stream *stream = NULL;
    int32_t *ids = NULL;
    size_t n = 0;
    const char *piece;
    /* long enough for the heap, young enough for the copy with stand-ins */
    static const char text[] = "((((((((((((((((((((((((((((((((((((((((((((((((((((((((( <think>\U0001FAE8 the end";
    int status = tokenizer_open(SMALL_JSON, &tokenizer, NULL);
    if (status == HEARTH_OK) {
        status = tokenizer_encode(tokenizer, text, sizeof text - 1, true, &ids, &n, NULL);
    }
    if (status == HEARTH_OK) {
        status = text_stream_new(tokenizer, &stream, NULL);
    }
    for (size_t i = 0; i < n && status == HEARTH_OK; i++) {
        status = text_stream_push(stream, ids[i], &piece, NULL);
    }
    if (status == HEARTH_OK) {
        status = text_stream_finish(stream, &piece, NULL);
    }
    text_stream_free(stream);
    free(ids);
    tokenizer_free(tokenizer);
    return status;
}

START_TEST(no_memory)
{
    long n_failed = 0;
    for (int status = HEARTH_EMEMORY; status != HEARTH_OK; n_failed++) {
        allocations_left = n_failed;
        status = everything();
        allocations_left = -1;
        ck_assert_msg(status == HEARTH_OK || status == HEARTH_EMEMORY, "status %d at allocation %ld", status, n_failed);
    }
    ck_assert_int_gt(n_failed, 20);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("tokenizer refusals");
    TCase *files = tcase_create("files");
    tcase_set_timeout(files, 60);
    tcase_add_loop_test(files, changed_file, 0, (int)(sizeof changes / sizeof changes[0]));
    tcase_add_loop_test(files, foreign_pattern, 0, (int)(sizeof patterns / sizeof patterns[0]));
    tcase_add_test(files, repeated_entries);
    tcase_add_test(files, no_file);
    tcase_add_test(files, costly_pattern);
    tcase_add_test(files, ignore_merges);
    tcase_add_test(files, no_memory);
    suite_add_tcase(suite, files);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
