/* check_mhc_pre.c - one to five streams; comb's rows are source streams; few and many Sinkhorn steps. */
#include <math.h>
#include <stdio.h>

#include "core/conformance/mixes.h"

static void
make(struct check_trial *trial, uint32_t index, uint32_t numerics)
{
    static const uint32_t shapes[][4] = {{1, 1, 8, 20},   {3, 2, 65, 20}, {2, 3, 33, 1},
                                         {5, 4, 256, 20}, {1, 5, 17, 3},  {1, 4, 4096, 20}};
    struct hearth_op_mhc_pre *op = &trial->command.args.mhc_pre;
    op->n = shapes[index][0];
    op->n_streams = shapes[index][1];
    op->dim = shapes[index][2];
    op->n_sinkhorn = shapes[index][3];
    op->norm_eps = 1e-6f;
    op->hc_eps = index % 2 ? 0.01f : 1e-6f; /* large enough to be seen */
    const uint32_t s = op->n_streams, n_in = s * op->dim, n_mix = (2 + s) * s;
    const struct mixes mixes = {
        .n_streams = s,
        .dim = op->dim,
        .n_sinkhorn = op->n_sinkhorn,
        .norm_eps = op->norm_eps,
        .hc_eps = op->hc_eps,
        .fn = check_weight_add(trial, &op->fn, HEARTH_WEIGHT_LINEAR, HEARTH_F32, n_mix, n_in, 1.0 / sqrt(n_in)),
        .base = check_weight_add(trial, &op->base, HEARTH_WEIGHT_VECTOR, HEARTH_F32, 1, n_mix, 0.5),
        .scale = check_weight_add(trial, &op->scale, HEARTH_WEIGHT_VECTOR, HEARTH_F32, 1, 3, 1.0),
        .norm = check_weight_add(trial, &op->norm, HEARTH_WEIGHT_VECTOR, HEARTH_BF16, 1, op->dim, 1.0),
    };
    const float *x = check_input(trial, "streams", &op->streams, op->n, n_in, 2.0);
    const struct check_tensor *normed = check_output(trial, "normed", &op->normed, op->n, op->dim);
    const struct check_tensor *post = check_output(trial, "post", &op->post, op->n, s);
    const struct check_tensor *comb = check_output(trial, "comb", &op->comb, op->n, s * s);
    for (uint32_t t = 0; t < op->n; t++) {
        mixes_expect(trial, &mixes, numerics == HEARTH_NATIVE, x + t * n_in, normed->expected + t * op->dim,
                     normed->slack + t * op->dim, post->expected + t * s, post->slack + t * s,
                     comb->expected + t * s * s, comb->slack + t * s * s);
    }
    trial->n = &op->n;
    trial->n_products = (double)op->n * n_mix * n_in;
    snprintf(trial->name, sizeof trial->name, "n=%u streams=%u dim=%u sinkhorn=%u", op->n, s, op->dim, op->n_sinkhorn);
}

const struct check check_mhc_pre = {.name = "mhc_pre", .op = HEARTH_OP_MHC_PRE, .n_trials = 6, .make = make};
