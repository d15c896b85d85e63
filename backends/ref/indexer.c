/* indexer.c - the lightning indexer of ratio-4 layers: its queries, and the choice of the entries a query will attend
 * to.
 *
 *     score[w] = sum_h relu(q_h . key_w) * a_h,   a_h = head_weights[h] * width^-1/2 * n_heads^-1/2
 *
 * In native numerics the dot products, a_h, the products with a_h and the score are each rounded to bf16, so ties are
 * common; the lower entry wins. */
#include <stdlib.h>

#include "backends/ref/ref.h"

struct index_query {
    bool native;
    float *q;
    const float *inv_freq;
    const struct hearth_op_index_query *op;
    uint8_t *codes, *scales; /* [threads][width], [threads][ceil(width / 32)] */
};

static void
query_heads(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct index_query *work = context;
    const struct hearth_op_index_query *op = work->op;
    const uint32_t n_blocks = (op->width + HOST_INDEX_BLOCK - 1) / HOST_INDEX_BLOCK;
    uint8_t *codes = work->codes + (uint64_t)thread * op->width;
    uint8_t *scales = work->scales + (uint64_t)thread * n_blocks;
    for (uint64_t item = begin; item < end; item++) {
        float *q = work->q + item * op->width;
        ref_rotate(work->native, q + (op->width - op->rope_dim), op->rope_dim, work->inv_freq,
                   op->position + item / op->n_heads, 1);
        if (work->native) {
            ref_hadamard(q, op->width);
            ref_fp4_quant(q, op->width, codes, scales);
            for (uint32_t i = 0; i < op->width; i++) {
                q[i] = hearth_e2m1_to_f32(codes[i]) * hearth_e8m0_to_f32(scales[i / HOST_INDEX_BLOCK]);
            }
        }
    }
}

void
ref_index_query(struct host_call *call, const struct hearth_op_index_query *op)
{
    const uint32_t n_threads = ref_pool_threads(call->device->pool);
    const uint64_t n_heads = (uint64_t)op->n * op->n_heads;
    struct index_query work = {.native = call->native, .op = op};
    work.q = host_view_f32(call, "q", op->q, n_heads, op->width);
    work.inv_freq = host_vector(call, "inv_freq", op->inv_freq, op->rope_dim / 2);
    work.codes = host_scratch_take(call, n_threads, op->width);
    work.scales = host_scratch_take(call, n_threads, (op->width + HOST_INDEX_BLOCK - 1) / HOST_INDEX_BLOCK);
    if (call->status < 0 || !host_call_check(call, op->rope_dim % 2 == 0 && op->rope_dim <= op->width,
                                             "rope_dim: even, at most width wanted")) {
        return;
    }
    if (call->native && (op->width & (op->width - 1)) != 0) {
        host_call_fail(call, HEARTH_EUNSUPPORTED, "width: a power of two wanted for the Hadamard rotation, %u found",
                       op->width);
        return;
    }
    ref_pool_run(call->device->pool, n_heads, (uint64_t)op->width * 20 + op->rope_dim * 40,
                 (struct ref_work){query_heads, &work});
}

struct index_topk {
    bool native;
    const float *q, *head_weights;
    const unsigned char *keys;
    int32_t *indices;
    uint64_t row_bytes;
    uint64_t max_entries;
    float *scores; /* [threads][max_entries]; of one token: [max_entries] */
    float *key;    /* [threads][width] */
    const struct hearth_op_index_topk *op;
};

static uint64_t
visible(const struct hearth_op_index_topk *op, uint64_t token)
{
    return (op->position + token + 1) / op->ratio;
}

static float
score_key(const struct index_topk *work, uint64_t token, const float *key)
{
    const struct hearth_op_index_topk *op = work->op;
    const double scale = 1.0 / sqrt((double)op->width) / sqrt((double)op->n_heads);
    double score = 0.0;
    for (uint32_t h = 0; h < op->n_heads; h++) {
        const float *q = work->q + (token * op->n_heads + h) * op->width;
        double sums[4] = {0.0, 0.0, 0.0, 0.0};
        uint32_t i = 0;
        for (; i + 4 <= op->width; i += 4) {
            sums[0] += (double)q[i] * (double)key[i];
            sums[1] += (double)q[i + 1] * (double)key[i + 1];
            sums[2] += (double)q[i + 2] * (double)key[i + 2];
            sums[3] += (double)q[i + 3] * (double)key[i + 3];
        }
        for (; i < op->width; i++) {
            sums[0] += (double)q[i] * (double)key[i];
        }
        const float dot = ref_round(work->native, (sums[0] + sums[1]) + (sums[2] + sums[3]));
        const float head_weight = work->head_weights[token * op->n_heads + h];
        if (dot > 0.0f) {
            score += work->native ? (double)hearth_round_bf16(dot * hearth_round_bf16(head_weight * (float)scale))
                                  : (double)dot * (double)head_weight * scale;
        }
    }
    return ref_round(work->native, score);
}

