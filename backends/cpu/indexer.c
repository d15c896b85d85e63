/* indexer.c - the lightning indexer of ratio-4 layers: its queries, and the choice of the entries a query will attend
 * to.
 *
 *     score[w] = sum_h relu(q_h . key_w) * a_h,   a_h = head_weights[h] * width^-1/2 * n_heads^-1/2
 *
 * In native numerics the dot products, a_h, the products with a_h and the score are each rounded to bf16, so ties are
 * common; the lower entry wins. */
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
        cpu_pool_run(call->device->pool, n_heads, 1, (uint64_t)op->width * 32, (struct cpu_work){query_heads, &work});
    }
}

#define CHOOSE_COST 6u /* of an entry: its score comes from another core */
#define PART_TIMES 8u  /* a part has so many times the entries that are chosen */

/* A group of queries and its work space: one a thread, or one that all threads share. */
struct group {
    struct cpu_index_query queries[CPU_INDEX_QUERIES];
    uint32_t n;
};

struct index_topk {
    const struct cpu_kernels *kernels;
    bool native;
    const float *q, *head_weights;
    const unsigned char *keys;
    int32_t *indices;
    uint64_t row_bytes;
    uint64_t max_entries;
    struct group *groups; /* [threads], or the one */
    uint32_t group_size;
    float *key;           /* [threads][width] */
    uint8_t *bytes;       /* [threads][CPU_INDEX_TILE][width] */
    float *block_units;   /* [threads][CPU_INDEX_TILE][blocks] */
    int32_t *chosen;      /* [threads][2 * CPU_CHOOSE_ROOM] */
    int32_t *candidates;  /* [threads][top_k]: of each part of a query that all threads choose for */
    float *their_scores;  /* likewise */
    uint64_t first_token; /* of the shared group */
    const struct hearth_op_index_topk *op;
};

static uint64_t
visible(const struct hearth_op_index_topk *op, uint64_t token)
{
    return (op->position + token + 1) / op->ratio;
}

static uint64_t
count_blocks(uint32_t width)
{
    return (width + HOST_INDEX_BLOCK - 1) / HOST_INDEX_BLOCK;
}

/* A token's factors rounded and its queries in the form for the kernel. */
static void
prepare_query(const struct index_topk *work, uint64_t token, struct cpu_index_query *query)
{
    const struct hearth_op_index_topk *op = work->op;
    const float scale = (float)(1.0 / sqrt((double)op->width) / sqrt((double)op->n_heads));
    const float *q = work->q + token * op->n_heads * op->width;
    memset(query->factors, 0, (size_t)query->stride * sizeof *query->factors);
    for (uint32_t h = 0; h < op->n_heads; h++) {
        const float factor = work->head_weights[token * op->n_heads + h] * scale;
        query->factors[h] = work->native ? hearth_round_bf16(factor) : factor;
    }
    query->is_in_bytes = op->kv_format == HEARTH_KV_PACKED && op->width % HOST_INDEX_BLOCK == 0 &&
                         work->kernels->index_query(q, op->n_heads, op->width, query);
    if (query->is_in_bytes) {
        return;
    }
    memset(query->turned, 0, (size_t)(op->width * query->stride) * sizeof *query->turned);
    for (uint32_t h = 0; h < op->n_heads; h++) {
        for (uint32_t i = 0; i < op->width; i++) {
            query->turned[i * query->stride + h] = q[(uint64_t)h * op->width + i];
        }
    }
}

/* The tokens from `first` on whose choice is a choice; ret_n_entries: those that any of them sees. */
static void
prepare_group(const struct index_topk *work, uint64_t first, struct group *group, uint64_t *ret_n_entries)
{
    const uint64_t left = work->op->n - first;
    group->n = left < work->group_size ? (uint32_t)left : work->group_size;
    *ret_n_entries = visible(work->op, first + group->n - 1);
    for (uint32_t i = 0; *ret_n_entries > work->op->top_k && i < group->n; i++) {
        prepare_query(work, first + i, &group->queries[i]);
    }
}

