/* check_linear.c - every weight type, odd sizes, short last blocks, real widths. */
#include <math.h>
#include <stdio.h>

#include "core/conformance/check.h"

static const struct shape {
    uint32_t dtype, n, n_in, n_out, round_output;
} shapes[] = {
    {HEARTH_E4M3, 1, 1, 1, 1},       {HEARTH_E4M3, 3, 127, 5, 1},    {HEARTH_E4M3, 2, 128, 130, 1},
    {HEARTH_E4M3, 5, 129, 9, 0},     {HEARTH_E4M3, 1, 1024, 257, 1}, {HEARTH_E4M3, 9, 4096, 33, 1},
    {HEARTH_E2M1X2, 1, 32, 3, 1},    {HEARTH_E2M1X2, 4, 34, 7, 1},   {HEARTH_E2M1X2, 3, 160, 17, 1},
    {HEARTH_E2M1X2, 2, 2048, 40, 0}, {HEARTH_BF16, 1, 7, 2, 1},      {HEARTH_BF16, 3, 256, 31, 0},
    {HEARTH_BF16, 17, 513, 19, 1},   {HEARTH_F32, 2, 9, 3, 0},       {HEARTH_F32, 4, 300, 24, 0},
    {HEARTH_E4M3, 1, 2048, 2048, 1}, {HEARTH_E4M3, 70, 384, 150, 1}, {HEARTH_BF16, 1, 4096, 33, 1},
    {HEARTH_BF16, 12, 640, 20, 1},   {HEARTH_BF16, 33, 4096, 17, 0}, {HEARTH_BF16, 130, 384, 150, 1},
    {HEARTH_E4M3, 150, 640, 200, 1},
};

/* Gives odd rows, in every other block of 128, bits that a bf16 has not. */
static void
refine(struct check_trial *trial, float *x, uint32_t n, uint32_t n_in)
{
    for (uint32_t t = 1; t < n; t += 2) {
        for (uint32_t i = 0; i < n_in; i++) {
            float *value = &x[(uint64_t)t * n_in + i];
            *value *= i / 128 % 2 == 0 ? (float)(1.0 + check_uniform(trial, 0.0, 0x1p-8)) : 1.0f;
        }
    }
}

/* y += the row's products; magnitudes += theirs */
static void
add_products(const float *x, const float *w, uint32_t n, double *y, double *magnitude)
{
    *y = 0.0;
    *magnitude = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        *y += (double)x[i] * (double)w[i];
        *magnitude += fabs((double)x[i] * (double)w[i]);
    }
}

static void
make(struct check_trial *trial, uint32_t index, uint32_t numerics)
{
    const struct shape *shape = &shapes[index];
    struct hearth_op_linear *op = &trial->command.args.linear;
    const bool native = numerics == HEARTH_NATIVE;
    const bool quantises = native && (shape->dtype == HEARTH_E4M3 || shape->dtype == HEARTH_E2M1X2);
    op->n = shape->n;
    op->n_in = shape->n_in;
    op->n_out = shape->n_out;
    op->round_output = shape->round_output;
    /* 2e-9: so far below the floor of the activations' scale that codes are subnormal */
    const double magnitudes[] = {2.0, 1e-3, 2e-9};
    float *x = check_input(trial, "x", &op->x, op->n, op->n_in, magnitudes[index % 3]);
    if (shape->dtype == HEARTH_BF16 || shape->dtype == HEARTH_F32) {
        refine(trial, x, op->n, op->n_in);
    }
    const float *w =
        check_weight_add(trial, &op->weight, HEARTH_WEIGHT_LINEAR, shape->dtype, op->n_out, op->n_in, 0.05);
    struct check_tensor *y = check_output(trial, "y", &op->y, op->n, op->n_out);
    float *rounded = check_alloc(trial, op->n_in, sizeof *rounded);
    for (uint32_t t = 0; t < op->n; t++) {
        const float *row = x + (uint64_t)t * op->n_in;
        if (quantises) {
            check_act_quant(row, op->n_in, 128, rounded);
        }
        for (uint32_t o = 0; o < op->n_out; o++) {
            const uint64_t at = (uint64_t)t * op->n_out + o;
            double magnitude;
            add_products(quantises ? rounded : row, w + (uint64_t)o * op->n_in, op->n_in, &y->expected[at], &magnitude);
            y->slack[at] =
                check_tight(op->n_in, magnitude) + check_half_step(native && op->round_output, y->expected[at]);
        }
    }
    trial->n = &op->n;
    trial->n_products = (double)op->n * op->n_in * op->n_out;
    snprintf(trial->name, sizeof trial->name, "%s n=%u in=%u out=%u round=%u",
             (const char *[]){"", "f32", "bf16", "e4m3", "e8m0", "e2m1"}[shape->dtype], op->n, op->n_in, op->n_out,
             op->round_output);
}

const struct check check_linear = {
    .name = "linear", .op = HEARTH_OP_LINEAR, .n_trials = sizeof shapes / sizeof shapes[0], .make = make};
