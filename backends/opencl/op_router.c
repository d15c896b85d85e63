/* op_router.c - the router: the gate's logits, then the choice. */
#include <config.h>

#include "backends/opencl/product.h"

static const struct ocl_span nowhere;

/* The gate's products with x. */
static void
make_logits(struct ocl_call *call, const struct hearth_op_router *op, const struct ocl_matrix *gate, struct ocl_span x,
            struct ocl_span logits)
{
    const struct ocl_input input = {.form = ocl_bf16_fits(call, op->gate) ? OCL_PARTS : OCL_PLAIN, .values = x};
    struct ocl_several several = {.n = op->n};
    if (!ocl_several_add(call, &several, gate, &input, logits, false)) {
        ocl_dense_whole(call, gate, input, logits, op->n, false);
    }
    ocl_several_launch(call, &several);
}

/* chosen from logits [n][n_experts] */
static void
choose(struct ocl_call *call, const struct hearth_op_router *op, struct ocl_span logits, struct ocl_span routes)
{
    const uint64_t n_rows = op->table == NULL ? 0 : op->table->matrices[0].rows;
    const uint64_t local_bytes = ((uint64_t)op->n_experts + 2 * (uint64_t)op->top_k + 1) * sizeof(uint32_t);
    const struct ocl_span bias = op->bias == NULL ? nowhere : ocl_vector(call, "bias", op->bias, op->n_experts);
    const struct ocl_span table = op->table == NULL ? nowhere : ocl_table(call, "table", op->table, n_rows, op->top_k);
    const struct ocl_span ids =
        op->table == NULL ? nowhere : ocl_view(call, "ids", op->ids, op->n, 1, sizeof(int32_t));
    struct ocl_kernel *kernel = ocl_kernel(call, "routes", op->table == NULL ? NULL : "-DTABLE", "choose");
    ocl_call_check(call, local_bytes <= call->device->caps.local_bytes, "n_experts: more than local memory holds");
    ocl_arg_span(call, kernel, logits);
    ocl_arg_span(call, kernel, bias);
    ocl_arg_span(call, kernel, table);
    ocl_arg_span(call, kernel, ids);
    ocl_arg_span(call, kernel, routes);
    ocl_arg_u32(call, kernel, op->n_experts);
    ocl_arg_u32(call, kernel, op->top_k);
    ocl_arg_u64(call, kernel, n_rows);
    ocl_arg_f32(call, kernel, op->route_scale);
    ocl_arg_local(call, kernel, local_bytes);
    ocl_launch_1d(call, kernel, op->n, ocl_tuning_of(call->device)->items);
}

void
ocl_router(struct ocl_call *call, const struct hearth_op_router *op)
{
    const struct ocl_span x = ocl_view_f32(call, "x", op->x, op->n, op->dim);
    const struct ocl_matrix *gate = ocl_weight(call, "gate", op->gate, 0, op->n_experts, op->dim);
    const struct ocl_span routes =
        ocl_view(call, "routes", op->routes, op->n, op->top_k, sizeof(struct hearth_route));
    if (call->status < 0 || !ocl_product_can(call, "gate", gate->dtype) ||
        !ocl_call_check(call, op->table == NULL || op->table->n_matrices == 1, "table: a matrix wanted") ||
        !ocl_call_check(call, op->top_k <= op->n_experts, "top_k: at most n_experts wanted") ||
        !ocl_call_check(call, (uint64_t)op->n * op->top_k <= UINT32_MAX, "n * top_k: within 32 bits wanted")) {
        return;
    }
    const struct ocl_span logits = ocl_scratch(call, (uint64_t)op->n * op->n_experts, sizeof(float));
    make_logits(call, op, gate, x, logits);
    choose(call, op, logits, routes);
}
