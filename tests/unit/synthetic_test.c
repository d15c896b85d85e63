/* synthetic_test.c - models of random weights: their shapes and sizes are the published ones, their numbers are
 * numbers, their experts are chosen as often as they should; and the work of a step agrees with the arithmetic of
 * sizes. */
#include <config.h>

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <hearth/command.h>

#include "core/base/noise.h"
#include "core/model/cost.h"
#include "core/model/model.h"
#include "core/model/preset.h"
#include "core/model/sizes.h"
#include "core/model/synthetic_pools.h"
#include "core/model/synthetic_router.h"
#include "published.h"

static struct model_shape
preset(const char *name, uint32_t n_layers, const uint32_t *ratios, size_t n_ratios)
{
    struct model_shape shape;
    struct hearth_error err = {0};
    ck_assert_msg(preset_shape(name, n_layers, ratios, n_ratios, &shape, &err) == HEARTH_OK, "%s", err.text);
    return shape;
}

static void
assert_same_shape(const struct model_shape *a, const struct model_shape *b)
{
#define SAME(member) ck_assert_msg(a->member == b->member, #member " differs")
    SAME(n_layers), SAME(dim), SAME(vocab_size), SAME(n_heads), SAME(head_dim), SAME(rope_dim), SAME(q_lora_rank);
    SAME(o_groups), SAME(o_lora_rank), SAME(expert_inner), SAME(n_experts), SAME(n_shared_experts);
    SAME(experts_per_token), SAME(n_hash_layers), SAME(index_n_heads), SAME(index_head_dim), SAME(index_topk);
    SAME(window), SAME(n_streams), SAME(n_sinkhorn), SAME(max_positions), SAME(bos_id), SAME(eos_id);
    SAME(route_scale), SAME(swiglu_limit), SAME(norm_eps), SAME(hc_eps), SAME(yarn_original_positions);
    SAME(rope_theta), SAME(compress_rope_theta), SAME(yarn_factor), SAME(yarn_beta_fast), SAME(yarn_beta_slow);
#undef SAME
    ck_assert_mem_eq(a->compress_ratios, b->compress_ratios, a->n_layers * sizeof a->compress_ratios[0]);
}

START_TEST(presets_are_the_published_models)
{
    const struct model_shape flash = preset("v4-flash", 0, NULL, 0), pro = preset("v4-pro", 0, NULL, 0);
    const struct model_shape real_flash = published_shape(PUBLISHED_FLASH), real_pro = published_shape(PUBLISHED_PRO);
    assert_same_shape(&flash, &real_flash);
    assert_same_shape(&pro, &real_pro);
    ck_assert_uint_eq(flash.n_nextn, 0);
}
END_TEST

START_TEST(layers_and_ratios)
{
    const uint32_t ratios[] = {4, 128};
    const struct model_shape first = preset("v4-flash", 5, NULL, 0), more = preset("v4-flash", 5, ratios, 2);
    const struct model_shape one = preset("v4-pro", 1, NULL, 0), two = preset("tiny", 0, ratios, 2);
    const uint32_t firsts[] = {0, 0, 4, 128, 4}, mores[] = {4, 128, 4, 128, 4};
    ck_assert_mem_eq(first.compress_ratios, firsts, sizeof firsts);
    ck_assert_mem_eq(more.compress_ratios, mores, sizeof mores);
    ck_assert_uint_eq(first.n_hash_layers, 3);
    ck_assert_uint_eq(more.n_hash_layers, 0);
    ck_assert_uint_eq(one.n_hash_layers, 1);
    ck_assert_uint_eq(one.compress_ratios[0], 128);
    ck_assert_uint_eq(two.n_layers, 2);
}
END_TEST

