/* list.c - the list of commands, and the sizes of the tensors between them. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/graph/graph_internal.h"

static bool
graph_grow(struct graph *graph)
{
    const size_t capacity = graph->capacity ? 2 * graph->capacity : 256;
    struct graph_command *commands = realloc(graph->commands, capacity * sizeof *commands);
    if (!commands) {
        return false;
    }
    graph->commands = commands;
    graph->capacity = capacity;
    return true;
}

struct graph_command *
graph_append(struct graph *graph, const struct graph_step *step, uint32_t row, enum hearth_op op)
{
    struct graph_command *command = &graph->spare;
    if (graph->n_commands < graph->capacity || graph_grow(graph)) {
        command = &graph->commands[graph->n_commands++];
    } else {
        graph->failed = true;
    }
    memset(command, 0, sizeof *command);
    command->command.op = op;
    command->command.numerics = step->numerics;
    command->row = row;
    return command;
}

void
graph_operand(struct graph_command *command, enum operand_kind kind, size_t offset, uint32_t id,
              uint32_t first)
{
    assert(command->n_operands < GRAPH_MAX_OPERANDS);
    command->operands[command->n_operands++] = (struct graph_operand){
        .kind = (uint16_t)kind, .offset = (uint16_t)offset, .id = id, .first = first};
}

void
graph_linear(struct graph *graph, const struct graph_step *step, uint32_t layer, enum part part,
             enum tensor_id x, uint32_t n_in, enum tensor_id y, uint32_t n_out, bool round_output)
{
    struct graph_command *command = graph_append(graph, step, layer, HEARTH_OP_LINEAR);
    struct hearth_op_linear *args = &command->command.args.linear;
    args->n = step->n_tokens;
    args->n_in = n_in;
    args->n_out = n_out;
    args->round_output = round_output;
    OPERAND(command, linear, x, TENSOR_IN, x);
    OPERAND(command, linear, y, TENSOR_OUT, y);
    OPERAND(command, linear, weight, PART, part);
}

void
graph_done(struct graph *graph)
{
    free(graph->commands);
    *graph = (struct graph){0};
}

enum rope_table
graph_rope(const struct graph_step *step, uint32_t layer)
{
    return shape_layer_kind(step->shape, layer) == LAYER_SWA ? ROPE_PLAIN : ROPE_COMPRESSED;
}

uint64_t
graph_tensor_row_bytes(const struct model_shape *shape, enum tensor_id tensor)
{
    const struct model_shape *s = shape;
    switch (tensor) {
#define TENSOR_CASE(name, elements)                                                                \
    case TENSOR_##name:                                                                            \
        return 4 * (uint64_t)(elements);
        TENSOR_MAP(TENSOR_CASE)
#undef TENSOR_CASE
    case N_TENSORS:
        break;
    }
    return 0;
}

uint64_t
graph_tensor_rows(enum tensor_id tensor, uint32_t n_tokens)
{
    const bool is_head = tensor == TENSOR_HEAD_NORMED || tensor == TENSOR_LOGITS;
    return is_head && n_tokens > GRAPH_HEAD_TOKENS ? GRAPH_HEAD_TOKENS : n_tokens;
}

uint64_t
graph_activation_bytes(const struct model_shape *shape, uint32_t n_tokens)
{
    uint64_t bytes = 0;
    for (int tensor = 0; tensor < N_TENSORS; tensor++) {
        bytes += graph_tensor_rows((enum tensor_id)tensor, n_tokens) *
                 graph_tensor_row_bytes(shape, (enum tensor_id)tensor);
    }
    return bytes;
}
