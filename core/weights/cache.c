/* cache.c - see cache.h.  Weights are packed straight into the mapped file: the page cache is the only memory that
 * holds them, and the next start finds them there. */
#include <config.h>

#include "core/weights/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/text.h"

#define CACHE_MAGIC "hearthWC"
#define CACHE_VERSION 1u
/* Of what goes to the disk between two looks at the caller's wishes. */
#define CACHE_SYNC_BYTES (UINT64_C(64) << 20)

enum {
    HEAD_VERSION = 8,
    HEAD_SIZE = 16,
    HEAD_WEIGHTS = 24,
    HEAD_LAYOUT = 32,
    HEAD_KEY = HEAD_LAYOUT + CACHE_LAYOUT_BYTES
};

static void
head_fill(const struct cache_content *content, unsigned char head[CACHE_HEAD_BYTES])
{
    memset(head, 0, CACHE_HEAD_BYTES);
    memcpy(head, CACHE_MAGIC, HEAD_VERSION);
    write_le64(head + HEAD_VERSION, CACHE_VERSION);
    write_le64(head + HEAD_SIZE, content->size_bytes);
    write_le64(head + HEAD_WEIGHTS, content->n_weights);
    memcpy(head + HEAD_LAYOUT, content->layout, CACHE_LAYOUT_BYTES);
    memcpy(head + HEAD_KEY, content->key, CACHE_KEY_BYTES);
}

static void
ask_huge_pages(void *bytes, uint64_t size)
{
#ifdef MADV_HUGEPAGE
    (void)madvise(bytes, (size_t)size, MADV_HUGEPAGE); /* where there are none, small ones serve */
#else
    (void)bytes;
    (void)size;
#endif
}

int
cache_map(const char *path, const struct cache_content *content, struct mapped_file *ret_file, struct hearth_error *err)
{
    unsigned char head[CACHE_HEAD_BYTES];
    struct mapped_file file;
    const int status = file_map(path, &file, err);
    if (status < 0) {
        return status;
    }
    head_fill(content, head);
    if (file.size != content->size_bytes || memcmp(file.bytes, head, sizeof head) != 0) {
        const bool is_ours = file.size >= sizeof head && memcmp(file.bytes, CACHE_MAGIC, HEAD_VERSION) == 0;
        file_unmap(&file);
        return error_set(err, HEARTH_EFORMAT, "%s: %s", path,
                         is_ours ? "packed from other files, or for another device or hearth" : "not packed weights");
    }
    ask_huge_pages((void *)(uintptr_t)file.bytes, file.size);
    *ret_file = file;
    return HEARTH_OK;
}

/* Makes the folders above the file. */
static int
make_folders(char *path, struct hearth_error *err)
{
    for (char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
        *at = '\0';
        const bool is_made = mkdir(path, 0700) == 0 || errno == EEXIST;
        const int status = is_made ? HEARTH_OK : error_set_errno(err, HEARTH_EIO, "%s", path);
        *at = '/';
        if (status < 0) {
            return status;
        }
    }
    return HEARTH_OK;
}

/* Opens the file and locks it.  Between the two another process may have given it its name, or removed it: then it is
 * not ours to write. */
static int
open_locked(const char *path, int *ret_descriptor, struct hearth_error *err)
{
    struct stat mine, there;
    const int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (descriptor < 0) {
        return error_set_errno(err, HEARTH_EIO, "%s", path);
    }
    bool is_held = flock(descriptor, LOCK_EX | LOCK_NB) == 0;
    if (!is_held && errno != EWOULDBLOCK) {
        const int status = error_set_errno(err, HEARTH_EIO, "%s: a lock", path);
        close(descriptor);
        return status;
    }
    is_held = is_held && fstat(descriptor, &mine) == 0 && stat(path, &there) == 0 && mine.st_ino == there.st_ino &&
              mine.st_dev == there.st_dev;
    if (!is_held) {
        close(descriptor);
        errno = EWOULDBLOCK;
        return error_set_errno(err, HEARTH_EIO, "%s: another process writes it", path);
    }
    *ret_descriptor = descriptor;
    return HEARTH_OK;
}

