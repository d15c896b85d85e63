/* sizes_test.c - the arithmetic of sizes against the totals and ratios published for DeepSeek-V4-Flash and -Pro. */
#include <config.h>

#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include <hearth/command.h>

#include "checkpoint.h"
#include "core/base/json.h"
#include "core/model/model.h"
#include "core/model/sizes.h"
#include "published.h"

static struct model_sizes
sizes_of(enum published_model which)
{
    const struct model_shape shape = published_shape(which);
    struct model_sizes sizes;
    sizes_of_shape(&shape, HEARTH_E2M1X2, &sizes);
    return sizes;
}

/* n as billions, to three digits after the point */
#define ck_assert_billions(n, wanted) ck_assert_double_eq_tol((double)(n) / 1e9, (wanted), 0.0005001)

START_TEST(totals_are_the_published_ones)
{
    const struct {
        enum published_model which;
        uint64_t n_tensors, n_elements, bytes;
    } totals[] = {{PUBLISHED_FLASH, 69187, 158069433298, 159609485896},
                  {PUBLISHED_FLASH_0731, 72317, 165265454782, 166878536440},
                  {PUBLISHED_PRO, 145116, 861608274846, 864704792696}};
    for (size_t i = 0; i < sizeof totals / sizeof totals[0]; i++) {
        const struct model_sizes sizes = sizes_of(totals[i].which);
        ck_assert_uint_eq(sizes.total.n_tensors, totals[i].n_tensors);
        ck_assert_uint_eq(sizes.total.n_elements, totals[i].n_elements);
        ck_assert_uint_eq(sizes.total.bytes, totals[i].bytes);
    }
}
END_TEST

START_TEST(flash_counts_by_dtype)
{
    const struct model_sizes sizes = sizes_of(PUBLISHED_FLASH);
    ck_assert_uint_eq(sizes.by_dtype[HEARTH_BF16].n_tensors, 433);
    ck_assert_uint_eq(sizes.by_dtype[HEARTH_F32].n_tensors, 417);
    ck_assert_uint_eq(sizes.by_dtype[HEARTH_E4M3].n_tensors, 375);
    ck_assert_uint_eq(sizes.by_dtype[HEARTH_E8M0].n_tensors, 34167);
    ck_assert_uint_eq(sizes.by_dtype[HEARTH_I64].n_tensors, 3);
    ck_assert_uint_eq(sizes.by_dtype[HEARTH_E2M1X2].n_tensors, 33792);
    ck_assert_uint_eq(sizes.by_kind[TENSOR_NEXTN].n_tensors, 1575);
    ck_assert_uint_eq(sizes.by_kind[TENSOR_UNKNOWN].n_tensors, 0);
}
END_TEST

START_TEST(pruned_0731_has_its_published_total)
{
    struct model_shape shape = published_shape(PUBLISHED_FLASH_0731);
    struct model_sizes sizes;
    shape.n_experts = 160;
    sizes_of_shape(&shape, HEARTH_E2M1X2, &sizes);
    ck_assert_uint_eq(sizes.total.n_tensors, 45821);
    ck_assert_uint_eq(sizes.total.n_elements, 106208339614);
    ck_assert_uint_eq(sizes.total.bytes, 107803320952);
}
END_TEST

START_TEST(parameters_by_kind)
{
    const struct model_sizes flash = sizes_of(PUBLISHED_FLASH), pro = sizes_of(PUBLISHED_PRO);
    ck_assert_billions(flash.by_kind[TENSOR_ATTENTION].n_parameters, 4.599);
    ck_assert_billions(flash.by_kind[TENSOR_COMPRESSOR].n_parameters, 0.261);
    ck_assert_billions(flash.by_kind[TENSOR_INDEXER].n_parameters, 0.226);
    ck_assert_billions(flash.by_kind[TENSOR_ROUTED].n_parameters, 277.025);
    ck_assert_billions(flash.by_kind[TENSOR_ROUTED].active_parameters, 6.493);
    ck_assert_billions(flash.by_kind[TENSOR_SHARED].n_parameters, 1.082);
    ck_assert_billions(pro.by_kind[TENSOR_ATTENTION].n_parameters, 18.294);
    ck_assert_billions(pro.by_kind[TENSOR_COMPRESSOR].n_parameters, 0.670);
    ck_assert_billions(pro.by_kind[TENSOR_INDEXER].n_parameters, 0.501);
    ck_assert_billions(pro.by_kind[TENSOR_ROUTED].active_parameters, 24.178);
    const uint64_t flash_backbone = flash.total.n_parameters - flash.by_kind[TENSOR_NEXTN].n_parameters;
    const uint64_t pro_backbone = pro.total.n_parameters - pro.by_kind[TENSOR_NEXTN].n_parameters;
    ck_assert_double_eq_tol((double)flash_backbone / 1e9, 284.33, 0.005);
    ck_assert_double_eq_tol((double)pro_backbone / 1e9, 1573.00, 0.005);
    ck_assert_double_eq_tol((double)flash.total.active_parameters / 1e9, 13.27, 0.005);
    ck_assert_double_eq_tol((double)pro.total.active_parameters / 1e9, 48.85, 0.005);
    ck_assert_double_eq_tol((double)flash.by_kind[TENSOR_NEXTN].n_parameters / 1e9, 6.61, 0.005);
    ck_assert_double_eq_tol((double)pro.by_kind[TENSOR_NEXTN].n_parameters / 1e9, 25.84, 0.005);
}
END_TEST