START_TEST(what_is_no_preset)
{
    const uint32_t wrong = 5;
    struct model_shape shape;
    struct hearth_error err = {0};
    ck_assert_int_eq(preset_shape("v5", 0, NULL, 0, &shape, &err), HEARTH_EUSAGE);
    ck_assert_ptr_nonnull(strstr(err.text, "\"v5\""));
    ck_assert_int_eq(preset_shape("v4-flash", 44, NULL, 0, &shape, &err), HEARTH_EUSAGE);
    ck_assert_ptr_nonnull(strstr(err.text, "43"));
    ck_assert_int_eq(preset_shape("v4-flash", 0, &wrong, 1, &shape, &err), HEARTH_EUSAGE);
    ck_assert_ptr_nonnull(strstr(err.text, "5 found"));
    ck_assert_int_eq(preset_shape("tiny", SHAPE_MAX_LAYERS + 1, NULL, 0, &shape, NULL), HEARTH_EUSAGE);
}
END_TEST

/* ---- pools --------------------------------------------------------------------------------------- */

struct visit {
    const struct model_shape *shape;
    const struct synthetic_pools *pools;
    uint64_t n, bytes;
};

static bool
lies_in(const struct synthetic_pools *pools, const void *data, uint64_t size)
{
    const uintptr_t begin = (uintptr_t)data;
    for (int i = 0; i < N_SYNTHETIC_POOLS; i++) {
        const uintptr_t pool = (uintptr_t)pools->bytes[i];
        if (pools->bytes[i] && begin >= pool && begin + size <= pool + pools->sizes[i]) {
            return true;
        }
    }
    return false;
}

static int
visit_matrix(void *context, const struct layout_matrix *place, struct hearth_error *err)
{
    struct visit *visit = context;
    (void)err;
    const struct hearth_matrix matrix = synthetic_matrix(visit->pools, visit->shape, place, visit->n++);
    ck_assert_msg(lies_in(visit->pools, matrix.data, matrix.data_bytes), "%s lies in no pool", place->name);
    if (matrix.scales_bytes > 0) {
        ck_assert_msg(lies_in(visit->pools, matrix.scales, matrix.scales_bytes), "%s: scales", place->name);
    }
    visit->bytes += matrix.data_bytes + matrix.scales_bytes;
    return HEARTH_OK;
}

/* Layers of the real size; a small vocabulary, for a gigabyte of embedding tests nothing more. */
START_TEST(sizes_are_those_of_the_shape)
{
    static const char *const names[] = {"v4-flash", "v4-pro"};
    for (size_t i = 0; i < 2; i++) {
        struct model_shape shape = preset(names[i], 4, NULL, 0);
        struct synthetic_pools pools;
        struct model_sizes sizes;
        shape.vocab_size = 512;
        ck_assert_int_eq(synthetic_pools_make(&shape, 1, &pools, NULL), HEARTH_OK);
        struct visit visit = {.shape = &shape, .pools = &pools};
        ck_assert_int_eq(layout_walk(&shape, visit_matrix, &visit, NULL), HEARTH_OK);
        sizes_of_shape(&shape, HEARTH_E2M1X2, &sizes);
        ck_assert_uint_eq(visit.bytes, sizes.total.bytes);
        ck_assert_uint_gt(visit.bytes, UINT64_C(10) << 30);
        synthetic_pools_free(&pools);
    }
}
END_TEST

