/* op_mhc.c - manifold-constrained hyper-connections: the collapse before a sublayer and before the head, and the return
 * to the streams (kernels-cl/mhc.cl). */
#include <config.h>

#include <stdio.h>

#include "backends/opencl/rows.h"

#define DOT_ITEMS 64u
#define DOT_PIECE 1024u
#define COLLAPSE_ITEMS 1024u
#define COLLAPSE_ITEMS_CPU 256u
#define MAX_STREAMS 1024u /* keeps (2 + S) S within 32 bits */

/* With this many tokens there are work-groups enough for tiles of rows and tokens. */
#define TILED_TOKENS 16u
#define TILE_ROWS 8u
#define TILE_TOKENS 4u

/* What pre and head share; head has no post and comb, and n_mix is n_streams. */
struct collapse {
    struct ocl_span streams, norm, base, scale, normed, post, comb, parts;
    const struct ocl_matrix *fn;
    uint32_t n, n_streams, dim, n_mix, n_sinkhorn, n_pieces;
    float norm_eps, hc_eps;
};

static void
launch_dots(struct ocl_call *call, const struct collapse *work, uint32_t index)
{
    char defines[96];
    const struct ocl_part *part = &work->fn->parts[index];
    const bool is_tiled = work->n >= TILED_TOKENS;
    const uint32_t rows = is_tiled ? TILE_ROWS : 1, tokens = is_tiled ? TILE_TOKENS : 1;
    const uint32_t group = rows_group(call, DOT_ITEMS);
    const bool has_squares = index == 0; /* as one more group of rows */
    const size_t groups[3] = {work->n_pieces, (size_t)rows_divide_up(part->n_rows, rows) + has_squares,
                              (size_t)rows_divide_up(work->n, tokens)};
    const size_t local[3] = {group, 1, 1};
    snprintf(defines, sizeof defines, "-DDTYPE=%u -DROWS=%u -DTOKENS=%u -DGROUP=%u -DPIECE=%u", work->fn->dtype, rows,
             tokens, group, DOT_PIECE);
    struct ocl_kernel *kernel = ocl_kernel(call, "mhc", defines, "mhc_dots");
    ocl_arg_span(call, kernel, work->streams);
    ocl_arg_span(call, kernel, part->data);
    ocl_arg_span(call, kernel, work->parts);
    ocl_arg_u32(call, kernel, work->n);
    ocl_arg_u32(call, kernel, work->n_streams * work->dim);
    ocl_arg_u32(call, kernel, work->n_mix);
    ocl_arg_u32(call, kernel, work->n_pieces);
    ocl_arg_u32(call, kernel, (uint32_t)part->first_row);
    ocl_arg_u32(call, kernel, (uint32_t)part->n_rows);
    ocl_launch(call, kernel, 3, groups, local);
}

static void
launch_collapse(struct ocl_call *call, const struct collapse *work)
{
    char defines[64];
    const bool has_comb = work->comb.mem != NULL;
    const uint32_t group = rows_group(call, call->device->caps.is_cpu ? COLLAPSE_ITEMS_CPU : COLLAPSE_ITEMS);
    const uint64_t space = has_comb ? 2 * (uint64_t)work->n_streams * work->n_streams : work->n_streams;
    const size_t groups[2] = {has_comb ? 2 : 1, work->n};
    const size_t local[2] = {group, 1};
    snprintf(defines, sizeof defines, "-DCOLLAPSE -DSTREAMS=%u -DGROUP=%u", work->n_streams, group);
    struct ocl_kernel *kernel = ocl_kernel(call, "mhc", defines, "mhc_collapse");
    ocl_arg_span(call, kernel, work->streams);
    ocl_arg_span(call, kernel, work->parts);
    ocl_arg_span(call, kernel, work->base);
    ocl_arg_span(call, kernel, work->scale);
    ocl_arg_span(call, kernel, work->norm);
    ocl_arg_span(call, kernel, work->normed);
    ocl_arg_span(call, kernel, work->post);
    ocl_arg_span(call, kernel, work->comb);
    ocl_arg_u32(call, kernel, work->dim);
    ocl_arg_u32(call, kernel, work->n_mix);
    ocl_arg_u32(call, kernel, work->n_pieces);
    ocl_arg_u32(call, kernel, work->n_sinkhorn);
    ocl_arg_f32(call, kernel, work->norm_eps);
    ocl_arg_f32(call, kernel, work->hc_eps);
    ocl_arg_u32(call, kernel, call->native);
    ocl_arg_local(call, kernel, space * sizeof(float));
    ocl_launch(call, kernel, 2, groups, local);
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