/* Room for the whole file, now: a page of the mapping that the disk has no room for would end the process. */
static int
take_room(struct cache_draft *draft, struct hearth_error *err)
{
    const off_t size = (off_t)draft->size_bytes;
    if (ftruncate(draft->descriptor, 0) != 0 || fallocate(draft->descriptor, 0, 0, size) != 0) {
        return error_set_errno(err, HEARTH_EIO, "%s: %llu bytes", draft->beside, (unsigned long long)draft->size_bytes);
    }
    void *bytes = mmap(NULL, (size_t)draft->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, draft->descriptor, 0);
    if (bytes == MAP_FAILED) {
        return error_set_errno(err, HEARTH_EIO, "%s: mapping %llu bytes", draft->beside,
                               (unsigned long long)draft->size_bytes);
    }
    ask_huge_pages(bytes, draft->size_bytes);
    draft->bytes = bytes;
    return HEARTH_OK;
}

int
cache_begin(const char *path, const struct cache_content *content, struct cache_draft *ret_draft,
            struct hearth_error *err)
{
    struct cache_draft draft = {.path = path, .descriptor = -1, .size_bytes = content->size_bytes};
    struct text beside = {0};
    text_printf(&beside, "%s.new", path);
    draft.beside = text_take(&beside);
    if (!draft.beside) {
        return error_no_memory(err, "a path");
    }
    int status = make_folders(draft.beside, err);
    status = status < 0 ? status : open_locked(draft.beside, &draft.descriptor, err);
    if (status < 0) {
        free(draft.beside);
        return status;
    }
    struct mapped_file file;
    if (cache_map(path, content, &file, NULL) == HEARTH_OK) { /* while we came for the lock */
        file_unmap(&file);
        errno = EWOULDBLOCK;
        status = error_set_errno(err, HEARTH_EIO, "%s: another process wrote it", path);
    } else {
        (void)unlink(path); /* out of date; whoever has it mapped keeps it */
        status = take_room(&draft, err);
    }
    if (status < 0) {
        cache_drop(&draft);
        return status;
    }
    *ret_draft = draft;
    return HEARTH_OK;
}

void
cache_written(const struct cache_draft *draft, uint64_t offset, uint64_t size)
{
    (void)sync_file_range(draft->descriptor, (off_t)offset, (off_t)size, SYNC_FILE_RANGE_WRITE);
}

/* The descriptor goes last: with it goes the lock. */
static void
draft_done(struct cache_draft *draft)
{
    if (draft->bytes) {
        munmap(draft->bytes, (size_t)draft->size_bytes);
    }
    close(draft->descriptor);
    free(draft->beside);
    *draft = (struct cache_draft){.descriptor = -1};
}

void
cache_drop(struct cache_draft *draft)
{
    (void)unlink(draft->beside);
    draft_done(draft);
}

/* Piece by piece, so that the caller can tell how far it is, and stop. */
static int
sync_pieces(const struct cache_draft *draft, const struct hearth_progress *progress, struct hearth_error *err)
{
    for (uint64_t at = 0; at < draft->size_bytes; at += CACHE_SYNC_BYTES) {
        (void)sync_file_range(draft->descriptor, (off_t)at, (off_t)CACHE_SYNC_BYTES,
                              SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
        if (progress && progress->step &&
            !progress->step(progress->context, "writing the cache", at, draft->size_bytes, "bytes")) {
            return error_set(err, HEARTH_EINTERRUPTED, "writing packed weights was interrupted");
        }
    }
    if (fdatasync(draft->descriptor) != 0) {
        return error_set_errno(err, HEARTH_EIO, "%s", draft->beside);
    }
    return HEARTH_OK;
}

int
cache_finish(struct cache_draft *draft, const struct cache_content *content, const struct hearth_progress *progress,
             struct hearth_error *err)
{
    int status = sync_pieces(draft, progress, err);
    head_fill(content, draft->bytes);
    if (status == HEARTH_OK && (fdatasync(draft->descriptor) != 0 || rename(draft->beside, draft->path) != 0)) {
        status = error_set_errno(err, HEARTH_EIO, "%s", draft->beside);
    }
    if (status < 0) {
        (void)unlink(draft->beside);
    }
    draft_done(draft);
    return status;
}
