/* core/model/tensor.h - a bounds-checked view of one tensor in a mapped file. */
#ifndef CORE_MODEL_TENSOR_H
#define CORE_MODEL_TENSOR_H

#include <stdint.h>

#include <hearth/plugin.h>

#define TENSOR_MAX_DIMS 4u

struct tensor {
    const char *name;
    const char *file;              /* base name of the shard */
    enum hearth_dtype dtype;       /* as stored: I8 on disk is E2M1X2 */
    uint32_t n_dims;
    uint64_t dims[TENSOR_MAX_DIMS]; /* as stored: the last dimension of E2M1X2 counts bytes */
    uint64_t size_bytes;
    const void *data;              /* in the mapping; NULL when only headers were read */
};

#endif
