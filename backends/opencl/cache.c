/* cache.c - compiled programs on disk.  A file is named by its family and the hash of all that the binary depends on
 * (source, options, device, driver); it holds a head with that key, the length and a checksum, then the driver's
 * binary. A file that is not whole, or that the driver will not take, is as good as none: the program is compiled
 * again and the file replaced, by rename, so that nobody reads half of one. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/opencl/internal.h"

#define MAGIC UINT64_C(0x31304C4348545248) /* "HRTHCL01" */
#define MAX_BINARY_BYTES (UINT64_C(256) << 20)
#define PATH_BYTES 4096

struct head {
    uint64_t magic, key, size, checksum;
};

static bool
cache_path(const char *family, uint64_t key, const char *suffix, char path[PATH_BYTES])
{
    const int length = snprintf(path, PATH_BYTES, "%s/%s-%016llx.clbin%s", ocl_settings.cache, family,
                                (unsigned long long)key, suffix);
    return length > 0 && length < PATH_BYTES;
}

/* The binary under key, checked.  Owner: the caller; free(). */
static unsigned char *
read_binary(const char *path, uint64_t key, size_t *ret_size)
{
    struct head head;
    unsigned char *bytes = NULL;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return NULL;
    }
    if (fread(&head, sizeof head, 1, file) == 1 && head.magic == MAGIC && head.key == key && head.size > 0 &&
        head.size <= MAX_BINARY_BYTES) {
        bytes = malloc((size_t)head.size);
    }
    if (bytes != NULL && (fread(bytes, 1, (size_t)head.size, file) != head.size || fgetc(file) != EOF ||
                          ocl_hash(OCL_HASH_START, bytes, (size_t)head.size) != head.checksum)) {
        free(bytes);
        bytes = NULL;
    }
    fclose(file);
    if (bytes == NULL) {
        ocl_log(HEARTH_LOG_DEBUG, "%s is not whole; compiled again", path);
        return NULL;
    }
    *ret_size = (size_t)head.size;
    return bytes;
}

cl_program
ocl_cache_load(struct hearth_device *device, const char *family, const char *options, uint64_t key)
{
    char path[PATH_BYTES];
    size_t size = 0;
    cl_int code, taken;
    if (ocl_settings.cache == NULL || !cache_path(family, key, "", path)) {
        return NULL;
    }
    unsigned char *bytes = read_binary(path, key, &size);
    if (bytes == NULL) {
        return NULL;
    }
    const unsigned char *binary = bytes;
    cl_program program = clCreateProgramWithBinary(device->context, 1, &device->id, &size, &binary, &taken, &code);
    free(bytes);
    if (code == CL_SUCCESS && taken == CL_SUCCESS) {
        code = clBuildProgram(program, 1, &device->id, options, NULL, NULL);
    } else if (code == CL_SUCCESS) {
        code = taken;
    }
    if (code != CL_SUCCESS) {
        ocl_log(HEARTH_LOG_DEBUG, "%s: the driver will not take it: %s; compiled again", path, ocl_code_name(code));
        if (program != NULL) {
            clReleaseProgram(program);
        }
        return NULL;
    }
    ocl_log(HEARTH_LOG_DEBUG, "kernels-cl/%s.cl comes from %s", family, path);
    return program;
}

/* Makes the folder and those above it. */
static bool
make_folder(const char *folder)
{
    char path[PATH_BYTES];
    const int length = snprintf(path, sizeof path, "%s", folder);
    if (length <= 0 || (size_t)length >= sizeof path) {
        return false;
    }
    for (char *at = path + 1; *at != '\0'; at++) {
        if (*at == '/') {
            *at = '\0';
            if (mkdir(path, 0700) < 0 && errno != EEXIST) {
                return false;
            }
            *at = '/';
        }
    }
    return mkdir(path, 0700) == 0 || errno == EEXIST;
}

/* Writes head and binary beside `path`, then renames. */
static bool
write_binary(const char *family, uint64_t key, const unsigned char *bytes, size_t size)
{
    char path[PATH_BYTES], beside[PATH_BYTES], suffix[32];
    const struct head head = {MAGIC, key, size, ocl_hash(OCL_HASH_START, bytes, size)};
    snprintf(suffix, sizeof suffix, ".%ld", (long)getpid());
    if (!cache_path(family, key, "", path) || !cache_path(family, key, suffix, beside) ||
        !make_folder(ocl_settings.cache)) {
        return false;
    }
    FILE *file = fopen(beside, "wb");
    if (file == NULL) {
        return false;
    }
    bool ok = fwrite(&head, sizeof head, 1, file) == 1 && fwrite(bytes, 1, size, file) == size;
    ok = fclose(file) == 0 && ok && rename(beside, path) == 0;
    if (!ok) {
        (void)unlink(beside);
    }
    return ok;
}

void
ocl_cache_store(const char *family, uint64_t key, cl_program program)
{
    size_t size = 0;
    if (ocl_settings.cache == NULL ||
        clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof size, &size, NULL) != CL_SUCCESS || size == 0 ||
        size > MAX_BINARY_BYTES) {
        return;
    }
    unsigned char *bytes = malloc(size);
    if (bytes == NULL) {
        return;
    }
    if (clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof bytes, &bytes, NULL) != CL_SUCCESS ||
        !write_binary(family, key, bytes, size)) {
        ocl_log(HEARTH_LOG_INFO, "kernels-cl/%s.cl could not be kept in %s", family, ocl_settings.cache);
    }
    free(bytes);
}
