/* core/model/shape.h - the hyper-parameters of a DeepSeek-V4 checkpoint, checked once.  Names follow config.json; the
 * symbols of the specification stand beside them. */
#ifndef CORE_MODEL_SHAPE_H
#define CORE_MODEL_SHAPE_H

#include <stdbool.h>
#include <stdint.h>

#include <hearth/status.h>

#define SHAPE_MAX_LAYERS 1024u
#define SHAPE_MAX_STREAMS 8u
#define SHAPE_MAX_TOPK 64u /* experts per token */
#define SHAPE_MAX_STAGES 8u

enum layer_kind { LAYER_SWA = 0, LAYER_CSA, LAYER_HCA };
#define N_LAYER_KINDS 3

/* The drafter that follows the backbone (mtp.*): the preview's MTP blocks or the DSpark stages of 0731. */
enum nextn_kind { NEXTN_MTP = 0, NEXTN_DSPARK };

struct model_shape {
    uint32_t n_layers;          /* num_hidden_layers, L */
    uint32_t dim;               /* hidden_size, D */
    uint32_t vocab_size;        /* V */
    uint32_t n_heads;           /* num_attention_heads, H */
    uint32_t head_dim;          /* hd */
    uint32_t rope_dim;          /* qk_rope_head_dim, rd; even */
    uint32_t q_lora_rank;       /* Rq */
    uint32_t o_groups;          /* G; divides n_heads */
    uint32_t o_lora_rank;       /* Ro */
    uint32_t expert_inner;      /* moe_intermediate_size, I */
    uint32_t n_experts;         /* n_routed_experts, E */
    uint32_t n_shared_experts;  /* 1 */
    uint32_t experts_per_token; /* num_experts_per_tok, K */
    uint32_t n_hash_layers;     /* num_hash_layers: layers 0 .. n-1 route by token id */
    uint32_t index_n_heads;     /* IH; these three may be 0 when no layer is CSA */
    uint32_t index_head_dim;    /* ID; a power of two */
    uint32_t index_topk;        /* T */
    uint32_t window;            /* sliding_window, W */
    uint32_t n_streams;         /* hc_mult, S */
    uint32_t n_sinkhorn;        /* hc_sinkhorn_iters */
    uint32_t n_nextn; /* drafter stages: announced by config.json; once a model is open, found in its tensors */
    enum nextn_kind nextn_kind;
    uint32_t dspark_rank;       /* dspark_markov_rank */
    uint32_t dspark_n_taps;     /* length of dspark_target_layer_ids */
    uint32_t max_positions;     /* max_position_embeddings */
    int32_t bos_id, eos_id;     /* -1: none */
    float route_scale;          /* routed_scaling_factor */
    float swiglu_limit;
    float norm_eps, hc_eps;
    uint32_t yarn_original_positions; /* 0: no YaRN */
    double rope_theta, compress_rope_theta;
    double yarn_factor;
    double yarn_beta_fast, yarn_beta_slow;
    uint32_t compress_ratios[SHAPE_MAX_LAYERS]; /* r_l: 0, 4 or 128; only the backbone's */
};

static inline enum layer_kind
shape_layer_kind(const struct model_shape *shape, uint32_t layer)
{
    const uint32_t ratio = shape->compress_ratios[layer];
    return ratio == 0 ? LAYER_SWA : ratio == 4 ? LAYER_CSA : LAYER_HCA;
}

/* c: a CSA entry is made of two halves, its own group's and the group's before, so its compressor is twice as wide. */
static inline uint32_t
shape_overlap(uint32_t ratio)
{
    return ratio == 4 ? 2u : 1u;
}

static inline uint32_t
shape_count_layers(const struct model_shape *shape, enum layer_kind kind)
{
    uint32_t n = 0;
    for (uint32_t layer = 0; layer < shape->n_layers; layer++) {
        n += shape_layer_kind(shape, layer) == kind;
    }
    return n;
}

/* Reads config.json (name: its path, for errors) and checks every value and every relation between values.  The ranges
 * are such that the bytes of a matrix of any two extents fit 64 bits.  Errors: EFORMAT; EUNSUPPORTED where the value
 * means something, but not the DeepSeek-V4 that hearth computes (another model_type, scoring_func, ratio ...). */
struct json_object;
int shape_read(const char *name, struct json_object *config, struct model_shape *ret_shape, struct hearth_error *err);

/* ret_inv_freq: [rope_dim / 2] f32, the frequencies of a layer: compressed layers use compress_rope_theta with YaRN,
 * the others rope_theta alone.  Source: model.py precompute_freqs_cis, each step rounded to f32 as there. */
void shape_inv_freq(const struct model_shape *shape, bool compressed, float *ret_inv_freq);

#endif
