/* rope.c - rotary embedding, and the query path that ends in it.
 *
 * Neighbouring elements are pairs; pair i turns by the angle (float)position * inv_freq[i], one f32 product.  Cosine
 * and sine of that f32 are taken in double and rounded to f32: at a million tokens the angle's own rounding is what
 * counts. */
#include "backends/ref/ref.h"

void
ref_rotate(bool native, float *x, uint32_t rope_dim, const float *inv_freq, uint64_t position, int direction)
{
    for (uint32_t i = 0; i < rope_dim / 2; i++) {
        const float angle = (float)position * inv_freq[i];
        const double cosine = (float)cos((double)angle);
        const double sine = direction * (double)(float)sin((double)angle);
        const double u = x[2 * i];
        const double v = x[2 * i + 1];
        x[2 * i] = ref_round(native, u * cosine - v * sine);
        x[2 * i + 1] = ref_round(native, u * sine + v * cosine);
    }
}

/* The norm of a head has no weight.  In native numerics every step of it is rounded to bf16, as the model was run. */
static void
norm_head(bool native, float *q, uint32_t n, float eps)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        sum += native ? (double)hearth_round_bf16(q[i] * q[i]) : (double)q[i] * (double)q[i];
    }
    double factor;
    if (native) {
        const float mean = hearth_round_bf16((float)(sum / n));
        factor = ref_round(true, 1.0 / sqrt((double)hearth_round_bf16(mean + eps)));
    } else {
        factor = 1.0 / sqrt(sum / n + (double)eps);
    }
    for (uint32_t i = 0; i < n; i++) {
        q[i] = ref_round(native, (double)q[i] * factor);
    }
}

struct query_rope {
    bool native;
    float *q;
    const float *inv_freq;
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
        norm_head(work->native, q, op->head_dim, op->eps);
        ref_rotate(work->native, q + (op->head_dim - op->rope_dim), op->rope_dim, work->inv_freq,
                   op->position + item / op->n_heads, 1);
    }
}

void
ref_query_rope(struct host_call *call, const struct hearth_op_query_rope *op)
{
    struct query_rope work = {.native = call->native, .op = op};
    const uint64_t n_heads = (uint64_t)op->n * op->n_heads;
    work.q = host_view_f32(call, "q", op->q, n_heads, op->head_dim);
    work.inv_freq = host_vector(call, "inv_freq", op->inv_freq, op->rope_dim / 2);
    if (call->status < 0 || !host_call_check(call, op->rope_dim % 2 == 0 && op->rope_dim <= op->head_dim,
                                             "rope_dim: even, at most head_dim wanted")) {
        return;
    }
    ref_pool_run(call->device->pool, n_heads, (uint64_t)op->head_dim * 4 + op->rope_dim * 40,
                 (struct ref_work){query_heads, &work});
}
