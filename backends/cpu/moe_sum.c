/* moe_sum.c - a token's expert outputs and its shared output become one.
 *
 * y = 0; then + part, by ascending expert (routes of one expert in their own order); then + shared; native: each
 * addition in f32, the result rounded to bf16.  The order does not depend on which device finished first: the bits are
 * part of the contract.  Exact numerics add in double. */
#include "backends/cpu/kernels.h"

struct moe_sum {
    const struct cpu_kernels *kernels;
    bool native;
    const float *parts, *shared;
    const struct hearth_route *routes;
    float *y;
    uint32_t *orders;     /* [threads][top_k] */
    const float **chosen; /* [threads][top_k] rows of parts */
    const struct hearth_op_moe_sum *op;
};

/* order: [top_k] indexes of the token's routes, by ascending expert; insertion keeps equals in their order */
static void
order_routes(const struct hearth_route *routes, uint32_t n, uint32_t *order)
{
    for (uint32_t k = 0; k < n; k++) {
        uint32_t at = k;
        for (; at > 0 && routes[order[at - 1]].expert > routes[k].expert; at--) {
            order[at] = order[at - 1];
        }
        order[at] = k;
    }
}

static void
sum_tokens(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct moe_sum *work = context;
    const struct hearth_op_moe_sum *op = work->op;
    uint32_t *order = work->orders + (uint64_t)thread * op->top_k;
    const float **chosen = work->chosen + (uint64_t)thread * op->top_k;
    for (uint64_t t = begin; t < end; t++) {
        const struct hearth_route *routes = work->routes + t * op->top_k;
        order_routes(routes, op->top_k, order);
        for (uint32_t k = 0; k < op->top_k; k++) {
            chosen[k] = work->parts + (uint64_t)routes[order[k]].slot * op->dim;
        }
        work->kernels->moe_sum(work->native, chosen, op->top_k, work->shared + t * op->dim, op->dim,
                               work->y + t * op->dim);
    }
}

void
cpu_moe_sum(struct host_call *call, const struct hearth_op_moe_sum *op)
{
    const uint64_t n_routes = (uint64_t)op->n * op->top_k;
    struct moe_sum work = {.kernels = call->device->kernels, .native = call->native, .op = op};
    work.parts = host_view_f32(call, "parts", op->parts, n_routes, op->dim);
    work.routes = host_view(call, "routes", op->routes, n_routes, 1, sizeof *work.routes);
    work.shared = host_view_f32(call, "shared", op->shared, op->n, op->dim);
    work.y = host_view_f32(call, "y", op->y, op->n, op->dim);
    work.orders = host_scratch_take(call, cpu_pool_threads(call->device->pool), op->top_k * sizeof *work.orders);
    work.chosen = host_scratch_take(call, cpu_pool_threads(call->device->pool), op->top_k * sizeof *work.chosen);
    if (call->status < 0) {
        return;
    }
    for (uint64_t i = 0; i < n_routes; i++) {
        if (work.routes[i].slot >= n_routes) {
            host_call_fail(call, HEARTH_EINTERNAL, "routes[%llu]: slot %u of %llu", (unsigned long long)i,
                           work.routes[i].slot, (unsigned long long)n_routes);
            return;
        }
    }
    cpu_pool_run(call->device->pool, op->n, 1, (uint64_t)op->dim * (op->top_k + 1),
                 (struct cpu_work){sum_tokens, &work});
}
