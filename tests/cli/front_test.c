/* front_test.c - parts of the program that are better tested from inside: numbers for people,
 * tables, charts, and that passkey contexts are what tokenising their text would give. */
#include <config.h>

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/json.h"
#include "core/front/human.h"
#include "core/front/passkey.h"
#include "core/front/render.h"
#include "core/front/svg.h"

START_TEST(numbers_are_readable)
{
    char text[HUMAN_BYTES];
    ck_assert_str_eq(human_bytes(0, text), "0 B");
    ck_assert_str_eq(human_bytes(1023, text), "1023 B");
    ck_assert_str_eq(human_bytes(1536, text), "1.50 KiB");
    ck_assert_str_eq(human_bytes(159609485896.0, text), "148.6 GiB");
    ck_assert_str_eq(human_bandwidth(12.3e9, text), "12.3 GB/s");
    ck_assert_str_eq(human_count(284.33e9, text), "284.3 G");
    ck_assert_str_eq(human_duration(0.424, text), "0.42 s");
    ck_assert_str_eq(human_duration(59.4, text), "59 s");
    ck_assert_str_eq(human_duration(187, text), "3:07");
    ck_assert_str_eq(human_duration(3765, text), "1:02:45");
}
END_TEST

START_TEST(median_is_the_middle)
{
    double odd[] = {5, 1, 3}, even[] = {4, 1, 3, 2};
    ck_assert(median(odd, 3) == 3);
    ck_assert(median(even, 4) == 2.5);
    ck_assert(median(NULL, 0) == 0);
}
END_TEST

static char *
rendered(const char *json, const char *const *hidden)
{
    struct json_object *report;
    struct text text = {0};
    ck_assert_int_eq(json_parse("a report", json, strlen(json), &report, NULL), HEARTH_OK);
    render_report(report, hidden, &text);
    json_object_put(report);
    return text_take(&text);
}

START_TEST(reports_take_units_from_their_keys)
{
    static const char *const hidden[] = {"secret", NULL};
    char *text =
        rendered("{\"name\": \"x\", \"weight_bytes\": 2048, \"read_bytes_per_second\": 4e9,"
                 " \"v3_2_flops\": 1500, \"secret\": 1, \"none\": null, \"path\": [],"
                 " \"ratios\": [0, 4, 4, 4, 4, 128]}",
                 hidden);
    ck_assert_str_eq(text, "name                   x\n"
                           "weight bytes           2.00 KiB\n"
                           "read bytes per second  4.00 GB/s\n"
                           "v3.2 flops             1.50 k\n"
                           "none                   -\n"
                           "path                   -\n"
                           "ratios                 0, 4 x4, 128\n");
    free(text);
}
END_TEST

START_TEST(reports_align_tables)
{
    char *text = rendered(
        "{\"rows\": [{\"id\": 1, \"name\": \"a\"}, {\"id\": 20, \"name\": \"\\u00e4bc\"}],"
        " \"bytes\": {\"one\": {\"4k\": 1024, \"1M\": 1}, \"two\": {\"4k\": 3, \"1M\": 2048}}}",
        NULL);
    ck_assert_str_eq(text, "rows\n"
                           "  id  name\n"
                           "   1  a\n"
                           "  20  \u00e4bc\n"
                           "\n"
                           "bytes\n"
                           "           one       two\n"
                           "  4k  1.00 KiB       3 B\n"
                           "  1M       1 B  2.00 KiB\n");
    free(text);
}
END_TEST

START_TEST(chart_stays_inside_its_frame)
{
    const double x[] = {1, 128, 4096}, y[] = {0, 100, 37.5};
    const struct svg_series series[] = {{.name = "a<b", .x = x, .y = y, .n = 3},
                                        {.name = "one", .x = x, .y = y, .n = 1, .dashed = true}};
    struct text text = {0};
    svg_chart(&text, "title & more", "x", "y", series, 2);
    ck_assert(!text.failed);
    ck_assert_ptr_nonnull(strstr(text.bytes, "a&lt;b"));
    ck_assert_ptr_nonnull(strstr(text.bytes, "title &amp; more"));
    ck_assert_ptr_null(strstr(text.bytes, "nan"));
    ck_assert_ptr_null(strstr(text.bytes, "inf"));
    for (const char *at = strstr(text.bytes, "cx="); at; at = strstr(at + 1, "cx=")) {
        double cx, cy;
        ck_assert_int_eq(sscanf(at, "cx=\"%lf\" cy=\"%lf\"", &cx, &cy), 2);
        ck_assert(cx >= 69.9 && cx <= 740.1 && cy >= 49.9 && cy <= 360.1);
    }
    text_free(&text);
}
END_TEST

