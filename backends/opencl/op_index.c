/* op_index.c - the lightning indexer: its queries, and the choice of the entries that a query attends to
 * (kernels-cl/index.cl and select.cl). */
#include <config.h>

#include <math.h>
#include <stdio.h>

#include "backends/opencl/rows.h"

#define QUERY_ITEMS 64u
#define SELECT_ITEMS 1024u
#define SELECT_ITEMS_CPU 256u
/* As index.cl has them. */
#define SCORE_KEYS 32u /* SCORE_BLOCK of rows.cl */
#define SCORE_HEADS 16u
#define SCORE_KEY_LANES 16u
#define SCORE_HEAD_LANES 8u

/* As index_mma.cl has them; several work-groups of a unit give it something to do when one of them ends. */
#define MMA_WARPS 8u
#define MMA_WIDTH 128u
#define MMA_HEADS 16u
#define MMA_MAX_HEADS 64u
#define MMA_WAVES 4u

/* Scores of so many bytes are kept at once: tokens of a long prompt are scored in slices. */
#define SCORES_BYTES (64u << 20)
#define MAX_SLICE 32768u /* work-groups in one dimension */

struct rows_queries
rows_find_index_queries(struct ocl_call *call, const struct hearth_op_index_query *op)
{
    rows_check(call, HEARTH_KV_F32, op->width, op->rope_dim);
    if (call->status == 0 && call->native && (op->width & (op->width - 1)) != 0) {
        ocl_call_fail(call, HEARTH_EUNSUPPORTED, "width: a power of two wanted for the Hadamard rotation, %u found",
                      op->width);
    }
    return (struct rows_queries){
        .q = ocl_view_f32(call, "q", op->q, (uint64_t)op->n * op->n_heads, op->width),
        .inv_freq = ocl_vector(call, "inv_freq", op->inv_freq, op->rope_dim / 2),
    };
}

void
ocl_index_query(struct ocl_call *call, const struct hearth_op_index_query *op)
{
    char defines[32];
    const uint32_t group = rows_group(call, QUERY_ITEMS);
    const struct rows_queries queries = rows_find_index_queries(call, op);
    snprintf(defines, sizeof defines, "-DGROUP=%u", group);
    struct ocl_kernel *kernel = ocl_kernel(call, "index", defines, "index_query");
    ocl_arg_span(call, kernel, queries.q);
    ocl_arg_span(call, kernel, queries.inv_freq);
    ocl_arg_u64(call, kernel, op->position);
    ocl_arg_u32(call, kernel, op->n_heads);
    ocl_arg_u32(call, kernel, op->width);
    ocl_arg_u32(call, kernel, op->rope_dim);
    ocl_arg_f32(call, kernel, (float)(1.0 / sqrt((double)op->width)));
    ocl_arg_u32(call, kernel, call->native);
    ocl_arg_local(call, kernel, op->width * sizeof(float));
    ocl_arg_local(call, kernel, rows_n_maxima(op->width, 0, true) * sizeof(uint32_t));
    ocl_launch_1d(call, kernel, (uint64_t)op->n * op->n_heads, group);
}

/* Tokens first .. first + n - 1 of the command. */
struct slice {
    struct ocl_span q, head_weights, keys, indices, orders, maxima, list;
    uint64_t row_bytes, max_entries, max_blocks;
    uint32_t first, n;
};

static uint64_t
visible(const struct hearth_op_index_topk *op, uint64_t token)
{
    return (op->position + token + 1) / op->ratio;
}

/* What both kernels of scores begin with. */
static void
arg_slice(struct ocl_call *call, struct ocl_kernel *kernel, const struct hearth_op_index_topk *op,
          const struct slice *slice)
{
    const uint64_t head_bytes = (uint64_t)op->n_heads * sizeof(float);
    ocl_arg_span(call, kernel, ocl_at(slice->q, slice->first * head_bytes * op->width));
    ocl_arg_span(call, kernel, ocl_at(slice->head_weights, slice->first * head_bytes));
    ocl_arg_span(call, kernel, slice->keys);
    ocl_arg_span(call, kernel, slice->orders);
    ocl_arg_span(call, kernel, slice->maxima);
    ocl_arg_u64(call, kernel, op->position + slice->first);
    ocl_arg_u32(call, kernel, op->n_heads);
}

static void
launch_scores(struct ocl_call *call, const struct hearth_op_index_topk *op, const struct slice *slice)
{
    const uint64_t stride = rows_divide_up(op->width, 4) + 1;
    const size_t groups[2] = {(size_t)slice->max_blocks, slice->n};
    const size_t local[2] = {SCORE_KEY_LANES, SCORE_HEAD_LANES};
    struct ocl_kernel *kernel =
        ocl_kernel(call, "index", call->native ? "-DSCORES -DNATIVE" : "-DSCORES", "index_scores");
    arg_slice(call, kernel, op, slice);
    ocl_arg_u32(call, kernel, op->width);
    ocl_arg_u32(call, kernel, op->ratio);
    ocl_arg_u32(call, kernel, op->top_k);
    ocl_arg_u32(call, kernel, (uint32_t)slice->row_bytes);
    ocl_arg_u32(call, kernel, op->kv_format);
    ocl_arg_u32(call, kernel, (uint32_t)slice->max_blocks);
    ocl_arg_f32(call, kernel, (float)(1.0 / sqrt((double)op->width) / sqrt((double)op->n_heads)));
    ocl_arg_local(call, kernel, SCORE_KEYS * stride * 4 * sizeof(float));
    ocl_arg_local(call, kernel, SCORE_HEADS * stride * 4 * sizeof(float));
    ocl_launch(call, kernel, 2, groups, local);
}

/* Whether index_mma.cl can score: by shapes and places (queries are read in sixteens of bytes) alone, so that a token's
 * scores are the same in every command. */