static void
score_entries(const struct index_topk *work, uint64_t token, uint64_t begin, uint64_t end, uint32_t thread,
              float *scores)
{
    float *key = work->key + (uint64_t)thread * work->op->width;
    for (uint64_t w = begin; w < end; w++) {
        ref_index_load(work->keys + w * work->row_bytes, work->op->kv_format, work->op->width, key);
        const float score = score_key(work, token, key);
        scores[w] = score == score ? score : -INFINITY; /* NaN is the worst */
    }
}

/* Whether entry a is a worse choice than b. */
static bool
is_worse(const float *scores, int32_t a, int32_t b)
{
    return scores[a] < scores[b] || (scores[a] == scores[b] && a > b);
}

/* heap: the worst of the chosen on top */
static void
sift_down(int32_t *heap, uint64_t n, uint64_t at, const float *scores)
{
    for (;;) {
        uint64_t worst = at;
        for (uint64_t child = 2 * at + 1; child <= 2 * at + 2 && child < n; child++) {
            worst = is_worse(scores, heap[child], heap[worst]) ? child : worst;
        }
        if (worst == at) {
            return;
        }
        const int32_t moved = heap[at];
        heap[at] = heap[worst];
        heap[worst] = moved;
        at = worst;
    }
}

static int
compare_i32(const void *a, const void *b)
{
    int32_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* indices: [top_k]; keeps the best in a heap, so that no sort of all scores is needed */
static void
choose(const float *scores, uint64_t n, uint32_t top_k, int32_t *indices)
{
    const uint64_t n_chosen = n < top_k ? n : top_k;
    for (uint64_t i = 0; i < top_k; i++) {
        indices[i] = i < n_chosen ? (int32_t)i : -1;
    }
    if (n_chosen == n) {
        return;
    }
    for (uint64_t at = n_chosen / 2; at-- > 0;) {
        sift_down(indices, n_chosen, at, scores);
    }
    for (uint64_t w = n_chosen; w < n; w++) {
        if (is_worse(scores, indices[0], (int32_t)w)) {
            indices[0] = (int32_t)w;
            sift_down(indices, n_chosen, 0, scores);
        }
    }
    qsort(indices, (size_t)n_chosen, sizeof *indices, compare_i32);
}

/* item: token */
static void
choose_tokens(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct index_topk *work = context;
    float *scores = work->scores + thread * work->max_entries;
    for (uint64_t t = begin; t < end; t++) {
        const uint64_t n = visible(work->op, t);
        if (n > work->op->top_k) {
            score_entries(work, t, 0, n, thread, scores);
        }
        choose(scores, n, work->op->top_k, work->indices + t * work->op->top_k);
    }
}

/* item: entry of the only token */
static void
score_shared(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct index_topk *work = context;
    score_entries(work, 0, begin, end, thread, work->scores);
}

static bool
check_topk(struct host_call *call, const struct hearth_op_index_topk *op)
{
    ref_kv_check(call, op->kv_format, op->width, 0);
    return call->status == 0 && host_call_check(call, op->ratio > 0 && op->n > 0, "ratio and n: 1 or more wanted") &&
           host_call_check(call, op->position < (uint64_t)INT32_MAX - op->n, "position: within 31 bits wanted");
}

void
ref_index_topk(struct host_call *call, const struct hearth_op_index_topk *op)
{
    if (!check_topk(call, op)) {
        return;
    }
    struct ref_pool *pool = call->device->pool;
    struct index_topk work = {.native = call->native, .op = op, .max_entries = visible(op, op->n - 1)};
    work.row_bytes = hearth_index_row_bytes(op->kv_format, op->width);
    work.q = host_view_f32(call, "q", op->q, (uint64_t)op->n * op->n_heads, op->width);
    work.head_weights = host_view_f32(call, "head_weights", op->head_weights, op->n, op->n_heads);
    work.indices = host_view(call, "indices", op->indices, op->n, op->top_k, sizeof *work.indices);
    if (work.max_entries > 0) {
        work.keys = host_view(call, "keys", op->keys, work.max_entries, work.row_bytes, 1);
    }
    work.scores = host_scratch_take(call, ref_pool_threads(pool), work.max_entries * sizeof *work.scores);
    work.key = host_scratch_take(call, ref_pool_threads(pool), op->width * sizeof *work.key);
    if (call->status < 0) {
        return;
    }
    const uint64_t cost = (uint64_t)op->n_heads * op->width + op->width * 4;
    if (op->n == 1 && work.max_entries > op->top_k) {
        ref_pool_run(pool, work.max_entries, cost, (struct ref_work){score_shared, &work});
        choose(work.scores, work.max_entries, op->top_k, work.indices);
    } else {
        ref_pool_run(pool, op->n, cost * work.max_entries, (struct ref_work){choose_tokens, &work});
    }
}