START_TEST(a_model_like_any_other)
{
    const struct hearth_synthetic request = {.preset = "tiny", .seed = 3}, other_seed = {.preset = "tiny", .seed = 4};
    struct model *model, *again, *other;
    struct model_sizes sizes;
    ck_assert_int_eq(model_synthetic(&request, &model, NULL), HEARTH_OK);
    ck_assert_int_eq(model_synthetic(&request, &again, NULL), HEARTH_OK);
    ck_assert_int_eq(model_synthetic(&other_seed, &other, NULL), HEARTH_OK);
    const struct model_shape *shape = model_shape(model);
    const struct model_roles *roles = model_roles(model), *same = model_roles(again), *differ = model_roles(other);
    sizes_of_shape(shape, HEARTH_E2M1X2, &sizes);
    ck_assert_uint_eq(model_weight_bytes(model), sizes.total.bytes);
    ck_assert_uint_eq(model_active_bytes(model), sizes.total.active_bytes);
    ck_assert_mem_eq(model_identity(model), model_identity(again), 32);
    ck_assert_mem_ne(model_identity(model), model_identity(other), 32);
    ck_assert_mem_eq(roles->head.data, same->head.data, roles->head.data_bytes);
    ck_assert_mem_ne(roles->head.data, differ->head.data, roles->head.data_bytes);
    for (uint32_t layer = 0; layer < shape->n_layers; layer++) {
        const struct layer_roles *at = &roles->layers[layer];
        ck_assert_int_eq(model_check_matrix(model, &at->wq_a, NULL), HEARTH_OK);
        ck_assert_int_eq(model_check_matrix(model, &at->shared.w[2], NULL), HEARTH_OK);
        for (uint32_t expert = 0; expert < shape->n_experts; expert++) {
            ck_assert_int_eq(model_check_matrix(model, &at->experts[expert].w[1], NULL), HEARTH_OK);
        }
        ck_assert_ptr_ne(at->experts[0].w[0].data, at->experts[1].w[0].data);
    }
    model_close(model);
    model_close(again);
    model_close(other);
}
END_TEST

/* ---- the router ---------------------------------------------------------------------------------- */

static int
descending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

START_TEST(a_table_chooses_by_the_law)
{
    struct model_shape shape = preset("v4-flash", 1, NULL, 0);
    struct random random;
    double ranks[256], sum = 0, counts[256] = {0};
    const uint32_t k = shape.experts_per_token;
    shape.vocab_size = 40000;
    int64_t *table = calloc((size_t)shape.vocab_size * k, sizeof *table);
    random_seed(&random, 1);
    ck_assert_int_eq(synthetic_fill_table(&shape, &random, table, NULL), HEARTH_OK);
    synthetic_ranks(256, k, ranks);
    for (uint32_t i = 0; i < 256; i++) {
        sum += ranks[i];
    }
    ck_assert_double_eq_tol(sum, k, 1e-6);
    ck_assert_double_eq_tol(ranks[0] / ranks[15], 4, 1e-6); /* 16 to the power of 0.5 */
    for (size_t i = 0; i < (size_t)shape.vocab_size * k; i++) {
        ck_assert_int_ge(table[i], 0);
        ck_assert_int_lt(table[i], 256);
        for (size_t j = i / k * k; j < i; j++) {
            ck_assert_int_ne(table[i], table[j]);
        }
        counts[table[i]]++;
    }
    qsort(counts, 256, sizeof counts[0], descending);
    for (uint32_t i = 0; i < 256; i += 17) {
        ck_assert_double_eq_tol(counts[i] / shape.vocab_size / ranks[i], 1, 0.15);
    }
    free(table);
}
END_TEST

/* Chooses with the bias as the router does, from random logits. */
START_TEST(a_bias_chooses_nearly_by_the_law)
{
    struct model_shape shape = preset("v4-flash", 1, (const uint32_t[]){4}, 1);
    const uint32_t k = shape.experts_per_token, n_tokens = 20000;
    const double deviation = SYNTHETIC_DEVIATION * sqrt(shape.dim);
    struct random random;
    double ranks[256], counts[256] = {0};
    float bias[256];
    random_seed(&random, 1);
    ck_assert_int_eq(synthetic_fill_bias(&shape, SYNTHETIC_DEVIATION, &random, bias, NULL), HEARTH_OK);
    synthetic_ranks(256, k, ranks);
    struct noise_table table;
    noise_table_normal(HEARTH_F32, 0, deviation, &table);
    for (uint32_t token = 0; token < n_tokens; token++) {
        float scores[256];
        noise_fill(&random, &table, scores, 256);
        for (uint32_t i = 0; i < 256; i++) {
            scores[i] = (float)sqrt(log1p(exp(scores[i]))) + bias[i];
        }
        for (uint32_t chosen = 0; chosen < k; chosen++) {
            uint32_t best = 0;
            for (uint32_t i = 1; i < 256; i++) {
                best = scores[i] > scores[best] ? i : best;
            }
            scores[best] = -INFINITY;
            counts[best]++;
        }
    }
    qsort(counts, 256, sizeof counts[0], descending);
    ck_assert_double_eq_tol(counts[0] / n_tokens / ranks[0], 1, 0.25);
    ck_assert_double_eq_tol(counts[15] / n_tokens / ranks[15], 1, 0.25);
    ck_assert_double_eq_tol(counts[127] / n_tokens / ranks[127], 1, 0.25);
    ck_assert_double_eq_tol(counts[240] / n_tokens / ranks[240], 1, 0.3);
}
END_TEST

