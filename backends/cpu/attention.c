/* attention.c - one softmax over window rows and compressed entries, with a sink in the denominator.
 *
 * The stored rows that a token sees are listed: window rows by age, oldest first, then entries ascending.  Three steps
 * follow (k_attend.c): scores by tiles of keys, weights by tiles of keys, sums by columns.  Of many tokens each is one
 * thread's; of few, all threads take each token's steps together.  Both give the same bits.  Scores are kept for as
 * many heads as fit SCORES_BYTES, however long the context is. */
#include <math.h>

#include "backends/cpu/kernels.h"

#define SCORES_BYTES (4ull << 20)
#define COLUMNS 128u /* of values that meet all keys at once, at most and at least */
#define LEAST_COLUMNS 32u
#define WEIGH_COST 12u /* an exponential */
#define TURN_COST UINT64_C(32)

/* A token's rows and its heads, and what the steps keep of them: one a thread, or one that all threads share. */
struct scene {
    struct cpu_attend attend;
    const unsigned char **rows; /* [max_keys] */
    float *q;                   /* that of attend */
    uint64_t columns, heads;    /* of an item of the last step */
};

struct attention {
    const struct cpu_kernels *kernels;
    bool native;
    const float *q, *sinks;
    const float *angles; /* [n][rope_dim] */
    float *o;
    const unsigned char *ring, *entries;
    const int32_t *indices; /* [n][top_k], or NULL */
    uint64_t row_bytes;
    uint64_t max_keys;
    uint32_t group;       /* heads at once */
    struct scene *scenes; /* [threads], or the one */
    float *work;          /* [threads][work_floats] */
    uint64_t work_floats;
    const struct hearth_op_attention *op;
};

static uint64_t
padded16(uint64_t n)
{
    return (n + 15) / 16 * 16;
}

/* At least so many, as attend_sum takes them together. */
static uint64_t
padded_heads(uint64_t n)
{
    return (n + CPU_HEADS_AT_ONCE - 1) / CPU_HEADS_AT_ONCE * CPU_HEADS_AT_ONCE;
}

static uint64_t
visible(const struct hearth_op_attention *op, uint64_t position)
{
    return op->entries.buffer == NULL ? 0 : (position + 1) / op->ratio;
}

/* Lists the rows that token t sees and returns how many. */
static uint64_t
list_rows(const struct attention *work, uint64_t t, const unsigned char **rows)
{
    const struct hearth_op_attention *op = work->op;
    const uint64_t position = op->position + t;
    const uint64_t oldest = position + 1 > op->window ? position + 1 - op->window : 0;
    const uint64_t n_visible = visible(op, position);
    const uint64_t n_listed = work->indices == NULL ? n_visible : op->top_k;
    uint64_t n = 0;
    for (uint64_t p = oldest; p <= position; p++) {
        rows[n++] = work->ring + p % op->ring_slots * work->row_bytes;
    }
    for (uint64_t i = 0; i < n_listed; i++) {
        const int64_t entry = work->indices == NULL ? (int64_t)i : work->indices[t * op->top_k + i];
        if (entry >= 0 && (uint64_t)entry < n_visible && n < work->max_keys) {
            rows[n++] = work->entries + (uint64_t)entry * work->row_bytes;
        }
    }
    return n;
}

static uint64_t
count_tiles(uint64_t n_keys)
{
    return (n_keys + CPU_KEY_TILE - 1) / CPU_KEY_TILE;
}

/* Heads first .. first + group - 1 of token t, whose rows are listed. */
static void
set_scene(const struct attention *work, struct scene *scene, uint64_t t, uint32_t first)
{
    const struct hearth_op_attention *op = work->op;
    const uint64_t at = (t * op->n_heads + first) * op->head_dim;
    const uint32_t left = op->n_heads - first;
    struct cpu_attend *attend = &scene->attend;
    attend->n_heads = left < work->group ? left : work->group;
    attend->stride = padded16(attend->n_heads);
    attend->o = work->o + at;
    work->kernels->attend_turn(attend, work->q + at, scene->q);
}

