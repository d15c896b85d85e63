/* rmsnorm.c - y = norm * (x * rsqrt(mean(x^2) + eps)). */
#include "backends/cpu/kernels.h"

struct rmsnorm {
    const struct cpu_kernels *kernels;
    bool native;
    const float *x, *norm;
    float *y;
    uint64_t dim;
    float eps;
};

static void
norm_tokens(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct rmsnorm *work = context;
    (void)thread;
    for (uint64_t t = begin; t < end; t++) {
        work->kernels->normalise(work->native, work->x + t * work->dim, work->norm, work->dim, work->eps,
                                 work->y + t * work->dim);
    }
}

void
cpu_rmsnorm(struct host_call *call, const struct hearth_op_rmsnorm *op)
{
    struct rmsnorm work = {.kernels = call->device->kernels, .native = call->native, .dim = op->dim, .eps = op->eps};
    work.x = host_view_f32(call, "x", op->x, op->n, op->dim);
    work.y = host_view_f32(call, "y", op->y, op->n, op->dim);
    work.norm = host_vector(call, "norm", op->norm, op->dim);
    if (call->status == 0) {
        cpu_pool_run(call->device->pool, op->n, 1, op->dim, (struct cpu_work){norm_tokens, &work});
    }
}