/* ---- noise --------------------------------------------------------------------------------------- */

START_TEST(noise_is_numbers)
{
    static uint8_t bytes[100001];
    static float floats[100001];
    struct noise_table table;
    struct random random;
    double sum = 0, squares = 0;
    random_seed(&random, 5);
    noise_table_normal(HEARTH_E4M3, 0, 400, &table); /* one in four is more than E4M3 can hold */
    noise_fill(&random, &table, bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        ck_assert_uint_ne(bytes[i] & 0x7Fu, 0x7F);
    }
    noise_table_scales(-7, &table);
    noise_fill(&random, &table, bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        ck_assert_uint_ge(bytes[i], 119);
        ck_assert_uint_le(bytes[i], 121);
    }
    noise_table_normal(HEARTH_F32, 1, 2, &table);
    noise_fill(&random, &table, floats, 100001);
    for (size_t i = 0; i < 100001; i++) {
        sum += floats[i];
        squares += (double)floats[i] * floats[i];
    }
    ck_assert_double_eq_tol(sum / 100001, 1, 0.03);
    ck_assert_double_eq_tol(squares / 100001, 5, 0.15);
    ck_assert_double_eq_tol(noise_quantile(0.975), 1.959964, 1e-5);
}
END_TEST

/* ---- the work of a step -------------------------------------------------------------------------- */

static struct hearth_costs
costs_of(const struct model_shape *shape, uint64_t position, uint64_t n_tokens, uint32_t numerics)
{
    const struct cost_step step = {
        .shape = shape, .expert_dtype = HEARTH_E2M1X2, .numerics = numerics,
        .kv_format = numerics == HEARTH_NATIVE ? HEARTH_KV_PACKED : HEARTH_KV_F32, .position = position,
        .n_tokens = n_tokens};
    struct hearth_costs costs;
    cost_of_step(&step, &costs);
    return costs;
}

static double
cost_bytes(const struct hearth_costs *costs, const char *kind)
{
    for (size_t i = 0; i < costs->n_items; i++) {
        if (strcmp(costs->items[i].kind, kind) == 0) {
            return costs->items[i].bytes;
        }
    }
    return 0;
}

START_TEST(a_head_in_fewer_bits_costs_less)
{
    const struct model_shape shape = preset("tiny", 0, NULL, 0);
    struct hearth_costs stored, kept, more;
    struct cost_step step = {.shape = &shape, .expert_dtype = HEARTH_E2M1X2, .numerics = HEARTH_NATIVE, .n_tokens = 1};
    cost_of_step(&step, &stored);
    step.head_bytes = 1000;
    cost_of_step(&step, &kept);
    step.head_bytes = UINT64_C(1) << 40;
    cost_of_step(&step, &more);
    ck_assert_double_gt(cost_bytes(&stored, "head"), 1000);
    ck_assert_double_eq(cost_bytes(&kept, "head"), 1000);
    ck_assert_double_eq(kept.total.bytes, stored.total.bytes - cost_bytes(&stored, "head") + 1000);
    ck_assert_double_eq(more.total.bytes, stored.total.bytes);
}
END_TEST

