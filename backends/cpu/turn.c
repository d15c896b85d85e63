/* turn.c - rotary embedding: angles, and the query path that ends in it.
 *
 * Neighbouring elements are pairs; pair i turns by the angle (float)position * inv_freq[i], one f32 product.  Cosine
 * and sine of that f32 are taken in double and rounded to f32, once a token for all its heads. */
#include <math.h>

#include "backends/cpu/kernels.h"

void
cpu_angles(const float *inv_freq, uint32_t rope_dim, uint64_t position, int direction, float *out)
{
    const uint32_t half = rope_dim / 2;
    for (uint32_t i = 0; i < half; i++) {
        const float angle = (float)position * inv_freq[i];
        out[i] = (float)cos((double)angle);
        out[half + i] = (float)direction * (float)sin((double)angle);
    }
}

struct angles {
    const float *inv_freq;
    float *out;
    uint32_t rope_dim;
    uint64_t position, step;
    int direction;
};

static void
fill_angles(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct angles *work = context;
    (void)thread;
    for (uint64_t i = begin; i < end; i++) {
        cpu_angles(work->inv_freq, work->rope_dim, work->position + i * work->step, work->direction,
                   work->out + i * work->rope_dim);
    }
}

const float *
cpu_angles_take(struct host_call *call, const float *inv_freq, uint32_t rope_dim, uint64_t position, uint64_t n,
                uint64_t step, int direction)
{
    float *out = host_scratch_take(call, n, ((uint64_t)rope_dim + 1) * sizeof *out);
    struct angles work = {inv_freq, out, rope_dim, position, step, direction};
    if (out != NULL) {
        cpu_pool_run(call->device->pool, n, 1, rope_dim * 40, (struct cpu_work){fill_angles, &work});
    }
    return out;
}

struct query_rope {
    const struct cpu_kernels *kernels;
    bool native;
    float *q;
    const float *angles;
    const struct hearth_op_query_rope *op;
};

/* item: token * n_heads + head */
static void
query_heads(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct query_rope *work = context;
    const struct hearth_op_query_rope *op = work->op;
    (void)thread;
    for (uint64_t item = begin; item < end; item++) {
        float *q = work->q + item * op->head_dim;
        work->kernels->norm_head(work->native, q, op->head_dim, op->eps);
        work->kernels->turn(work->native, q + (op->head_dim - op->rope_dim),
                            work->angles + item / op->n_heads * op->rope_dim, op->rope_dim);
    }
}

void
cpu_query_rope(struct host_call *call, const struct hearth_op_query_rope *op)
{
    struct query_rope work = {.kernels = call->device->kernels, .native = call->native, .op = op};
    const uint64_t n_heads = (uint64_t)op->n * op->n_heads;
    work.q = host_view_f32(call, "q", op->q, n_heads, op->head_dim);
    const float *inv_freq = host_vector(call, "inv_freq", op->inv_freq, op->rope_dim / 2);
    if (call->status < 0 || !host_call_check(call, op->rope_dim % 2 == 0 && op->rope_dim <= op->head_dim,
                                             "rope_dim: even, at most head_dim wanted")) {
        return;
    }
    work.angles = cpu_angles_take(call, inv_freq, op->rope_dim, op->position, op->n, 1, 1);
    if (call->status == 0) {
        cpu_pool_run(call->device->pool, n_heads, 1, (uint64_t)op->head_dim * 8, (struct cpu_work){query_heads, &work});
    }
}
