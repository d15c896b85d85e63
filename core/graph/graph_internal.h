/* core/graph/graph_internal.h - what the files of this room share: appending commands, and the pieces of a
 * layer. */
#ifndef CORE_GRAPH_GRAPH_INTERNAL_H
#define CORE_GRAPH_GRAPH_INTERNAL_H

#include "core/graph/graph.h"

/* A new command at the end; never NULL (a list that has no memory hands out a spare and is failed). */
struct graph_command *graph_append(struct graph *graph, const struct graph_step *step, uint32_t row,
                                   enum hearth_op op);
void graph_operand(struct graph_command *command, enum operand_kind kind, size_t offset, uint32_t id,
                   uint32_t first);

/* OPERAND(command, linear, x, TENSOR_IN, TENSOR_NORMED): member x of struct hearth_op_linear. */
#define OPERAND(command, op, member, kind, id)                                                     \
    graph_operand((command), OPERAND_##kind, offsetof(struct hearth_op_##op, member), (id), 0)

/* y = part x over the step's tokens.  round_output: command.h. */
void graph_linear(struct graph *graph, const struct graph_step *step, uint32_t layer, enum part part,
                  enum tensor_id x, uint32_t n_in, enum tensor_id y, uint32_t n_out,
                  bool round_output);

/* The two sublayers of a layer. */
enum sublayer { SUBLAYER_ATTENTION, SUBLAYER_FFN };

void graph_layer(struct graph *graph, const struct graph_step *step, uint32_t layer);
void graph_mhc_pre(struct graph *graph, const struct graph_step *step, uint32_t layer,
                   enum sublayer sublayer);
void graph_mhc_post(struct graph *graph, const struct graph_step *step, uint32_t layer);
void graph_attention(struct graph *graph, const struct graph_step *step, uint32_t layer);
/* _inputs: the linears of TENSOR_NORMED that the other reads; both kinds of compressor use the same tensors. */
void graph_compressor_inputs(struct graph *graph, const struct graph_step *step, uint32_t layer,
                             enum hearth_entry_kind kind);
void graph_compressor(struct graph *graph, const struct graph_step *step, uint32_t layer,
                      enum hearth_entry_kind kind);
void graph_indexer_inputs(struct graph *graph, const struct graph_step *step, uint32_t layer);
void graph_indexer(struct graph *graph, const struct graph_step *step, uint32_t layer);
void graph_moe(struct graph *graph, const struct graph_step *step, uint32_t layer);

/* The frequencies of everything that rotates in a layer. */
enum rope_table graph_rope(const struct graph_step *step, uint32_t layer);

#endif
