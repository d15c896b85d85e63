/* attention.c - one softmax over window rows and compressed entries, with a sink in the denominator.
 *
 *     z_k = (q . kv_k) * head_dim^-1/2,   M = max_k z_k (without the sink),   P_k = exp(z_k - M)
 *     o   = sum_k bf16(P_k) kv_k / (sum_k P_k + exp(sink - M)),   its last rope_dim elements rotated back
 *
 * Keys are values.  Order: window rows by age, oldest first, then entries ascending.  Two passes (all scores, then all
 * sums) instead of a running maximum, so that the result does not depend on blocks.  Exact numerics do not round P. */
#include "backends/ref/ref.h"

struct attention {
    bool native;
    const float *q, *sinks, *inv_freq;
    float *o;
    const unsigned char *ring, *entries;
    const int32_t *indices; /* [n][top_k], or NULL */
    uint64_t row_bytes;
    uint64_t max_keys;
    float *keys;     /* [threads][max_keys][head_dim]; of one token: [max_keys][head_dim] */
    float *weights;  /* [threads][max_keys] */
    double *sums;    /* [threads][head_dim] */
    uint64_t n_keys; /* of the only token, when threads share it */
    const struct hearth_op_attention *op;
};

static uint64_t
visible(const struct hearth_op_attention *op, uint64_t position)
{
    return op->entries.buffer == NULL ? 0 : (position + 1) / op->ratio;
}

/* Unpacks the rows that token t sees into keys and returns how many. */
static uint64_t
gather_keys(const struct attention *work, uint64_t t, float *keys)
{
    const struct hearth_op_attention *op = work->op;
    const uint64_t position = op->position + t;
    const uint64_t oldest = position + 1 > op->window ? position + 1 - op->window : 0;
    const uint64_t n_visible = visible(op, position);
    const uint64_t n_listed = work->indices == NULL ? n_visible : op->top_k;
    uint64_t n = 0;
    for (uint64_t p = oldest; p <= position; p++, n++) {
        ref_kv_load(work->ring + p % op->ring_slots * work->row_bytes, op->kv_format, op->head_dim, op->rope_dim,
                    keys + n * op->head_dim);
    }
    for (uint64_t i = 0; i < n_listed; i++) {
        const int64_t entry = work->indices == NULL ? (int64_t)i : work->indices[t * op->top_k + i];
        if (entry >= 0 && (uint64_t)entry < n_visible) {
            ref_kv_load(work->entries + (uint64_t)entry * work->row_bytes, op->kv_format, op->head_dim, op->rope_dim,
                        keys + n * op->head_dim);
            n++;
        }
    }
    return n;
}

/* Four running sums in a fixed order. */
static double
dot(const float *a, const float *b, uint32_t n)
{
    double sums[4] = {0.0, 0.0, 0.0, 0.0};
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        sums[0] += (double)a[i] * (double)b[i];
        sums[1] += (double)a[i + 1] * (double)b[i + 1];
        sums[2] += (double)a[i + 2] * (double)b[i + 2];
        sums[3] += (double)a[i + 3] * (double)b[i + 3];
    }
    for (; i < n; i++) {
        sums[0] += (double)a[i] * (double)b[i];
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/* sums += weight * key */
static void
add_scaled(double *restrict sums, const float *restrict key, double weight, uint32_t n)
{
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (uint32_t j = i; j < i + 8; j++) {
            sums[j] += weight * (double)key[j];
        }
    }
    for (; i < n; i++) {
        sums[i] += weight * (double)key[i];
    }
}

static void
attend_head(const struct attention *work, uint64_t t, uint32_t head, const float *keys, uint64_t n_keys,
            uint32_t thread)
{
    const struct hearth_op_attention *op = work->op;
    const uint64_t at = (t * op->n_heads + head) * op->head_dim;
    const double scale = 1.0 / sqrt((double)op->head_dim);
    float *weights = work->weights + thread * work->max_keys;
    double *sums = work->sums + (uint64_t)thread * op->head_dim;
    float most = -INFINITY;
    for (uint64_t k = 0; k < n_keys; k++) {
        weights[k] = (float)(dot(work->q + at, keys + k * op->head_dim, op->head_dim) * scale);
        most = weights[k] > most ? weights[k] : most;
    }
    double denominator = exp((double)work->sinks[head] - most);
    memset(sums, 0, op->head_dim * sizeof *sums);
    for (uint64_t k = 0; k < n_keys; k++) {
        const float weight = (float)exp((double)weights[k] - most);
        denominator += weight;
        add_scaled(sums, keys + k * op->head_dim, work->native ? hearth_round_bf16(weight) : weight, op->head_dim);
    }
    float *o = work->o + at;
    for (uint32_t i = 0; i < op->head_dim; i++) {
        o[i] = ref_round(work->native, sums[i] / denominator);
    }
    ref_rotate(work->native, o + (op->head_dim - op->rope_dim), op->rope_dim, work->inv_freq, op->position + t, -1);
}

