/* moe.c - the mixture of experts.
 *
 *     a_e = sqrt(softplus(gate_e . x));  the num_experts_per_tok largest a_e + bias_e, or in the first
 *     num_hash_layers layers the experts tid2eid[id];  weight_e = a_e / sum a * routed_scaling_factor
 *     out = sum over chosen e, ascending, of w2_e(silu(w1_e x) * w3_e x * weight_e)  +  shared(x)
 *
 * Up to the router everything is known without knowing where an expert lives; behind it exec sends each
 * route to its expert's device.  Specification 5.9; keys n_routed_experts, num_experts_per_tok,
 * num_hash_layers, routed_scaling_factor, moe_intermediate_size, swiglu_limit. */
#include "core/graph/graph_internal.h"

static void
append_router(struct graph *graph, const struct graph_step *step, uint32_t layer)
{
    const struct model_shape *shape = step->shape;
    struct graph_command *command = graph_append(graph, step, layer, HEARTH_OP_ROUTER);
    struct hearth_op_router *args = &command->command.args.router;
    args->n = step->n_tokens;
    args->dim = shape->dim;
    args->n_experts = shape->n_experts;
    args->top_k = shape->experts_per_token;
    args->route_scale = shape->route_scale;
    OPERAND(command, router, x, TENSOR_IN, TENSOR_NORMED);
    OPERAND(command, router, routes, TENSOR_OUT, TENSOR_ROUTES);
    OPERAND(command, router, gate, PART, PART_GATE);
    if (layer < shape->n_hash_layers) {
        OPERAND(command, router, ids, TENSOR_IN, TENSOR_IDS);
        OPERAND(command, router, table, PART, PART_HASH_TABLE);
    } else {
        OPERAND(command, router, bias, PART, PART_GATE_BIAS);
    }
}

static void
append_experts(struct graph *graph, const struct graph_step *step, uint32_t layer)
{
    const struct model_shape *shape = step->shape;
    struct graph_command *command = graph_append(graph, step, layer, HEARTH_OP_EXPERT_FFN);
    struct hearth_op_expert_ffn *args = &command->command.args.expert_ffn;
    args->n = step->n_tokens;
    args->n_routes = step->n_tokens * shape->experts_per_token;
    args->n_slots = args->n_routes;
    args->n_experts = shape->n_experts;
    args->dim = shape->dim;
    args->inner = shape->expert_inner;
    args->limit = shape->swiglu_limit;
    OPERAND(command, expert_ffn, x, TENSOR_IN, TENSOR_NORMED);
    OPERAND(command, expert_ffn, routes, TENSOR_IN, TENSOR_ROUTES);
    OPERAND(command, expert_ffn, y, TENSOR_OUT, TENSOR_EXPERT_PARTS);
    OPERAND(command, expert_ffn, experts, EXPERTS, 0);
}

static void
append_shared(struct graph *graph, const struct graph_step *step, uint32_t layer)
{
    const struct model_shape *shape = step->shape;
    struct graph_command *command = graph_append(graph, step, layer, HEARTH_OP_SHARED_FFN);
    struct hearth_op_shared_ffn *args = &command->command.args.shared_ffn;
    args->n = step->n_tokens;
    args->dim = shape->dim;
    args->inner = shape->expert_inner * shape->n_shared_experts;
    args->limit = shape->swiglu_limit;
    OPERAND(command, shared_ffn, x, TENSOR_IN, TENSOR_NORMED);
    OPERAND(command, shared_ffn, y, TENSOR_OUT, TENSOR_SHARED_OUT);
    OPERAND(command, shared_ffn, expert, PART, PART_SHARED);
}

void
graph_moe(struct graph *graph, const struct graph_step *step, uint32_t layer)
{
    const struct model_shape *shape = step->shape;
    append_router(graph, step, layer);
    append_experts(graph, step, layer);
    append_shared(graph, step, layer);

    struct graph_command *command = graph_append(graph, step, layer, HEARTH_OP_MOE_SUM);
    struct hearth_op_moe_sum *args = &command->command.args.moe_sum;
    args->n = step->n_tokens;
    args->top_k = shape->experts_per_token;
    args->dim = shape->dim;
    OPERAND(command, moe_sum, parts, TENSOR_IN, TENSOR_EXPERT_PARTS);
    OPERAND(command, moe_sum, routes, TENSOR_IN, TENSOR_ROUTES);
    OPERAND(command, moe_sum, shared, TENSOR_IN, TENSOR_SHARED_OUT);
    OPERAND(command, moe_sum, y, TENSOR_OUT, TENSOR_SUBLAYER_OUT);
}
