/* tiles_test.c - the kernels for AMX, run with the tile instructions in C (soft_tiles.h): rows of many tokens have the
 * bits of each token alone, near the sums in double; panels have those of the kernel without tiles. */
#include <config.h>

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <hearth/dtype.h>

#include "backends/cpu/kernels.h"

enum { MAX_TOKENS = 70, GUARD = 5 };

static uint32_t state;
static struct host_matrix weight;
static struct cpu_input input;
static uint32_t tokens[MAX_TOKENS], slots[MAX_TOKENS];

static uint32_t
next_random(void)
{
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

static void *
take(size_t size)
{
    void *memory = aligned_alloc(64, (size + 63) / 64 * 64);
    ck_assert_ptr_nonnull(memory);
    return memory;
}

void k_near_rows_soft(const struct cpu_product *product, uint64_t row, uint64_t n_rows);

struct rows_trial {
    uint64_t rows, cols, first_row, n_rows, n_tokens;
    uint32_t stride; /* token i of the product is (i * stride + 3) mod MAX_TOKENS of the input */
};

/* x: [MAX_TOKENS][cols padded], what the pairs hold in the order of k_tile_rows.c */
static uint16_t *
fill_pairs(uint64_t cols, float *x)
{
    const uint64_t n = cpu_padded(cols);
    const uint64_t n_pairs = cpu_pairs_tokens(MAX_TOKENS) * cpu_pairs_padded(n);
    uint16_t *pairs = take(n_pairs * sizeof *pairs);
    memset(pairs, 0, n_pairs * sizeof *pairs);
    for (uint64_t i = 0; i < MAX_TOKENS * n; i++) {
        const uint64_t token = i / n, k = i % n, at = k % CPU_PAIRS_BLOCK;
        x[i] =
            k < cols ? hearth_e4m3_to_f32((uint8_t)(next_random() % 0x7F)) * (token % 2 == 0 ? 1.0f : -0.125f) : 0.0f;
        const uint64_t in_tile = at / 64 * 8 + at % 2 * 4 + at / 32 % 2 * 2 + at % 4 / 2;
        pairs[cpu_tiled_at(n, MAX_TOKENS, token, k - at + at % 32 / 4 * 32) + in_tile] =
            (uint16_t)(hearth_f32_bits(x[i]) >> 16);
    }
    input = (struct cpu_input){.n = MAX_TOKENS, .n_in = cols, .n_padded = n, .pairs = pairs};
    return pairs;
}

/* Rows of random codes, and a scale for each tile. */
static unsigned char *
fill_rows(uint64_t rows, uint64_t cols, float **ret_scales)
{
    const uint64_t n = cpu_padded(cols), n_scales = (rows + 127) / 128 * (n / 128);
    unsigned char *data = take(rows * n);
    float *scales = take(n_scales * sizeof *scales);
    for (uint64_t i = 0; i < rows * n; i++) {
        const uint8_t code = (uint8_t)next_random();
        data[i] = i % n < cols && (code & 0x7F) != 0x7F ? code : 0;
    }
    for (uint64_t i = 0; i < n_scales; i++) {
        scales[i] = ldexpf(1.0f, (int)(next_random() % 9) - 8);
    }
    weight = (struct host_matrix){HEARTH_E4M3, CPU_ROWS, rows, cols, data, (const unsigned char *)scales};
    *ret_scales = scales;
    return data;
}

static void
run_rows(const struct rows_trial *trial, uint64_t first_token, uint64_t n_tokens, float *y)
{
    const struct cpu_product product = {.weight = &weight,
                                        .input = &input,
                                        .tokens = tokens + first_token,
                                        .slots = slots + first_token,
                                        .n_tokens = n_tokens,
                                        .y = y,
                                        .y_stride = trial->rows + GUARD,
                                        .form = CPU_FORM_SPLIT};
    k_near_rows_soft(&product, trial->first_row, trial->n_rows);
}

/* Whether y holds sum, of terms whose magnitudes add up to `size`, as docs/numerics.md allows. */
static void
near_in_double(const struct rows_trial *trial, const float *x, uint64_t token, uint64_t row, float y)
{
    const uint64_t n = cpu_padded(trial->cols);
    double sum = 0.0, size = 0.0;
    for (uint64_t k = 0; k < n; k++) {
        const float scale = ((const float *)(const void *)weight.scales)[row / 128 * (n / 128) + k / 128];
        const double term =
            (double)hearth_e4m3_to_f32(weight.data[row * n + k]) * (double)scale * (double)x[token * n + k];
        sum += term;
        size += fabs(term);
    }
    ck_assert_msg(fabs((double)y - sum) <= (8.0 + sqrt((double)n)) * 0x1p-24 * size, "row %llu, token %llu: %a, not %a",
                  (unsigned long long)row, (unsigned long long)token, (double)y, sum);
}

static void
compare_rows(const struct rows_trial *trial)
{
    const uint64_t n_y = MAX_TOKENS * (trial->rows + GUARD);
    float *scales, *x = take(MAX_TOKENS * cpu_padded(trial->cols) * sizeof *x);
    float *together = take(n_y * sizeof *together), *alone = take(n_y * sizeof *alone);
    uint16_t *pairs = fill_pairs(trial->cols, x);
    unsigned char *data = fill_rows(trial->rows, trial->cols, &scales);
    for (uint64_t i = 0; i < n_y; i++) {
        together[i] = alone[i] = -1.0f;
    }
    for (uint32_t i = 0; i < MAX_TOKENS; i++) {
        tokens[i] = (i * trial->stride + 3) % MAX_TOKENS;
        slots[i] = (i * 11 + 1) % MAX_TOKENS;
    }
    run_rows(trial, 0, trial->n_tokens, together);
    for (uint64_t i = 0; i < trial->n_tokens; i++) {
        run_rows(trial, i, 1, alone);
        for (uint64_t r = 0; r < trial->n_rows; r++) {
            const uint64_t row = trial->first_row + r;
            near_in_double(trial, x, tokens[i], row, together[slots[i] * (trial->rows + GUARD) + row]);
        }
    }
    ck_assert_mem_eq(together, alone, n_y * sizeof *together);
    free(data);
    free(scales);
    free(pairs);
    free(alone);
    free(together);
    free(x);
}

START_TEST(rows_are_those_of_each_token)
{
    static const struct rows_trial trials[] = {
        {128, 128, 0, 128, 1, 1},  {140, 600, 128, 12, 2, 1}, {48, 1280, 16, 17, 15, 27}, {40, 512, 8, 32, 16, 1},
        {128, 640, 64, 48, 17, 1}, {21, 1024, 0, 21, 33, 27}, {64, 300, 0, 64, 70, 1},    {33, 130, 1, 31, 48, 2},
    };
    state = 7;
    for (size_t i = 0; i < sizeof trials / sizeof trials[0]; i++) {
        compare_rows(&trials[i]);
    }
}
END_TEST

extern const struct cpu_kernels cpu_kernels_soft;
void k_panels_soft(const struct cpu_product *product, uint64_t begin, uint64_t end);

struct panels_trial {
    uint64_t rows, cols, n_tokens;
    uint32_t stride;
    uint8_t least_scale, n_scales; /* of the weights */
};

/* Numbers within 2.  In a token of every three they have one sign, great ones in front of small ones: sums of
 * products then have too many bits for f32, and to add them one by one loses what the sum does not.  A token of every
 * seven has scales that meet the contract's limits, the last one a NaN. */
static void
fill_token(float *x, uint64_t cols, uint32_t token)
{
    for (uint64_t k = 0; k < cols; k++) {
        const float value = ((float)(next_random() % 20001) - 10000.0f) * 1e-4f;
        x[k] = token % 3 == 0 ? ldexpf(1.75f - 0.25f * fabsf(value), k % 32 < 16 ? 0 : -18) : value;
        x[k] = token % 7 == 5 ? ldexpf(x[k], 60) : x[k];
    }
    if (token == MAX_TOKENS - 1) {
        x[cols / 2] = NAN;
    }
}

/* The forms of MAX_TOKENS tokens.  Returns what is to be freed. */
static void *
fill_digits(uint64_t cols)
{
    const uint64_t n = cpu_padded(cols), n_blocks = n / HOST_E2M1_BLOCK;
    struct cpu_digits *digits = take(MAX_TOKENS * n_blocks * sizeof *digits);
    static uint8_t kinds[MAX_TOKENS], scales[8192 / HOST_ACT_BLOCK];
    static float x[8192], values[8192];
    static uint16_t inexact[MAX_TOKENS * 8192 / HEARTH_EXPERT_CHUNK];
    const struct cpu_blocks blocks = {take(cpu_pairs_tokens(MAX_TOKENS) * cpu_pairs_padded(n) * sizeof(uint16_t)),
                                      inexact};
    for (uint32_t token = 0; token < MAX_TOKENS; token++) {
        fill_token(x, cols, token);
        cpu_kernels_soft.quantise(x, cols, n, values, scales);
        kinds[token] = (uint8_t)cpu_kernels_soft.digits(values, scales, n, digits + token * n_blocks);
        cpu_kernels_soft.blocks(values, scales, digits + token * n_blocks, n, token, MAX_TOKENS, &blocks);
    }
    input = (struct cpu_input){
        .n = MAX_TOKENS, .n_in = cols, .n_padded = n, .digits = digits, .digits_kinds = kinds, .blocks = blocks};
    return digits;
}

/* Panels of random codes, those of every third without signs, great ones in front; the second of every five has a scale
 * that meets the limits. */
static unsigned char *
fill_panels(const struct panels_trial *trial)
{
    const uint64_t n_groups = cpu_padded(trial->cols) / CPU_GROUP_COLS, n_panels = cpu_row_units(trial->rows);
    unsigned char *data = take(n_panels * n_groups * CPU_GROUP_BYTES + 8 * CPU_GROUP_BYTES);
    for (uint64_t i = 0; i < n_panels * n_groups * CPU_GROUP_BYTES; i++) {
        const uint64_t at = i % CPU_GROUP_BYTES - 4 * CPU_PANEL_ROWS; /* from the first code */
        const bool is_scale = i % CPU_GROUP_BYTES < 4 * CPU_PANEL_ROWS;
        const bool is_great = i / (n_groups * CPU_GROUP_BYTES) % 3 == 0;
        const unsigned code =
            is_great ? (next_random() & 0x77u) | (at % 256 < 128 ? 0x66u : 0x11u) : next_random() & 0xFFu;
        data[i] = (unsigned char)(is_scale ? trial->least_scale + code % trial->n_scales : code);
    }
    for (uint64_t panel = 1; panel < n_panels; panel += 5) {
        data[panel * n_groups * CPU_GROUP_BYTES + 3] = 250;
    }
    weight = (struct host_matrix){HEARTH_E2M1X2, CPU_PANELS, trial->rows, trial->cols, data, NULL};
    return data;
}

static void
compare_panels(const struct panels_trial *trial, uint32_t first)
{
    const uint64_t stride = trial->rows + GUARD, n_y = MAX_TOKENS * stride;
    float *by_tiles = take(n_y * sizeof *by_tiles), *by_digits = take(n_y * sizeof *by_digits);
    struct cpu_product product = {.weight = &weight,
                                  .input = &input,
                                  .tokens = tokens,
                                  .slots = slots,
                                  .n_tokens = trial->n_tokens,
                                  .y = by_tiles,
                                  .y_stride = stride,
                                  .form = CPU_FORM_DIGITS,
                                  .round = trial->rows % 2 == 0};
    for (uint64_t i = 0; i < n_y; i++) {
        by_tiles[i] = by_digits[i] = -1.0f;
    }
    for (uint32_t i = 0; i < MAX_TOKENS; i++) {
        tokens[i] = (i * trial->stride + first) % MAX_TOKENS;
        slots[i] = (i * 11 + 1) % MAX_TOKENS;
    }
    cpu_kernels_soft.panels(&product, 0, trial->rows);
    product.y = by_digits;
    k_panels_soft(&product, 0, trial->rows);
    ck_assert_mem_eq(by_tiles, by_digits, n_y * sizeof *by_tiles);
    free(by_tiles);
    free(by_digits);
}

START_TEST(panels_are_those_without_tiles)
{
    static const struct panels_trial trials[] = {
        {16, 128, 5, 7, 100, 40},   {40, 1280, 6, 21, 75, 101}, {33, 512, 16, 14, 110, 20}, {64, 4224, 9, 7, 120, 9},
        {21, 600, 17, 27, 100, 60}, {560, 300, 12, 7, 90, 60},  {48, 1024, 10, 7, 60, 30},  {80, 5000, 70, 1, 110, 30},
    };
    state = 11;
    for (size_t i = 0; i < sizeof trials / sizeof trials[0]; i++) {
        unsigned char *data = fill_panels(&trials[i]);
        void *digits = fill_digits(trials[i].cols);
        for (uint32_t first = 0; first < 7; first++) {
            compare_panels(&trials[i], first);
        }
        free(input.blocks.pairs);
        free(digits);
        free(data);
    }
}
END_TEST

/* Of the tokens above some have such blocks, and most have none. */
START_TEST(blocks_too_long_for_f32_are_found)
{
    uint64_t n_inexact = 0;
    state = 5;
    void *digits = fill_digits(4096);
    for (uint64_t i = 0; i < MAX_TOKENS * 8; i++) {
        n_inexact += (uint64_t)__builtin_popcount(input.blocks.inexact[i]);
        ck_assert(i / 8 % 3 == 0 || i / 8 % 7 == 5 || __builtin_popcount(input.blocks.inexact[i]) < 4);
    }
    ck_assert_uint_gt(n_inexact, 0);
    free(input.blocks.pairs);
    free(digits);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("tiles");
    TCase *tcase = tcase_create("products");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, rows_are_those_of_each_token);
    tcase_add_test(tcase, panels_are_those_without_tiles);
    tcase_add_test(tcase, blocks_too_long_for_f32_are_found);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
