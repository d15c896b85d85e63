/* op_sum.c - what ends a sublayer (kernels-cl/sum.cl): moe_sum, by which a token's expert outputs and its shared output
 * become one; mhc_post, by which a result returns to the streams; and the two as one launch where they follow each
 * other. */
#include <config.h>

#include <stdio.h>

#include "backends/opencl/product.h"
#include "backends/opencl/rows.h"

#define POST_ITEMS 64u
#define MAX_STREAMS 1024u

struct sum {
    struct ocl_span parts, routes, shared, y;
};

struct post {
    struct ocl_span streams, post, comb;
};

static struct sum
find_sum(struct ocl_call *call, const struct hearth_op_moe_sum *op)
{
    const uint64_t n_routes = (uint64_t)op->n * op->top_k;
    const struct sum sum = {
        .parts = ocl_view_f32(call, "parts", op->parts, n_routes, op->dim),
        .routes = ocl_view(call, "routes", op->routes, n_routes, 1, sizeof(struct hearth_route)),
        .shared = ocl_view_f32(call, "shared", op->shared, op->n, op->dim),
        .y = ocl_view_f32(call, "y", op->y, op->n, op->dim),
    };
    ocl_call_check(call, n_routes <= UINT32_MAX, "n * top_k: within 32 bits wanted");
    return sum;
}

static struct post
find_post(struct ocl_call *call, const struct hearth_op_mhc_post *op)
{
    const uint64_t n_streams = op->n_streams;
    ocl_call_check(call, n_streams > 0 && n_streams <= MAX_STREAMS, "n_streams: 1 .. 1024 wanted");
    return (struct post){
        .streams = ocl_view_f32(call, "streams", op->streams, op->n, n_streams * op->dim),
        .post = ocl_view_f32(call, "post", op->post, op->n, n_streams),
        .comb = ocl_view_f32(call, "comb", op->comb, op->n, n_streams * n_streams),
    };
}

static void
arg_sum(struct ocl_call *call, struct ocl_kernel *kernel, const struct sum *sum)
{
    ocl_arg_span(call, kernel, sum->parts);
    ocl_arg_span(call, kernel, sum->routes);
    ocl_arg_span(call, kernel, sum->shared);
    ocl_arg_span(call, kernel, sum->y);
}

/* The sizes, and the launch. */
static void
launch_sum(struct ocl_call *call, struct ocl_kernel *kernel, const struct hearth_op_moe_sum *op)
{
    const uint32_t items = ocl_tuning_of(call->device)->items;
    const size_t groups[2] = {((size_t)op->dim + items - 1) / items, op->n}, local[2] = {items, 1};
    ocl_arg_u32(call, kernel, op->n);
    ocl_arg_u32(call, kernel, op->top_k);
    ocl_arg_u32(call, kernel, op->dim);
    ocl_arg_local(call, kernel, op->top_k * sizeof(uint32_t));
    ocl_launch(call, kernel, 2, groups, local);
}

void
ocl_moe_sum(struct ocl_call *call, const struct hearth_op_moe_sum *op)
{
    const struct sum sum = find_sum(call, op);
    struct ocl_kernel *kernel = ocl_kernel(call, "sum", call->native ? "-DNATIVE" : NULL, "moe_sum");
    arg_sum(call, kernel, &sum);
    launch_sum(call, kernel, op);
}

static struct ocl_kernel *
kernel_of_streams(struct ocl_call *call, uint32_t n_streams, const char *name)
{
    char defines[48];
    snprintf(defines, sizeof defines, "-DSTREAMS=%u%s", n_streams, call->native ? " -DNATIVE" : "");
    return ocl_kernel(call, "sum", defines, name);
}

void
ocl_mhc_post(struct ocl_call *call, const struct hearth_op_mhc_post *op)
{
    const uint32_t group = rows_group(call, POST_ITEMS);
    const size_t groups[2] = {(size_t)rows_divide_up(op->dim, group), op->n};
    const size_t local[2] = {group, 1};
    const struct post post = find_post(call, op);
    const struct ocl_span result = ocl_view_f32(call, "result", op->result, op->n, op->dim);
    struct ocl_kernel *kernel = kernel_of_streams(call, op->n_streams, "mhc_post");
    ocl_arg_span(call, kernel, post.streams);
    ocl_arg_span(call, kernel, result);
    ocl_arg_span(call, kernel, post.post);
    ocl_arg_span(call, kernel, post.comb);
    ocl_arg_u32(call, kernel, op->dim);
    ocl_launch(call, kernel, 2, groups, local);
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
    const struct sum sum = find_sum(call, sum_op);
    const struct post post = find_post(call, post_op);
    struct ocl_kernel *kernel = kernel_of_streams(call, post_op->n_streams, "moe_sum_post");
    arg_sum(call, kernel, &sum);
    ocl_arg_span(call, kernel, post.streams);
    ocl_arg_span(call, kernel, post.post);
    ocl_arg_span(call, kernel, post.comb);
    launch_sum(call, kernel, sum_op);
}
