/* core/model/roles.h - which tensor is what.  A role is a matrix in canonical layout (hearth/plugin.h) that points into
 * the mapped files; absent roles have dtype NONE and data NULL. */
#ifndef CORE_MODEL_ROLES_H
#define CORE_MODEL_ROLES_H

#include <stdbool.h>
#include <stddef.h>

#include "core/model/shape.h"
#include "core/model/tensor.h"

struct compressor_roles {
    struct hearth_matrix ape;        /* f32 [ratio][c * width] */
    struct hearth_matrix wkv, wgate; /* bf16 [c * width][dim] */
    struct hearth_matrix norm;       /* bf16 [width] */
};

struct expert_roles {
    struct hearth_matrix w[3]; /* w1 (gate), w3 (up), w2 (down): the order of HEARTH_WEIGHT_EXPERT */
};

struct layer_roles {
    struct hearth_matrix attn_norm, ffn_norm;
    struct hearth_matrix hc_attn_fn, hc_attn_base, hc_attn_scale;
    struct hearth_matrix hc_ffn_fn, hc_ffn_base, hc_ffn_scale;
    struct hearth_matrix attn_sink, q_norm, kv_norm;
    struct hearth_matrix wq_a, wq_b, wkv, wo_a, wo_b;
    struct compressor_roles compressor;       /* ratio != 0 */
    struct hearth_matrix index_wq_b, index_weights_proj; /* ratio 4 */
    struct compressor_roles index_compressor; /* ratio 4 */
    struct hearth_matrix gate, gate_bias;     /* bias: layers that do not hash */
    struct hearth_matrix tid2eid;             /* i64 [vocab][experts per token], hash layers */
    struct expert_roles shared;
    struct expert_roles *experts;             /* [n_experts] */
};

struct model_roles {
    struct hearth_matrix embed, head, norm;
    struct hearth_matrix hc_head_fn, hc_head_base, hc_head_scale;
    struct layer_roles *layers; /* [n_layers] */
    uint32_t n_layers;
    uint64_t n_nextn_tensors, nextn_bytes; /* MTP or DSpark tensors: recognised, not loaded */
};

/* All tensors of a checkpoint, and the way to one by its name. */
struct tensor_set {
    const char *path; /* of the checkpoint, for error lines */
    struct tensor *tensors;
    size_t n_tensors;
    struct tensor **by_name; /* sorted */
};

struct tensor *tensor_set_find(const struct tensor_set *set, const char *name); /* NULL: none */
/* Sorts by_name.  Errors: EFORMAT (two tensors of one name). */
int tensor_set_sort(struct tensor_set *set, struct hearth_error *err);

/* Turns the older and longer spellings of a name ("model.", "self_attn", "weight_scale_inv" ...) into the published
 * one, in place.  True if it changed. */
bool roles_rename(char *name);

/* Finds, checks and binds every tensor; sets shape->n_nextn and nextn_kind, and each tensor's kind and layer.  Errors:
 * EFORMAT (missing, of another type or shape), EUNSUPPORTED (a tensor that no DeepSeek-V4 of this shape has), EMEMORY.
 * Owner: the caller; roles_free. */
int roles_bind(struct tensor_set *set, struct model_shape *shape, struct model_roles *ret_roles,
               struct hearth_error *err);
void roles_free(struct model_roles *roles);

#endif
