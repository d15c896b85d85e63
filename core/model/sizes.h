/* core/model/sizes.h - what a model costs, as arithmetic: tensors and bytes by kind, parameters, context, FLOPs. */
#ifndef CORE_MODEL_SIZES_H
#define CORE_MODEL_SIZES_H

#include "core/model/shape.h"
#include "core/model/tensor.h"

struct size_row {
    uint64_t n_tensors;
    uint64_t n_elements;        /* as stored: an FP4 pair is one */
    uint64_t bytes;
    uint64_t n_parameters;      /* weights: no scales, no hash tables; an FP4 pair is two */
    uint64_t active_parameters; /* those that take part in one token; of the embedding, none */
    uint64_t active_bytes;      /* read for one token at short context */
};

struct model_sizes {
    struct size_row by_kind[N_TENSOR_KINDS];
    struct size_row by_dtype[HEARTH_N_DTYPES];
    struct size_row total; /* active_*: without the drafter */
};

/* kind and dtype of each tensor say where it counts. */
void sizes_of_tensors(const struct model_shape *shape, const struct tensor *tensors, size_t n_tensors,
                      struct model_sizes *ret_sizes);
/* The same from the shape alone, routed experts stored as expert_dtype (E2M1X2 or E4M3). */
void sizes_of_shape(const struct model_shape *shape, enum hearth_dtype expert_dtype, struct model_sizes *ret_sizes);

/* KV state of one conversation, stored as an enum hearth_kv_format says. */
struct context_sizes {
    double bytes_per_token;      /* compressed entries and index keys, averaged over whole groups */
    uint64_t window_bytes;       /* the rings of all layers */
    uint64_t compressor_bytes;   /* f32 sums of the groups that are not full yet */
};

struct context_sizes sizes_context(const struct model_shape *shape, uint32_t kv_format);
/* Compressed entries and index keys of n_tokens. */
uint64_t sizes_entry_bytes(const struct model_shape *shape, uint32_t kv_format, uint64_t n_tokens);

/* Floating-point operations of one decoded token, a multiply-add being two. */
struct flops {
    double linear;  /* 2 * active parameters */
    double core;    /* scores and weighted sums of attention */
    double indexer; /* index scores */
};

struct flops sizes_flops(const struct model_shape *shape, uint64_t active_parameters, uint64_t n_tokens);
double flops_plain(struct flops flops);
/* In operations of an FP8 multiplier: bf16 attention counts double, the FP4 indexer half. */
double flops_fp8(struct flops flops);

/* DeepSeek-V3.2, the yardstick of the V4 report. */
struct flops sizes_v32_flops(uint64_t n_tokens);
double sizes_v32_flops_fp8(uint64_t n_tokens); /* its indexer is FP8 */
/* 61 * (512 e4m3 + 4 f32 scales + 64 bf16, and 128 e4m3 + 1 f32 scale) */
#define SIZES_V32_CONTEXT_BYTES_PER_TOKEN 48068u

#endif
