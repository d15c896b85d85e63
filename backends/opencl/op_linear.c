/* op_linear.c - y = x W^T, and its form by groups (the first half of the output projection). */
#include <config.h>

#include "backends/opencl/product.h"

void
ocl_linear(struct ocl_call *call, const struct hearth_op_linear *op)
{
    struct ocl_prepare prepare = {.n = op->n, .cols = op->n_in};
    struct ocl_input input = {.form = OCL_PLAIN};
    prepare.x = ocl_view_f32(call, "x", op->x, op->n, op->n_in);
    const struct ocl_span y = ocl_view_f32(call, "y", op->y, op->n, op->n_out);
    const struct ocl_matrix *weight = ocl_weight(call, "weight", op->weight, 0, op->n_out, op->n_in);
    if (call->status < 0 || !ocl_product_can(call, "weight", weight->dtype)) {
        return;
    }
    prepare.dtype = weight->dtype;
    prepare.form = ocl_form_for(call, weight->dtype, false);
    ocl_prepare(call, &prepare, &input);
    ocl_dense_whole(call, weight, input, y, op->n, call->native && op->round_output);
}

void
ocl_output_groups(struct ocl_call *call, const struct hearth_op_output_groups *op)
{
    const uint64_t n_in = (uint64_t)op->n_groups * op->width, n_out = (uint64_t)op->n_groups * op->rank;
    struct ocl_dense dense = {
        .n = op->n,
        .groups = op->n_groups,
        .n_rows = op->rank,
        .row_step = op->rank,
        .x_step = op->n_groups,
        .x_next = 1,
        .y_stride = (uint32_t)n_out,
        .y_step = op->rank,
        .round = call->native,
    };
    dense.input = (struct ocl_input){.form = OCL_PLAIN, .values = ocl_view_f32(call, "o", op->o, op->n, n_in)};
    dense.y = ocl_view_f32(call, "y", op->y, op->n, n_out);
    dense.weight = ocl_weight(call, "weight", op->weight, 0, n_out, op->width);
    if (call->status == 0 && ocl_product_can(call, "weight", dense.weight->dtype) &&
        ocl_call_check(call, (uint64_t)op->n * op->n_groups <= UINT32_MAX, "n * n_groups: within 32 bits wanted")) {
        ocl_dense(call, &dense);
    }
}
