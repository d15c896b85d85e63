/* safetensors_test.c - headers: what a good one yields, and the line that each bad one gets. */
#include <config.h>

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/model/safetensors.h"

static struct hearth_error err;
static unsigned char file[4096];

/* A file of the header and n_data bytes; a complete header is padded, so that the data are aligned. */
static uint64_t
make_file(const char *header, size_t n_data)
{
    const size_t used = strlen(header);
    const size_t length = used > 0 && header[used - 1] == '}' ? (used + 7) / 8 * 8 : used;
    ck_assert_uint_le(8 + length + n_data, sizeof file);
    memset(file, 0, sizeof file);
    memset(file + 8, ' ', length);
    write_le64(file, length);
    memcpy(file + 8, header, used);
    return 8 + length + n_data;
}

START_TEST(tensors_come_in_file_order)
{
    struct safetensors header;
    const uint64_t size = make_file(
        "{\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[8,20]} , "
        "\"__metadata__\":{\"a\\\"\\\\\":\"\\u00e9\"},\n"
        "\"a\":{\"shape\":[],\"data_offsets\":[0,8],\"dtype\":\"I64\"},\"none\":{\"dtype\":\"F8_E4M3\",\"shape\":[0,7],"
        "\"data_offsets\":[20,20]},\"half\":{\"dtype\":\"F16\",\"shape\":[1,1,1,2],\"data_offsets\":[24,28]}}",
        28);
    ck_assert_int_eq(safetensors_read("f", "f", file, size, &header, &err), HEARTH_OK);
    ck_assert_uint_eq(header.n_tensors, 4);
    ck_assert_str_eq(header.tensors[0].name, "a");
    ck_assert_uint_eq(header.tensors[0].n_dims, 0);
    ck_assert_uint_eq(header.tensors[0].n_elements, 1);
    ck_assert_str_eq(header.tensors[1].name, "b");
    ck_assert_int_eq(header.tensors[1].dtype, HEARTH_BF16);
    ck_assert_uint_eq(header.tensors[1].dims[1], 3);
    ck_assert_ptr_eq(header.tensors[1].data, file + size - 20);
    ck_assert_uint_eq(header.tensors[2].size_bytes, 0);
    ck_assert_int_eq(header.tensors[3].dtype, HEARTH_DTYPE_NONE);
    ck_assert_str_eq(header.tensors[3].dtype_text, "F16");
    safetensors_free(&header);
}
END_TEST

START_TEST(an_empty_file_is_valid)
{
    struct safetensors header;
    ck_assert_int_eq(safetensors_read("f", "f", file, make_file("{}", 0), &header, &err), HEARTH_OK);
    ck_assert_uint_eq(header.n_tensors, 0);
    safetensors_free(&header);
    ck_assert_int_eq(safetensors_read("f", "f", file, make_file("{\"__metadata__\":{}}", 0), &header, &err), HEARTH_OK);
    safetensors_free(&header);
}
END_TEST

