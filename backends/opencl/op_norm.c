/* op_norm.c - rmsnorm (kernels-cl/norm.cl). */
#include <config.h>

#include <stdio.h>

#include "backends/opencl/rows.h"

void
ocl_rmsnorm(struct ocl_call *call, const struct hearth_op_rmsnorm *op)
{
    char defines[32];
    const uint32_t group = rows_group(call, NORM_ITEMS);
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
