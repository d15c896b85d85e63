/* indexer.c - the lightning indexer of ratio-4 layers: its queries, and the choice of the entries a query will attend
 * to.
 *
 *     score[w] = sum_h relu(q_h . key_w) * a_h,   a_h = head_weights[h] * width^-1/2 * n_heads^-1/2
 *
 * In native numerics the dot products, a_h, the products with a_h and the score are each rounded to bf16, so ties are
 * common; the lower entry wins. */
#include <stdlib.h>

#include <math.h>
#include <string.h>

#include "backends/cpu/kernels.h"

struct index_query {
    const struct cpu_kernels *kernels;
    bool native;
    float *q;
    const float *angles; /* [n][rope_dim] */
    const struct hearth_op_index_query *op;
};

/* item: token * n_heads + head */
static void
query_heads(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct index_query *work = context;
    const struct hearth_op_index_query *op = work->op;
    (void)thread;
    for (uint64_t item = begin; item < end; item++) {
        float *q = work->q + item * op->width;
        work->kernels->turn(work->native, q + (op->width - op->rope_dim),
                            work->angles + item / op->n_heads * op->rope_dim, op->rope_dim);
        if (work->native) {
            work->kernels->hadamard(q, op->width);
            work->kernels->round_e2m1(q, op->width, NULL, NULL);
        }
    }
}

void
cpu_index_query(struct host_call *call, const struct hearth_op_index_query *op)
{
    const uint64_t n_heads = (uint64_t)op->n * op->n_heads;
    struct index_query work = {.kernels = call->device->kernels, .native = call->native, .op = op};
    work.q = host_view_f32(call, "q", op->q, n_heads, op->width);
    const float *inv_freq = host_vector(call, "inv_freq", op->inv_freq, op->rope_dim / 2);
    if (call->status < 0 || !host_call_check(call, op->rope_dim % 2 == 0 && op->rope_dim <= op->width,
                                             "rope_dim: even, at most width wanted")) {
        return;
    }
    if (call->native && (op->width & (op->width - 1)) != 0) {
        host_call_fail(call, HEARTH_EUNSUPPORTED, "width: a power of two wanted for the Hadamard rotation, %u found",
                       op->width);
        return;
    }
    work.angles = cpu_angles_take(call, inv_freq, op->rope_dim, op->position, op->n, 1, 1);
    if (call->status == 0) {
        cpu_pool_run(call->device->pool, n_heads, 1, op->width * 2, (struct cpu_work){query_heads, &work});
    }
}

struct index_topk {
    const struct cpu_kernels *kernels;
    bool native;
    const float *q, *head_weights;
    const unsigned char *keys;
    int32_t *indices;
    uint64_t row_bytes;
    uint64_t max_entries;
    uint64_t padded_heads; /* n_heads rounded up to 16 */
    float *turned;         /* [copies][width][padded_heads]: q with heads along a row */
    float *factors;        /* [copies][padded_heads]: a_h */
    float *scores;         /* [copies][max_entries] */
    float *keys_f32;       /* [threads][width] */
    const struct hearth_op_index_topk *op;
};

static uint64_t
visible(const struct hearth_op_index_topk *op, uint64_t token)
{
    return (op->position + token + 1) / op->ratio;
}

/* A token's queries turned and its factors rounded, in the place of a thread, or in the one place that all share. */
static void
prepare_query(const struct index_topk *work, uint64_t token, uint32_t copy)
{
    const struct hearth_op_index_topk *op = work->op;
    const float scale = (float)(1.0 / sqrt((double)op->width) / sqrt((double)op->n_heads));
    float *turned = work->turned + copy * op->width * work->padded_heads;
    float *factors = work->factors + copy * work->padded_heads;
    memset(turned, 0, (size_t)(op->width * work->padded_heads) * sizeof *turned);
    memset(factors, 0, (size_t)work->padded_heads * sizeof *factors);
    for (uint32_t h = 0; h < op->n_heads; h++) {
        const float *q = work->q + (token * op->n_heads + h) * op->width;
        const float factor = work->head_weights[token * op->n_heads + h] * scale;
        factors[h] = work->native ? hearth_round_bf16(factor) : factor;
        for (uint32_t i = 0; i < op->width; i++) {
            turned[i * work->padded_heads + h] = q[i];
        }
    }
}

