/* compressor.c - learned pooling: one entry for every group of `ratio` tokens.
 *
 *     u_t = wkv x_t;  g_t = wgate x_t + ape[t mod ratio]          f32, never rounded
 *     e_w = sum_slots softmax_slots(g) * u;   entry w = rope(rmsnorm(e_w; norm), position ratio * w)
 *
 * Ratio 4 overlaps: twice the channels, the first half pooled with the group before.  The same machine
 * makes the KV entries (width head_dim) and the indexer's keys (width index_head_dim).
 * Specification 5.5, 6.2. */
#include "core/graph/graph_internal.h"

static uint32_t
entry_width(const struct model_shape *shape, enum hearth_entry_kind kind)
{
    return kind == HEARTH_ENTRY_KV ? shape->head_dim : shape->index_head_dim;
}

static bool
has_overlap(const struct model_shape *shape, uint32_t layer)
{
    return shape->compress_ratios[layer] == 4;
}

void
graph_compressor_inputs(struct graph *graph, const struct graph_step *step, uint32_t layer,
                        enum hearth_entry_kind kind)
{
    const struct model_shape *shape = step->shape;
    const bool is_kv = kind == HEARTH_ENTRY_KV;
    const uint32_t width = entry_width(shape, kind);
    const uint32_t channels = has_overlap(shape, layer) ? 2 * width : width;
    graph_linear(graph, step, layer, is_kv ? PART_COMPRESS_WKV : PART_INDEX_WKV, TENSOR_NORMED,
                 shape->dim, is_kv ? TENSOR_COMPRESS_VALUES : TENSOR_INDEX_VALUES, channels, false);
    graph_linear(graph, step, layer, is_kv ? PART_COMPRESS_WGATE : PART_INDEX_WGATE, TENSOR_NORMED,
                 shape->dim, is_kv ? TENSOR_COMPRESS_GATES : TENSOR_INDEX_GATES, channels, false);
}

void
graph_compressor(struct graph *graph, const struct graph_step *step, uint32_t layer,
                 enum hearth_entry_kind kind)
{
    const struct model_shape *shape = step->shape;
    const bool is_kv = kind == HEARTH_ENTRY_KV;
    struct graph_command *command = graph_append(graph, step, layer, HEARTH_OP_COMPRESS);
    struct hearth_op_compress *args = &command->command.args.compress;
    args->position = step->position;
    args->n = step->n_tokens;
    args->ratio = shape->compress_ratios[layer];
    args->width = entry_width(shape, kind);
    args->rope_dim = shape->rope_dim;
    args->kv_format = step->format.kv_format;
    args->overlap = has_overlap(shape, layer);
    args->kind = (uint16_t)kind;
    args->eps = shape->norm_eps;
    OPERAND(command, compress, values, TENSOR_IN, is_kv ? TENSOR_COMPRESS_VALUES : TENSOR_INDEX_VALUES);
    OPERAND(command, compress, gates, TENSOR_IN, is_kv ? TENSOR_COMPRESS_GATES : TENSOR_INDEX_GATES);
    OPERAND(command, compress, state, STATE, is_kv ? STATE_COMPRESSOR : STATE_INDEX_COMPRESSOR);
    OPERAND(command, compress, entries, STATE, is_kv ? STATE_ENTRIES : STATE_INDEX_KEYS);
    OPERAND(command, compress, ape, PART, is_kv ? PART_COMPRESS_APE : PART_INDEX_APE);
    OPERAND(command, compress, norm, PART, is_kv ? PART_COMPRESS_NORM : PART_INDEX_NORM);
    OPERAND(command, compress, inv_freq, ROPE, graph_rope(step, layer));
}