START_TEST(one_token_agrees_with_sizes)
{
    static const enum published_model models[] = {PUBLISHED_FLASH, PUBLISHED_PRO};
    static const uint64_t positions[] = {0, 126, 127, 2047, 1048575};
    for (size_t i = 0; i < 2; i++) {
        const struct model_shape shape = published_shape(models[i]);
        struct model_sizes sizes;
        sizes_of_shape(&shape, HEARTH_E2M1X2, &sizes);
        for (size_t j = 0; j < sizeof positions / sizeof positions[0]; j++) {
            const struct hearth_costs costs = costs_of(&shape, positions[j], 1, HEARTH_NATIVE);
            const double operations = costs.total.quantised_operations + costs.total.exact_operations;
            const double flops =
                flops_plain(sizes_flops(&shape, sizes.total.active_parameters, positions[j] + 1));
            const double state = cost_bytes(&costs, "window_rows") + cost_bytes(&costs, "entries") +
                                 cost_bytes(&costs, "index_keys") + cost_bytes(&costs, "compressor_state");
            ck_assert_double_eq_tol(operations / flops, 1, 1e-9);
            ck_assert_double_eq_tol((costs.total.bytes - state) / (double)sizes.total.active_bytes, 1, 1e-9);
        }
    }
}
END_TEST

START_TEST(state_read_at_a_long_context)
{
    const struct model_shape shape = preset("v4-flash", 3, (const uint32_t[]){4, 128, 0}, 3);
    const struct hearth_costs costs = costs_of(&shape, 65535, 1, HEARTH_NATIVE);
    const double row = (double)hearth_kv_row_bytes(HEARTH_KV_PACKED, 512, 64);
    ck_assert_double_eq(cost_bytes(&costs, "window_rows"), 3 * 128 * row);
    ck_assert_double_eq(cost_bytes(&costs, "entries"), (512 + 65536 / 128) * row);
    ck_assert_double_eq(cost_bytes(&costs, "index_keys"), 65536 / 4 * 68.0);
    const struct hearth_costs exact = costs_of(&shape, 65535, 1, HEARTH_EXACT);
    ck_assert_double_eq(cost_bytes(&exact, "index_keys"), 65536 / 4 * 512.0);
    ck_assert_double_eq(exact.total.quantised_operations, 0);
    ck_assert_double_eq(exact.total.exact_operations,
                        costs.total.exact_operations + costs.total.quantised_operations);
}
END_TEST

START_TEST(many_tokens_share_what_they_read)
{
    const struct model_shape shape = preset("v4-flash", 3, (const uint32_t[]){4, 128, 4}, 3);
    const struct hearth_costs one = costs_of(&shape, 100, 1, HEARTH_NATIVE);
    const struct hearth_costs many = costs_of(&shape, 0, 512, HEARTH_NATIVE);
    struct model_sizes sizes;
    sizes_of_shape(&shape, HEARTH_E2M1X2, &sizes);
    ck_assert_double_eq(cost_bytes(&one, "head"), cost_bytes(&many, "head"));
    ck_assert_double_le(cost_bytes(&many, "routed_experts"), (double)sizes.by_kind[TENSOR_ROUTED].bytes);
    ck_assert_double_gt(cost_bytes(&many, "routed_experts"), 0.99 * (double)sizes.by_kind[TENSOR_ROUTED].bytes);
    ck_assert_double_gt(many.total.quantised_operations, 500 * one.total.quantised_operations);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("synthetic");
    TCase *all = tcase_create("synthetic");
    tcase_set_timeout(all, 300);
    tcase_add_test(all, presets_are_the_published_models);
    tcase_add_test(all, layers_and_ratios);
    tcase_add_test(all, what_is_no_preset);
    tcase_add_test(all, sizes_are_those_of_the_shape);
    tcase_add_test(all, a_model_like_any_other);
    tcase_add_test(all, a_table_chooses_by_the_law);
    tcase_add_test(all, a_bias_chooses_nearly_by_the_law);
    tcase_add_test(all, noise_is_numbers);
    tcase_add_test(all, a_head_in_fewer_bits_costs_less);
    tcase_add_test(all, one_token_agrees_with_sizes);
    tcase_add_test(all, state_read_at_a_long_context);
    tcase_add_test(all, many_tokens_share_what_they_read);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
