/* op_norm.c - rmsnorm, and the query path: the norm of a head and its rotation (kernels-cl/norm.cl). */
#include <config.h>

#include <stdio.h>

#include "backends/opencl/rows.h"

/* Items a row of a token, and a query head, is shared among. */
#define TOKEN_ITEMS 256u
#define HEAD_ITEMS 128u

void
ocl_rmsnorm(struct ocl_call *call, const struct hearth_op_rmsnorm *op)
{
    char defines[32];
    const uint32_t group = rows_group(call, TOKEN_ITEMS);
    const struct ocl_span x = ocl_view_f32(call, "x", op->x, op->n, op->dim);
    const struct ocl_span y = ocl_view_f32(call, "y", op->y, op->n, op->dim);
    const struct ocl_span norm = ocl_vector(call, "norm", op->norm, op->dim);
    snprintf(defines, sizeof defines, "-DGROUP=%u", group);
    struct ocl_kernel *kernel = ocl_kernel(call, "norm", defines, "rmsnorm");
    ocl_arg_span(call, kernel, x);
    ocl_arg_span(call, kernel, y);
    ocl_arg_span(call, kernel, norm);
    ocl_arg_u32(call, kernel, op->dim);
    ocl_arg_f32(call, kernel, op->eps);
    ocl_arg_u32(call, kernel, call->native);
    ocl_launch_1d(call, kernel, op->n, group);
}

void
ocl_query_rope(struct ocl_call *call, const struct hearth_op_query_rope *op)
{
    char defines[32];
    const uint32_t group = rows_group(call, HEAD_ITEMS);
    const uint64_t n_heads = (uint64_t)op->n * op->n_heads;
    const struct ocl_span q = ocl_view_f32(call, "q", op->q, n_heads, op->head_dim);
    const struct ocl_span inv_freq = ocl_vector(call, "inv_freq", op->inv_freq, op->rope_dim / 2);
    ocl_call_check(call, op->rope_dim % 2 == 0 && op->rope_dim <= op->head_dim,
                   "rope_dim: even, at most head_dim wanted");
    snprintf(defines, sizeof defines, "-DGROUP=%u", group);
    struct ocl_kernel *kernel = ocl_kernel(call, "norm", defines, "query_rope");
    ocl_arg_span(call, kernel, q);
    ocl_arg_span(call, kernel, inv_freq);
    ocl_arg_u64(call, kernel, op->position);
    ocl_arg_u32(call, kernel, op->n_heads);
    ocl_arg_u32(call, kernel, op->head_dim);
    ocl_arg_u32(call, kernel, op->rope_dim);
    ocl_arg_f32(call, kernel, op->eps);
    ocl_arg_u32(call, kernel, call->native);
    ocl_launch_1d(call, kernel, n_heads, group);
}
