/* mapped_file.c - see mapped_file.h.  A new mapping has the default readahead: a loader reads weights front to back, a
 * backend that keeps using the mapping reads whole experts in any order. */
#include <config.h>

#include "core/model/mapped_file.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/error.h"

int
file_map(const char *path, struct mapped_file *ret_file, struct hearth_error *err)
{
    int status = HEARTH_OK;
    struct stat info;
    struct mapped_file file = {0};
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) {
        return error_set_errno(err, HEARTH_EIO, "%s", path);
    }
    if (fstat(descriptor, &info) != 0) {
        status = error_set_errno(err, HEARTH_EIO, "%s", path);
        goto done;
    }
    if (!S_ISREG(info.st_mode)) {
        status = error_set(err, HEARTH_EIO, "%s: a regular file wanted", path);
        goto done;
    }
    file.size = (uint64_t)info.st_size;
    file.written_ns = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
    if (file.size > 0) {
        void *bytes = file.size <= SIZE_MAX
                          ? mmap(NULL, (size_t)file.size, PROT_READ, MAP_PRIVATE, descriptor, 0) : MAP_FAILED;
        if (bytes == MAP_FAILED) {
            status = error_set_errno(err, HEARTH_EIO, "%s: mapping %llu bytes", path, (unsigned long long)file.size);
            goto done;
        }
        file.bytes = bytes;
    }
    *ret_file = file;

done:
    close(descriptor);
    return status;
}

void
file_unmap(struct mapped_file *file)
{
    if (file->bytes) {
        munmap((void *)(uintptr_t)file->bytes, (size_t)file->size);
    }
    *file = (struct mapped_file){0};
}

/* The pages that have a byte of the range, or only those that lie wholly in it.  False: none. */
static bool
range_pages(const void *bytes, uint64_t size, bool whole, void **ret_begin, size_t *ret_size)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t from = (uintptr_t)bytes, to = from + (uintptr_t)size;
    const uintptr_t begin = whole ? (from + page - 1) / page * page : from / page * page;
    const uintptr_t end = whole ? to / page * page : (to + page - 1) / page * page;
    *ret_begin = (void *)begin;
    *ret_size = end > begin ? end - begin : 0;
    return end > begin;
}

void
file_expect(const void *bytes, uint64_t size)
{
    void *begin;
    size_t length;
    if (size > 0 && range_pages(bytes, size, false, &begin, &length)) {
        (void)madvise(begin, length, MADV_WILLNEED);
    }
}

void
file_release(const void *bytes, uint64_t size)
{
    void *begin;
    size_t length;
    if (!range_pages(bytes, size, true, &begin, &length)) {
        return;
    }
#ifdef MADV_COLD
    (void)madvise(begin, length,
                  MADV_COLD); /* first: what leaves the mapping as recently used stays in memory longer */
#endif
    (void)madvise(begin, length, MADV_DONTNEED);
}
