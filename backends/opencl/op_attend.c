/* op_attend.c - attention: scores, sums by chunks of keys, and their end (kernels-cl/attend.cl; attend_mma.c has
 * another way where the device multiplies matrices).  Tokens are taken in slices whose scores and sums fit the work
 * space; a token's bits depend on no slice. */
#include <config.h>

#include <math.h>
#include <stdio.h>

#include "backends/opencl/attend.h"
#include "backends/opencl/rows.h"

/* As attend.cl has them. */
#define KEYS 32u
#define DEPTH 64u
#define CHUNK 128u
#define KEY_LANES 16u
#define HEAD_LANES 8u

/* Work space of a slice; a single token may take more. */
#define SPACE_BYTES (64u << 20)
#define MAX_SLICE 32768u /* work-groups in one dimension */
/* Work-groups that a compute unit should have before heads share more of them. */
#define GROUPS_A_UNIT 4u

static void
check_arguments(struct ocl_call *call, const struct hearth_op_attention *op)
{
    const bool has_entries = op->entries.buffer != NULL;
    rows_check(call, op->kv_format, op->head_dim, op->rope_dim);
    ocl_call_check(call, op->n > 0 && op->window > 0, "n and window: 1 or more wanted");
    ocl_call_check(call, op->ring_slots >= (uint64_t)op->window - 1 + op->n,
                   "ring_slots: at least window - 1 + n wanted");
    ocl_call_check(call, op->position < UINT64_MAX - op->n, "position: too large");
    ocl_call_check(call, !has_entries || op->ratio > 0, "ratio: 1 or more wanted with entries");
    ocl_call_check(call, has_entries || op->indices.buffer == NULL, "indices given without entries");
}

static uint64_t
visible(const struct hearth_op_attention *op)
{
    return op->entries.buffer == NULL ? 0 : (op->position + op->n) / op->ratio;
}

/* Keys of the last token, which has most. */
static uint64_t
count_keys(struct ocl_call *call, const struct hearth_op_attention *op)
{
    const uint64_t end = op->position + op->n;
    const uint64_t in_window = end < op->window ? end : op->window;
    const uint64_t n_keys = in_window + (op->indices.buffer != NULL ? op->top_k : visible(op));
    ocl_call_check(call, n_keys < INT32_MAX, "keys of a token: within 31 bits wanted");
    return n_keys;
}

void
ocl_attend_rows(struct ocl_call *call, const struct hearth_op_attention *op, const struct attend *work,
                struct ocl_kernel *kernel)
{
    ocl_arg_span(call, kernel, work->ring);
    ocl_arg_span(call, kernel, work->entries);
    ocl_arg_span(call, kernel,
                 work->indices.mem == NULL
                     ? work->indices
                     : ocl_at(work->indices, work->first * (uint64_t)op->top_k * sizeof(int32_t)));
    ocl_arg_u64(call, kernel, op->position + work->first);
    ocl_arg_u32(call, kernel, op->window);
    ocl_arg_u32(call, kernel, op->ring_slots);
    ocl_arg_u32(call, kernel, op->ratio);
    ocl_arg_u32(call, kernel, op->top_k);
    ocl_arg_u32(call, kernel, (uint32_t)work->row_bytes);
}

static void
add_keys(struct ocl_call *call, const struct hearth_op_attention *op, const struct attend *work,
         struct ocl_kernel *kernel)
{
    ocl_attend_rows(call, op, work, kernel);
    ocl_arg_u32(call, kernel, op->head_dim);
    ocl_arg_u32(call, kernel, op->rope_dim);
    ocl_arg_u32(call, kernel, op->kv_format);
}