/* The greatest scores of all tiles, which other threads have just written: read in the order in which they lie. */
static void
find_most(const struct cpu_attend *attend)
{
    const float *greatest = attend->greatest;
    for (uint64_t head = 0; head < attend->stride; head++) {
        attend->most[head] = -INFINITY;
    }
    for (uint64_t tile = 0; tile < count_tiles(attend->n_keys); tile++, greatest += attend->stride) {
        for (uint64_t head = 0; head < attend->stride; head++) {
            attend->most[head] = greatest[head] > attend->most[head] ? greatest[head] : attend->most[head];
        }
    }
}

/* Totals of all tiles are added to those of the first.  A loud sink makes a denominator larger than f32 can hold. */
static void
find_denominators(const struct cpu_attend *attend, const float *sinks)
{
    float *all = attend->totals;
    const float *own = all + attend->stride;
    for (uint64_t tile = 1; tile < count_tiles(attend->n_keys); tile++, own += attend->stride) {
        for (uint64_t head = 0; head < attend->stride; head++) {
            all[head] += own[head];
        }
    }
    for (uint32_t head = 0; head < attend->n_heads; head++) {
        attend->denominators[head] = (double)all[head] + exp((double)sinks[head] - (double)attend->most[head]);
    }
}

/* A scene with this thread's work space. */
static struct cpu_attend
seen_by(const struct attention *work, const struct scene *scene, uint32_t thread)
{
    struct cpu_attend attend = scene->attend;
    attend.keys = work->work + thread * work->work_floats;
    return attend;
}

struct shared {
    const struct attention *attention;
    const struct scene *scene;
    uint64_t token;
};

/* item: tile */
static void
score_tiles(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct shared *shared = context;
    const struct cpu_attend attend = seen_by(shared->attention, shared->scene, thread);
    shared->attention->kernels->attend_scores(&attend, begin, end);
}

/* item: tile */
static void
weigh_tiles(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct shared *shared = context;
    (void)thread;
    shared->attention->kernels->attend_weigh(&shared->scene->attend, begin, end);
}

/* Parts of the heads in the last step. */
static uint64_t
count_parts(const struct scene *scene)
{
    return (scene->attend.stride + scene->heads - 1) / scene->heads;
}

/* item: columns, and which part of the heads */
static void
sum_columns(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct shared *shared = context;
    const struct scene *scene = shared->scene;
    const uint64_t columns = scene->columns, n_parts = count_parts(scene);
    struct cpu_attend attend = seen_by(shared->attention, scene, thread);
    for (uint64_t item = begin; item < end; item++) {
        const uint64_t first = item / n_parts * columns, last = first + columns;
        const uint64_t end_head = (item % n_parts + 1) * scene->heads;
        attend.first_head = item % n_parts * scene->heads;
        attend.end_head = end_head < attend.stride ? end_head : attend.stride;
        shared->attention->kernels->attend_sum(&attend, first, last < attend.width ? last : attend.width);
    }
}

/* item: head */
static void
turn_heads(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct shared *shared = context;
    const struct attention *work = shared->attention;
    const struct cpu_attend *attend = &shared->scene->attend;
    (void)thread;
    for (uint64_t h = begin; h < end; h++) {
        work->kernels->turn(work->native, attend->o + (h + 1) * attend->head_dim - attend->rope_dim,
                            work->angles + shared->token * attend->rope_dim, attend->rope_dim);
    }
}

/* All items of a step: the pool's threads', or without a pool this thread's. */
static void
run_step(struct cpu_pool *pool, uint64_t n_items, uint64_t cost, struct cpu_work step, uint32_t thread)
{
    if (pool == NULL) {
        step.run(step.context, 0, n_items, thread);
    } else {
        cpu_pool_run(pool, n_items, 1, cost, step);
    }
}

