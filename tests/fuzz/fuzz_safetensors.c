/* fuzz_safetensors.c - weight files: any bytes give tensors that lie inside them, apart and aligned, or one line. */
#include <config.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* The promises of safetensors.h. */
static void
check_tensors(const struct safetensors *header, const uint8_t *bytes, size_t length)
{
    uint64_t end = header->header_bytes;
    for (size_t i = 0; i < header->n_tensors; i++) {
        const struct tensor *tensor = &header->tensors[i];
        uint64_t n_elements = 1;
        for (uint32_t j = 0; j < tensor->n_dims; j++) {
            n_elements *= tensor->dims[j];
        }
        const uint64_t width = n_elements ? tensor->size_bytes / n_elements : 1;
        if (tensor->offset < end || tensor->offset > length || length - tensor->offset < tensor->size_bytes ||
            tensor->n_elements != n_elements || tensor->size_bytes != n_elements * width || width < 1 || width > 8 ||
            tensor->offset % width != 0 || tensor->data != bytes + tensor->offset || !tensor->name) {
            __builtin_trap();
        }
        end = tensor->offset + tensor->size_bytes;
        char text[TENSOR_DIMS_BYTES];
        if (strlen(tensor->name) > length || strlen(tensor_dims_text(tensor->n_dims, tensor->dims, text)) < 2) {
            __builtin_trap();
        }
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct hearth_error err = {0};
    struct safetensors header;
    const int status = safetensors_read("fuzz.safetensors", "fuzz.safetensors", bytes, length, &header, &err);
    if (status < 0) {
        if (status != HEARTH_EFORMAT || err.status != status || err.text[0] == '\0' || strchr(err.text, '\n')) {
            __builtin_trap();
        }
        return 0;
    }
    check_tensors(&header, bytes, length);
    safetensors_free(&header);
    return 0;
}