static void
score_entries(const struct index_topk *work, const struct group *group, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct hearth_op_index_topk *op = work->op;
    const struct cpu_index index = {
        .queries = group->queries,
        .n_queries = group->n,
        .keys = work->keys,
        .row_bytes = work->row_bytes,
        .width = op->width,
        .format = op->kv_format,
        .native = work->native,
        .key = work->key + (uint64_t)thread * op->width,
        .bytes = work->bytes + (uint64_t)thread * CPU_INDEX_TILE * op->width,
        .block_units = work->block_units + thread * CPU_INDEX_TILE * count_blocks(op->width),
    };
    work->kernels->index(&index, begin, end);
}

static void
choose_entries(const struct index_topk *work, const struct group *group, uint64_t first, uint64_t begin, uint64_t end,
               uint32_t thread)
{
    const uint32_t top_k = work->op->top_k;
    for (uint64_t i = begin; i < end; i++) {
        work->kernels->choose(group->queries[i].scores, visible(work->op, first + i), top_k,
                              work->chosen + thread * 2 * CPU_CHOOSE_ROOM(top_k), work->indices + (first + i) * top_k);
    }
}

/* item: group */
static void
run_groups(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct index_topk *work = context;
    struct group *group = &work->groups[thread];
    for (uint64_t item = begin; item < end; item++) {
        const uint64_t first = item * work->group_size;
        uint64_t n_entries;
        prepare_group(work, first, group, &n_entries);
        if (n_entries > work->op->top_k) {
            score_entries(work, group, 0, n_entries, thread);
        }
        choose_entries(work, group, first, 0, group->n, thread);
    }
}

/* item: entry for the shared group */
static void
score_shared(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct index_topk *work = context;
    score_entries(work, &work->groups[0], begin, end, thread);
}

/* item: token of the shared group */
static void
choose_shared(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct index_topk *work = context;
    choose_entries(work, &work->groups[0], work->first_token, begin, end, thread);
}

/* A part of a query's entries each. */
struct parts {
    const struct index_topk *work;
    const float *scores;
    uint64_t n_entries, n_parts;
};

/* item: part; its top_k best become candidates, in their order */
static void
choose_part(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct parts *parts = context;
    const struct index_topk *work = parts->work;
    const uint32_t top_k = work->op->top_k;
    for (uint64_t part = begin; part < end; part++) {
        const uint64_t first = parts->n_entries * part / parts->n_parts;
        const uint64_t last = parts->n_entries * (part + 1) / parts->n_parts;
        int32_t *candidates = work->candidates + part * top_k;
        work->kernels->choose(parts->scores + first, last - first, top_k,
                              work->chosen + thread * 2 * CPU_CHOOSE_ROOM(top_k), candidates);
        for (uint32_t i = 0; i < top_k; i++) {
            candidates[i] += (int32_t)first;
            work->their_scores[part * top_k + i] = parts->scores[candidates[i]];
        }
    }
}

/* The best of all parts' best are the best of all, and the lower entry is still the lower candidate. */
static void
choose_together(const struct index_topk *work, struct cpu_pool *pool, struct parts *parts, int32_t *indices)
{
    const uint32_t top_k = work->op->top_k;
    const uint64_t cost = parts->n_entries / parts->n_parts * CHOOSE_COST;
    cpu_pool_run(pool, parts->n_parts, 1, cost, (struct cpu_work){choose_part, parts});
    work->kernels->choose(work->their_scores, parts->n_parts * top_k, top_k, work->chosen, indices);
    for (uint32_t i = 0; i < top_k; i++) {
        indices[i] = work->candidates[indices[i]];
    }
}

/* The group's choices: a query a thread, or all threads for one where its entries are many. */
static void
choose_group(struct index_topk *work, struct cpu_pool *pool, const struct group *group, uint64_t n_entries)
{
    const struct hearth_op_index_topk *op = work->op;
    const uint64_t n_threads = cpu_pool_threads(pool), least = PART_TIMES * ((uint64_t)op->top_k + 1);
    const uint64_t n_parts = n_entries / least < n_threads ? n_entries / least : n_threads;
    if (n_parts < 2 || group->n >= n_threads) {
        cpu_pool_run(pool, group->n, 1, n_entries * CHOOSE_COST, (struct cpu_work){choose_shared, work});
        return;
    }
    for (uint32_t i = 0; i < group->n; i++) {
        const uint64_t token = work->first_token + i;
        struct parts parts = {work, group->queries[i].scores, visible(op, token), n_parts};
        choose_together(work, pool, &parts, work->indices + token * op->top_k);
    }
}

