/* core/base/error.h - filling a caller's struct hearth_error. */
#ifndef CORE_BASE_ERROR_H
#define CORE_BASE_ERROR_H

#include <hearth/status.h>

/* Writes status and the formatted line into err (may be NULL) and returns status, so that a failing call reads
 * `return error_set(err, HEARTH_EFORMAT, "...")`. */
int error_set(struct hearth_error *err, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same for a system call: native becomes errno and ": " + its text is appended. */
int error_set_errno(struct hearth_error *err, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* EMEMORY, naming what the memory was for. */
int error_no_memory(struct hearth_error *err, const char *what);

#endif
