/* op_sum.c - moe_sum: a token's expert outputs and its shared output become one. */
#include <config.h>

#include "backends/opencl/product.h"

void
ocl_moe_sum(struct ocl_call *call, const struct hearth_op_moe_sum *op)
{
    const uint64_t n_routes = (uint64_t)op->n * op->top_k;
    const uint32_t items = ocl_tuning_of(call->device)->items;
    const size_t groups[2] = {((size_t)op->dim + items - 1) / items, op->n}, local[2] = {items, 1};
    const struct ocl_span parts = ocl_view_f32(call, "parts", op->parts, n_routes, op->dim);
    const struct ocl_span routes = ocl_view(call, "routes", op->routes, n_routes, 1, sizeof(struct hearth_route));
    const struct ocl_span shared = ocl_view_f32(call, "shared", op->shared, op->n, op->dim);
    const struct ocl_span y = ocl_view_f32(call, "y", op->y, op->n, op->dim);
    ocl_call_check(call, n_routes <= UINT32_MAX, "n * top_k: within 32 bits wanted");
    struct ocl_kernel *kernel = ocl_kernel(call, "sum", call->native ? "-DNATIVE" : NULL, "moe_sum");
    ocl_arg_span(call, kernel, parts);
    ocl_arg_span(call, kernel, routes);
    ocl_arg_span(call, kernel, shared);
    ocl_arg_span(call, kernel, y);
    ocl_arg_u32(call, kernel, op->n);
    ocl_arg_u32(call, kernel, op->top_k);
    ocl_arg_u32(call, kernel, op->dim);
    ocl_arg_local(call, kernel, op->top_k * sizeof(uint32_t));
    ocl_launch(call, kernel, 2, groups, local);
}