static void
launch_scores(struct ocl_call *call, const struct hearth_op_attention *op, const struct attend *work)
{
    const uint64_t token_bytes = (uint64_t)op->n_heads * op->head_dim * sizeof(float);
    const size_t groups[3] = {work->n_tiles, (size_t)rows_divide_up(op->n_heads, HEAD_LANES * work->head_steps),
                              work->n};
    const size_t local[3] = {KEY_LANES, HEAD_LANES, 1};
    struct ocl_kernel *kernel = ocl_kernel(call, "attend", work->defines, "attend_scores");
    ocl_arg_span(call, kernel, ocl_at(work->q, work->first * token_bytes));
    add_keys(call, op, work, kernel);
    ocl_arg_span(call, kernel, work->scores);
    ocl_arg_span(call, kernel, work->maxima);
    ocl_arg_u32(call, kernel, op->n_heads);
    ocl_arg_u32(call, kernel, work->max_keys);
    ocl_arg_u32(call, kernel, work->n_tiles);
    ocl_arg_f32(call, kernel, (float)(1.0 / sqrt((double)op->head_dim)));
    ocl_launch(call, kernel, 3, groups, local);
}

static void
launch_sums(struct ocl_call *call, const struct hearth_op_attention *op, const struct attend *work)
{
    const size_t groups[3] = {work->n_chunks * (size_t)rows_divide_up(op->head_dim, DEPTH),
                              (size_t)rows_divide_up(op->n_heads, HEAD_LANES * work->head_steps), work->n};
    const size_t local[3] = {KEY_LANES, HEAD_LANES, 1};
    struct ocl_kernel *kernel = ocl_kernel(call, "attend", work->defines, "attend_sums");
    add_keys(call, op, work, kernel);
    ocl_arg_span(call, kernel, work->scores);
    ocl_arg_span(call, kernel, work->maxima);
    ocl_arg_span(call, kernel, work->parts);
    ocl_arg_span(call, kernel, work->weights);
    ocl_arg_span(call, kernel, work->largest);
    ocl_arg_u32(call, kernel, op->n_heads);
    ocl_arg_u32(call, kernel, work->max_keys);
    ocl_arg_u32(call, kernel, work->n_tiles);
    ocl_arg_u32(call, kernel, work->n_chunks);
    ocl_arg_u32(call, kernel, call->native);
    ocl_launch(call, kernel, 3, groups, local);
}

void
ocl_attend_finish(struct ocl_call *call, const struct hearth_op_attention *op, const struct attend *work)
{
    const uint64_t token_bytes = (uint64_t)op->n_heads * op->head_dim * sizeof(float);
    const uint32_t entries = op->entries.buffer == NULL ? 0 : (op->indices.buffer == NULL ? 1 : 2);
    const size_t groups[2] = {op->n_heads, work->n};
    const size_t local[2] = {KEY_LANES * HEAD_LANES, 1};
    struct ocl_kernel *kernel = ocl_kernel(call, "attend", work->defines, "attend_finish");
    ocl_arg_span(call, kernel, work->parts);
    ocl_arg_span(call, kernel, work->weights);
    ocl_arg_span(call, kernel, work->largest);
    ocl_arg_span(call, kernel, work->sinks);
    ocl_arg_span(call, kernel, work->inv_freq);
    ocl_arg_span(call, kernel, ocl_at(work->o, work->first * token_bytes));
    ocl_arg_u64(call, kernel, op->position + work->first);
    ocl_arg_u32(call, kernel, op->window);
    ocl_arg_u32(call, kernel, op->ratio);
    ocl_arg_u32(call, kernel, op->top_k);
    ocl_arg_u32(call, kernel, entries);
    ocl_arg_u32(call, kernel, op->n_heads);
    ocl_arg_u32(call, kernel, work->n_rows);
    ocl_arg_u32(call, kernel, op->head_dim);
    ocl_arg_u32(call, kernel, op->rope_dim);
    ocl_arg_u32(call, kernel, work->n_chunks);
    ocl_arg_u32(call, kernel, call->native);
    ocl_arg_local(call, kernel, op->head_dim * sizeof(float));
    ocl_launch(call, kernel, 2, groups, local);
}

