/* head.c - from the streams to logits, for the tokens whose logits somebody wants.
 *
 *     pre[s] = sigmoid((hc_head_fn . flatten(h)) * rsqrt(mean(h^2) + rms_norm_eps) * scale + base) + hc_eps
 *     logits = head . rmsnorm(sum_s pre[s] * h[s]; norm)               f32, never rounded
 *
 * Specification 5.2, 5.10; keys vocab_size, hc_eps, rms_norm_eps. */
#include <assert.h>

#include "core/base/error.h"
#include "core/graph/graph_internal.h"

int
graph_build_head(struct graph *graph, const struct graph_step *step, uint32_t first, uint32_t n,
                 struct hearth_error *err)
{
    assert(n > 0 && n <= GRAPH_HEAD_TOKENS && first + n <= step->n_tokens);
    const struct model_shape *shape = step->shape;
    const uint32_t row = shape->n_layers;
    graph->n_commands = 0;
    graph->failed = false;
    graph->n_tokens = step->n_tokens;

    struct graph_command *collapse = graph_append(graph, step, row, HEARTH_OP_MHC_HEAD);
    struct hearth_op_mhc_head *args = &collapse->command.args.mhc_head;
    args->n = n;
    args->n_streams = shape->n_streams;
    args->dim = shape->dim;
    args->norm_eps = shape->norm_eps;
    args->hc_eps = shape->hc_eps;
    graph_operand(collapse, OPERAND_TENSOR_IN, offsetof(struct hearth_op_mhc_head, streams),
                  TENSOR_STREAMS, first);
    OPERAND(collapse, mhc_head, normed, TENSOR_OUT, TENSOR_HEAD_NORMED);
    OPERAND(collapse, mhc_head, fn, PART, PART_HC_HEAD_FN);
    OPERAND(collapse, mhc_head, base, PART, PART_HC_HEAD_BASE);
    OPERAND(collapse, mhc_head, scale, PART, PART_HC_HEAD_SCALE);
    OPERAND(collapse, mhc_head, norm, PART, PART_NORM);

    const struct graph_step tail = {.shape = shape, .numerics = step->numerics,
                                    .format = step->format, .n_tokens = n};
    graph_linear(graph, &tail, row, PART_HEAD, TENSOR_HEAD_NORMED, shape->dim, TENSOR_LOGITS,
                 shape->vocab_size, false);
    return graph->failed ? error_no_memory(err, "the commands of a step") : HEARTH_OK;
}
