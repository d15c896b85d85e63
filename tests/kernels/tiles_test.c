/* tiles_test.c - the kernels for AMX, run with the tile instructions in C (soft_tiles.h), give the bits of AVX2's. */
#include <config.h>

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <hearth/dtype.h>

#include "backends/cpu/kernels.h"

extern const struct cpu_kernels cpu_kernels_soft;

enum { MAX_ROWS = 48, MAX_COLS = 1280, MAX_TOKENS = 70, GUARD = 5 };

/* How wild the numbers are: scales that multiply freely; then any activation, with any scale; then any scale of a
 * weight, too; then NaN among them. */
enum { TAME = 0, WILD_TOKENS, WILD, BROKEN };

struct trial {
    uint64_t rows, cols, n_tokens;
    int kind;
    bool is_gathered;
};

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

static uint8_t
random_scale(int kind)
{
    if (kind == TAME) {
        return (uint8_t)(110 + next_random() % 20);
    }
    if (kind == BROKEN && next_random() % 97 == 0) {
        return HEARTH_E8M0_NAN;
    }
    return (uint8_t)(next_random() % 3 > 0 ? 30 + next_random() % 190 : next_random() % 255);
}

static unsigned char *
fill_panels(const struct trial *trial)
{
    const uint64_t n_groups = cpu_padded(trial->cols) / CPU_GROUP_COLS * cpu_row_units(trial->rows);
    unsigned char *data = take(n_groups * CPU_GROUP_BYTES);
    for (uint64_t i = 0; i < n_groups * CPU_GROUP_BYTES; i++) {
        const bool is_scale = i % CPU_GROUP_BYTES < 4 * CPU_PANEL_ROWS;
        data[i] =
            is_scale ? random_scale(trial->kind == WILD_TOKENS ? TAME : trial->kind) : (unsigned char)next_random();
    }
    weight = (struct host_matrix){HEARTH_E2M1X2, CPU_PANELS, trial->rows, trial->cols, data, NULL};
    return data;
}

static struct cpu_digits *
fill_digits(const struct trial *trial)
{
    const uint64_t n = cpu_padded(trial->cols);
    struct cpu_digits *digits = take(MAX_TOKENS * (n / 32) * sizeof *digits);
    float *values = take(n * sizeof *values);
    uint8_t scales[MAX_COLS / HOST_ACT_BLOCK];
    for (uint64_t t = 0; t < MAX_TOKENS; t++) {
        for (uint64_t k = 0; k < n; k++) {
            const uint32_t any = next_random();
            const uint32_t code = trial->kind == TAME ? (any & 0x8F) | 0x20 | (any & 0x10) : any & 0xFF;
            const bool is_none = k >= trial->cols || (code & 0x7F) == 0x7F || (next_random() % 64 == 0);
            values[k] = is_none ? 0.0f : hearth_e4m3_to_f32((uint8_t)code);
        }
        for (uint64_t b = 0; b < n / HOST_ACT_BLOCK; b++) {
            scales[b] = random_scale(trial->kind == BROKEN && t % 3 > 0 ? WILD : trial->kind);
        }
        cpu_kernels_avx2.digits(values, scales, n, digits + t * (n / 32));
    }
    free(values);
    input =
        (struct cpu_input){.n = MAX_TOKENS, .n_in = trial->cols, .n_padded = cpu_padded(trial->cols), .digits = digits};
    return digits;
}

/* y: [MAX_TOKENS][rows + GUARD], of which what no product writes is -1 */
static float *
multiply(const struct cpu_kernels *kernels, const struct trial *trial)
{
    const uint64_t stride = trial->rows + GUARD;
    float *y = take(MAX_TOKENS * stride * sizeof *y);
    const struct cpu_product product = {
        .weight = &weight,
        .input = &input,
        .tokens = trial->is_gathered ? tokens : NULL,
        .slots = trial->is_gathered ? slots : NULL,
        .n_tokens = trial->n_tokens,
        .y = y,
        .y_stride = stride,
        .form = CPU_FORM_DIGITS,
        .round = trial->is_gathered,
    };
    for (uint64_t i = 0; i < MAX_TOKENS * stride; i++) {
        y[i] = -1.0f;
    }
    kernels->panels(&product, 0, trial->rows < 17 ? trial->rows : 16);
    if (trial->rows > 16) {
        kernels->panels(&product, 16, trial->rows);
    }
    return y;
}

static void
compare(const struct trial *trial)
{
    unsigned char *data = fill_panels(trial);
    struct cpu_digits *digits = fill_digits(trial);
    float *wanted = multiply(&cpu_kernels_avx2, trial);
    float *found = multiply(&cpu_kernels_soft, trial);
    for (uint64_t i = 0; i < MAX_TOKENS * (trial->rows + GUARD); i++) {
        const bool is_same = hearth_f32_bits(wanted[i]) == hearth_f32_bits(found[i]);
        ck_assert_msg(is_same || (isnan(wanted[i]) && isnan(found[i])),
                      "%llu rows, %llu columns, %llu tokens, kind %d: element %llu is %a, not %a",
                      (unsigned long long)trial->rows, (unsigned long long)trial->cols,
                      (unsigned long long)trial->n_tokens, trial->kind, (unsigned long long)i, (double)found[i],
                      (double)wanted[i]);
    }
    free(found);
    free(wanted);
    free(digits);
    free(data);
}

START_TEST(panels_are_those_of_avx2)
{
    static const uint64_t counts[] = {1, 5, 6, 15, 16, 17, 33, 63, 64, 65, MAX_TOKENS};
    static const uint64_t shapes[][2] = {{16, 128}, {48, 1280}, {21, 600}, {5, 512}};
    if (cpu_tier_best() < 0) {
        return;
    }
    state = 1 + (uint32_t)_i;
    for (uint32_t i = 0; i < MAX_TOKENS; i++) { /* 27 has no divisor in common with 70 */
        tokens[i] = (i * 27 + 3) % MAX_TOKENS;
        slots[i] = (i * 11 + 1) % MAX_TOKENS;
    }
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            const struct trial trial = {shapes[s][0], shapes[s][1], counts[c], _i, (s + c) % 2 == 1};
            compare(&trial);
        }
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("tiles");
    TCase *tcase = tcase_create("panels");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, panels_are_those_of_avx2, TAME, BROKEN + 1);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
