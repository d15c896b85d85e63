/* core/front/out.h - what leaves the program: result text on standard output with every write
 * checked, and whole files. */
#ifndef CORE_FRONT_OUT_H
#define CORE_FRONT_OUT_H

#include <stdint.h>

#include <hearth/status.h>

#include "core/base/json.h"
#include "core/base/text.h"

/* Standard output.  Errors: EIO (disk full, closed pipe). */
int out_write(const char *bytes, size_t length, struct hearth_error *err);
int out_flush(struct hearth_error *err);
/* text is written and freed, whatever happens. */
int out_text(struct text *text, struct hearth_error *err);
/* One JSON value and a newline; object is released, whatever happens.  NULL: EMEMORY. */
int out_json(struct json_object *object, struct hearth_error *err);

/* Appends the whole of a file; "-": standard input.  Errors: EIO, EFORMAT (more than max_bytes),
 * EMEMORY. */
int file_read(const char *path, uint64_t max_bytes, struct text *text, struct hearth_error *err);
/* The file appears whole or not at all.  Errors: EIO. */
int file_write(const char *path, const char *bytes, size_t length, struct hearth_error *err);

#endif
