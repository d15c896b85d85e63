/* base_test.c - error lines, growing text, sizes, JSON, and the conversions of hearth/dtype.h. */
#include <config.h>

#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hearth/dtype.h>
#include <hearth/engine.h>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/json.h"
#include "core/base/text.h"

static struct hearth_error err;

START_TEST(errors_are_one_line)
{
    ck_assert_int_eq(error_set(&err, HEARTH_EFORMAT, "a\nb\x01%s", "c"), HEARTH_EFORMAT);
    ck_assert_str_eq(err.text, "a?b?c");
    errno = ENOENT;
    ck_assert_int_eq(error_set_errno(&err, HEARTH_EIO, "f"), HEARTH_EIO);
    ck_assert_str_eq(err.text, "f: No such file or directory");
    ck_assert_int_eq(err.native, ENOENT);
    ck_assert_int_eq(error_set(NULL, HEARTH_EIO, "nobody listens"), HEARTH_EIO);
    char *huge = calloc(1, 4096);
    memset(huge, 'x', 4095);
    error_set(&err, HEARTH_EIO, "%s", huge);
    ck_assert_uint_eq(strlen(err.text), HEARTH_ERROR_TEXT_BYTES - 1);
    free(huge);
}
END_TEST

START_TEST(statuses_have_names_and_exits)
{
    ck_assert_str_eq(hearth_status_name(HEARTH_EMEMORY), "EMEMORY");
    ck_assert_int_eq(hearth_status_exit(HEARTH_EMEMORY), HEARTH_EXIT_RESOURCES);
    ck_assert_int_eq(hearth_status_exit(HEARTH_OK), 0);
    ck_assert_str_eq(hearth_status_name(-99), "unknown");
    ck_assert_int_eq(hearth_status_exit(-99), HEARTH_EXIT_INTERNAL);
}
END_TEST

START_TEST(text_grows)
{
    struct text text = {0};
    for (int i = 0; i < 1000; i++) {
        text_printf(&text, "%d,", i);
    }
    ck_assert(!text.failed);
    ck_assert_uint_eq(text.length, 10 * 2 + 90 * 3 + 900 * 4);
    ck_assert_str_eq(text.bytes + text.length - 4, "999,");
    char *taken = text_take(&text);
    ck_assert_ptr_null(text.bytes);
    free(taken);
    taken = text_take(&text);
    ck_assert_str_eq(taken, "");
    free(taken);
}
END_TEST

START_TEST(sizes_do_not_overflow)
{
    uint64_t size = 7;
    ck_assert(!mul_size(1ull << 33, 1ull << 31, &size));
    ck_assert_uint_eq(size, 7);
    ck_assert(mul_size(1ull << 32, 1ull << 31, &size));
    ck_assert_uint_eq(size, 1ull << 63);
    ck_assert(!add_size(UINT64_MAX, 1, &size));
    ck_assert_uint_eq(round_up(13, 8), 16);
    ck_assert_uint_eq(ceil_div(UINT64_MAX, 2), 1ull << 63);
    unsigned char bytes[8];
    write_le64(bytes, 0x0102030405060708u);
    ck_assert_uint_eq(bytes[0], 8);
    ck_assert_uint_eq(read_le64(bytes), 0x0102030405060708u);
}
END_TEST

static const struct {
    const char *text;
    size_t length;
    const char *problem; /* NULL: valid */
} json_cases[] = {
    {"{}", 2, NULL},
    {" [1, 2]\n", 8, NULL},
    {"12", 2, NULL},
    {"", 0, "valid JSON wanted"},
    {"{", 1, "valid JSON wanted"},
    {"{} {}", 5, "valid JSON wanted"},
    {"['a']", 5, "valid JSON wanted"},
    {"[1,]", 4, "valid JSON wanted"},
    {"\"\xff\"", 3, "valid JSON wanted"},
    {"[\0]", 3, "valid JSON wanted"},
    {"nul", 3, "valid JSON wanted"},
};

START_TEST(json_is_strict)
{
    struct json_object *value = NULL;
    const int status = json_parse("f.json", json_cases[_i].text, json_cases[_i].length, &value, &err);
    if (json_cases[_i].problem) {
        ck_assert_int_eq(status, HEARTH_EFORMAT);
        ck_assert_msg(strstr(err.text, json_cases[_i].problem) != NULL, "%s", err.text);
        ck_assert_int_eq(strncmp(err.text, "f.json: byte ", 13), 0);
    } else {
        ck_assert_msg(status == HEARTH_OK, "%s", err.text);
        json_object_put(value);
    }
}
END_TEST

START_TEST(json_depth_is_bounded)
{
    char deep[400];
    struct json_object *value;
    memset(deep, '[', 200);
    memset(deep + 200, ']', 200);
    ck_assert_int_eq(json_parse("f", deep, 400, &value, &err), HEARTH_EFORMAT);
}
END_TEST

