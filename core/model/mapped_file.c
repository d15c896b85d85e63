/* mapped_file.c - see mapped_file.h.  No advice is given to the kernel: a loader reads weights front to back, a backend
 * that keeps using the mapping reads whole experts in any order, and the default readahead serves both. */
#include <config.h>

#include "core/model/mapped_file.h"

#include <fcntl.h>
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
