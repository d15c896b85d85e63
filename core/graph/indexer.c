/* indexer.c - the lightning indexer of CSA layers: which entries a token attends to.
 *
 *     q_h = fp4(hadamard(rope(wq_b latent)));  keys likewise, from the indexer's own compressor
 *     score_w = sum_h relu(q_h . key_w) * (weights_proj x)_h * index_head_dim^-1/2 * index_n_heads^-1/2
 *     indices = the index_topk best entries, ties to the lower one
 *
 * The queries start from the same latent as the main queries, the head weights from x.
 * Specification 5.6; keys index_n_heads, index_head_dim, index_topk. */
#include "core/graph/graph_internal.h"

static void
append_query(struct graph *graph, const struct graph_step *step, uint32_t layer)
{
    const struct model_shape *shape = step->shape;
    struct graph_command *command = graph_append(graph, step, layer, HEARTH_OP_INDEX_QUERY);
    struct hearth_op_index_query *args = &command->command.args.index_query;
    args->position = step->position;
    args->n = step->n_tokens;
    args->n_heads = shape->index_n_heads;
    args->width = shape->index_head_dim;
    args->rope_dim = shape->rope_dim;
    OPERAND(command, index_query, q, TENSOR_INOUT, TENSOR_INDEX_Q);
    OPERAND(command, index_query, inv_freq, ROPE, graph_rope(step, layer));
}

void
graph_indexer_inputs(struct graph *graph, const struct graph_step *step, uint32_t layer)
{
    const struct model_shape *shape = step->shape;
    graph_linear(graph, step, layer, PART_INDEX_WEIGHTS, TENSOR_NORMED, shape->dim,
                 TENSOR_INDEX_HEAD_WEIGHTS, shape->index_n_heads, true);
    graph_compressor_inputs(graph, step, layer, HEARTH_ENTRY_INDEX);
}

void
graph_indexer(struct graph *graph, const struct graph_step *step, uint32_t layer)
{
    const struct model_shape *shape = step->shape;
    append_query(graph, step, layer);
    graph_compressor(graph, step, layer, HEARTH_ENTRY_INDEX);

    struct graph_command *command = graph_append(graph, step, layer, HEARTH_OP_INDEX_TOPK);
    struct hearth_op_index_topk *args = &command->command.args.index_topk;
    args->position = step->position;
    args->n = step->n_tokens;
    args->n_heads = shape->index_n_heads;
    args->width = shape->index_head_dim;
    args->ratio = shape->compress_ratios[layer];
    args->top_k = shape->index_topk;
    args->kv_format = step->format.kv_format;
    OPERAND(command, index_topk, q, TENSOR_IN, TENSOR_INDEX_Q);
    OPERAND(command, index_topk, head_weights, TENSOR_IN, TENSOR_INDEX_HEAD_WEIGHTS);
    OPERAND(command, index_topk, keys, STATE, STATE_INDEX_KEYS);
    OPERAND(command, index_topk, indices, TENSOR_OUT, TENSOR_INDICES);
}
