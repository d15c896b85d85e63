/* loan.c - experts on loan: what a plugin reads back of an expert, and one that gets other contents. */
#include <config.h>

#include <stdio.h>
#include <string.h>

#include "core/conformance/rig.h"

#define CANARY_BYTES 64u
#define POISON 0xA5

bool
rig_empty_weight(struct rig *rig, struct check_trial *trial, const struct check_weight *weight,
                 struct check_weight *ret_weight)
{
    *ret_weight = *weight;
    for (size_t i = 0; i < weight->n_matrices; i++) {
        struct hearth_matrix *matrix = &ret_weight->matrices[i];
        unsigned char *bytes = rig_take_memory(rig, trial, matrix->data_bytes + matrix->scales_bytes);
        if (bytes == NULL) {
            return false;
        }
        memset(bytes, 0, matrix->data_bytes + matrix->scales_bytes);
        matrix->data = bytes;
        matrix->scales = matrix->scales == NULL ? NULL : bytes + matrix->data_bytes;
    }
    return true;
}

static int
give_matrix(void *context, size_t index, void *data, void *scales, struct hearth_error *err)
{
    const struct check_weight *weight = context;
    const struct hearth_matrix *matrix = &weight->matrices[index];
    (void)err;
    memcpy(data, matrix->data, matrix->data_bytes);
    if (matrix->scales != NULL) {
        memcpy(scales, matrix->scales, matrix->scales_bytes);
    }
    return 0;
}

bool
rig_refill(struct rig *rig, const struct check_weight *weight, struct hearth_weight *placed)
{
    struct hearth_error err = {0};
    struct check_weight given = *weight;
    if (rig->plugin->weight_refill(rig->device, placed, give_matrix, &given, &err) < 0) {
        snprintf(rig->why, sizeof rig->why, "weight_refill: %s", err.text);
        return false;
    }
    return true;
}

/* Bytes that were read, between canaries, against those that were wanted. */
static bool
is_same(struct rig *rig, const unsigned char *read, const void *wanted, uint64_t size, const char *what)
{
    for (uint64_t k = 0; k < CANARY_BYTES; k++) {
        if (read[k] != POISON || read[size + 2 * CANARY_BYTES - 1 - k] != POISON) {
            snprintf(rig->why, sizeof rig->why, "weight_read: written %s the %llu bytes of %s",
                     read[k] != POISON ? "before" : "behind", (unsigned long long)size, what);
            return false;
        }
    }
    if (size > 0 && memcmp(read + CANARY_BYTES, wanted, size) != 0) {
        snprintf(rig->why, sizeof rig->why, "weight_read: other %s than weight_create was given", what);
        return false;
    }
    return true;
}

bool
rig_check_read(struct rig *rig, struct check_trial *trial, const struct check_weight *weight,
               const struct hearth_weight *placed)
{
    const bool has_read = rig->plugin->weight_read != NULL && weight->role == HEARTH_WEIGHT_EXPERT;
    for (size_t i = 0; has_read && i < weight->n_matrices; i++) {
        const struct hearth_matrix *matrix = &weight->matrices[i];
        struct hearth_error err = {0};
        /* at an odd address, but for the first */
        unsigned char *data = rig_take_memory(rig, trial, matrix->data_bytes + 2 * CANARY_BYTES + i);
        unsigned char *scales =
            data == NULL ? NULL : rig_take_memory(rig, trial, matrix->scales_bytes + 2 * CANARY_BYTES);
        if (scales == NULL) {
            return false;
        }
        data += i;
        memset(data, POISON, matrix->data_bytes + 2 * CANARY_BYTES);
        memset(scales, POISON, matrix->scales_bytes + 2 * CANARY_BYTES);
        if (rig->plugin->weight_read(rig->device, placed, i, data + CANARY_BYTES,
                                     matrix->scales == NULL ? NULL : scales + CANARY_BYTES, &err) < 0) {
            snprintf(rig->why, sizeof rig->why, "weight_read: %s", err.text);
            return false;
        }
        if (!is_same(rig, data, matrix->data, matrix->data_bytes, "data") ||
            !is_same(rig, scales, matrix->scales, matrix->scales_bytes, "scales")) {
            return false;
        }
    }
    return true;
}