#define ENTRY(dtype, shape, offsets)                                                                                   \
    "{\"t\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static const struct bad_header {
    const char *header;
    size_t n_data;
    const char *named;
} bad_headers[] = {
    {"", 0, "header byte 0: '{'"},
    {"[]", 0, "header byte 0: '{'"},
    {"{", 0, "'\"'"},
    {"{\"t\"", 0, "':'"},
    {"{\"t\":1}", 0, "'{'"},
    {"{} x", 0, "the end of the header"},
    {"{},", 0, "the end of the header"},
    {"{\"a\\nb\":{}}", 0, "without escape"},
    {"{\"a\x01\":{}}", 0, "without escape"},
    {"{\"__metadata__\":{\"k\":1}}", 0, "'\"'"},
    {"{\"__metadata__\":{\"k\":\"unclosed", 0, "'\"'"},
    {"{\"__metadata__\":{\"k\":\"unclosed\\", 0, "'\"'"},
    {ENTRY("BF16", "[4]", "[0,8]") "{", 8, "the end of the header"},
    {ENTRY("F4", "[4]", "[0,2]"), 2, "tensor t: a safetensors dtype wanted, F4 found"},
    {ENTRY("I8", "[-1]", "[0,1]"), 8, "an integer that is not negative"},
    {ENTRY("I8", "[1.5]", "[0,1]"), 8, "']'"},
    {ENTRY("I8", "[99999999999999999999]", "[0,1]"), 8, "an integer below 2^64"},
    {ENTRY("I8", "[1,1,1,1,1]", "[0,1]"), 8, "a shorter list"},
    {ENTRY("I8", "[4]", "[0]"), 8, "two data_offsets"},
    {ENTRY("I8", "[4]", "[0,4,8]"), 8, "a shorter list"},
    {ENTRY("I8", "[4]", "[4,0]"), 8, "tensor t: data_offsets"},
    {ENTRY("I8", "[4]", "[0,8]"), 8, "tensor t: data_offsets as far apart as I8 [4] takes"},
    {ENTRY("I8", "[8]", "[0,8]"), 7, "tensor t: data up to byte 8 wanted, but the file holds 7"},
    {ENTRY("I8", "[8]", "[18446744073709551608,18446744073709551615]"), 8, "tensor t: data_offsets"},
    {ENTRY("I64", "[4294967296,4294967296]", "[0,0]"), 8, "tensor t: data_offsets"},
    {ENTRY("F32", "[2305843009213693952,2]", "[0,0]"), 8, "tensor t: data_offsets"},
    {"{\"t\":{\"dtype\":\"I8\",\"shape\":[1]}}", 8, "','"},
    {"{\"t\":{\"dtype\":\"I8\",\"dtype\":\"I8\",\"shape\":[1]}}", 8, "one each of dtype"},
    {"{\"t\":{\"dtype\":\"I8\",\"shape\":[1],\"stride\":1}}", 8, "one each of dtype"},
    {"{\"t\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1}}", 8, "'}'"},
    {"{\"t\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[1,3]}}", 8, "tensor t: data at a multiple of 2"},
    {"{\"t\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[0,4]},\"u\":{\"dtype\":\"I8\",\"shape\":[4],\"data_"
     "offsets\":[3,7]}}",
     8, "tensor u: data of its own wanted, it overlaps tensor t"},
    {"{\"t\":{\"dtype\":\"I8\",\"shape\":[8],\"data_offsets\":[0,8]},\"u\":{\"dtype\":\"I8\",\"shape\":[0],\"data_"
     "offsets\":[3,3]}}",
     8, "overlaps tensor t"},
};

START_TEST(each_bad_header_is_explained)
{
    const struct bad_header *bad = &bad_headers[_i];
    struct safetensors header = {0};
    uint64_t size = make_file(bad->header, bad->n_data);
    err = (struct hearth_error){0};
    ck_assert_int_eq(safetensors_read("dir/f", "f", file, size, &header, &err), HEARTH_EFORMAT);
    ck_assert_msg(strstr(err.text, bad->named) != NULL, "%s: %s", bad->header, err.text);
    ck_assert_msg(strncmp(err.text, "dir/f: ", 7) == 0, "%s", err.text);
    ck_assert_ptr_null(header.tensors);
}
END_TEST

START_TEST(the_header_length_is_bounded)
{
    struct safetensors header;
    const uint64_t lengths[] = {3, 100, SAFETENSORS_MAX_HEADER_BYTES + 1ull, UINT64_MAX, UINT64_MAX - 7};
    make_file("{}", 0);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        write_le64(file, lengths[i]);
        ck_assert_int_eq(safetensors_read("f", "f", file, 10, &header, &err), HEARTH_EFORMAT);
        ck_assert_ptr_nonnull(strstr(err.text, "header length"));
    }
    for (uint64_t size = 0; size < 8; size++) {
        ck_assert_int_eq(safetensors_read("f", "f", file, size, &header, &err), HEARTH_EFORMAT);
        ck_assert_ptr_nonnull(strstr(err.text, "header length"));
    }
}
END_TEST

/* Every prefix of a good file is bad, and says so without touching a byte beyond it. */
START_TEST(every_truncation_is_refused)
{
    struct safetensors header;
    const uint64_t size =
        make_file("{\"__metadata__\":{\"f\":\"pt\"},\"t\":{\"dtype\":\"I8\",\"shape\":[8],\"data_offsets\":[0,8]}}", 8);
    for (uint64_t cut = 0; cut < size; cut++) {
        unsigned char *copy = malloc(cut ? cut : 1); /* exact, so that a sanitizer sees any excess */
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, file, cut);
        ck_assert_int_eq(safetensors_read("f", "f", copy, cut, &header, &err), HEARTH_EFORMAT);
        if (cut >= 8 && cut < size - 8) { /* the same, with a length that fits the rest */
            write_le64(copy, cut - 8);
            ck_assert_int_eq(safetensors_read("f", "f", copy, cut, &header, &err), HEARTH_EFORMAT);
        }
        free(copy);
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("safetensors");
    TCase *cases = tcase_create("safetensors");
    tcase_add_test(cases, tensors_come_in_file_order);
    tcase_add_test(cases, an_empty_file_is_valid);
    tcase_add_loop_test(cases, each_bad_header_is_explained, 0, (int)(sizeof bad_headers / sizeof bad_headers[0]));
    tcase_add_test(cases, the_header_length_is_bounded);
    tcase_add_test(cases, every_truncation_is_refused);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
