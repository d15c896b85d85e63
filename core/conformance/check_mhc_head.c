/* check_mhc_head.c - the last collapse: as mhc_pre without post and comb. */
#include <math.h>
#include <stdio.h>

#include "core/conformance/mixes.h"

static void
make(struct check_trial *trial, uint32_t index, uint32_t numerics)
{
    static const uint32_t shapes[][3] = {{1, 1, 8}, {3, 2, 65}, {4, 4, 256}, {2, 3, 33}};
    struct hearth_op_mhc_head *op = &trial->command.args.mhc_head;
    op->n = shapes[index][0];
    op->n_streams = shapes[index][1];
    op->dim = shapes[index][2];
    op->norm_eps = 1e-6f;
    op->hc_eps = index % 2 ? 0.01f : 1e-6f; /* large enough to be seen */
    const uint32_t s = op->n_streams, n_in = s * op->dim;
    const struct mixes mixes = {
        .n_streams = s,
        .dim = op->dim,
        .norm_eps = op->norm_eps,
        .hc_eps = op->hc_eps,
        .fn = check_weight_add(trial, &op->fn, HEARTH_WEIGHT_LINEAR, HEARTH_F32, s, n_in, 1.0 / sqrt(n_in)),
        .base = check_weight_add(trial, &op->base, HEARTH_WEIGHT_VECTOR, HEARTH_F32, 1, s, 0.5),
        .scale = check_weight_add(trial, &op->scale, HEARTH_WEIGHT_VECTOR, HEARTH_F32, 1, 1, 1.0),
        .norm = check_weight_add(trial, &op->norm, HEARTH_WEIGHT_VECTOR, HEARTH_BF16, 1, op->dim, 1.0),
    };
    const float *x = check_input(trial, "streams", &op->streams, op->n, n_in, 2.0);
    const struct check_tensor *normed = check_output(trial, "normed", &op->normed, op->n, op->dim);
    for (uint32_t t = 0; t < op->n; t++) {
        mixes_expect(trial, &mixes, numerics == HEARTH_NATIVE, x + t * n_in, normed->expected + t * op->dim,
                     normed->slack + t * op->dim, NULL, NULL, NULL, NULL);
    }
    trial->n = &op->n;
    snprintf(trial->name, sizeof trial->name, "n=%u streams=%u dim=%u", op->n, s, op->dim);
}

const struct check check_mhc_head = {.name = "mhc_head", .op = HEARTH_OP_MHC_HEAD, .n_trials = 4, .make = make};
