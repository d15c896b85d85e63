/* core/graph/graph.h - a step of the model as a list of commands, before any of them has an address.
 *
 * A command is hearth/command.h's own, its numbers filled in; where it wants a view or a weight stands an
 * operand: which tensor, state, part or table.  exec turns operands into addresses on the device that the
 * plan names.  This room calls no plugin and knows no device. */
#ifndef CORE_GRAPH_GRAPH_H
#define CORE_GRAPH_GRAPH_H

#include <stdbool.h>
#include <stddef.h>

#include <hearth/command.h>
#include <hearth/status.h>

#include "core/placement/parts.h"
#include "core/placement/state_size.h"

/* Activations of a step: X(NAME, 4-byte elements per token, of struct model_shape *s). */
#define TENSOR_MAP(X)                                                                              \
    X(IDS, 1)                                                                                      \
    X(STREAMS, s->n_streams *(uint64_t)s->dim)                                                     \
    X(NORMED, s->dim)                                                                              \
    X(POST, s->n_streams)                                                                          \
    X(COMB, s->n_streams *(uint64_t)s->n_streams)                                                  \
    X(Q_LATENT, s->q_lora_rank)                                                                    \
    X(Q, s->n_heads *(uint64_t)s->head_dim)                                                        \
    X(KV, s->head_dim)                                                                             \
    X(COMPRESS_VALUES, 2 * (uint64_t)s->head_dim)                                                  \
    X(COMPRESS_GATES, 2 * (uint64_t)s->head_dim)                                                   \
    X(INDEX_VALUES, 2 * (uint64_t)s->index_head_dim)                                               \
    X(INDEX_GATES, 2 * (uint64_t)s->index_head_dim)                                                \
    X(INDEX_Q, s->index_n_heads *(uint64_t)s->index_head_dim)                                      \
    X(INDEX_HEAD_WEIGHTS, s->index_n_heads)                                                        \
    X(INDICES, s->index_topk)                                                                      \
    X(ATTENDED, s->n_heads *(uint64_t)s->head_dim)                                                 \
    X(O_LATENT, s->o_groups *(uint64_t)s->o_lora_rank)                                             \
    X(ROUTES, s->experts_per_token *(uint64_t)(sizeof(struct hearth_route) / 4))                   \
    X(EXPERT_PARTS, s->experts_per_token *(uint64_t)s->dim)                                        \
    X(SHARED_OUT, s->dim)                                                                          \
    X(SUBLAYER_OUT, s->dim)                                                                        \
    X(HEAD_NORMED, s->dim)                                                                         \
    X(LOGITS, s->vocab_size)

enum tensor_id {
#define TENSOR_ENUM(name, elements) TENSOR_##name,
    TENSOR_MAP(TENSOR_ENUM)
#undef TENSOR_ENUM
    N_TENSORS
};

/* The head runs over at most this many tokens at a time, so that logits never need more room. */
#define GRAPH_HEAD_TOKENS 32u

enum operand_kind {
    OPERAND_TENSOR_IN, /* id: enum tensor_id */
    OPERAND_TENSOR_OUT,
    OPERAND_TENSOR_INOUT,
    OPERAND_STATE,     /* id: enum state_kind, of the command's row */
    OPERAND_PART,      /* id: enum part, of the command's row */
    OPERAND_ROPE,      /* id: enum rope_table */
    OPERAND_EXPERTS    /* the row's array of experts */
};

struct graph_operand {
    uint16_t kind;   /* enum operand_kind */
    uint16_t offset; /* of the view or pointer within the command's args */
    uint32_t id;
    uint32_t first;  /* tensors: the token the view begins at */
};

#define GRAPH_MAX_OPERANDS 8u

struct graph_command {
    struct hearth_command command;
    uint32_t row; /* layer, or n_layers: parts.h */
    uint32_t n_operands;
    struct graph_operand operands[GRAPH_MAX_OPERANDS];
};

/* A list of commands in the order they take effect.  Zero-initialise; keeps its memory between steps. */
struct graph {
    struct graph_command *commands;
    size_t n_commands, capacity;
    uint32_t n_tokens;          /* of the step, the rows of its tensors */
    bool failed;                /* no memory for a command */
    struct graph_command spare; /* written then, never read */
};

/* What a step is. */
struct graph_step {
    const struct model_shape *shape;
    uint32_t numerics; /* enum hearth_numerics */
    struct state_format format;
    uint64_t position; /* of the first token */
    uint32_t n_tokens;
};

/* Embedding and all layers for the step's tokens: from TENSOR_IDS to TENSOR_STREAMS.  Errors: EMEMORY. */
int graph_build_layers(struct graph *graph, const struct graph_step *step, struct hearth_error *err);
/* The head for tokens first .. first+n-1 of the step: from TENSOR_STREAMS to TENSOR_LOGITS, whose token 0
 * is token first.  n <= GRAPH_HEAD_TOKENS. */
int graph_build_head(struct graph *graph, const struct graph_step *step, uint32_t first, uint32_t n,
                     struct hearth_error *err);
void graph_done(struct graph *graph);

/* Bytes of one token of a tensor, and of all tensors of a step of n_tokens. */
uint64_t graph_tensor_row_bytes(const struct model_shape *shape, enum tensor_id tensor);
uint64_t graph_tensor_rows(enum tensor_id tensor, uint32_t n_tokens);
uint64_t graph_activation_bytes(const struct model_shape *shape, uint32_t n_tokens);

#endif
