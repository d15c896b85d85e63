/* attention.c - one softmax over window rows and compressed entries, with a sink in the denominator.
 *
 * An item is one token and a few of its heads.  The stored rows it sees are listed once a token: window rows by age,
 * oldest first, then entries ascending.  The kernel unpacks them tile by tile (k_attend.c). */
#include "backends/cpu/kernels.h"

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
    uint64_t n_groups;          /* of heads */
    uint32_t group;             /* heads in one */
    const unsigned char **rows; /* [threads][max_keys] */
    float *work;                /* [threads][work_floats] */
    uint64_t work_floats;
    const struct hearth_op_attention *op;
};

static uint64_t
padded16(uint64_t n)
{
    return (n + 15) / 16 * 16;
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

static void
attend_group(const struct attention *work, uint64_t t, uint32_t first, const unsigned char **rows, uint64_t n_keys,
             uint32_t thread)
{
    const struct hearth_op_attention *op = work->op;
    const uint64_t at = (t * op->n_heads + first) * op->head_dim;
    const uint64_t width = padded16(op->head_dim);
    const uint32_t left = op->n_heads - first;
    struct cpu_attend attend = {
        .q = work->q + at,
        .o = work->o + at,
        .sinks = work->sinks + first,
        .rows = rows,
        .n_keys = n_keys,
        .n_heads = left < work->group ? left : work->group,
        .head_dim = op->head_dim,
        .rope_dim = op->rope_dim,
        .format = op->kv_format,
        .native = work->native,
        .keys = work->work + thread * work->work_floats,
    };
    attend.padded_q = attend.keys + CPU_KEY_TILE * width;
    attend.sums = attend.padded_q + work->group * width;
    attend.weights = attend.sums + work->group * width;
    work->kernels->attend(&attend);
    for (uint32_t h = 0; h < attend.n_heads; h++) {
        work->kernels->turn(work->native, attend.o + (uint64_t)(h + 1) * op->head_dim - op->rope_dim,
                            work->angles + t * op->rope_dim, op->rope_dim);
    }
}

/* item: token * n_groups + group of heads */
static void
attend_items(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct attention *work = context;
    const unsigned char **rows = work->rows + thread * work->max_keys;
    uint64_t listed = UINT64_MAX;
    uint64_t n_keys = 0;
    for (uint64_t item = begin; item < end; item++) {
        const uint64_t t = item / work->n_groups;
        if (t != listed) {
            n_keys = list_rows(work, t, rows);
            listed = t;
        }
        attend_group(work, t, (uint32_t)(item % work->n_groups * work->group), rows, n_keys, thread);
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

/* Heads in a group: as many as the kernel takes, but few enough that one token has work for every thread. */
static uint32_t
heads_at_once(const struct hearth_op_attention *op, uint32_t n_threads)
{
    const uint64_t wanted = (uint64_t)op->n_heads * op->n / n_threads;
    uint32_t group = 2;
    while (group < CPU_HEADS && 2 * (uint64_t)group <= wanted) {
        group *= 2;
    }
    return group;
}

static void
run(struct host_call *call, struct attention *work)
{
    const struct hearth_op_attention *op = work->op;
    const uint32_t n_threads = cpu_pool_threads(call->device->pool);
    const uint64_t width = padded16(op->head_dim);
    work->max_keys = count_keys(op);
    work->group = heads_at_once(op, n_threads);
    work->n_groups = (op->n_heads + work->group - 1) / work->group;
    work->work_floats = (CPU_KEY_TILE + 2 * work->group) * width + work->group * padded16(work->max_keys);
    work->rows = host_scratch_take(call, n_threads * work->max_keys, sizeof *work->rows);
    work->work = host_scratch_take(call, n_threads * work->work_floats, sizeof *work->work);
    if (call->status == 0) {
        cpu_pool_run(call->device->pool, op->n * work->n_groups, 1, work->max_keys * width * work->group / 4,
                     (struct cpu_work){attend_items, work});
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
