/* attn.c - attention of every layer kind; compress_ratios[layer] says which.
 *
 *     latent = rmsnorm(wq_a x; q_norm);  q = rope(unit(wq_b latent));  kv = rope(rmsnorm(wkv x; kv_norm))
 *     o = softmax(q . {window rows, compressed entries}, sink) . the same rows, rotated back
 *     out = wo_b (wo_a per group (o))
 *
 * ratio 0 (SWA): the window alone.  128 (HCA): every finished entry of a group of 128 tokens.  4 (CSA): the
 * index_topk entries that the indexer chooses.  An entry that a token completes is visible to that token,
 * so the compressors come before the scores.  Specification 5.3 - 5.8; keys num_attention_heads, head_dim,
 * qk_rope_head_dim, q_lora_rank, o_groups, o_lora_rank, sliding_window. */
#include "core/graph/graph_internal.h"

/* What reads the layer's input stands together: a device may prepare it once for all. */
static void
append_projections(struct graph *graph, const struct graph_step *step, uint32_t layer)
{
    const struct model_shape *shape = step->shape;
    const enum layer_kind kind = shape_layer_kind(shape, layer);
    graph_linear(graph, step, layer, PART_WQ_A, TENSOR_NORMED, shape->dim, TENSOR_Q_LATENT,
                 shape->q_lora_rank, true);
    graph_linear(graph, step, layer, PART_WKV, TENSOR_NORMED, shape->dim, TENSOR_KV,
                 shape->head_dim, true);
    if (kind == LAYER_CSA) {
        graph_indexer_inputs(graph, step, layer);
    }
    if (kind != LAYER_SWA) {
        graph_compressor_inputs(graph, step, layer, HEARTH_ENTRY_KV);
    }
}

/* The indexer's queries come from the same latent. */
static void
append_queries(struct graph *graph, const struct graph_step *step, uint32_t layer)
{
    const struct model_shape *shape = step->shape;
    struct graph_command *norm = graph_append(graph, step, layer, HEARTH_OP_RMSNORM);
    norm->command.args.rmsnorm.n = step->n_tokens;
    norm->command.args.rmsnorm.dim = shape->q_lora_rank;
    norm->command.args.rmsnorm.eps = shape->norm_eps;
    OPERAND(norm, rmsnorm, x, TENSOR_IN, TENSOR_Q_LATENT);
    OPERAND(norm, rmsnorm, y, TENSOR_OUT, TENSOR_Q_LATENT);
    OPERAND(norm, rmsnorm, norm, PART, PART_Q_NORM);

    graph_linear(graph, step, layer, PART_WQ_B, TENSOR_Q_LATENT, shape->q_lora_rank, TENSOR_Q,
                 shape->n_heads * shape->head_dim, true);
    if (shape_layer_kind(shape, layer) == LAYER_CSA) {
        graph_linear(graph, step, layer, PART_INDEX_WQ_B, TENSOR_Q_LATENT, shape->q_lora_rank,
                     TENSOR_INDEX_Q, shape->index_n_heads * shape->index_head_dim, true);
    }

    struct graph_command *rope = graph_append(graph, step, layer, HEARTH_OP_QUERY_ROPE);
    struct hearth_op_query_rope *args = &rope->command.args.query_rope;
    args->position = step->position;
    args->n = step->n_tokens;
    args->n_heads = shape->n_heads;
    args->head_dim = shape->head_dim;
    args->rope_dim = shape->rope_dim;
    args->eps = shape->norm_eps;
    OPERAND(rope, query_rope, q, TENSOR_INOUT, TENSOR_Q);
    OPERAND(rope, query_rope, inv_freq, ROPE, graph_rope(step, layer));
}

static void
append_window(struct graph *graph, const struct graph_step *step, uint32_t layer)
{
    const struct model_shape *shape = step->shape;
    struct graph_command *command = graph_append(graph, step, layer, HEARTH_OP_KV_APPEND);
    struct hearth_op_kv_append *args = &command->command.args.kv_append;
    args->position = step->position;
    args->n = step->n_tokens;
    args->head_dim = shape->head_dim;
    args->rope_dim = shape->rope_dim;
    args->ring_slots = step->format.ring_slots;
    args->kv_format = step->format.kv_format;
    args->eps = shape->norm_eps;
    OPERAND(command, kv_append, kv, TENSOR_IN, TENSOR_KV);
    OPERAND(command, kv_append, ring, STATE, STATE_RING);
    OPERAND(command, kv_append, norm, PART, PART_KV_NORM);
    OPERAND(command, kv_append, inv_freq, ROPE, graph_rope(step, layer));
}

static void
append_scores(struct graph *graph, const struct graph_step *step, uint32_t layer)
{
    const struct model_shape *shape = step->shape;
    const enum layer_kind kind = shape_layer_kind(shape, layer);
    struct graph_command *command = graph_append(graph, step, layer, HEARTH_OP_ATTENTION);
    struct hearth_op_attention *args = &command->command.args.attention;
    args->position = step->position;
    args->n = step->n_tokens;
    args->n_heads = shape->n_heads;
    args->head_dim = shape->head_dim;
    args->rope_dim = shape->rope_dim;
    args->window = shape->window;
    args->ring_slots = step->format.ring_slots;
    args->ratio = shape->compress_ratios[layer];
    args->kv_format = step->format.kv_format;
    OPERAND(command, attention, q, TENSOR_IN, TENSOR_Q);
    OPERAND(command, attention, ring, STATE, STATE_RING);
    OPERAND(command, attention, o, TENSOR_OUT, TENSOR_ATTENDED);
    OPERAND(command, attention, sinks, PART, PART_SINKS);
    OPERAND(command, attention, inv_freq, ROPE, graph_rope(step, layer));
    if (kind != LAYER_SWA) {
        OPERAND(command, attention, entries, STATE, STATE_ENTRIES);
    }
    if (kind == LAYER_CSA) {
        args->top_k = shape->index_topk;
        OPERAND(command, attention, indices, TENSOR_IN, TENSOR_INDICES);
    }
}

static void
append_output(struct graph *graph, const struct graph_step *step, uint32_t layer)
{
    const struct model_shape *shape = step->shape;
    struct graph_command *command = graph_append(graph, step, layer, HEARTH_OP_OUTPUT_GROUPS);
    struct hearth_op_output_groups *args = &command->command.args.output_groups;
    args->n = step->n_tokens;
    args->n_groups = shape->o_groups;
    args->width = shape->n_heads / shape->o_groups * shape->head_dim;
    args->rank = shape->o_lora_rank;
    OPERAND(command, output_groups, o, TENSOR_IN, TENSOR_ATTENDED);
    OPERAND(command, output_groups, y, TENSOR_OUT, TENSOR_O_LATENT);
    OPERAND(command, output_groups, weight, PART, PART_WO_A);

    graph_linear(graph, step, layer, PART_WO_B, TENSOR_O_LATENT,
                 shape->o_groups * shape->o_lora_rank, TENSOR_SUBLAYER_OUT, shape->dim, true);
}

void
graph_attention(struct graph *graph, const struct graph_step *step, uint32_t layer)
{
    const enum layer_kind kind = shape_layer_kind(step->shape, layer);
    append_projections(graph, step, layer);
    append_queries(graph, step, layer);
    append_window(graph, step, layer);
    if (kind == LAYER_CSA) {
        graph_indexer(graph, step, layer);
    }
    if (kind != LAYER_SWA) {
        graph_compressor(graph, step, layer, HEARTH_ENTRY_KV);
    }
    append_scores(graph, step, layer);
    append_output(graph, step, layer);
}