static bool
has_mma(const struct ocl_call *call, const struct hearth_op_index_topk *op, const struct slice *slice)
{
    return call->device->uses_mma && call->native && op->kv_format == HEARTH_KV_PACKED && op->width == MMA_WIDTH &&
           op->n_heads <= MMA_MAX_HEADS && slice->q.offset % 16 == 0;
}

static void
launch_mma(struct ocl_call *call, const struct hearth_op_index_topk *op, const struct slice *slice)
{
    char defines[48];
    const uint64_t n_units = call->device->caps.n_units * (uint64_t)(slice->n > 1 ? MMA_WAVES : 1);
    const uint64_t wanted = rows_divide_up(n_units, slice->n), most = rows_divide_up(slice->max_blocks, MMA_WARPS);
    const size_t groups[2] = {(size_t)(wanted < most ? wanted : most), slice->n};
    const size_t local[2] = {MMA_WARPS * 32u, 1};
    snprintf(defines, sizeof defines, "-DNATIVE -DHEAD_TILES=%u", (uint32_t)rows_divide_up(op->n_heads, MMA_HEADS));
    struct ocl_kernel *kernel = ocl_kernel(call, "index_mma", defines, "index_scores_mma");
    arg_slice(call, kernel, op, slice);
    ocl_arg_u32(call, kernel, op->ratio);
    ocl_arg_u32(call, kernel, op->top_k);
    ocl_arg_u32(call, kernel, (uint32_t)slice->row_bytes);
    ocl_arg_u32(call, kernel, (uint32_t)slice->max_blocks);
    ocl_arg_f32(call, kernel, (float)(1.0 / sqrt((double)op->width) / sqrt((double)op->n_heads)));
    ocl_launch(call, kernel, 2, groups, local);
}

static void
launch_select(struct ocl_call *call, const struct hearth_op_index_topk *op, const struct slice *slice)
{
    char defines[32];
    const uint32_t group = rows_group(call, call->device->caps.is_cpu ? SELECT_ITEMS_CPU : SELECT_ITEMS);
    snprintf(defines, sizeof defines, "-DGROUP=%u%s", group, call->native ? " -DNATIVE" : "");
    struct ocl_kernel *kernel = ocl_kernel(call, "select", defines, "index_select");
    ocl_arg_span(call, kernel, slice->orders);
    ocl_arg_span(call, kernel, slice->maxima);
    ocl_arg_span(call, kernel, slice->list);
    ocl_arg_span(call, kernel, ocl_at(slice->indices, slice->first * (uint64_t)op->top_k * sizeof(int32_t)));
    ocl_arg_u64(call, kernel, op->position + slice->first);
    ocl_arg_u32(call, kernel, op->ratio);
    ocl_arg_u32(call, kernel, op->top_k);
    ocl_arg_u32(call, kernel, (uint32_t)slice->max_blocks);
    ocl_launch_1d(call, kernel, slice->n, group);
}

static void
check_topk(struct ocl_call *call, const struct hearth_op_index_topk *op)
{
    const uint64_t stride = rows_divide_up(op->width, 4) + 1;
    rows_check(call, op->kv_format, op->width, 0);
    rows_check_local(call, "keys", (SCORE_KEYS + SCORE_HEADS) * stride, 4 * sizeof(float));
    ocl_call_check(call, op->ratio > 0 && op->n > 0, "ratio and n: 1 or more wanted");
    ocl_call_check(call, op->position < (uint64_t)INT32_MAX - op->n, "position: within 31 bits wanted");
}

void
ocl_index_topk(struct ocl_call *call, const struct hearth_op_index_topk *op)
{
    check_topk(call, op);
    if (call->status < 0) {
        return;
    }
    struct slice slice = {.row_bytes = hearth_index_row_bytes(op->kv_format, op->width),
                          .max_entries = visible(op, op->n - 1)};
    slice.q = ocl_view_f32(call, "q", op->q, (uint64_t)op->n * op->n_heads, op->width);
    slice.head_weights = ocl_view_f32(call, "head_weights", op->head_weights, op->n, op->n_heads);
    slice.indices = ocl_view(call, "indices", op->indices, op->n, op->top_k, sizeof(int32_t));
    const bool has_scores = slice.max_entries > op->top_k;
    const uint64_t order_bytes = call->native ? sizeof(uint16_t) : sizeof(uint32_t);
    uint64_t at_once = MAX_SLICE;
    if (slice.max_entries > 0) {
        slice.keys = ocl_view(call, "keys", op->keys, slice.max_entries, slice.row_bytes, 1);
        at_once = SCORES_BYTES / sizeof(float) / slice.max_entries;
        at_once = at_once < 1 ? 1 : (at_once > MAX_SLICE ? MAX_SLICE : at_once);
    }
    at_once = at_once < op->n ? at_once : op->n;
    slice.max_blocks = has_scores ? rows_divide_up(slice.max_entries, SCORE_KEYS) : 1;
    slice.orders = ocl_scratch(call, at_once * slice.max_blocks * SCORE_KEYS, order_bytes);
    slice.maxima = ocl_scratch(call, at_once * slice.max_blocks, order_bytes);
    slice.list = ocl_scratch(call, at_once * slice.max_blocks, sizeof(uint32_t));
    for (uint64_t first = 0; first < op->n && call->status == 0; first += at_once) {
        slice.first = (uint32_t)first;
        slice.n = (uint32_t)(op->n - first < at_once ? op->n - first : at_once);
        if (has_scores && has_mma(call, op, &slice)) {
            launch_mma(call, op, &slice);
        } else if (has_scores) {
            launch_scores(call, op, &slice);
        }
        launch_select(call, op, &slice);
    }
}
