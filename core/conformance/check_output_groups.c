/* check_output_groups.c - each group of heads meets its own rows; activations stay as they are. */
#include <math.h>
#include <stdio.h>

#include "core/conformance/check.h"

static void
make(struct check_trial *trial, uint32_t index, uint32_t numerics)
{
    static const uint32_t shapes[][5] = {{1, 1, 1, 1, HEARTH_BF16},     {3, 2, 129, 5, HEARTH_E4M3},
                                         {2, 4, 256, 64, HEARTH_E4M3},  {5, 3, 77, 33, HEARTH_BF16},
                                         {1, 8, 512, 128, HEARTH_E4M3}, {5, 2, 384, 256, HEARTH_E4M3},
                                         {40, 3, 256, 128, HEARTH_E4M3}, {130, 2, 128, 128, HEARTH_E4M3},
                                         {100, 2, 256, 128, HEARTH_E4M3}};
    struct hearth_op_output_groups *op = &trial->command.args.output_groups;
    op->n = shapes[index][0];
    op->n_groups = shapes[index][1];
    op->width = shapes[index][2];
    op->rank = shapes[index][3];
    const uint32_t n_out = op->n_groups * op->rank;
    float *o = check_input(trial, "o", &op->o, op->n, (uint64_t)op->n_groups * op->width, 1.0);
    for (uint64_t i = 0; index % 2 == 0 && i < (uint64_t)op->n * op->n_groups * op->width; i++) {
        o[i] *= 0x1.0010p0f; /* no bf16 any more */
    }
    const float *w =
        check_weight_add(trial, &op->weight, HEARTH_WEIGHT_GROUPS, shapes[index][4], n_out, op->width, 0.1);
    struct check_tensor *y = check_output(trial, "y", &op->y, op->n, n_out);
    for (uint32_t at = 0; at < op->n * n_out; at++) {
        const uint32_t t = at / n_out, row = at % n_out, g = row / op->rank;
        double sum = 0.0, magnitude = 0.0;
        for (uint32_t i = 0; i < op->width; i++) {
            const double term = (double)o[(t * op->n_groups + g) * op->width + i] * w[row * op->width + i];
            sum += term;
            magnitude += fabs(term);
        }
        y->expected[at] = sum;
        y->slack[at] = check_tight(op->width, magnitude) + check_half_step(numerics == HEARTH_NATIVE, sum);
    }
    trial->n = &op->n;
    trial->n_products = (double)op->n * n_out * op->width;
    snprintf(trial->name, sizeof trial->name, "n=%u groups=%u width=%u rank=%u", op->n, op->n_groups, op->width,
             op->rank);
}

const struct check check_output_groups = {
    .name = "output_groups", .op = HEARTH_OP_OUTPUT_GROUPS, .n_trials = 9, .make = make};