START_TEST(json_fields_are_typed)
{
    struct json_object *object;
    uint64_t number = 5;
    double real;
    const char *string;
    const char *text = "{\"n\": 12, \"neg\": -1, \"x\": 1.5, \"s\": \"word\", \"null\": null}";
    ck_assert_int_eq(json_parse("f", text, strlen(text), &object, &err), HEARTH_OK);
    ck_assert_int_eq(json_get_u64("f", object, "n", 1, 64, &number, &err), HEARTH_OK);
    ck_assert_uint_eq(number, 12);
    ck_assert_int_eq(json_get_u64("f", object, "n", 1, 11, &number, &err), HEARTH_EFORMAT);
    ck_assert_str_eq(err.text, "f: field n: an integer in [1, 11] wanted, 12 found");
    ck_assert_int_eq(json_get_u64("f", object, "neg", 0, 11, &number, &err), HEARTH_EFORMAT);
    ck_assert_int_eq(json_get_u64("f", object, "absent", 0, 11, &number, &err), HEARTH_EFORMAT);
    ck_assert_str_eq(err.text, "f: field absent: an integer in [0, 11] wanted, nothing found");
    ck_assert_int_eq(json_get_u64_or("f", object, "null", 0, 11, 3, &number, &err), HEARTH_OK);
    ck_assert_uint_eq(number, 3);
    ck_assert_int_eq(json_get_double("f", object, "n", 0, 20, &real, &err), HEARTH_OK);
    ck_assert_int_eq(json_get_double("f", object, "s", 0, 20, &real, &err), HEARTH_EFORMAT);
    ck_assert_int_eq(json_get_string("f", object, "s", &string, &err), HEARTH_OK);
    ck_assert_str_eq(string, "word");
    ck_assert_int_eq(json_get_string("f", object, "x", &string, &err), HEARTH_EFORMAT);
    ck_assert_str_eq(err.text, "f: field x: string wanted, 1.5 found");
    json_object_put(object);
}
END_TEST

/* Every code decodes to a value that encodes to it again. */
START_TEST(codes_round_trip)
{
    for (unsigned code = 0; code < 256; code++) {
        if ((code & 0x7F) != 0x7F) {
            ck_assert_uint_eq(hearth_e4m3_from_f32(hearth_e4m3_to_f32((uint8_t)code)), code);
        } else {
            ck_assert(isnan(hearth_e4m3_to_f32((uint8_t)code)));
        }
        if (code != HEARTH_E8M0_NAN) {
            ck_assert(hearth_e8m0_to_f32((uint8_t)code) == ldexpf(1.0f, (int)code - 127));
        }
        if (code < 16) {
            ck_assert_uint_eq(hearth_e2m1_from_f32(hearth_e2m1_to_f32((uint8_t)code)), code);
        }
    }
    for (unsigned bits = 0; bits < 65536; bits++) {
        const float value = hearth_bf16_to_f32((uint16_t)bits);
        if (!isnan(value)) {
            ck_assert_uint_eq(hearth_bf16_from_f32(value), bits);
        }
    }
}
END_TEST

/* The nearest code, ties to the even one: against a search over all codes. */
static uint8_t
nearest_code(float value, float (*decode)(uint8_t), unsigned n_codes)
{
    unsigned best = 0;
    for (unsigned code = 1; code < n_codes; code++) {
        const double here = fabs((double)decode((uint8_t)code) - value);
        const double there = fabs((double)decode((uint8_t)best) - value);
        if (here < there || (here == there && code % 2 == 0)) {
            best = code;
        }
    }
    return (uint8_t)best;
}

START_TEST(rounding_is_to_nearest_even)
{
    for (int i = 0; i < 200000; i++) {
        const float value = ldexpf((float)(i % 2048), i / 2048 % 24 - 26);
        if (value <= HEARTH_E4M3_MAX) {
            ck_assert_uint_eq(hearth_e4m3_from_f32(value), nearest_code(value, hearth_e4m3_to_f32, 0x7F));
            ck_assert_uint_eq(hearth_e4m3_from_f32(-value), 0x80u | nearest_code(value, hearth_e4m3_to_f32, 0x7F));
        }
        if (value <= HEARTH_E2M1_MAX) {
            ck_assert_uint_eq(hearth_e2m1_from_f32(value), nearest_code(value, hearth_e2m1_to_f32, 8));
        }
    }
    ck_assert_uint_eq(hearth_e4m3_from_f32(1e9f), 0x7E);
    ck_assert_uint_eq(hearth_e4m3_from_f32(-INFINITY), 0xFE);
    ck_assert_uint_eq(hearth_e2m1_from_f32(100.0f), 7);
    ck_assert(isnan(hearth_bf16_to_f32(hearth_bf16_from_f32(NAN))));
}
END_TEST

START_TEST(scales_are_the_references)
{
    /* amax, exponent for e4m3, exponent for e2m1: the table of the specification's section 16.2 */
    static const struct {
        float amax;
        int e4m3, e2m1;
    } rows[] = {{1e-4f, -22, -15}, {0.4375f, -10, -3}, {0.875f, -9, -2}, {1.0f, -8, -2}, {2.0f, -7, -1},
                {3.5f, -7, 0},     {7.0f, -6, 1},      {447.9f, 0, 7},   {448.0f, 0, 7}, {450.0f, 1, 7}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_int_eq(hearth_scale_code(rows[i].amax, HEARTH_E4M3_RECIPROCAL) - 127, rows[i].e4m3);
        ck_assert_int_eq(hearth_scale_code(rows[i].amax, HEARTH_E2M1_RECIPROCAL) - 127, rows[i].e2m1);
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("base");
    TCase *tcase = tcase_create("base");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, errors_are_one_line);
    tcase_add_test(tcase, statuses_have_names_and_exits);
    tcase_add_test(tcase, text_grows);
    tcase_add_test(tcase, sizes_do_not_overflow);
    tcase_add_loop_test(tcase, json_is_strict, 0, (int)(sizeof json_cases / sizeof json_cases[0]));
    tcase_add_test(tcase, json_depth_is_bounded);
    tcase_add_test(tcase, json_fields_are_typed);
    tcase_add_test(tcase, codes_round_trip);
    tcase_add_test(tcase, rounding_is_to_nearest_even);
    tcase_add_test(tcase, scales_are_the_references);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed != 0;
}
