/* op_sum.c - what ends a sublayer (kernels-cl/sum.cl): moe_sum, by which a token's expert outputs and its shared output
 * become one; mhc_post, by which a result returns to the streams; and the two as one launch where they follow each
 * other. */
#include <config.h>

#include <stdio.h>

#include "backends/opencl/between.h"
#include "backends/opencl/rows.h"

#define PLACE_ITEMS 64u
#define MAX_STREAMS 1024u

struct ocl_sum
ocl_sum_find(struct ocl_call *call, const struct hearth_op_moe_sum *op)
{
    const uint64_t n_routes = (uint64_t)op->n * op->top_k;
    const struct ocl_sum sum = {
        .parts = ocl_view_f32(call, "parts", op->parts, n_routes, op->dim),
        .routes = ocl_view(call, "routes", op->routes, n_routes, 1, sizeof(struct hearth_route)),
        .shared = ocl_view_f32(call, "shared", op->shared, op->n, op->dim),
        .y = ocl_view_f32(call, "y", op->y, op->n, op->dim),
    };
    ocl_call_check(call, n_routes <= UINT32_MAX, "n * top_k: within 32 bits wanted");
    return sum;
}

struct ocl_post
ocl_post_find(struct ocl_call *call, const struct hearth_op_mhc_post *op)
{
    const uint64_t n_streams = op->n_streams;
    ocl_call_check(call, n_streams > 0 && n_streams <= MAX_STREAMS, "n_streams: 1 .. 1024 wanted");
    return (struct ocl_post){
        .streams = ocl_view_f32(call, "streams", op->streams, op->n, n_streams * op->dim),
        .result = ocl_view_f32(call, "result", op->result, op->n, op->dim),
        .post = ocl_view_f32(call, "post", op->post, op->n, n_streams),
        .comb = ocl_view_f32(call, "comb", op->comb, op->n, n_streams * n_streams),
    };
}

/* Whether items take four elements each, by 16 bytes. */
static bool
sum_is_wide(const struct ocl_sum *sum, uint32_t dim)
{
    return dim % 4 == 0 && (sum->parts.offset | sum->shared.offset | sum->y.offset) % 16 == 0;
}

static void
launch_places(struct ocl_call *call, struct ocl_kernel *kernel, uint32_t n, uint32_t dim, bool is_wide)
{
    const uint32_t items = rows_group(call, PLACE_ITEMS);
    const size_t groups[2] = {(size_t)rows_divide_up(is_wide ? dim / 4 : dim, items), n}, local[2] = {items, 1};
    ocl_launch(call, kernel, 2, groups, local);
}

static void
arg_sum(struct ocl_call *call, struct ocl_kernel *kernel, const struct ocl_sum *sum)
{
    ocl_arg_span(call, kernel, sum->parts);
    ocl_arg_span(call, kernel, sum->routes);
    ocl_arg_span(call, kernel, sum->shared);
    ocl_arg_span(call, kernel, sum->y);
}

/* The sizes, and the launch. */
static void
launch_sum(struct ocl_call *call, struct ocl_kernel *kernel, const struct hearth_op_moe_sum *op, bool is_wide)
{
    ocl_arg_u32(call, kernel, op->n);
    ocl_arg_u32(call, kernel, op->dim);
    ocl_arg_local(call, kernel, ((size_t)op->top_k + 1) * sizeof(uint32_t));
    launch_places(call, kernel, op->n, op->dim, is_wide);
}

/* n_streams: 0 without streams; sum: NULL without a sum */
static struct ocl_kernel *
find_kernel(struct ocl_call *call, uint32_t n_streams, const struct hearth_op_moe_sum *sum, bool is_wide,
            const char *name)
{
    char defines[96], streams[24] = "", routes[24] = "";
    if (n_streams > 0) {
        snprintf(streams, sizeof streams, " -DSTREAMS=%u", n_streams);
    }
    if (sum != NULL) {
        snprintf(routes, sizeof routes, " -DTOP_K=%uu", sum->top_k);
    }
    snprintf(defines, sizeof defines, "%s%s%s%s", call->native ? "-DNATIVE" : "", streams, routes,
             is_wide ? " -DWIDE" : "");
    return ocl_kernel(call, "sum", defines, name);
}

void
ocl_moe_sum(struct ocl_call *call, const struct hearth_op_moe_sum *op)
{
    const struct ocl_sum sum = ocl_sum_find(call, op);
    const bool is_wide = sum_is_wide(&sum, op->dim);
    struct ocl_kernel *kernel = find_kernel(call, 0, op, is_wide, "moe_sum");
    arg_sum(call, kernel, &sum);
    launch_sum(call, kernel, op, is_wide);
}

void
ocl_mhc_post(struct ocl_call *call, const struct hearth_op_mhc_post *op)
{
    const struct ocl_post post = ocl_post_find(call, op);
    const bool is_wide = op->dim % 4 == 0 && (post.streams.offset | post.result.offset) % 16 == 0;
    struct ocl_kernel *kernel = find_kernel(call, op->n_streams, NULL, is_wide, "mhc_post");
    ocl_arg_span(call, kernel, post.streams);
    ocl_arg_span(call, kernel, post.result);
    ocl_arg_span(call, kernel, post.post);
    ocl_arg_span(call, kernel, post.comb);
    ocl_arg_u32(call, kernel, op->dim);
    launch_places(call, kernel, op->n, op->dim, is_wide);
}

bool
ocl_is_sum_and_post(const struct hearth_command *first, const struct hearth_command *second)
{
    const struct hearth_op_moe_sum *sum = &first->args.moe_sum;
    const struct hearth_op_mhc_post *post = &second->args.mhc_post;
    return first->op == HEARTH_OP_MOE_SUM && second->op == HEARTH_OP_MHC_POST && first->numerics == second->numerics &&
           post->result.buffer == sum->y.buffer && post->result.offset == sum->y.offset && post->n == sum->n &&
           post->dim == sum->dim && post->streams.buffer != sum->y.buffer &&
           post->streams.buffer != sum->parts.buffer && post->streams.buffer != sum->shared.buffer;
}

void
ocl_sum_and_post(struct ocl_call *call, const struct hearth_command *first, const struct hearth_command *second)
{
    const struct hearth_op_moe_sum *sum_op = &first->args.moe_sum;
    const struct hearth_op_mhc_post *post_op = &second->args.mhc_post;
    const struct ocl_sum sum = ocl_sum_find(call, sum_op);
    const struct ocl_post post = ocl_post_find(call, post_op);
    const bool is_wide = sum_is_wide(&sum, sum_op->dim) && post.streams.offset % 16 == 0;
    struct ocl_kernel *kernel = find_kernel(call, post_op->n_streams, sum_op, is_wide, "moe_sum_post");
    arg_sum(call, kernel, &sum);
    ocl_arg_span(call, kernel, post.streams);
    ocl_arg_span(call, kernel, post.post);
    ocl_arg_span(call, kernel, post.comb);
    launch_sum(call, kernel, sum_op, is_wide);
}
