/* op_mhc.c - manifold-constrained hyper-connections: the collapse before a sublayer and before the head
 * (kernels-cl/mhc.cl, collapse.cl). */
#include <config.h>

#include <stdio.h>

#include "backends/opencl/between.h"
#include "backends/opencl/rows.h"

#define DOT_ITEMS 64u
#define DOT_ITEMS_NVIDIA 32u /* a warp: sums need no barrier */
#define COLLAPSE_ITEMS 512u
#define COLLAPSE_ITEMS_CPU 256u
#define COMB_LANES 32u    /* as collapse.cl has it */
#define MAX_STREAMS 1024u /* keeps (2 + S) S within 32 bits */

/* With this many tokens there are work-groups enough for tiles of rows and tokens. */
#define TILED_TOKENS 16u
#define TILE_ROWS 8u
#define TILE_ROWS_NVIDIA 24u /* of a V4 all: streams are read once */
#define TILE_TOKENS 4u

uint32_t
ocl_dot_items(const struct ocl_call *call)
{
    return rows_group(call, call->device->caps.is_nvidia ? DOT_ITEMS_NVIDIA : DOT_ITEMS);
}

uint32_t
ocl_collapse_items(const struct ocl_call *call)
{
    return rows_group(call, call->device->caps.is_cpu ? COLLAPSE_ITEMS_CPU : COLLAPSE_ITEMS);
}

static uint32_t
tile_rows(const struct ocl_call *call, uint64_t n_rows)
{
    const uint32_t most = call->device->caps.is_nvidia ? TILE_ROWS_NVIDIA : TILE_ROWS;
    return n_rows <= 4 ? 4 : n_rows < most ? (uint32_t)rows_divide_up(n_rows, 8) * 8 : most;
}

static void
launch_dots(struct ocl_call *call, const struct ocl_collapse *work, uint32_t index)
{
    char defines[160];
    const struct ocl_part *part = &work->fn->parts[index];
    const bool is_tiled = work->n >= TILED_TOKENS, has_squares = index == 0;
    const uint32_t rows = is_tiled ? tile_rows(call, part->n_rows) : 1, tokens = is_tiled ? TILE_TOKENS : 1;
    const uint32_t group = ocl_dot_items(call);
    const uint32_t n_in = work->n_streams * work->dim;
    const bool is_whole = n_in % OCL_DOT_PIECE == 0 && ocl_is_aligned(work->streams) && ocl_is_aligned(part->data);
    const size_t row_groups = (size_t)rows_divide_up(part->n_rows, rows) + (has_squares && !is_tiled);
    const size_t groups[3] = {work->n_pieces, row_groups, (size_t)rows_divide_up(work->n, tokens)};
    const size_t local[3] = {group, 1, 1};
    snprintf(defines, sizeof defines,
             "-DDTYPE=%u -DROWS=%u -DTOKENS=%u -DGROUP=%u -DPIECE=%u -DPIECES=%u -DN_ROWS=%uu -DCOLS=%uu%s",
             work->fn->dtype, rows, tokens, group, OCL_DOT_PIECE, work->n_pieces, (uint32_t)part->n_rows, n_in,
             is_whole ? " -DWHOLE" : "");
    struct ocl_kernel *kernel = ocl_kernel(call, "mhc", defines, "mhc_dots");
    ocl_arg_span(call, kernel, work->streams);
    ocl_arg_span(call, kernel, part->data);
    ocl_arg_span(call, kernel, work->parts);
    ocl_arg_u32(call, kernel, work->n);
    ocl_arg_u32(call, kernel, work->n_mix);
    ocl_arg_u32(call, kernel, (uint32_t)part->first_row);
    ocl_arg_u32(call, kernel, has_squares);
    ocl_launch(call, kernel, 3, groups, local);
}

static void
launch_collapse(struct ocl_call *call, const struct ocl_collapse *work)
{
    char defines[128];
    const bool has_comb = work->comb.mem != NULL;
    const uint32_t group = ocl_collapse_items(call);
    const uint64_t n_comb = (uint64_t)work->n_streams * work->n_streams; /* elements of a token's */
    const uint32_t n_teams = n_comb + work->n_streams <= COMB_LANES && group >= COMB_LANES ? group / COMB_LANES : 1;
    const uint64_t space = has_comb ? n_teams * 2 * n_comb : work->n_streams;
    const uint32_t n_combs = has_comb ? (uint32_t)rows_divide_up(work->n, n_teams) : 0;
    const bool is_whole = work->dim % 4 == 0 && ocl_is_aligned(work->streams) && ocl_is_aligned(work->norm) &&
                          ocl_is_aligned(work->normed);
    const size_t groups[1] = {(size_t)n_combs + work->n}, local[1] = {group};
    snprintf(defines, sizeof defines, "-DSTREAMS=%u -DGROUP=%u -DDIM=%uu -DPIECES=%u%s%s", work->n_streams, group,
             work->dim, work->n_pieces, is_whole ? " -DWHOLE" : "", call->native ? " -DNATIVE" : "");
    struct ocl_kernel *kernel = ocl_kernel(call, "collapse", defines, "mhc_collapse");
    ocl_arg_span(call, kernel, work->streams);
    ocl_arg_span(call, kernel, work->parts);
    ocl_arg_span(call, kernel, work->base);
    ocl_arg_span(call, kernel, work->scale);
    ocl_arg_span(call, kernel, work->norm);
    ocl_arg_span(call, kernel, work->normed);
    ocl_arg_span(call, kernel, work->post);
    ocl_arg_span(call, kernel, work->comb);
    ocl_arg_u32(call, kernel, work->n);
    ocl_arg_u32(call, kernel, n_combs);
    ocl_arg_u32(call, kernel, work->n_mix);
    ocl_arg_u32(call, kernel, work->n_sinkhorn);
    ocl_arg_f32(call, kernel, work->norm_eps);
    ocl_arg_f32(call, kernel, work->hc_eps);
    ocl_arg_local(call, kernel, space * sizeof(float));
    ocl_launch(call, kernel, 1, groups, local);
}

