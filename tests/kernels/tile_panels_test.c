/* tile_panels_test.c - e2m1 panels by AMX, run with the tile instructions in C (soft_tiles.h), have the bits of the
 * kernel without tiles. */
#include <config.h>

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <hearth/dtype.h>

#include "backends/cpu/kernels.h"
#include "tests/kernels/tile_rig.h"

enum { MAX_TOKENS = 70, GUARD = 5 };

static struct host_matrix weight;
static struct cpu_input input;
static uint32_t tokens[MAX_TOKENS], slots[MAX_TOKENS];

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
    Suite *suite = suite_create("tile panels");
    TCase *tcase = tcase_create("products");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, panels_are_those_without_tiles);
    tcase_add_test(tcase, blocks_too_long_for_f32_are_found);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
