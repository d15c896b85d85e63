/* check_embed.c - the rows of the table, copied to every stream: bits. */
#include <stdio.h>

#include "core/conformance/check.h"

static void
make(struct check_trial *trial, uint32_t index, uint32_t numerics)
{
    static const uint32_t shapes[][4] = {
        {1, 1, 1, 3}, {5, 4, 33, 17}, {3, 2, 64, 129}, {2, 3, 127, 40}}; /* n, streams, dim, rows */
    static const uint32_t dtypes[] = {HEARTH_F32, HEARTH_BF16, HEARTH_BF16, HEARTH_F32};
    struct hearth_op_embed *op = &trial->command.args.embed;
    (void)numerics;
    op->n = shapes[index][0];
    op->n_streams = shapes[index][1];
    op->dim = shapes[index][2];
    const uint32_t n_rows = shapes[index][3];
    const float *table =
        check_weight_add(trial, &op->table, HEARTH_WEIGHT_EMBEDDING, dtypes[index], n_rows, op->dim, 1.0);
    int32_t *ids = check_tensor(trial, "ids", &op->ids, CHECK_IN, op->n, sizeof *ids, sizeof *ids);
    struct check_tensor *streams =
        check_output(trial, "streams", &op->streams, op->n, (uint64_t)op->n_streams * op->dim);
    for (uint32_t t = 0; t < op->n; t++) {
        ids[t] = t == 0 ? (int32_t)n_rows - 1 : (int32_t)check_below(trial, n_rows);
        for (uint32_t i = 0; i < op->n_streams * op->dim; i++) {
            streams->expected[t * op->n_streams * op->dim + i] = table[(uint32_t)ids[t] * op->dim + i % op->dim];
        }
    }
    streams->same_bits = true;
    trial->n = &op->n;
    snprintf(trial->name, sizeof trial->name, "n=%u streams=%u dim=%u", op->n, op->n_streams, op->dim);
}

const struct check check_embed = {.name = "embed", .op = HEARTH_OP_EMBED, .n_trials = 4, .make = make};