/* item: token */
static void
attend_tokens(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct attention *work = context;
    float *keys = work->keys + thread * work->max_keys * work->op->head_dim;
    for (uint64_t t = begin; t < end; t++) {
        const uint64_t n_keys = gather_keys(work, t, keys);
        for (uint32_t head = 0; head < work->op->n_heads; head++) {
            attend_head(work, t, head, keys, n_keys, thread);
        }
    }
}

/* item: head of the only token */
static void
attend_heads(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct attention *work = context;
    for (uint64_t head = begin; head < end; head++) {
        attend_head(work, 0, (uint32_t)head, work->keys, work->n_keys, thread);
    }
}

static bool
check_arguments(struct host_call *call, const struct hearth_op_attention *op)
{
    const bool has_entries = op->entries.buffer != NULL;
    ref_kv_check(call, op->kv_format, op->head_dim, op->rope_dim);
    return call->status == 0 && host_call_check(call, op->n > 0 && op->window > 0, "n and window: 1 or more wanted") &&
           host_call_check(call, op->ring_slots >= (uint64_t)op->window - 1 + op->n,
                           "ring_slots: at least window - 1 + n wanted") &&
           host_call_check(call, op->position < UINT64_MAX - op->n, "position: too large") &&
           host_call_check(call, !has_entries || op->ratio > 0, "ratio: 1 or more wanted with entries") &&
           host_call_check(call, has_entries || op->indices.buffer == NULL, "indices given without entries");
}

/* Rows that any query of the command sees at once: bounds for the work space. */
static uint64_t
max_keys(const struct hearth_op_attention *op)
{
    const uint64_t last = op->position + op->n - 1;
    const uint64_t in_window = last + 1 < op->window ? last + 1 : op->window;
    const uint64_t n_visible = visible(op, last);
    const bool listed = op->indices.buffer != NULL && op->top_k < n_visible;
    return in_window + (listed ? op->top_k : n_visible);
}

void
ref_attention(struct host_call *call, const struct hearth_op_attention *op)
{
    if (!check_arguments(call, op)) {
        return;
    }
    struct ref_pool *pool = call->device->pool;
    const uint32_t n_threads = ref_pool_threads(pool);
    const uint64_t n_heads = (uint64_t)op->n * op->n_heads;
    const uint64_t n_entries = visible(op, op->position + op->n - 1);
    const uint64_t used_slots = op->position + op->n < op->ring_slots ? op->position + op->n : op->ring_slots;
    struct attention work = {.native = call->native, .op = op, .max_keys = max_keys(op)};
    work.row_bytes = hearth_kv_row_bytes(op->kv_format, op->head_dim, op->rope_dim);
    work.q = host_view_f32(call, "q", op->q, n_heads, op->head_dim);
    work.o = host_view_f32(call, "o", op->o, n_heads, op->head_dim);
    work.ring = host_view(call, "ring", op->ring, used_slots, work.row_bytes, 1);
    if (n_entries > 0) {
        work.entries = host_view(call, "entries", op->entries, n_entries, work.row_bytes, 1);
    }
    if (op->indices.buffer != NULL) {
        work.indices = host_view(call, "indices", op->indices, op->n, op->top_k, sizeof *work.indices);
    }
    work.sinks = host_vector(call, "sinks", op->sinks, op->n_heads);
    work.inv_freq = host_vector(call, "inv_freq", op->inv_freq, op->rope_dim / 2);
    const uint64_t n_copies = op->n == 1 ? 1 : n_threads;
    work.keys = host_scratch_take(call, n_copies * work.max_keys, op->head_dim * sizeof *work.keys);
    work.weights = host_scratch_take(call, n_threads * work.max_keys, sizeof *work.weights);
    work.sums = host_scratch_take(call, n_threads, op->head_dim * sizeof *work.sums);
    if (call->status < 0) {
        return;
    }
    const uint64_t head_cost = work.max_keys * (2 * (uint64_t)op->head_dim + 20);
    if (op->n == 1) {
        work.n_keys = gather_keys(&work, 0, work.keys);
        ref_pool_run(pool, op->n_heads, head_cost, (struct ref_work){attend_heads, &work});
    } else {
        ref_pool_run(pool, op->n, head_cost * op->n_heads, (struct ref_work){attend_tokens, &work});
    }
}
