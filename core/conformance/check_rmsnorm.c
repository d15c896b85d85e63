/* check_rmsnorm.c - magnitudes ordinary, tiny (eps counts) and huge; one loud element at a block's edge. */
#include <math.h>
#include <stdio.h>

#include "core/conformance/check.h"

static void
make(struct check_trial *trial, uint32_t index, uint32_t numerics)
{
    static const uint32_t dims[] = {1, 7, 8, 9, 80, 512, 1024, 4096, 64, 257};
    static const double magnitudes[] = {1.0, 1.0, 1e-4, 1e3, 1.0, 1e-3, 1.0, 1.0, 1e15, 1e-20};
    struct hearth_op_rmsnorm *op = &trial->command.args.rmsnorm;
    op->n = 3;
    op->dim = dims[index];
    op->eps = 1e-6f;
    float *x = check_input(trial, "x", &op->x, op->n, op->dim, magnitudes[index]);
    const float *norm =
        check_weight_add(trial, &op->norm, HEARTH_WEIGHT_VECTOR, index % 2 ? HEARTH_F32 : HEARTH_BF16, 1, op->dim, 1.0);
    struct check_tensor *y = check_output(trial, "y", &op->y, op->n, op->dim);
    x[op->dim - 1] *= 1000.0f;
    for (uint32_t t = 0; t < op->n; t++) {
        double wide[4096];
        for (uint32_t i = 0; i < op->dim; i++) {
            wide[i] = x[t * op->dim + i];
        }
        check_normalise(wide, norm, op->dim, op->eps, wide);
        for (uint32_t i = 0; i < op->dim; i++) {
            y->expected[t * op->dim + i] = wide[i];
            y->slack[t * op->dim + i] =
                check_tight(op->dim, fabs(wide[i])) + check_half_step(numerics == HEARTH_NATIVE, wide[i]);
        }
    }
    trial->n = &op->n;
    trial->n_products = 3.0 * op->n * op->dim;
    snprintf(trial->name, sizeof trial->name, "dim=%u magnitude=%g", op->dim, magnitudes[index]);
}

const struct check check_rmsnorm = {.name = "rmsnorm", .op = HEARTH_OP_RMSNORM, .n_trials = 10, .make = make};
