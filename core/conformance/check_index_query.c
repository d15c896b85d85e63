/* check_index_query.c - rotation; native: Hadamard by its definition, and e2m1 by 32. */
#include <math.h>
#include <stdio.h>

#include "core/conformance/check.h"

static void
make(struct check_trial *trial, uint32_t index, uint32_t numerics)
{
    static const uint32_t shapes[][5] = {/* n, heads, width, rope_dim, position */
                                         {1, 1, 2, 2, 0},
                                         {3, 4, 32, 16, 77},
                                         {2, 64, 128, 64, 1048000},
                                         {1, 3, 64, 8, 65536},
                                         {4, 2, 16, 16, 123456}};
    struct hearth_op_index_query *op = &trial->command.args.index_query;
    const bool native = numerics == HEARTH_NATIVE;
    op->n = shapes[index][0];
    op->n_heads = shapes[index][1];
    op->width = shapes[index][2];
    op->rope_dim = shapes[index][3];
    op->position = shapes[index][4];
    const float *freqs = check_freqs_add(trial, &op->inv_freq, op->rope_dim / 2);
    struct check_tensor *q = check_output(trial, "q", &op->q, op->n, op->n_heads * op->width);
    float *initial = (float *)(void *)q->initial;
    q->role = CHECK_INOUT;
    for (uint64_t i = 0; i < q->n_values; i++) {
        initial[i] = (float)check_bf16(check_normal(trial));
        q->expected[i] = initial[i];
    }
    for (uint32_t h = 0; h < op->n * op->n_heads; h++) {
        double *row = q->expected + h * op->width;
        double error[128] = {0.0};
        check_rotate_tail(row, error, native, op->width, op->rope_dim, freqs, op->position + h / op->n_heads, 1);
        if (native) {
            check_hadamard_rounded(row, error, op->width);
        }
        check_index_slack(row, error, native, op->width, q->slack + h * op->width);
    }
    trial->n = &op->n;
    trial->position = &op->position;
    snprintf(trial->name, sizeof trial->name, "n=%u heads=%u width=%u rope=%u position=%llu", op->n, op->n_heads,
             op->width, op->rope_dim, (unsigned long long)op->position);
}

const struct check check_index_query = {
    .name = "index_query", .op = HEARTH_OP_INDEX_QUERY, .n_trials = 5, .make = make};
