/* op_mhc.c - manifold-constrained hyper-connections: the collapse before a sublayer and before the head, and the return
 * to the streams (kernels-cl/mhc.cl). */
#include <config.h>

#include <stdio.h>

#include "backends/opencl/rows.h"

#define DOT_ITEMS 64u
#define DOT_ITEMS_NVIDIA 32u /* a warp: sums need no barrier */
#define DOT_PIECE 1024u
#define COLLAPSE_ITEMS 512u
#define COLLAPSE_ITEMS_CPU 256u
#define COMB_LANES 32u    /* as mhc.cl has it */
#define MAX_STREAMS 1024u /* keeps (2 + S) S within 32 bits */

/* With this many tokens there are work-groups enough for tiles of rows and tokens. */
#define TILED_TOKENS 16u
#define TILE_ROWS 8u
#define TILE_ROWS_NVIDIA 24u /* of a V4 all: streams are read once */
#define TILE_TOKENS 4u

/* What pre and head share; head has no post and comb, and n_mix is n_streams. */
struct collapse {
    struct ocl_span streams, norm, base, scale, normed, post, comb, parts;
    const struct ocl_matrix *fn;
    uint32_t n, n_streams, dim, n_mix, n_sinkhorn, n_pieces;
    float norm_eps, hc_eps;
};

/* Whether a kernel may read the place by 16 bytes. */
static bool
is_aligned(struct ocl_span span)
{
    return span.offset % 16 == 0;
}

static uint32_t
tile_rows(const struct ocl_call *call, uint64_t n_rows)
{
    const uint32_t most = call->device->caps.is_nvidia ? TILE_ROWS_NVIDIA : TILE_ROWS;
    return n_rows <= 4 ? 4 : n_rows < most ? (uint32_t)rows_divide_up(n_rows, 8) * 8 : most;
}

static void
launch_dots(struct ocl_call *call, const struct collapse *work, uint32_t index)
{
    char defines[160];
    const struct ocl_part *part = &work->fn->parts[index];
    const bool is_tiled = work->n >= TILED_TOKENS, has_squares = index == 0;
    const uint32_t rows = is_tiled ? tile_rows(call, part->n_rows) : 1, tokens = is_tiled ? TILE_TOKENS : 1;
    const uint32_t group = rows_group(call, call->device->caps.is_nvidia ? DOT_ITEMS_NVIDIA : DOT_ITEMS);
    const uint32_t n_in = work->n_streams * work->dim;
    const bool is_whole = n_in % DOT_PIECE == 0 && is_aligned(work->streams) && is_aligned(part->data);
    const size_t row_groups = (size_t)rows_divide_up(part->n_rows, rows) + (has_squares && !is_tiled);
    const size_t groups[3] = {work->n_pieces, row_groups, (size_t)rows_divide_up(work->n, tokens)};
    const size_t local[3] = {group, 1, 1};
    snprintf(defines, sizeof defines,
             "-DDTYPE=%u -DROWS=%u -DTOKENS=%u -DGROUP=%u -DPIECE=%u -DPIECES=%u -DN_ROWS=%uu -DCOLS=%uu%s",
             work->fn->dtype, rows, tokens, group, DOT_PIECE, work->n_pieces, (uint32_t)part->n_rows, n_in,
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
launch_collapse(struct ocl_call *call, const struct collapse *work)
{
    char defines[128];
    const bool has_comb = work->comb.mem != NULL;
    const uint32_t group = rows_group(call, call->device->caps.is_cpu ? COLLAPSE_ITEMS_CPU : COLLAPSE_ITEMS);
    const uint64_t n_comb = (uint64_t)work->n_streams * work->n_streams; /* elements of a token's */
    const uint32_t n_teams = n_comb + work->n_streams <= COMB_LANES && group >= COMB_LANES ? group / COMB_LANES : 1;
    const uint64_t space = has_comb ? n_teams * 2 * n_comb : work->n_streams;
    const uint32_t n_combs = has_comb ? (uint32_t)rows_divide_up(work->n, n_teams) : 0;
    const bool is_whole =
        work->dim % 4 == 0 && is_aligned(work->streams) && is_aligned(work->norm) && is_aligned(work->normed);
    const size_t groups[1] = {(size_t)n_combs + work->n}, local[1] = {group};
    snprintf(defines, sizeof defines, "-DCOLLAPSE -DSTREAMS=%u -DGROUP=%u -DDIM=%uu -DPIECES=%u%s%s", work->n_streams,
             group, work->dim, work->n_pieces, is_whole ? " -DWHOLE" : "", call->native ? " -DNATIVE" : "");
    struct ocl_kernel *kernel = ocl_kernel(call, "mhc", defines, "mhc_collapse");
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

static void
collapse(struct ocl_call *call, struct collapse *work, const struct hearth_weight *fn)
{
    const uint64_t n_in = (uint64_t)work->n_streams * work->dim;
    ocl_call_check(call, n_in <= UINT32_MAX - DOT_PIECE, "n_streams * dim: within 32 bits wanted");
    work->fn = ocl_weight(call, "fn", fn, 0, work->n_mix, n_in);
    work->n_pieces = (uint32_t)rows_divide_up(n_in, DOT_PIECE);
    if (call->status < 0) {
        return;
    }
    if (work->fn->dtype != HEARTH_F32 && work->fn->dtype != HEARTH_BF16) {
        ocl_call_fail(call, HEARTH_EUNSUPPORTED, "fn: f32 or bf16 wanted, type %u found", work->fn->dtype);
        return;
    }
    work->parts = ocl_scratch(call, (uint64_t)work->n * (work->n_mix + 1), work->n_pieces * sizeof(float));
    for (uint32_t i = 0; i < work->fn->n_parts; i++) {
        launch_dots(call, work, i);
    }
    launch_collapse(call, work);
}

void
ocl_mhc_pre(struct ocl_call *call, const struct hearth_op_mhc_pre *op)
{
    const uint64_t n_streams = op->n_streams, n_in = n_streams * op->dim;
    if (!ocl_call_check(call, n_streams > 0 && n_streams <= MAX_STREAMS, "n_streams: 1 .. 1024 wanted") ||
        !ocl_call_check(call, op->n_sinkhorn > 0, "n_sinkhorn: 1 or more wanted")) {
        return;
    }
    rows_check_local(call, "comb", 2 * n_streams * n_streams, sizeof(float));
    struct collapse work = {
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
    collapse(call, &work, op->fn);
}

void
ocl_mhc_head(struct ocl_call *call, const struct hearth_op_mhc_head *op)
{
    const uint64_t n_in = (uint64_t)op->n_streams * op->dim;
    ocl_call_check(call, op->n_streams > 0 && op->n_streams <= MAX_STREAMS, "n_streams: 1 .. 1024 wanted");
    struct collapse work = {
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
    collapse(call, &work, op->fn);
}