/* A token's queries decide for all its heads: what is in a group hangs on other tokens. */
static bool
can_be_tiled(const struct attention *work, uint64_t t)
{
    const struct hearth_op_attention *op = work->op;
    const uint64_t n = (uint64_t)op->n_heads * op->head_dim;
    return work->native && op->kv_format == HEARTH_KV_PACKED && work->kernels->attend_fits != NULL &&
           work->kernels->attend_fits(work->q + t * n, n);
}

/* One token; pool: its threads work together, NULL: it is this thread's. */
static void
attend_token(const struct attention *work, struct scene *scene, uint64_t t, struct cpu_pool *pool, uint32_t thread)
{
    const struct hearth_op_attention *op = work->op;
    struct cpu_attend *attend = &scene->attend;
    struct shared shared = {work, scene, t};
    attend->n_keys = list_rows(work, t, scene->rows);
    attend->is_tiled = can_be_tiled(work, t);
    const uint64_t n_tiles = count_tiles(attend->n_keys);
    const uint64_t n_columns = (attend->width + scene->columns - 1) / scene->columns;
    for (uint32_t first = 0; first < op->n_heads; first += work->group) {
        set_scene(work, scene, t, first);
        const uint64_t n_parts = count_parts(scene), cost = CPU_KEY_TILE * attend->stride; /* of a tile */
        run_step(pool, n_tiles, cost * attend->width / 8, (struct cpu_work){score_tiles, &shared}, thread);
        find_most(attend);
        run_step(pool, n_tiles, cost * WEIGH_COST, (struct cpu_work){weigh_tiles, &shared}, thread);
        find_denominators(attend, work->sinks + first);
        run_step(pool, n_columns * n_parts, cost * n_tiles * scene->columns / 8 / n_parts,
                 (struct cpu_work){sum_columns, &shared}, thread);
        run_step(pool, attend->n_heads, op->rope_dim * TURN_COST, (struct cpu_work){turn_heads, &shared}, thread);
    }
}

/* item: token */
static void
attend_tokens(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct attention *work = context;
    for (uint64_t t = begin; t < end; t++) {
        attend_token(work, &work->scenes[thread], t, NULL, thread);
    }
}

static bool
check_arguments(struct host_call *call, const struct hearth_op_attention *op)
{
    const bool has_entries = op->entries.buffer != NULL;
    cpu_kv_check(call, op->kv_format, op->head_dim, op->rope_dim);
    return call->status == 0 && host_call_check(call, op->n > 0 && op->window > 0, "n and window: 1 or more wanted") &&
           host_call_check(call, op->ring_slots >= (uint64_t)op->window - 1 + op->n,
                           "ring_slots: at least window - 1 + n wanted") &&
           host_call_check(call, op->position < UINT64_MAX - op->n, "position: too large") &&
           host_call_check(call, !has_entries || op->ratio > 0, "ratio: 1 or more wanted with entries") &&
           host_call_check(call, has_entries || op->indices.buffer == NULL, "indices given without entries");
}

/* Rows that any query of the command sees at once: bounds for the work space. */
static uint64_t
count_keys(const struct hearth_op_attention *op)
{
    const uint64_t last = op->position + op->n - 1;
    const uint64_t in_window = last + 1 < op->window ? last + 1 : op->window;
    const uint64_t n_visible = visible(op, last);
    const bool listed = op->indices.buffer != NULL && op->top_k < n_visible;
    return in_window + (listed ? op->top_k : n_visible);
}

/* As many heads at once as the scores have room for. */
static uint32_t
heads_at_once(const struct hearth_op_attention *op, uint64_t max_keys)
{
    const uint64_t fit = SCORES_BYTES / sizeof(float) / (count_tiles(max_keys) * CPU_KEY_TILE) / 32 * 32;
    return fit < 32 ? 32 : (fit < op->n_heads ? (uint32_t)fit : op->n_heads);
}