static void
score_entries(const struct index_topk *work, uint64_t begin, uint64_t end, uint32_t thread, uint32_t copy)
{
    const struct hearth_op_index_topk *op = work->op;
    const struct cpu_index index = {
        .q = work->turned + copy * op->width * work->padded_heads,
        .head_weights = work->factors + copy * work->padded_heads,
        .keys = work->keys,
        .row_bytes = work->row_bytes,
        .n_heads = op->n_heads,
        .width = op->width,
        .format = op->kv_format,
        .native = work->native,
        .scores = work->scores + copy * work->max_entries,
        .key = work->keys_f32 + (uint64_t)thread * op->width,
    };
    work->kernels->index(&index, begin, end);
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

/* indices: [top_k]; keeps the best in a heap, so that no sort of all scores is needed.  Entries come in ascending
 * order, so one that is no better than the worst chosen is a worse choice than it. */
static void
choose(const struct cpu_kernels *kernels, const float *scores, uint64_t n, uint32_t top_k, int32_t *indices)
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
    uint64_t w = n_chosen < n ? kernels->next_above(scores, n_chosen, n, scores[indices[0]]) : n;
    while (w < n) {
        indices[0] = (int32_t)w;
        sift_down(indices, n_chosen, 0, scores);
        w = kernels->next_above(scores, w + 1, n, scores[indices[0]]);
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
            prepare_query(work, t, thread);
            score_entries(work, 0, n, thread, thread);
        }
        choose(work->kernels, scores, n, work->op->top_k, work->indices + t * work->op->top_k);
    }
}

/* item: entry of the only token */
static void
score_shared(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    score_entries(context, begin, end, thread, 0);
}

static bool
check_topk(struct host_call *call, const struct hearth_op_index_topk *op)
{
    cpu_kv_check(call, op->kv_format, op->width, 0);
    return call->status == 0 && host_call_check(call, op->ratio > 0 && op->n > 0, "ratio and n: 1 or more wanted") &&
           host_call_check(call, op->position < (uint64_t)INT32_MAX - op->n, "position: within 31 bits wanted");
}

void
cpu_index_topk(struct host_call *call, const struct hearth_op_index_topk *op)
{
    if (!check_topk(call, op)) {
        return;
    }
    struct cpu_pool *pool = call->device->pool;
    struct index_topk work = {
        .kernels = call->device->kernels, .native = call->native, .op = op, .max_entries = visible(op, op->n - 1)};
    work.row_bytes = hearth_index_row_bytes(op->kv_format, op->width);
    work.q = host_view_f32(call, "q", op->q, (uint64_t)op->n * op->n_heads, op->width);
    work.head_weights = host_view_f32(call, "head_weights", op->head_weights, op->n, op->n_heads);
    work.indices = host_view(call, "indices", op->indices, op->n, op->top_k, sizeof *work.indices);
    if (work.max_entries > 0) {
        work.keys = host_view(call, "keys", op->keys, work.max_entries, work.row_bytes, 1);
    }
    const uint64_t n_threads = cpu_pool_threads(pool);
    const bool shared = op->n == 1;
    const uint64_t n_copies = shared ? 1 : n_threads;
    work.padded_heads = ((uint64_t)op->n_heads + 15) / 16 * 16;
    work.turned = host_scratch_take(call, n_copies * op->width, work.padded_heads * sizeof *work.turned);
    work.factors = host_scratch_take(call, n_copies, work.padded_heads * sizeof *work.factors);
    work.scores = host_scratch_take(call, n_copies, work.max_entries * sizeof *work.scores);
    work.keys_f32 = host_scratch_take(call, n_threads, op->width * sizeof *work.keys_f32);
    if (call->status < 0) {
        return;
    }
    const uint64_t cost = work.padded_heads * op->width / 8;
    if (!shared) {
        cpu_pool_run(pool, op->n, 1, cost * (1 + work.max_entries), (struct cpu_work){choose_tokens, &work});
        return;
    }
    if (work.max_entries > op->top_k) {
        prepare_query(&work, 0, 0);
        cpu_pool_run(pool, work.max_entries, 16, cost, (struct cpu_work){score_shared, &work});
    }
    choose(work.kernels, work.scores, work.max_entries, op->top_k, work.indices);
}
