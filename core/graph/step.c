/* step.c - one step: n tokens from their ids through every layer.
 *
 *     h[t][s] = embed[id_t]            for every stream s (hidden_size, hc_mult)
 *     for every layer (num_hidden_layers): h = layer(h)
 *
 * The streams stay where they are from layer to layer: every layer works on TENSOR_STREAMS in place.
 * Specification 5.1.  Takes: layer.c.  head.c follows for the tokens whose logits are wanted. */
#include "core/base/error.h"
#include "core/graph/graph_internal.h"

static void
append_embed(struct graph *graph, const struct graph_step *step)
{
    const struct model_shape *shape = step->shape;
    struct graph_command *command = graph_append(graph, step, shape->n_layers, HEARTH_OP_EMBED);
    struct hearth_op_embed *args = &command->command.args.embed;
    args->n = step->n_tokens;
    args->n_streams = shape->n_streams;
    args->dim = shape->dim;
    OPERAND(command, embed, ids, TENSOR_IN, TENSOR_IDS);
    OPERAND(command, embed, streams, TENSOR_OUT, TENSOR_STREAMS);
    OPERAND(command, embed, table, PART, PART_EMBED);
}

int
graph_build_layers(struct graph *graph, const struct graph_step *step, struct hearth_error *err)
{
    graph->n_commands = 0;
    graph->failed = false;
    graph->n_tokens = step->n_tokens;
    append_embed(graph, step);
    for (uint32_t layer = 0; layer < step->shape->n_layers; layer++) {
        graph_layer(graph, step, layer);
    }
    return graph->failed ? error_no_memory(err, "the commands of a step") : HEARTH_OK;
}
