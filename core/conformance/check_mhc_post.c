/* check_mhc_post.c - comb acts transposed: the sum runs over its first index. */
#include <math.h>
#include <stdio.h>

#include "core/conformance/check.h"

static void
make(struct check_trial *trial, uint32_t index, uint32_t numerics)
{
    static const uint32_t shapes[][3] = {{1, 1, 8}, {3, 2, 65}, {4, 4, 256}, {2, 5, 33}, {1, 4, 4096}};
    struct hearth_op_mhc_post *op = &trial->command.args.mhc_post;
    op->n = shapes[index][0];
    op->n_streams = shapes[index][1];
    op->dim = shapes[index][2];
    const uint32_t s = op->n_streams, dim = op->dim;
    struct check_tensor *streams = check_output(trial, "streams", &op->streams, op->n, s * dim);
    float *x = (float *)(void *)streams->initial;
    streams->role = CHECK_INOUT;
    const float *result = check_input(trial, "result", &op->result, op->n, dim, 1.0);
    const float *post = check_input(trial, "post", &op->post, op->n, s, 1.0);
    const float *comb = check_input(trial, "comb", &op->comb, op->n, s * s, 0.5);
    for (uint64_t i = 0; i < streams->n_values; i++) {
        x[i] = (float)check_bf16(check_normal(trial));
    }
    for (uint32_t at = 0; at < op->n * s * dim; at++) {
        const uint32_t t = at / (s * dim), k = at / dim % s, d = at % dim;
        double sum = (double)post[t * s + k] * result[t * dim + d], magnitude = fabs(sum);
        for (uint32_t j = 0; j < s; j++) {
            const double term = (double)comb[(t * s + j) * s + k] * x[(t * s + j) * dim + d];
            sum += term;
            magnitude += fabs(term);
        }
        streams->expected[at] = sum;
        streams->slack[at] = check_tight(s + 1, magnitude) + check_half_step(numerics == HEARTH_NATIVE, sum);
    }
    trial->n = &op->n;
    snprintf(trial->name, sizeof trial->name, "n=%u streams=%u dim=%u", op->n, s, dim);
}

const struct check check_mhc_post = {.name = "mhc_post", .op = HEARTH_OP_MHC_POST, .n_trials = 5, .make = make};
