/* core/weights/cache.h - packed weights of one device in a file, kept from one start to the next.
 *
 *     8 bytes    "hearthWC"
 *     3 x u64    version, length of the file, number of weights
 *     64 bytes   the device's packed_layout, filled up with 0
 *     32 bytes   key: SHA-256 of the checkpoint's source (model.h), the plugin's name, the layout, and of each weight
 *                its place in the model, its offset and its length
 *     ...        0 up to CACHE_HEAD_BYTES, then the weights, each at a multiple of CACHE_ALIGN, 0 between them
 *
 * Little-endian.  Nothing of a file is believed, and so nothing is parsed: its head must be, byte for byte, what this
 * start would write, and its length the same.  Then the offsets are those that this start works out. */
#ifndef CORE_WEIGHTS_CACHE_H
#define CORE_WEIGHTS_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include <hearth/engine.h>

#include "core/model/mapped_file.h"

#define CACHE_ALIGN 4096u
#define CACHE_HEAD_BYTES 4096u
#define CACHE_KEY_BYTES 32u
#define CACHE_LAYOUT_BYTES 64u

/* What must be in the file. */
struct cache_content {
    uint64_t size_bytes; /* of the file, head included */
    uint64_t n_weights;
    char layout[CACHE_LAYOUT_BYTES];
    unsigned char key[CACHE_KEY_BYTES];
};

/* Maps the file for reading, its pages huge where the system has such.  Errors: EIO (native ENOENT: there is none),
 * EFORMAT (another head or length).  Owner: the caller; file_unmap. */
int cache_map(const char *path, const struct cache_content *content, struct mapped_file *ret_file,
              struct hearth_error *err);

/* A file in the making, beside the one it will become: PATH.new, locked. */
struct cache_draft {
    const char *path; /* borrowed */
    char *beside;
    int descriptor;
    unsigned char *bytes; /* [size_bytes], written by the caller behind the head */
    uint64_t size_bytes;
};

/* Makes the folder, takes the lock, throws away what a killed process left and what lies at PATH, and takes all of the
 * disk's room before anything is written.  Errors: EIO (native EWOULDBLOCK: another process is at it, or done),
 * EMEMORY. Owner: the caller; cache_finish or cache_drop. */
int cache_begin(const char *path, const struct cache_content *content, struct cache_draft *ret_draft,
                struct hearth_error *err);
/* These bytes are done; they may go to the disk now. */
void cache_written(const struct cache_draft *draft, uint64_t offset, uint64_t size);
/* Waits until all is on the disk, writes the head, and gives the file its name.  The draft is gone, whatever comes
 * back.  Errors: EIO, EINTERRUPTED. */
int cache_finish(struct cache_draft *draft, const struct cache_content *content, const struct hearth_progress *progress,
                 struct hearth_error *err);
/* Removes the file. */
void cache_drop(struct cache_draft *draft);

#endif