START_TEST(bytes_read_for_a_token)
{
    const struct model_sizes flash = sizes_of(PUBLISHED_FLASH), pro = sizes_of(PUBLISHED_PRO);
    ck_assert_double_eq_tol((double)flash.total.active_bytes / 1e9, 11.2, 0.1);
    ck_assert_double_eq_tol((double)pro.total.active_bytes / 1e9, 39.7, 0.1);
    ck_assert_double_eq_tol((double)flash.by_kind[TENSOR_ROUTED].active_bytes / 1e9, 3.45, 0.005);
    ck_assert_double_eq_tol((double)pro.by_kind[TENSOR_ROUTED].active_bytes / 1e9, 12.84, 0.005);
    ck_assert_uint_eq(flash.by_kind[TENSOR_EMBEDDING].active_bytes, 2 * 4096);
    ck_assert_uint_eq(flash.by_kind[TENSOR_HASH].active_bytes, 3 * 6 * 8);
}
END_TEST

START_TEST(context_bytes)
{
    const struct model_shape flash = published_shape(PUBLISHED_FLASH), pro = published_shape(PUBLISHED_PRO);
    const struct context_sizes f = sizes_context(&flash, HEARTH_KV_PACKED), p = sizes_context(&pro, HEARTH_KV_PACKED);
    const uint64_t n = 1u << 20;
    ck_assert_double_eq(f.bytes_per_token, 3514.25);
    ck_assert_double_eq_tol(p.bytes_per_token, 5031.4375, 1e-9);
    ck_assert_uint_eq(sizes_entry_bytes(&flash, HEARTH_KV_PACKED, n), 3684958208);
    ck_assert_uint_eq(sizes_entry_bytes(&pro, HEARTH_KV_PACKED, n), 5275844608);
    ck_assert_uint_eq(f.window_bytes, 3214336);
    ck_assert_uint_eq(p.window_bytes, 4559872);
    ck_assert_uint_eq(f.compressor_bytes, 12206080);
    ck_assert_uint_eq(p.compressor_bytes, 18710528);
    ck_assert_double_eq_tol(100 * f.bytes_per_token / SIZES_V32_CONTEXT_BYTES_PER_TOKEN, 7.31, 0.005);
    ck_assert_double_eq_tol(100 * p.bytes_per_token / SIZES_V32_CONTEXT_BYTES_PER_TOKEN, 10.47, 0.005);
    /* groups that are not full have no entry yet */
    ck_assert_uint_eq(sizes_entry_bytes(&flash, HEARTH_KV_PACKED, 3), 0);
    ck_assert_uint_eq(sizes_entry_bytes(&flash, HEARTH_KV_PACKED, 127), 21 * 31 * 652);
}
END_TEST

