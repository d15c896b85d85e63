/* weight.c - weights that borrow the caller's bytes. */
#include <stdlib.h>
#include <string.h>

#include "backends/host/host.h"

int
host_weight_new(enum hearth_weight_role role, const struct hearth_matrix *matrices, size_t n_matrices,
                struct hearth_weight **ret_weight, struct hearth_error *err)
{
    const size_t wanted = role == HEARTH_WEIGHT_EXPERT || role == HEARTH_WEIGHT_SHARED ? 3 : 1;
    if (n_matrices != wanted) {
        return host_error(err, HEARTH_EINTERNAL, 0, "weight of role %d: %zu matrices wanted, %zu found", (int)role,
                          wanted, n_matrices);
    }
    struct hearth_weight *weight = calloc(1, sizeof *weight);
    if (weight == NULL) {
        return host_error(err, HEARTH_EMEMORY, 0, "no memory for a weight");
    }
    weight->n_matrices = (uint32_t)n_matrices;
    for (size_t i = 0; i < n_matrices; i++) {
        const int status = host_matrix_check(&matrices[i], i, err);
        if (status < 0) {
            free(weight);
            return status;
        }
        weight->matrices[i] = (struct host_matrix){
            .dtype = matrices[i].dtype,
            .rows = matrices[i].rows,
            .cols = matrices[i].cols,
            .data = matrices[i].data,
            .scales = matrices[i].scales,
        };
    }
    *ret_weight = weight;
    return 0;
}

int
host_weight_read(struct hearth_device *device, const struct hearth_weight *weight, size_t index, void *data,
                 void *scales, struct hearth_error *err)
{
    uint64_t data_bytes = 0, scales_bytes = 0;
    (void)device;
    if (index >= weight->n_matrices) {
        return host_error(err, HEARTH_EUNSUPPORTED, 0, "matrix %zu of %u wanted", index, weight->n_matrices);
    }
    const struct host_matrix *from = &weight->matrices[index];
    (void)host_matrix_bytes(&(struct hearth_matrix){.dtype = from->dtype, .rows = from->rows, .cols = from->cols},
                            &data_bytes, &scales_bytes);
    memcpy(data, from->data, (size_t)data_bytes);
    if (scales_bytes > 0) {
        memcpy(scales, from->scales, (size_t)scales_bytes);
    }
    return 0;
}