/* The products that are to be made, checked; false after a failure. */
static bool
find_products(struct ocl_call *call, const struct hearth_weight *fn, struct ocl_collapse *work)
{
    const uint64_t n_in = (uint64_t)work->n_streams * work->dim;
    ocl_call_check(call, n_in <= UINT32_MAX - OCL_DOT_PIECE, "n_streams * dim: within 32 bits wanted");
    work->fn = ocl_weight(call, "fn", fn, 0, work->n_mix, n_in);
    work->n_pieces = (uint32_t)rows_divide_up(n_in, OCL_DOT_PIECE);
    if (call->status == 0 && work->fn->dtype != HEARTH_F32 && work->fn->dtype != HEARTH_BF16) {
        ocl_call_fail(call, HEARTH_EUNSUPPORTED, "fn: f32 or bf16 wanted, type %u found", work->fn->dtype);
    }
    if (call->status == 0) {
        work->parts = ocl_scratch(call, (uint64_t)work->n * (work->n_mix + 1), work->n_pieces * sizeof(float));
    }
    return call->status == 0;
}

static void
launch(struct ocl_call *call, const struct ocl_collapse *work)
{
    for (uint32_t i = 0; i < work->fn->n_parts; i++) {
        launch_dots(call, work, i);
    }
    launch_collapse(call, work);
}

bool
ocl_collapse_find(struct ocl_call *call, const struct hearth_op_mhc_pre *op, struct ocl_collapse *ret_work)
{
    const uint64_t n_streams = op->n_streams, n_in = n_streams * op->dim;
    if (!ocl_call_check(call, n_streams > 0 && n_streams <= MAX_STREAMS, "n_streams: 1 .. 1024 wanted") ||
        !ocl_call_check(call, op->n_sinkhorn > 0, "n_sinkhorn: 1 or more wanted")) {
        return false;
    }
    rows_check_local(call, "comb", 2 * n_streams * n_streams, sizeof(float));
    *ret_work = (struct ocl_collapse){
        .streams = ocl_view_f32(call, "streams", op->streams, op->n, n_in),
        .norm = ocl_vector(call, "norm", op->norm, op->dim),
        .base = ocl_vector(call, "base", op->base, (2 + n_streams) * n_streams),
        .scale = ocl_vector(call, "scale", op->scale, 3),
        .normed = ocl_view_f32(call, "normed", op->normed, op->n, op->dim),
        .post = ocl_view_f32(call, "post", op->post, op->n, n_streams),
        .comb = ocl_view_f32(call, "comb", op->comb, op->n, n_streams * n_streams),
        .n = op->n,
        .n_streams = op->n_streams,
        .dim = op->dim,
        .n_mix = (2 + op->n_streams) * op->n_streams,
        .n_sinkhorn = op->n_sinkhorn,
        .norm_eps = op->norm_eps,
        .hc_eps = op->hc_eps,
    };
    return find_products(call, op->fn, ret_work);
}

void
ocl_mhc_pre(struct ocl_call *call, const struct hearth_op_mhc_pre *op)
{
    struct ocl_collapse work;
    if (ocl_collapse_find(call, op, &work)) {
        launch(call, &work);
    }
}

void
ocl_mhc_head(struct ocl_call *call, const struct hearth_op_mhc_head *op)
{
    const uint64_t n_in = (uint64_t)op->n_streams * op->dim;
    ocl_call_check(call, op->n_streams > 0 && op->n_streams <= MAX_STREAMS, "n_streams: 1 .. 1024 wanted");
    struct ocl_collapse work = {
        .streams = ocl_view_f32(call, "streams", op->streams, op->n, n_in),
        .norm = ocl_vector(call, "norm", op->norm, op->dim),
        .base = ocl_vector(call, "base", op->base, op->n_streams),
        .scale = ocl_vector(call, "scale", op->scale, 1),
        .normed = ocl_view_f32(call, "normed", op->normed, op->n, op->dim),
        .n = op->n,
        .n_streams = op->n_streams,
        .dim = op->dim,
        .n_mix = op->n_streams,
        .norm_eps = op->norm_eps,
        .hc_eps = op->hc_eps,
    };
    if (find_products(call, op->fn, &work)) {
        launch(call, &work);
    }
}
