/* check.h - what every backend says and checks, wherever its memory is: error lines, matrices, views of buffers. */
#ifndef BACKENDS_HOST_CHECK_H
#define BACKENDS_HOST_CHECK_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hearth/plugin.h>

/* Both return status; err may be NULL. */
int host_error(struct hearth_error *err, int status, int native, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
int host_error_in(struct hearth_error *err, int status, const char *prefix, const char *format, va_list arguments)
    __attribute__((format(printf, 4, 0)));
/* Bytes that a matrix of this type and shape has.  False: there is none. */
bool host_matrix_bytes(const struct hearth_matrix *matrix, uint64_t *ret_data, uint64_t *ret_scales);
/* Whether every byte of the matrix is there.  index: for the error line.  Errors: EUNSUPPORTED, EINTERNAL. */
int host_matrix_check(const struct hearth_matrix *matrix, size_t index, struct hearth_error *err);
/* Whether rows * cols elements of size bytes, from an offset that is a multiple of align, lie in a buffer of
 * buffer_bytes.  name: for the error line.  Errors: EINTERNAL. */
int host_view_check(const char *name, struct hearth_view view, uint64_t buffer_bytes, const uint64_t shape[2],
                    uint64_t size, uint32_t align, struct hearth_error *err);

#endif