/* Heads that share an unpacked row: few as long as the device has units without work. */
static uint32_t
choose_steps(const struct ocl_call *call, const struct hearth_op_attention *op, const struct attend *work)
{
    const uint64_t groups = (uint64_t)op->n * work->n_tiles * rows_divide_up(op->n_heads, 4 * HEAD_LANES);
    return groups >= (uint64_t)GROUPS_A_UNIT * call->device->caps.n_units && op->n_heads > 2 * HEAD_LANES ? 4 : 2;
}

static void
run(struct ocl_call *call, const struct hearth_op_attention *op, struct attend *work, uint64_t n_keys)
{
    work->n_tiles = (uint32_t)rows_divide_up(n_keys, KEYS);
    work->n_chunks = (uint32_t)rows_divide_up(n_keys, CHUNK);
    work->max_keys = work->n_tiles * KEYS;
    work->n_rows = op->n_heads;
    const uint64_t n_parts = (uint64_t)work->n_chunks * op->n_heads;
    const uint64_t floats =
        (uint64_t)op->n_heads * ((uint64_t)work->max_keys + work->n_tiles + 1) + n_parts * ((uint64_t)op->head_dim + 1);
    uint64_t at_once = SPACE_BYTES / sizeof(float) / floats;
    at_once = at_once < 1 ? 1 : (at_once > MAX_SLICE ? MAX_SLICE : at_once);
    at_once = at_once < op->n ? at_once : op->n;
    work->scores = ocl_scratch(call, at_once * op->n_heads, work->max_keys * sizeof(float));
    work->maxima = ocl_scratch(call, at_once * op->n_heads, work->n_tiles * sizeof(float));
    work->largest = ocl_scratch(call, at_once, op->n_heads * sizeof(float));
    work->parts = ocl_scratch(call, at_once * n_parts, op->head_dim * sizeof(float));
    work->weights = ocl_scratch(call, at_once, n_parts * sizeof(float));
    work->head_steps = choose_steps(call, op, work);
    snprintf(work->defines, sizeof work->defines, "-DHEAD_STEPS=%u", work->head_steps);
    for (uint64_t first = 0; first < op->n && call->status == 0; first += at_once) {
        work->first = (uint32_t)first;
        work->n = (uint32_t)(op->n - first < at_once ? op->n - first : at_once);
        launch_scores(call, op, work);
        launch_sums(call, op, work);
        ocl_attend_finish(call, op, work);
    }
}

void
ocl_attention(struct ocl_call *call, const struct hearth_op_attention *op)
{
    const uint64_t n_heads = (uint64_t)op->n * op->n_heads;
    struct attend work = {.row_bytes = hearth_kv_row_bytes(op->kv_format, op->head_dim, op->rope_dim)};
    check_arguments(call, op);
    if (call->status < 0) {
        return;
    }
    const uint64_t used_slots = op->position + op->n < op->ring_slots ? op->position + op->n : op->ring_slots;
    const uint64_t n_keys = count_keys(call, op);
    work.q = ocl_view_f32(call, "q", op->q, n_heads, op->head_dim);
    work.o = ocl_view_f32(call, "o", op->o, n_heads, op->head_dim);
    work.ring = ocl_view(call, "ring", op->ring, used_slots, work.row_bytes, 1);
    if (visible(op) > 0) {
        work.entries = ocl_view(call, "entries", op->entries, visible(op), work.row_bytes, 1);
    }
    if (op->indices.buffer != NULL) {
        work.indices = ocl_view(call, "indices", op->indices, op->n, op->top_k, sizeof(int32_t));
    }
    work.sinks = ocl_vector(call, "sinks", op->sinks, op->n_heads);
    work.inv_freq = ocl_vector(call, "inv_freq", op->inv_freq, op->rope_dim / 2);
    if (call->status == 0 && ocl_attend_has_mma(call, op, &work)) {
        ocl_attend_mma(call, op, &work, n_keys);
    } else if (call->status == 0) {
        run(call, op, &work, n_keys);
    }
}
