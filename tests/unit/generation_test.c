/* generation_test.c - generation_config.json: what it may say, and the lines that wrong values get. */
#include <config.h>

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/model/generation.h"

static char path[64];
static struct hearth_error err;
static struct model_generation generation;

static int
read_text(const char *text)
{
    snprintf(path, sizeof path, "generation-test-%ld.json", (long)getpid());
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
    const int status = generation_read(path, &generation, &err);
    unlink(path);
    return status;
}

START_TEST(values_are_read)
{
    const char *text = "{\"temperature\": 0.6, \"top_p\": 0.95, \"top_k\": 20, \"do_sample\": true}";
    ck_assert_int_eq(read_text(text), HEARTH_OK);
    ck_assert(generation.has_temperature && generation.has_top_p && generation.has_top_k);
    ck_assert(generation.temperature == 0.6f && generation.top_p == 0.95f);
    ck_assert_uint_eq(generation.top_k, 20);
}
END_TEST

START_TEST(silence_is_allowed)
{
    ck_assert_int_eq(generation_read("no such file", &generation, &err), HEARTH_OK);
    ck_assert(!generation.has_temperature && !generation.has_top_p && !generation.has_top_k);
    ck_assert_int_eq(read_text("{\"temperature\": null, \"eos_token_id\": [1, 2]}"), HEARTH_OK);
    ck_assert(!generation.has_temperature);
}
END_TEST

START_TEST(greedy_is_temperature_zero)
{
    ck_assert_int_eq(read_text("{\"temperature\": 0.6, \"do_sample\": false}"), HEARTH_OK);
    ck_assert(generation.has_temperature && generation.temperature == 0.0f);
}
END_TEST

static const struct {
    const char *text, *problem;
} wrong[] = {
    {"{\"temperature\": -1}", "field temperature: a number in [0, 100] wanted, -1 found"},
    {"{\"top_p\": \"most\"}", "field top_p: a number in [1e-06, 1] wanted, \"most\" found"},
    {"{\"do_sample\": 1}", "field do_sample: true or false wanted"},
    {"[]", "an object wanted"},
    {"{", "valid JSON wanted"},
};

START_TEST(wrong_values_get_their_line)
{
    ck_assert_int_eq(read_text(wrong[_i].text), HEARTH_EFORMAT);
    ck_assert_msg(strstr(err.text, wrong[_i].problem) != NULL, "%s", err.text);
    ck_assert_int_eq(strncmp(err.text, path, strlen(path)), 0);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("generation");
    TCase *tcase = tcase_create("generation");
    tcase_add_test(tcase, values_are_read);
    tcase_add_test(tcase, silence_is_allowed);
    tcase_add_test(tcase, greedy_is_temperature_zero);
    tcase_add_loop_test(tcase, wrong_values_get_their_line, 0, (int)(sizeof wrong / sizeof wrong[0]));
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed != 0;
}
