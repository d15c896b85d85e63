/* scarce.c - see scarce.h.  Linked with -Wl,--wrap=NAME for every NAME below. */
#include <config.h>

#include "tests/torture/scarce.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

static atomic_long requests_left = -1; /* below 0: as many as wanted */
static atomic_int refused_kind;
static _Atomic(const char *) refused_call;
static atomic_long n_held;

void
scarce_begin(long n)
{
    atomic_store(&refused_kind, SCARCE_NOTHING);
    atomic_store(&refused_call, "");
    atomic_store(&requests_left, n);
}

enum scarce_kind
scarce_end(const char **ret_call)
{
    atomic_store(&requests_left, -1);
    *ret_call = atomic_load(&refused_call);
    return (enum scarce_kind)atomic_load(&refused_kind);
}

long
scarce_held(void)
{
    return atomic_load(&n_held);
}

static bool
is_refused(enum scarce_kind kind, const char *call, int native)
{
    if (atomic_load(&requests_left) < 0 || atomic_fetch_sub(&requests_left, 1) != 0) {
        return false;
    }
    atomic_store(&refused_kind, (int)kind);
    atomic_store(&refused_call, call);
    errno = native;
    return true;
}

static void *
held(void *thing)
{
    if (thing) {
        atomic_fetch_add(&n_held, 1);
    }
    return thing;
}

static void
released(const void *thing)
{
    if (thing) {
        atomic_fetch_sub(&n_held, 1);
    }
}

/* RESULT NAME(PARAMETERS): refused with NULL and ENOMEM, or done and held. */
#define SCARCE_CALL(kind, result, name, parameters, arguments)                                                         \
    result __real_##name parameters;                                                                                   \
    result __wrap_##name parameters;                                                                                   \
    result __wrap_##name parameters                                                                                    \
    {                                                                                                                  \
        return is_refused(kind, #name, ENOMEM) ? NULL : held(__real_##name arguments);                                 \
    }

SCARCE_CALL(SCARCE_MEMORY, void *, malloc, (size_t size), (size))
SCARCE_CALL(SCARCE_MEMORY, void *, calloc, (size_t n, size_t size), (n, size))
SCARCE_CALL(SCARCE_MEMORY, void *, aligned_alloc, (size_t alignment, size_t size), (alignment, size))
SCARCE_CALL(SCARCE_MEMORY, char *, strdup, (const char *string), (string))
SCARCE_CALL(SCARCE_MEMORY, char *, strndup, (const char *string, size_t n), (string, n))
SCARCE_CALL(SCARCE_SYSTEM, char *, realpath, (const char *restrict path, char *restrict buffer), (path, buffer))
SCARCE_CALL(SCARCE_SYSTEM, FILE *, fopen, (const char *restrict path, const char *restrict mode), (path, mode))
SCARCE_CALL(SCARCE_SYSTEM, FILE *, fdopen, (int fd, const char *mode), (fd, mode))

void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *
__wrap_realloc(void *memory, size_t size)
{
    if (is_refused(SCARCE_MEMORY, "realloc", ENOMEM)) {
        return NULL;
    }
    void *moved = __real_realloc(memory, size);
    return memory ? moved : held(moved);
}

void __real_free(void *memory);
void __wrap_free(void *memory);
void
__wrap_free(void *memory)
{
    released(memory);
    __real_free(memory);
}

int __real_fclose(FILE *file);
int __wrap_fclose(FILE *file);
int
__wrap_fclose(FILE *file)
{
    released(file);
    return __real_fclose(file);
}

void *__real_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset);
void *
__wrap_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    if (is_refused(SCARCE_SYSTEM, "mmap", ENOMEM)) {
        return MAP_FAILED;
    }
    void *bytes = __real_mmap(address, length, protection, flags, fd, offset);
    return bytes == MAP_FAILED ? bytes : held(bytes);
}

int __real_munmap(void *address, size_t length);
int __wrap_munmap(void *address, size_t length);
int
__wrap_munmap(void *address, size_t length)
{
    released(address);
    return __real_munmap(address, length);
}

int __real_mkstemp(char *pattern);
int __wrap_mkstemp(char *pattern);
int
__wrap_mkstemp(char *pattern)
{
    return is_refused(SCARCE_SYSTEM, "mkstemp", ENOSPC) ? -1 : __real_mkstemp(pattern);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);
int
__wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
    return is_refused(SCARCE_SYSTEM, "pthread_create", EAGAIN)
               ? EAGAIN
               : __real_pthread_create(thread, attributes, run, argument);
}
