/* core/model/mapped_file.h - a regular file as read-only memory. */
#ifndef CORE_MODEL_MAPPED_FILE_H
#define CORE_MODEL_MAPPED_FILE_H

#include <stdint.h>

#include <hearth/status.h>

struct mapped_file {
    const unsigned char *bytes; /* NULL when size is 0 */
    uint64_t size;
    int64_t written_ns; /* when it was last written, since the epoch */
};

/* The file must keep its length while mapped.  Errors: EIO.  Owner: the caller; file_unmap. */
int file_map(const char *path, struct mapped_file *ret_file, struct hearth_error *err);
void file_unmap(struct mapped_file *file); /* an empty one allowed */

/* Hints about pages of such memory, none of which changes what it reads as: they are wanted soon; they are not, and
 * other use of memory goes before theirs. */
void file_expect(const void *bytes, uint64_t size);
void file_release(const void *bytes, uint64_t size);

#endif
