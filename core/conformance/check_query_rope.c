/* check_query_rope.c - the norm of a head and its rotation, at positions up to a million.
 *
 * Native: the chain of roundings is followed in double.  Another order of the sum may turn each rounding on the way
 * (mean, mean + eps, rsqrt) and each product by one step, hence the slack: 2^-7 of the pair's magnitude, and the last
 * rounding. */
#include <math.h>
#include <stdio.h>

#include "core/conformance/check.h"

static void
expect_head(const float *q, uint32_t n, bool native, double eps, double *wide)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        const double square = (double)q[i] * (double)q[i];
        sum += native ? check_bf16(square) : square;
    }
    const double factor =
        native ? check_bf16(1.0 / sqrt(check_bf16(check_bf16(sum / n) + eps))) : 1.0 / sqrt(sum / n + eps);
    for (uint32_t i = 0; i < n; i++) {
        wide[i] = native ? check_bf16(q[i] * factor) : q[i] * factor;
    }
}

static void
make(struct check_trial *trial, uint32_t index, uint32_t numerics)
{
    static const uint32_t shapes[][4] = {
        {1, 1, 2, 2}, {3, 4, 80, 16}, {2, 3, 512, 64}, {5, 2, 33, 32}, {1, 8, 128, 64}};
    static const uint64_t positions[] = {0, 5, 1048570, 65535, 127};
    struct hearth_op_query_rope *op = &trial->command.args.query_rope;
    const bool native = numerics == HEARTH_NATIVE;
    op->n = shapes[index][0];
    op->n_heads = shapes[index][1];
    op->head_dim = shapes[index][2];
    op->rope_dim = shapes[index][3];
    op->position = positions[index];
    op->eps = 1e-6f;
    const uint32_t width = op->n_heads * op->head_dim;
    const float *freqs = check_freqs_add(trial, &op->inv_freq, op->rope_dim / 2);
    struct check_tensor *q = check_output(trial, "q", &op->q, op->n, width);
    float *initial = (float *)(void *)q->initial;
    q->role = CHECK_INOUT;
    for (uint32_t i = 0; i < op->n * width; i++) {
        initial[i] = (float)check_bf16(check_normal(trial));
    }
    for (uint32_t h = 0; h < op->n * op->n_heads; h++) {
        const uint32_t nope = op->head_dim - op->rope_dim;
        double wide[512], turned[512];
        expect_head(initial + h * op->head_dim, op->head_dim, native, op->eps, wide);
        for (uint32_t i = 0; i < op->head_dim; i++) {
            turned[i] = wide[i];
        }
        check_rotate(turned + nope, op->rope_dim, freqs, op->position + h / op->n_heads, 1);
        for (uint32_t i = 0; i < op->head_dim; i++) {
            const uint32_t pair = i < nope ? i : nope + ((i - nope) ^ 1u);
            const double magnitude = fabs(wide[i]) + fabs(wide[pair]);
            q->expected[h * op->head_dim + i] = turned[i];
            q->slack[h * op->head_dim + i] =
                native ? 0x1p-7 * magnitude + check_half_bf16(turned[i]) : check_tight(op->head_dim, magnitude);
        }
    }
    trial->n = &op->n;
    trial->position = &op->position;
    snprintf(trial->name, sizeof trial->name, "n=%u heads=%u head_dim=%u rope=%u position=%llu", op->n, op->n_heads,
             op->head_dim, op->rope_dim, (unsigned long long)op->position);
}

const struct check check_query_rope = {.name = "query_rope", .op = HEARTH_OP_QUERY_ROPE, .n_trials = 5, .make = make};
