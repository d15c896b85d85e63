/* rmsnorm.c - y = norm * (x * rsqrt(mean(x^2) + eps)); the product with norm comes before the rounding to bf16. */
#include "backends/ref/ref.h"

void
ref_normalise(bool native, const float *x, const float *norm, uint64_t n, float eps, float *y)
{
    double sum = 0.0;
    for (uint64_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)x[i];
    }
    const double factor = 1.0 / sqrt(sum / (double)n + (double)eps);
    for (uint64_t i = 0; i < n; i++) {
        y[i] = ref_round(native, (double)x[i] * factor * (double)norm[i]);
    }
}

struct rmsnorm {
    bool native;
    const float *x, *norm;
    float *y;
    uint32_t dim;
    float eps;
};

static void
norm_tokens(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct rmsnorm *work = context;
    (void)thread;
    for (uint64_t t = begin; t < end; t++) {
        ref_normalise(work->native, work->x + t * work->dim, work->norm, work->dim, work->eps, work->y + t * work->dim);
    }
}

void
ref_rmsnorm(struct host_call *call, const struct hearth_op_rmsnorm *op)
{
    struct rmsnorm work = {.native = call->native, .dim = op->dim, .eps = op->eps};
    work.x = host_view_f32(call, "x", op->x, op->n, op->dim);
    work.y = host_view_f32(call, "y", op->y, op->n, op->dim);
    work.norm = host_vector(call, "norm", op->norm, op->dim);
    if (call->status < 0) {
        return;
    }
    ref_pool_run(call->device->pool, op->n, (uint64_t)op->dim * 4, (struct ref_work){norm_tokens, &work});
}
