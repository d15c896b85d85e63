/* check_moe_sum.c - the order of the sum is by expert: native bits are the contract, so values are made to lose bits.
 */
#include <math.h>
#include <stdio.h>

#include "core/conformance/check.h"

/* Parts of very different size, the last the negative of the first: what an addition loses stays visible in the sum. */
static void
spread(struct check_trial *trial, float *parts, uint32_t n, uint32_t top_k, uint32_t dim)
{
    for (uint32_t i = 0; i < n * top_k * dim; i++) {
        const uint32_t k = i / dim % top_k;
        parts[i] = ldexpf(parts[i], k == 0 ? 20 : (int)check_below(trial, 24) - 12);
        parts[i] = k > 0 && k == top_k - 1 ? -parts[i - k * dim] : parts[i];
    }
}

/* A token's routes as the router leaves them, but in any order, with distinct experts. */
static void
fill_routes(struct check_trial *trial, struct hearth_route *routes, uint32_t n, uint32_t top_k)
{
    for (uint32_t i = 0; i < n * top_k; i++) {
        routes[i] = (struct hearth_route){.token = i / top_k, .slot = i, .expert = i % top_k * 3, .weight = 1.0f};
    }
    for (uint32_t t = 0; t < n; t++) {
        for (uint32_t k = top_k; k > 1; k--) {
            const uint32_t other = check_below(trial, k);
            const uint32_t expert = routes[t * top_k + k - 1].expert;
            routes[t * top_k + k - 1].expert = routes[t * top_k + other].expert;
            routes[t * top_k + other].expert = expert;
        }
    }
}

static void
make(struct check_trial *trial, uint32_t index, uint32_t numerics)
{
    static const uint32_t shapes[][3] = {{1, 1, 1}, {3, 6, 65}, {7, 2, 33}, {2, 8, 4096}};
    struct hearth_op_moe_sum *op = &trial->command.args.moe_sum;
    const bool native = numerics == HEARTH_NATIVE;
    op->n = shapes[index][0];
    op->top_k = shapes[index][1];
    op->dim = shapes[index][2];
    float *parts = check_input(trial, "parts", &op->parts, (uint64_t)op->n * op->top_k, op->dim, 1.0);
    const float *shared = check_input(trial, "shared", &op->shared, op->n, op->dim, 1e-2);
    struct hearth_route *routes =
        check_tensor(trial, "routes", &op->routes, CHECK_IN, (uint64_t)op->n * op->top_k, sizeof *routes, 0);
    struct check_tensor *y = check_output(trial, "y", &op->y, op->n, op->dim);
    fill_routes(trial, routes, op->n, op->top_k);
    spread(trial, parts, op->n, op->top_k, op->dim);
    for (uint32_t at = 0; at < op->n * op->dim; at++) {
        const uint32_t t = at / op->dim, d = at % op->dim;
        float sum = 0.0f;
        double exact = 0.0, magnitude = 0.0;
        for (uint32_t expert = 0; expert < 3 * op->top_k; expert++) {
            for (uint32_t k = t * op->top_k; k < (t + 1) * op->top_k; k++) {
                const float part = parts[routes[k].slot * op->dim + d];
                sum += routes[k].expert == expert ? part : 0.0f;
                exact += routes[k].expert == expert ? (double)part : 0.0;
                magnitude += routes[k].expert == expert ? fabs((double)part) : 0.0;
            }
        }
        y->expected[at] = native ? check_bf16((double)(sum + shared[at])) : exact + shared[at];
        y->slack[at] = native ? 0.0 : check_tight(op->top_k, magnitude + fabs((double)shared[at]));
    }
    y->same_bits = native;
    snprintf(trial->name, sizeof trial->name, "n=%u top_k=%u dim=%u", op->n, op->top_k, op->dim);
}

const struct check check_moe_sum = {.name = "moe_sum", .op = HEARTH_OP_MOE_SUM, .n_trials = 4, .make = make};
