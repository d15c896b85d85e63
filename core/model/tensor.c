/* tensor.c - the words for tensors. */
#include "core/model/tensor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *
tensor_dims_text(uint32_t n_dims, const uint64_t *dims, char text[TENSOR_DIMS_BYTES])
{
    size_t used = 1;
    strcpy(text, "[");
    for (uint32_t i = 0; i < n_dims && used < TENSOR_DIMS_BYTES; i++) {
        used += (size_t)snprintf(text + used, TENSOR_DIMS_BYTES - used, "%s%" PRIu64, i ? ", " : "", dims[i]);
    }
    if (used < TENSOR_DIMS_BYTES) {
        snprintf(text + used, TENSOR_DIMS_BYTES - used, "]");
    }
    return text;
}

const char *
tensor_dtype_text(enum hearth_dtype dtype)
{
    switch (dtype) {
#define TENSOR_DTYPE_CASE(name, bits, text) case HEARTH_##name: return text;
        HEARTH_DTYPE_MAP(TENSOR_DTYPE_CASE)
#undef TENSOR_DTYPE_CASE
    default:
        return "unknown";
    }
}

const char *
tensor_kind_text(enum tensor_kind kind)
{
    static const char *const texts[] = {
#define TENSOR_KIND_TEXT(name, text) text,
        TENSOR_KIND_MAP(TENSOR_KIND_TEXT)
#undef TENSOR_KIND_TEXT
    };
    return (unsigned)kind < N_TENSOR_KINDS ? texts[kind] : texts[TENSOR_UNKNOWN];
}
