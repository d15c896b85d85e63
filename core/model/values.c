/* values.c - see values.h. */
#include "core/model/values.h"

#include <inttypes.h>
#include <string.h>

#include "core/base/error.h"

/* Position of the first byte whose bits under mask are all 1, or size.  Such a byte is 0 in ~word & mask, and a zero
 * among eight bytes is found by the borrow it causes. */
static uint64_t
find_ones(const unsigned char *bytes, uint64_t size, unsigned char mask)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t at = 0;
    for (; size - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, bytes + at, 8);
        word = ~word & (ones * mask);
        if ((word - ones) & ~word & (ones << 7)) {
            break;
        }
    }
    while (at < size && (bytes[at] & mask) != mask) {
        at++;
    }
    return at;
}

static int
check_scales(const struct tensor_set *set, const struct tensor *tensor, struct hearth_error *err)
{
    const uint64_t at = find_ones(tensor->data, tensor->size_bytes, 0xFF);
    if (at < tensor->size_bytes) {
        return error_set(err, HEARTH_EFORMAT,
                         "%s/%s: tensor %s: scales in [0, 254] wanted, NaN (255) found at element %" PRIu64, set->path,
                         tensor->file, tensor->name, at);
    }
    return HEARTH_OK;
}

static int
check_table(const struct tensor_set *set, const struct tensor *tensor, uint32_t n_experts, struct hearth_error *err)
{
    const unsigned char *bytes = tensor->data;
    for (uint64_t i = 0; i < tensor->n_elements; i++) {
        int64_t expert;
        memcpy(&expert, bytes + 8 * i, 8);
        if (expert < 0 || expert >= n_experts) {
            return error_set(err, HEARTH_EFORMAT,
                             "%s/%s: tensor %s: experts in [0, %u) wanted, %" PRId64 " found at element %" PRIu64,
                             set->path, tensor->file, tensor->name, n_experts, expert, i);
        }
    }
    return HEARTH_OK;
}

int
values_check_open(const struct tensor_set *set, const struct model_shape *shape, struct hearth_error *err)
{
    uint64_t expert_scales = 0;
    for (size_t i = 0; i < set->n_tensors; i++) {
        const struct tensor *tensor = &set->tensors[i];
        expert_scales += tensor->kind == TENSOR_ROUTED && tensor->dtype == HEARTH_E8M0 ? tensor->size_bytes : 0;
    }
    for (size_t i = 0; i < set->n_tensors; i++) {
        const struct tensor *tensor = &set->tensors[i];
        int status = HEARTH_OK;
        if (tensor->kind == TENSOR_NEXTN) {
            continue; /* not loaded */
        }
        if (tensor->dtype == HEARTH_E8M0 &&
            (tensor->kind != TENSOR_ROUTED || expert_scales <= VALUES_OPEN_SCALE_BYTES)) {
            status = check_scales(set, tensor, err);
        } else if (tensor->kind == TENSOR_HASH) {
            status = check_table(set, tensor, shape->n_experts, err);
        }
        if (status < 0) {
            return status;
        }
    }
    return HEARTH_OK;
}

/* The tensor whose first byte this is; asked only to word an error. */
static const char *
name_of(const struct tensor_set *set, const void *data)
{
    for (size_t i = 0; i < set->n_tensors; i++) {
        if (set->tensors[i].data == data && set->tensors[i].size_bytes > 0) {
            return set->tensors[i].name;
        }
    }
    return "?";
}

int
values_check_matrix(const struct tensor_set *set, const struct hearth_matrix *matrix, struct hearth_error *err)
{
    if (matrix->scales) {
        const uint64_t at = find_ones(matrix->scales, matrix->scales_bytes, 0xFF);
        if (at < matrix->scales_bytes) {
            return error_set(err, HEARTH_EFORMAT,
                             "%s: tensor %s: scales in [0, 254] wanted, NaN (255) found at element %" PRIu64, set->path,
                             name_of(set, matrix->scales), at);
        }
    }
    if (matrix->dtype == HEARTH_E4M3 && matrix->data) {
        const uint64_t at = find_ones(matrix->data, matrix->data_bytes, 0x7F);
        if (at < matrix->data_bytes) {
            return error_set(err, HEARTH_EFORMAT, "%s: tensor %s: numbers wanted, NaN found at element %" PRIu64,
                             set->path, name_of(set, matrix->data), at);
        }
    }
    return HEARTH_OK;
}
