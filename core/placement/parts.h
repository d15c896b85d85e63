/* core/placement/parts.h - the parts of a model that have a home: one per tensor role of a layer, and
 * those outside the layers.  A part lives where the operation that reads it runs.
 *
 * A row is a layer, or the row behind the last layer for what stands outside: embedding and head. */
#ifndef CORE_PLACEMENT_PARTS_H
#define CORE_PLACEMENT_PARTS_H

#include <stddef.h>

#include "core/model/roles.h"

/* X(name, member of struct layer_roles, role of the weight, operation that reads it) */
#define PART_LAYER_MAP(X)                                                                          \
    X(HC_ATTN_FN, hc_attn_fn, LINEAR, MHC_PRE)                                                     \
    X(HC_ATTN_BASE, hc_attn_base, VECTOR, MHC_PRE)                                                 \
    X(HC_ATTN_SCALE, hc_attn_scale, VECTOR, MHC_PRE)                                               \
    X(ATTN_NORM, attn_norm, VECTOR, MHC_PRE)                                                       \
    X(WQ_A, wq_a, LINEAR, LINEAR)                                                                  \
    X(Q_NORM, q_norm, VECTOR, RMSNORM)                                                             \
    X(WQ_B, wq_b, LINEAR, LINEAR)                                                                  \
    X(WKV, wkv, LINEAR, LINEAR)                                                                    \
    X(KV_NORM, kv_norm, VECTOR, KV_APPEND)                                                         \
    X(SINKS, attn_sink, VECTOR, ATTENTION)                                                         \
    X(WO_A, wo_a, GROUPS, OUTPUT_GROUPS)                                                           \
    X(WO_B, wo_b, LINEAR, LINEAR)                                                                  \
    X(COMPRESS_WKV, compressor.wkv, LINEAR, LINEAR)                                                \
    X(COMPRESS_WGATE, compressor.wgate, LINEAR, LINEAR)                                            \
    X(COMPRESS_APE, compressor.ape, VECTOR, COMPRESS)                                              \
    X(COMPRESS_NORM, compressor.norm, VECTOR, COMPRESS)                                            \
    X(INDEX_WQ_B, index_wq_b, LINEAR, LINEAR)                                                      \
    X(INDEX_WEIGHTS, index_weights_proj, LINEAR, LINEAR)                                           \
    X(INDEX_WKV, index_compressor.wkv, LINEAR, LINEAR)                                             \
    X(INDEX_WGATE, index_compressor.wgate, LINEAR, LINEAR)                                         \
    X(INDEX_APE, index_compressor.ape, VECTOR, COMPRESS)                                           \
    X(INDEX_NORM, index_compressor.norm, VECTOR, COMPRESS)                                         \
    X(HC_FFN_FN, hc_ffn_fn, LINEAR, MHC_PRE)                                                       \
    X(HC_FFN_BASE, hc_ffn_base, VECTOR, MHC_PRE)                                                   \
    X(HC_FFN_SCALE, hc_ffn_scale, VECTOR, MHC_PRE)                                                 \
    X(FFN_NORM, ffn_norm, VECTOR, MHC_PRE)                                                         \
    X(GATE, gate, LINEAR, ROUTER)                                                                  \
    X(GATE_BIAS, gate_bias, VECTOR, ROUTER)                                                        \
    X(HASH_TABLE, tid2eid, TABLE, ROUTER)

/* The same outside the layers, of struct model_roles. */
#define PART_MODEL_MAP(X)                                                                          \
    X(EMBED, embed, EMBEDDING, EMBED)                                                              \
    X(HC_HEAD_FN, hc_head_fn, LINEAR, MHC_HEAD)                                                    \
    X(HC_HEAD_BASE, hc_head_base, VECTOR, MHC_HEAD)                                                \
    X(HC_HEAD_SCALE, hc_head_scale, VECTOR, MHC_HEAD)                                              \
    X(NORM, norm, VECTOR, MHC_HEAD)                                                                \
    X(HEAD, head, HEAD, LINEAR)

enum part {
#define PART_ENUM(name, member, role, op) PART_##name,
    PART_LAYER_MAP(PART_ENUM)
    PART_SHARED, /* the shared expert's three matrices */
    PART_MODEL_MAP(PART_ENUM)
#undef PART_ENUM
    N_PARTS
};

/* Not parts of the checkpoint: made by shape_inv_freq, on every device that rotates. */
enum rope_table { ROPE_PLAIN = 0, ROPE_COMPRESSED, N_ROPE_TABLES };

struct part_facts {
    const char *name;             /* the member's name, for error lines */
    enum hearth_weight_role role;
    enum hearth_op op;
};

const struct part_facts *part_facts(enum part part);
/* Its matrices in order: 3 for the shared expert, 1 for the others, 0 if this row has no such part. */
size_t part_matrices(const struct model_roles *roles, uint32_t n_layers, uint32_t row, enum part part,
                     const struct hearth_matrix **ret_matrices);
uint64_t matrix_bytes(const struct hearth_matrix *matrices, size_t n_matrices);

#endif
