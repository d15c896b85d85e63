/* tiles_test.c - the kernels for AMX, run with the tile instructions in C (soft_tiles.h): rows of many tokens have the
 * bits of each token alone, near the sums in double. */
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
    uint16_t *pairs = take(MAX_TOKENS * cpu_pairs_padded(n) * sizeof *pairs);
    memset(pairs, 0, MAX_TOKENS * cpu_pairs_padded(n) * sizeof *pairs);
    for (uint64_t i = 0; i < MAX_TOKENS * n; i++) {
        const uint64_t token = i / n, k = i % n, at = k % CPU_PAIRS_BLOCK;
        x[i] =
            k < cols ? hearth_e4m3_to_f32((uint8_t)(next_random() % 0x7F)) * (token % 2 == 0 ? 1.0f : -0.125f) : 0.0f;
        pairs[cpu_pairs_at(CPU_TILED_COLS, n, MAX_TOKENS, token, k - at) + at % 32 / 4 * 32 + at / 64 * 8 + at % 2 * 4 +
              at / 32 % 2 * 2 + at % 4 / 2] = (uint16_t)(hearth_f32_bits(x[i]) >> 16);
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

int
main(void)
{
    Suite *suite = suite_create("tiles");
    TCase *tcase = tcase_create("products");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, rows_are_those_of_each_token);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
