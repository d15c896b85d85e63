/* weight.c - weights that borrow the caller's bytes; what is checked here is that the bytes are all there. */
#include <stdlib.h>

#include "backends/host/host.h"

/* Bytes that a matrix of this shape has.  False: no such matrix. */
static bool
matrix_bytes(const struct hearth_matrix *matrix, uint64_t *ret_data, uint64_t *ret_scales)
{
    uint64_t row_bytes = 0;
    uint64_t n_scales = 0;
    uint64_t scale_rows = 0;
    switch (matrix->dtype) {
    case HEARTH_F32:
    case HEARTH_I32:
        row_bytes = matrix->cols > UINT64_MAX / 4 ? 0 : matrix->cols * 4;
        break;
    case HEARTH_I64:
        row_bytes = matrix->cols > UINT64_MAX / 8 ? 0 : matrix->cols * 8;
        break;
    case HEARTH_BF16:
        row_bytes = matrix->cols > UINT64_MAX / 2 ? 0 : matrix->cols * 2;
        break;
    case HEARTH_E4M3:
        row_bytes = matrix->cols;
        n_scales = matrix->cols / HOST_ACT_BLOCK + (matrix->cols % HOST_ACT_BLOCK != 0);
        scale_rows = matrix->rows / HOST_ACT_BLOCK + (matrix->rows % HOST_ACT_BLOCK != 0);
        break;
    case HEARTH_E2M1X2:
        row_bytes = matrix->cols % 2 == 0 ? matrix->cols / 2 : 0;
        n_scales = matrix->cols / HOST_E2M1_BLOCK + (matrix->cols % HOST_E2M1_BLOCK != 0);
        scale_rows = matrix->rows;
        break;
    default:
        break;
    }
    return row_bytes > 0 && matrix->rows > 0 && !__builtin_mul_overflow(row_bytes, matrix->rows, ret_data) &&
           !__builtin_mul_overflow(n_scales, scale_rows, ret_scales);
}

static int
check_matrix(const struct hearth_matrix *matrix, size_t index, struct hearth_error *err)
{
    uint64_t data_bytes, scales_bytes;
    if (!matrix_bytes(matrix, &data_bytes, &scales_bytes)) {
        return host_error(err, HEARTH_EUNSUPPORTED, 0, "matrix %zu: %llu x %llu of type %u cannot be used", index,
                          (unsigned long long)matrix->rows, (unsigned long long)matrix->cols, matrix->dtype);
    }
    if (matrix->data == NULL || matrix->data_bytes != data_bytes) {
        return host_error(err, HEARTH_EINTERNAL, 0, "matrix %zu: %llu bytes of elements wanted, %llu found", index,
                          (unsigned long long)data_bytes,
                          (unsigned long long)(matrix->data == NULL ? 0 : matrix->data_bytes));
    }
    if (scales_bytes > 0 && (matrix->scales == NULL || matrix->scales_bytes != scales_bytes)) {
        return host_error(err, HEARTH_EINTERNAL, 0, "matrix %zu: %llu bytes of scales wanted, %llu found", index,
                          (unsigned long long)scales_bytes,
                          (unsigned long long)(matrix->scales == NULL ? 0 : matrix->scales_bytes));
    }
    return 0;
}

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
        const int status = check_matrix(&matrices[i], i, err);
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
