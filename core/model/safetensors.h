/* core/model/safetensors.h - the header of a safetensors file: 8 bytes of little-endian length, that many bytes of
 * JSON, data. Nothing in it is trusted: every tensor returned lies inside the file, is as large as its type and
 * dimensions say, is aligned for its elements, and shares no byte with another. */
#ifndef CORE_MODEL_SAFETENSORS_H
#define CORE_MODEL_SAFETENSORS_H

#include <stddef.h>

#include "core/model/tensor.h"

#define SAFETENSORS_MAX_HEADER_BYTES 100000000u /* the limit of the format */

struct safetensors {
    struct tensor *tensors; /* in the order of their data */
    size_t n_tensors;
    char *names;            /* owns their names */
    uint64_t header_bytes;  /* the length field and the JSON: data starts here */
};

/* bytes, size: the whole file.  path opens error lines; file (borrowed) becomes the tensors' file.  Two tensors of one
 * name are not noticed here.  Errors: EFORMAT, EMEMORY.  Owner: the caller; safetensors_free. */
int safetensors_read(const char *path, const char *file, const unsigned char *bytes, uint64_t size,
                     struct safetensors *ret_header, struct hearth_error *err);
void safetensors_free(struct safetensors *header); /* an empty one allowed */

#endif
