/* op_embed.c - looks up the tokens' rows. */
#include <config.h>

#include <stdio.h>

#include "backends/opencl/product.h"

void
ocl_embed(struct ocl_call *call, const struct hearth_op_embed *op)
{
    const uint32_t items = ocl_tuning_of(call->device)->items;
    const size_t groups[2] = {((size_t)op->dim + items - 1) / items, op->n}, local[2] = {items, 1};
    const struct ocl_span ids = ocl_view(call, "ids", op->ids, op->n, 1, sizeof(int32_t));
    const uint64_t n_rows = (uint64_t)op->n * op->n_streams;
    const struct ocl_span streams = ocl_view_f32(call, "streams", op->streams, n_rows, op->dim);
    char defines[32];
    if (!ocl_call_check(call, op->table != NULL && op->table->n_matrices == 1, "table: a matrix wanted")) {
        return;
    }
    const struct ocl_matrix *table = ocl_weight(call, "table", op->table, 0, op->table->matrices[0].rows, op->dim);
    if (call->status < 0 || !ocl_product_can(call, "table", table->dtype)) {
        return;
    }
    snprintf(defines, sizeof defines, "-DDTYPE=%u", table->dtype);
    for (uint32_t i = 0; i < table->n_parts; i++) {
        struct ocl_kernel *kernel = ocl_kernel(call, "embed", defines, "embed");
        ocl_arg_span(call, kernel, ids);
        ocl_arg_span(call, kernel, table->parts[i].data);
        ocl_arg_span(call, kernel, table->parts[i].scales);
        ocl_arg_span(call, kernel, streams);
        ocl_arg_u64(call, kernel, table->parts[i].first_row);
        ocl_arg_u64(call, kernel, table->parts[i].n_rows);
        ocl_arg_u32(call, kernel, op->n_streams);
        ocl_arg_u32(call, kernel, op->dim);
        ocl_launch(call, kernel, 2, groups, local);
    }
}
