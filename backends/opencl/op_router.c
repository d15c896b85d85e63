/* op_router.c - the router: the gate's logits, then the choice. */
#include <config.h>

#include "backends/opencl/beside.h"

static const struct ocl_span nowhere;

bool
ocl_router_find(struct ocl_call *call, const struct hearth_op_router *op, struct ocl_router *ret_router)
{
    const bool has_table = op->table != NULL;
    struct ocl_router router = {
        .x = ocl_view_f32(call, "x", op->x, op->n, op->dim),
        .gate = ocl_weight(call, "gate", op->gate, 0, op->n_experts, op->dim),
        .routes = ocl_view(call, "routes", op->routes, op->n, op->top_k, sizeof(struct hearth_route)),
    };
    if (call->status < 0 || !ocl_product_can(call, "gate", router.gate->dtype) ||
        !ocl_call_check(call, !has_table || op->table->n_matrices == 1, "table: a matrix wanted") ||
        !ocl_call_check(call, op->top_k <= op->n_experts, "top_k: at most n_experts wanted") ||
        !ocl_call_check(call, (uint64_t)op->n * op->top_k <= UINT32_MAX, "n * top_k: within 32 bits wanted")) {
        return false;
    }
    router.n_table_rows = has_table ? op->table->matrices[0].rows : 0;
    router.bias = op->bias == NULL ? nowhere : ocl_vector(call, "bias", op->bias, op->n_experts);
    router.table = has_table ? ocl_table(call, "table", op->table, router.n_table_rows, op->top_k) : nowhere;
    router.ids = has_table ? ocl_view(call, "ids", op->ids, op->n, 1, sizeof(int32_t)) : nowhere;
    router.form = ocl_bf16_fits(call, op->gate) ? OCL_PARTS : OCL_PLAIN;
    router.logits = ocl_scratch(call, (uint64_t)op->n * op->n_experts, sizeof(float));
    *ret_router = router;
    return call->status == 0;
}

void
ocl_router_gate(struct ocl_call *call, const struct hearth_op_router *op, const struct ocl_router *router,
                struct ocl_several *several)
{
    const struct ocl_input input = {.form = router->form, .values = router->x};
    if (!ocl_several_add(call, several, router->gate, &input, router->logits, false)) {
        ocl_dense_whole(call, router->gate, input, router->logits, op->n, false);
    }
}

void
ocl_router_args(struct ocl_call *call, const struct hearth_op_router *op, const struct ocl_router *router,
                struct ocl_kernel *kernel)
{
    const uint64_t local_bytes = ((uint64_t)op->n_experts + 2 * (uint64_t)op->top_k + 1) * sizeof(uint32_t);
    ocl_call_check(call, local_bytes <= call->device->caps.local_bytes, "n_experts: more than local memory holds");
    ocl_arg_span(call, kernel, router->logits);
    ocl_arg_span(call, kernel, router->bias);
    ocl_arg_span(call, kernel, router->table);
    ocl_arg_span(call, kernel, router->ids);
    ocl_arg_span(call, kernel, router->routes);
    ocl_arg_u32(call, kernel, op->n_experts);
    ocl_arg_u32(call, kernel, op->top_k);
    ocl_arg_u64(call, kernel, router->n_table_rows);
    ocl_arg_f32(call, kernel, op->route_scale);
    ocl_arg_local(call, kernel, local_bytes);
}

void
ocl_router(struct ocl_call *call, const struct hearth_op_router *op)
{
    struct ocl_several several = {.n = op->n};
    struct ocl_router router;
    if (!ocl_router_find(call, op, &router)) {
        return;
    }
    ocl_router_gate(call, op, &router, &several);
    ocl_several_launch(call, &several);
    struct ocl_kernel *kernel = ocl_kernel(call, "routes", op->table == NULL ? NULL : "-DTABLE", "choose");
    ocl_router_args(call, op, &router, kernel);
    ocl_launch_1d(call, kernel, op->n, ocl_tuning_of(call->device)->items);
}