static void
take_scene(struct host_call *call, const struct attention *work, struct scene *scene)
{
    const struct hearth_op_attention *op = work->op;
    const uint64_t stride = padded16(work->group), n_tiles = count_tiles(work->max_keys);
    struct cpu_attend *attend = &scene->attend;
    *attend = (struct cpu_attend){.head_dim = op->head_dim,
                                  .rope_dim = op->rope_dim,
                                  .format = op->kv_format,
                                  .native = work->native,
                                  .width = padded16(op->head_dim)};
    scene->rows = host_scratch_take(call, work->max_keys, sizeof *scene->rows);
    scene->q = host_scratch_take(call, stride * attend->width, sizeof *scene->q);
    attend->rows = scene->rows;
    attend->q = scene->q;
    attend->scores = host_scratch_take(call, n_tiles * CPU_KEY_TILE * stride, sizeof *attend->scores);
    attend->greatest = host_scratch_take(call, n_tiles * stride, sizeof *attend->greatest);
    attend->totals = host_scratch_take(call, n_tiles * stride, sizeof *attend->totals);
    attend->most = host_scratch_take(call, stride, sizeof *attend->most);
    attend->denominators = host_scratch_take(call, stride, sizeof *attend->denominators);
}

static void
run(struct host_call *call, struct attention *work)
{
    const struct hearth_op_attention *op = work->op;
    struct cpu_pool *pool = call->device->pool;
    const uint32_t n_threads = cpu_pool_threads(pool);
    const uint64_t width = padded16(op->head_dim);
    const bool together = op->n < 2 * n_threads;
    const uint64_t n_scenes = together ? 1 : n_threads;
    uint64_t columns = padded16(width / (2 * (uint64_t)n_threads)); /* two items a thread */
    const bool has_tiles = work->kernels->attend_fits != NULL; /* they decode whole blocks */
    const uint64_t least = has_tiles ? HOST_KV_BLOCK : LEAST_COLUMNS;
    columns = !together || columns > COLUMNS ? COLUMNS : (columns < least ? least : columns);
    work->max_keys = count_keys(op);
    work->group = heads_at_once(op, work->max_keys);
    /* fewer columns than threads: half the heads for each, who then read half of the weights */
    const bool in_parts = together && (width + columns - 1) / columns < n_threads;
    const uint64_t heads = padded_heads(in_parts ? (work->group + 1) / 2 : work->group);
    work->work_floats = CPU_KEY_TILE * (width + CPU_ATTEND_SKEW + columns) + padded16(work->group) * columns;
    work->work = host_scratch_take(call, n_threads * work->work_floats, sizeof *work->work);
    work->scenes = host_scratch_take(call, n_scenes, sizeof *work->scenes);
    for (uint64_t i = 0; call->status == 0 && i < n_scenes; i++) {
        take_scene(call, work, &work->scenes[i]);
        work->scenes[i].columns = columns;
        work->scenes[i].heads = heads;
    }
    for (uint64_t t = 0; call->status == 0 && together && t < op->n; t++) {
        attend_token(work, &work->scenes[0], t, pool, 0);
    }
    if (call->status == 0 && !together) {
        cpu_pool_run(pool, op->n, 1, work->max_keys * width * op->n_heads / 4, (struct cpu_work){attend_tokens, work});
    }
}

void
cpu_attention(struct host_call *call, const struct hearth_op_attention *op)
{
    if (!check_arguments(call, op)) {
        return;
    }
    const uint64_t n_heads = (uint64_t)op->n * op->n_heads;
    const uint64_t n_entries = visible(op, op->position + op->n - 1);
    const uint64_t used_slots = op->position + op->n < op->ring_slots ? op->position + op->n : op->ring_slots;
    struct attention work = {.kernels = call->device->kernels, .native = call->native, .op = op};
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
    const float *inv_freq = host_vector(call, "inv_freq", op->inv_freq, op->rope_dim / 2);
    if (call->status == 0) {
        work.angles = cpu_angles_take(call, inv_freq, op->rope_dim, op->position, op->n, 1, -1);
    }
    if (call->status == 0) {
        run(call, &work);
    }
}