START_TEST(random_numbers_reach_every_value)
{
    uint64_t state = 1;
    unsigned counts[10] = {0};
    for (int i = 0; i < 10000; i++) {
        counts[passkey_random(&state, 10)]++;
    }
    for (int i = 0; i < 10; i++) {
        ck_assert_uint_gt(counts[i], 850);
        ck_assert_uint_lt(counts[i], 1150);
    }
}
END_TEST

/* The bundled model; NULL where it is absent. */
static struct hearth_engine *
open_pilot(void)
{
    const char *folder = SOURCE_FOLDER "/models/pilot";
    struct hearth_config *config;
    struct hearth_engine *engine = NULL;
    struct hearth_error err = {0};
    if (access(SOURCE_FOLDER "/models/pilot/config.json", R_OK) != 0) {
        return NULL;
    }
    ck_assert_int_eq(hearth_config_new(&config, NULL), HEARTH_OK);
    ck_assert_int_eq(hearth_config_set(config, "model.path", folder, "test", NULL), HEARTH_OK);
    ck_assert_msg(hearth_engine_open(config, NULL, &engine, &err) == HEARTH_OK, "%s", err.text);
    hearth_config_free(config);
    return engine;
}

/* The longest prefix that ends where a line does encodes to the same tokens; so do all its lines
 * stand whole in the text. */
static void
check_context(const struct hearth_engine *engine, const struct passkey_context *context, size_t n)
{
    char *text, line[128];
    int32_t *again;
    size_t length, n_again;
    ck_assert_uint_eq(context->n, n);
    ck_assert_int_eq(context->ids[0], 0);
    ck_assert_int_eq(hearth_decode(engine, context->ids + 1, n - 1, &text, &length, NULL),
                     HEARTH_OK);
    for (size_t i = 0; i < context->n_records; i++) {
        snprintf(line, sizeof line, "%s: %s\n", context->records[i].key, context->records[i].value);
        const char *found = strstr(text, line);
        ck_assert_ptr_nonnull(found);
        ck_assert(found == text || found[-1] == '\n');
        ck_assert(i == 0 || context->records[i - 1].at < context->records[i].at);
    }
    ck_assert_int_eq(hearth_encode(engine, text, length, false, &again, &n_again, NULL), HEARTH_OK);
    /* the last piece was cut between two tokens and may be cut otherwise by itself */
    size_t same = 0;
    while (same < n - 1 && same < n_again && again[same] == context->ids[1 + same]) {
        same++;
    }
    ck_assert_uint_ge(same + 8, n - 1);
    free(again);
    free(text);
}

START_TEST(passkey_contexts_are_ordinary_text)
{
    struct hearth_engine *engine = open_pilot();
    struct passkey_source source;
    struct passkey_context context;
    struct text filler = {0};
    if (!engine) {
        return;
    }
    text_add(&filler,
             "The first line.\n\n  An indented one (with more).\nA third, longer, line!\n\tA tab.\n"
             "x = f(1);\n\n\nAfter three line feeds;\r\nand a carriage return.\n");
    ck_assert_int_eq(passkey_source_open(engine, 0, &filler, NULL, &source, NULL), HEARTH_OK);
    for (uint64_t seed = 0; seed < 20; seed++) {
        uint64_t state = seed;
        const size_t n = 300 + (size_t)seed * 37;
        ck_assert_int_eq(passkey_context_make(&source, n, 6, &state, &context, NULL), HEARTH_OK);
        check_context(engine, &context, n);
        passkey_context_done(&context);
    }
    uint64_t state = 1;
    struct hearth_error err = {0};
    ck_assert_int_eq(passkey_context_make(&source, 40, 6, &state, &context, &err), HEARTH_EUSAGE);
    ck_assert_ptr_nonnull(strstr(err.text, "6 records"));
    passkey_source_close(&source);
    text_free(&filler);
    hearth_engine_close(engine);
}
END_TEST

int
main(void)
{
    setenv("HEARTH_PLUGIN_PATH", BUILD_FOLDER "/.libs", 1);
    Suite *suite = suite_create("front");
    TCase *tests = tcase_create("front");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, numbers_are_readable);
    tcase_add_test(tests, median_is_the_middle);
    tcase_add_test(tests, reports_take_units_from_their_keys);
    tcase_add_test(tests, reports_align_tables);
    tcase_add_test(tests, chart_stays_inside_its_frame);
    tcase_add_test(tests, random_numbers_reach_every_value);
    tcase_add_test(tests, passkey_contexts_are_ordinary_text);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
