/* fault.c - what a device does on a bad day, at the word of option `fault`, so that tests see how the rest bears it.
 *
 * A list of words joined by commas: `alloc:N` the device's N-th allocation fails; `build:FAMILY` that family does not
 * compile; `lost:N` the device is lost at the N-th submission; `hang:N` the N-th submission never ends.  With
 * `device:I` all of it happens to the device of that index alone. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "backends/opencl/internal.h"

#define FAMILY_BYTES 32

struct ocl_fault {
    uint64_t alloc_at, lost_at, hang_at; /* 0: never */
    uint64_t device;                     /* the one it happens to */
    uint64_t n_allocs, n_submits;
    char family[FAMILY_BYTES]; /* "": all compile */
    cl_event stuck;            /* what a hanging submission waits for */
};

/* The word at text, up to a comma, into the fault. */
static bool
read_word(struct ocl_fault *fault, const char *text, size_t length)
{
    char word[FAMILY_BYTES + 8];
    char *end = NULL;
    if (length >= sizeof word) {
        return false;
    }
    memcpy(word, text, length);
    word[length] = '\0';
    char *colon = strchr(word, ':');
    if (colon == NULL || colon[1] == '\0') {
        return false;
    }
    *colon = '\0';
    if (strcmp(word, "build") == 0) {
        if (strlen(colon + 1) >= sizeof fault->family) {
            return false;
        }
        memcpy(fault->family, colon + 1, strlen(colon + 1) + 1);
        return true;
    }
    uint64_t *at = strcmp(word, "alloc") == 0    ? &fault->alloc_at
                   : strcmp(word, "lost") == 0   ? &fault->lost_at
                   : strcmp(word, "hang") == 0   ? &fault->hang_at
                   : strcmp(word, "device") == 0 ? &fault->device
                                                 : NULL;
    if (at == NULL) {
        return false;
    }
    *at = strtoull(colon + 1, &end, 10);
    return *end == '\0' && (*at > 0 || at == &fault->device);
}

int
ocl_fault_new(const char *text, uint32_t index, struct ocl_fault **ret_fault, struct hearth_error *err)
{
    if (text == NULL) {
        *ret_fault = NULL;
        return 0;
    }
    struct ocl_fault *fault = calloc(1, sizeof *fault);
    if (fault == NULL) {
        return host_error(err, HEARTH_EMEMORY, 0, "no memory for option fault");
    }
    fault->device = index;
    for (const char *at = text; at != NULL;) {
        const char *comma = strchr(at, ',');
        const size_t length = comma == NULL ? strlen(at) : (size_t)(comma - at);
        if (!read_word(fault, at, length)) {
            free(fault);
            return host_error(err, HEARTH_ECONFIG, 0,
                              "option fault: alloc:N, build:FAMILY, lost:N, hang:N or device:I wanted, \"%s\" found",
                              at);
        }
        at = comma == NULL ? NULL : comma + 1;
    }
    if (fault->device != index) {
        free(fault);
        fault = NULL;
    }
    *ret_fault = fault;
    return 0;
}

void
ocl_fault_free(struct ocl_fault *fault)
{
    free(fault);
}

void
ocl_fault_release(struct ocl_fault *fault)
{
    if (fault != NULL && fault->stuck != NULL) {
        (void)clSetUserEventStatus(fault->stuck, CL_COMPLETE);
        clReleaseEvent(fault->stuck);
        fault->stuck = NULL;
    }
}

bool
ocl_fault_alloc(struct ocl_fault *fault)
{
    return fault != NULL && ++fault->n_allocs == fault->alloc_at;
}

bool
ocl_fault_build(struct ocl_fault *fault, const char *family)
{
    return fault != NULL && strcmp(fault->family, family) == 0;
}

bool
ocl_fault_lost(struct ocl_fault *fault)
{
    return fault != NULL && ++fault->n_submits == fault->lost_at;
}

cl_event
ocl_fault_hang(struct ocl_fault *fault, cl_context context)
{
    if (fault == NULL || fault->n_submits != fault->hang_at) {
        return NULL;
    }
    fault->stuck = clCreateUserEvent(context, NULL);
    return fault->stuck;
}
