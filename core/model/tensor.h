/* core/model/tensor.h - a bounds-checked view of one tensor in a mapped file. */
#ifndef CORE_MODEL_TENSOR_H
#define CORE_MODEL_TENSOR_H

#include <stdint.h>

#include <hearth/plugin.h>

#define TENSOR_MAX_DIMS 4u
#define TENSOR_NO_LAYER UINT32_MAX

/* What a tensor is part of, for reports.  X(name, text). */
#define TENSOR_KIND_MAP(X)                                                                         \
    X(UNKNOWN, "unknown")                                                                          \
    X(ROUTED, "routed_experts")                                                                    \
    X(SHARED, "shared_experts")                                                                    \
    X(ATTENTION, "attention")                                                                      \
    X(COMPRESSOR, "compressors")                                                                   \
    X(INDEXER, "indexers")                                                                         \
    X(EMBEDDING, "embedding")                                                                      \
    X(HEAD, "head")                                                                                \
    X(GATE, "gates")                                                                               \
    X(HASH, "hash_tables")                                                                         \
    X(HYPER, "hyper_connections")                                                                  \
    X(NORM, "norms")                                                                               \
    X(NEXTN, "drafter")

enum tensor_kind {
#define TENSOR_KIND_ENUM(name, text) TENSOR_##name,
    TENSOR_KIND_MAP(TENSOR_KIND_ENUM)
#undef TENSOR_KIND_ENUM
    N_TENSOR_KINDS
};

struct tensor {
    const char *name;
    const char *file;               /* base name of the shard */
    const char *dtype_text;         /* as the file spells it */
    enum hearth_dtype dtype;        /* as stored: I8 on disk is E2M1X2; NONE: a type hearth has no use for */
    enum tensor_kind kind;
    uint32_t layer;                 /* TENSOR_NO_LAYER: none */
    uint32_t n_dims;                /* 0: a single element */
    uint64_t dims[TENSOR_MAX_DIMS]; /* as stored: the last dimension of E2M1X2 counts bytes */
    uint64_t n_elements;            /* as stored */
    uint64_t offset;                /* of the first byte, in its file */
    uint64_t size_bytes;
    const void *data;               /* in the mapping; NULL when only headers were read */
};

#define TENSOR_DIMS_BYTES 96

/* "[4096, 1024]", for an error line; returns text */
const char *tensor_dims_text(uint32_t n_dims, const uint64_t *dims, char text[TENSOR_DIMS_BYTES]);
/* "F8_E4M3", the safetensors name */
const char *tensor_dtype_text(enum hearth_dtype dtype);
/* "routed_experts" */
const char *tensor_kind_text(enum tensor_kind kind);

#endif