/* Few groups: all threads work at one. */
static void
run_shared(struct index_topk *work, struct cpu_pool *pool, uint64_t cost)
{
    struct group *group = &work->groups[0];
    for (; work->first_token < work->op->n; work->first_token += group->n) {
        uint64_t n_entries;
        prepare_group(work, work->first_token, group, &n_entries);
        if (n_entries > work->op->top_k) {
            cpu_pool_run(pool, n_entries, CPU_INDEX_TILE, cost * group->n, (struct cpu_work){score_shared, work});
        }
        choose_group(work, pool, group, n_entries);
    }
}

static bool
check_topk(struct host_call *call, const struct hearth_op_index_topk *op)
{
    cpu_kv_check(call, op->kv_format, op->width, 0);
    return call->status == 0 && host_call_check(call, op->ratio > 0 && op->n > 0, "ratio and n: 1 or more wanted") &&
           host_call_check(call, op->position < (uint64_t)INT32_MAX - op->n, "position: within 31 bits wanted");
}

/* Places for n queries.  Those that need no scores have none. */
static void
take_queries(struct host_call *call, const struct index_topk *work, struct cpu_index_query *queries, uint32_t n)
{
    const uint32_t width = work->op->width;
    const uint64_t n_blocks = count_blocks(width);
    const uint64_t n_scores = work->max_entries > work->op->top_k ? work->max_entries : 0;
    for (uint32_t i = 0; i < n && n_scores > 0; i++) {
        struct cpu_index_query *query = &queries[i];
        query->stride = ((uint64_t)work->op->n_heads + 15) / 16 * 16;
        query->turned = host_scratch_take(call, width * query->stride, sizeof *query->turned);
        query->codes = (int8_t *)query->turned;
        query->tiles = host_scratch_take(call, width * query->stride, sizeof *query->tiles);
        query->corrections = host_scratch_take(call, n_blocks * query->stride, sizeof *query->corrections);
        query->multipliers = host_scratch_take(call, n_blocks * query->stride, sizeof *query->multipliers);
        query->units = host_scratch_take(call, n_blocks * query->stride, sizeof *query->units);
        query->totals = host_scratch_take(call, query->stride, sizeof *query->totals);
        query->factors = host_scratch_take(call, query->stride, sizeof *query->factors);
        query->joint_factors = host_scratch_take(call, query->stride, sizeof *query->joint_factors);
        query->scores = host_scratch_take(call, n_scores, sizeof *query->scores);
    }
}

static void
take_space(struct host_call *call, struct index_topk *work, uint64_t n_groups)
{
    const uint64_t n_threads = cpu_pool_threads(call->device->pool);
    const uint64_t width = work->op->width;
    work->groups = host_scratch_take(call, n_groups, sizeof *work->groups);
    work->key = host_scratch_take(call, n_threads * width, sizeof *work->key);
    work->bytes = host_scratch_take(call, n_threads * CPU_INDEX_TILE, width);
    work->block_units =
        host_scratch_take(call, n_threads * CPU_INDEX_TILE * count_blocks((uint32_t)width), sizeof *work->block_units);
    work->chosen = host_scratch_take(call, n_threads * 2 * CPU_CHOOSE_ROOM(work->op->top_k), sizeof *work->chosen);
    work->candidates = host_scratch_take(call, n_threads * work->op->top_k, sizeof *work->candidates);
    work->their_scores = host_scratch_take(call, n_threads * work->op->top_k, sizeof *work->their_scores);
    for (uint64_t i = 0; call->status == 0 && i < n_groups; i++) {
        memset(&work->groups[i], 0, sizeof work->groups[i]);
        take_queries(call, work, work->groups[i].queries, work->group_size);
    }
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
    const bool shared = op->n < 2 * CPU_INDEX_QUERIES * n_threads;
    work.group_size = op->n < CPU_INDEX_QUERIES ? op->n : CPU_INDEX_QUERIES;
    take_space(call, &work, shared ? 1 : n_threads);
    if (call->status < 0) {
        return;
    }
    const uint64_t cost = (uint64_t)op->n_heads * op->width / 32;
    if (shared) {
        run_shared(&work, pool, cost);
    } else {
        const uint64_t n_groups = (op->n + work.group_size - 1) / work.group_size;
        cpu_pool_run(pool, n_groups, 1, cost * work.group_size * (1 + work.max_entries),
                     (struct cpu_work){run_groups, &work});
    }
}
