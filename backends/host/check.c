/* check.c - see check.h. */
#include <stdio.h>

#include "backends/host/check.h"
#include "backends/host/matrix.h"

int
host_error_in(struct hearth_error *err, int status, const char *prefix, const char *format, va_list arguments)
{
    if (err != NULL) {
        err->status = status;
        err->native = 0;
        const int length = snprintf(err->text, sizeof err->text, "%s", prefix);
        if (length >= 0 && (size_t)length < sizeof err->text) {
            vsnprintf(err->text + length, sizeof err->text - (size_t)length, format, arguments);
        }
    }
    return status;
}

int
host_error(struct hearth_error *err, int status, int native, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    host_error_in(err, status, "", format, arguments);
    va_end(arguments);
    if (err != NULL) {
        err->native = native;
    }
    return status;
}

bool
host_matrix_bytes(const struct hearth_matrix *matrix, uint64_t *ret_data, uint64_t *ret_scales)
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
           *ret_data < UINT64_MAX / 8 && !__builtin_mul_overflow(n_scales, scale_rows, ret_scales);
}

int
host_matrix_check(const struct hearth_matrix *matrix, size_t index, struct hearth_error *err)
{
    uint64_t data_bytes, scales_bytes;
    if (!host_matrix_bytes(matrix, &data_bytes, &scales_bytes)) {
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
host_view_check(const char *name, struct hearth_view view, uint64_t buffer_bytes, const uint64_t shape[2],
                uint64_t size, uint32_t align, struct hearth_error *err)
{
    const uint64_t rows = shape[0], cols = shape[1];
    uint64_t n, n_bytes;
    if (view.buffer == NULL) {
        return host_error(err, HEARTH_EINTERNAL, 0, "%s: a buffer wanted, none given", name);
    }
    if (rows == 0 || cols == 0 || __builtin_mul_overflow(rows, cols, &n) || __builtin_mul_overflow(n, size, &n_bytes)) {
        return host_error(err, HEARTH_EINTERNAL, 0, "%s: impossible shape %llu x %llu", name, (unsigned long long)rows,
                          (unsigned long long)cols);
    }
    if (view.offset > buffer_bytes || n_bytes > buffer_bytes - view.offset) {
        return host_error(err, HEARTH_EINTERNAL, 0, "%s: %llu bytes at offset %llu wanted, the buffer has %llu", name,
                          (unsigned long long)n_bytes, (unsigned long long)view.offset,
                          (unsigned long long)buffer_bytes);
    }
    if (view.offset % align != 0) {
        return host_error(err, HEARTH_EINTERNAL, 0, "%s: offset %llu is no multiple of %u", name,
                          (unsigned long long)view.offset, align);
    }
    return 0;
}