START_TEST(flops_against_v32)
{
    const struct model_shape flash = published_shape(PUBLISHED_FLASH), pro = published_shape(PUBLISHED_PRO);
    const uint64_t n = 1u << 20;
    const struct flops f = sizes_flops(&flash, sizes_of(PUBLISHED_FLASH).total.active_parameters, n);
    const struct flops p = sizes_flops(&pro, sizes_of(PUBLISHED_PRO).total.active_parameters, n);
    ck_assert_double_eq_tol(f.linear / 1e9, 26.5, 0.05);
    ck_assert_double_eq_tol(f.core / 1e9, 23.6, 0.05);
    ck_assert_double_eq_tol(f.indexer / 1e9, 90.2, 0.05);
    ck_assert_double_eq_tol(p.linear / 1e9, 97.7, 0.05);
    ck_assert_double_eq_tol(p.core / 1e9, 76.7, 0.05);
    ck_assert_double_eq_tol(p.indexer / 1e9, 128.8, 0.06);
    ck_assert_double_eq_tol(flops_plain(sizes_v32_flops(n)) / 1e9, 1156.8, 0.5);
    ck_assert_double_eq_tol(100 * flops_plain(f) / flops_plain(sizes_v32_flops(n)), 12.1, 0.05);
    ck_assert_double_eq_tol(100 * flops_plain(p) / flops_plain(sizes_v32_flops(n)), 26.2, 0.05);
    /* the report's own figures: 10 % and 27 % */
    ck_assert_double_eq_tol(100 * flops_fp8(f) / sizes_v32_flops_fp8(n), 10.0, 0.05);
    ck_assert_double_eq_tol(100 * flops_fp8(p) / sizes_v32_flops_fp8(n), 26.5, 0.05);
    ck_assert_double_eq_tol(100 * flops_fp8(p) / sizes_v32_flops_fp8(n), 27, 0.6);
}
END_TEST

static double
number_at(struct json_object *object, const char *const *keys)
{
    for (; *keys; keys++) {
        ck_assert_msg(json_object_object_get_ex(object, *keys, &object), "no member %s", *keys);
    }
    return json_object_get_double(object);
}

#define NUMBER(report, ...) number_at(report, (const char *const[]){__VA_ARGS__, NULL})

/* The headers of V4-Flash at its real size, over files of holes. */
START_TEST(inspect_of_flash_at_full_size)
{
    char folder[CHECKPOINT_PATH_BYTES];
    const struct model_shape shape = published_shape(PUBLISHED_FLASH);
    struct checkpoint *checkpoint = checkpoint_new(&shape, HEARTH_E2M1X2, 46, 1, true);
    struct model *model;
    struct json_object *report;
    struct hearth_error err = {0};
    char *json;
    checkpoint_make_folder(folder);
    checkpoint_save(checkpoint, folder);
    checkpoint_free(checkpoint);
    const int status = model_open(folder, MODEL_HEADERS_ONLY, &model, &err);
    checkpoint_remove_folder(folder);
    ck_assert_msg(status == HEARTH_OK, "%s", err.text);
    ck_assert_uint_eq(model_weight_bytes(model),
                      sizes_of(PUBLISHED_FLASH).total.bytes - model_roles(model)->nextn_bytes);
    ck_assert_int_eq(model_inspect(model, &json, &err), HEARTH_OK);
    ck_assert_int_eq(json_parse("report", json, strlen(json), &report, &err), HEARTH_OK);
    free(json);
    model_close(model);
    ck_assert_double_eq(NUMBER(report, "totals", "tensors"), 69187);
    ck_assert_double_eq(NUMBER(report, "totals", "bytes"), 159609485896);
    ck_assert_double_eq(NUMBER(report, "layer_kinds", "csa"), 21);
    ck_assert_double_eq(NUMBER(report, "layer_kinds", "hca"), 20);
    ck_assert_double_eq(NUMBER(report, "layer_kinds", "window"), 2);
    ck_assert_double_eq(NUMBER(report, "drafter", "tensors"), 1575);
    ck_assert_double_eq(NUMBER(report, "context", "native", "bytes_per_token"), 3514.25);
    ck_assert_double_eq(NUMBER(report, "context", "native", "entry_bytes", "1M"), 3684958208);
    ck_assert_double_eq_tol(NUMBER(report, "context", "native_percent_of_v3_2"), 7.31, 0.005);
    ck_assert_double_eq_tol(NUMBER(report, "flops_per_token", "1M", "fp8_equivalent_percent_of_v3_2"), 10.0, 0.05);
    struct json_object *tensors;
    ck_assert(json_object_object_get_ex(report, "tensors", &tensors));
    ck_assert_uint_eq(json_object_array_length(tensors), 69187);
    json_object_put(report);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("sizes");
    TCase *cases = tcase_create("sizes");
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, totals_are_the_published_ones);
    tcase_add_test(cases, flash_counts_by_dtype);
    tcase_add_test(cases, pruned_0731_has_its_published_total);
    tcase_add_test(cases, parameters_by_kind);
    tcase_add_test(cases, bytes_read_for_a_token);
    tcase_add_test(cases, context_bytes);
    tcase_add_test(cases, flops_against_v32);
    tcase_add_test(cases, inspect_of_flash_at_full_size);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
