/* check_shared_ffn.c - the shared expert: no routes, no weight. */
#include <stdio.h>

#include "core/conformance/ffn.h"

static void
make(struct check_trial *trial, uint32_t index, uint32_t numerics)
{
    static const uint32_t shapes[][4] = {{HEARTH_E4M3, 1, 64, 32},    {HEARTH_E4M3, 3, 130, 257},
                                         {HEARTH_E4M3, 2, 1024, 512}, {HEARTH_BF16, 4, 33, 65},
                                         {HEARTH_E2M1X2, 2, 96, 160}, {HEARTH_E4M3, 7, 256, 128},
                                         {HEARTH_E4M3, 130, 256, 128}};
    struct hearth_op_shared_ffn *op = &trial->command.args.shared_ffn;
    struct ffn ffn;
    op->n = shapes[index][1];
    op->dim = shapes[index][2];
    op->inner = shapes[index][3];
    op->limit = 10.0f;
    ffn_make(trial, &op->expert, HEARTH_WEIGHT_SHARED, shapes[index][0], op->dim, op->inner, &ffn);
    const float *x = check_input(trial, "x", &op->x, op->n, op->dim, 1.0);
    struct check_tensor *y = check_output(trial, "y", &op->y, op->n, op->dim);
    for (uint32_t t = 0; t < op->n; t++) {
        ffn_expect(trial, &ffn, numerics == HEARTH_NATIVE, false, x + t * op->dim, NULL, op->limit,
                   y->expected + t * op->dim, y->slack + t * op->dim);
    }
    trial->n = &op->n;
    trial->n_products = 3.0 * op->n * op->dim * op->inner;
    snprintf(trial->name, sizeof trial->name, "%s n=%u dim=%u inner=%u",
             (const char *[]){"", "f32", "bf16", "e4m3", "e8m0", "e2m1"}[shapes[index][0]], op->n, op->dim, op->inner);
}

const struct check check_shared_ffn = {.name = "shared_ffn", .op = HEARTH_OP_SHARED_FFN, .n_trials = 7, .make = make};
