/* memory.c - buffers, and the slabs that weights share. */
#include <config.h>

#include <stdlib.h>

#include "backends/opencl/internal.h"

/* The first slab is small, each new one as large as all before it, up to this: a small model takes little, a large one
 * few slabs, and what is left over at the end is at most one slab. */
#define SLAB_FIRST_BYTES (UINT64_C(64) << 20)
#define SLAB_MOST_BYTES (UINT64_C(4) << 30)
#define SLAB_SHARE 16u /* of the device's memory, at most one in so many */

/* Also what slabs may hold beside the weights in them: the last one is not full. */
uint64_t
ocl_slab_most(const struct ocl_caps *caps)
{
    const uint64_t share = caps->memory_bytes / SLAB_SHARE;
    const uint64_t most = share < SLAB_MOST_BYTES ? share : SLAB_MOST_BYTES;
    return most < caps->max_alloc_bytes ? most : caps->max_alloc_bytes;
}

/* Memory that the host shares, or NULL: there is none to be had. */
static cl_mem
create_shared(struct hearth_device *device, uint64_t size, unsigned char **ret_host)
{
    cl_int code;
    void *host = clSVMAlloc(device->context, CL_MEM_READ_WRITE | CL_MEM_SVM_FINE_GRAIN_BUFFER, (size_t)size, 0);
    if (host == NULL) {
        return NULL;
    }
    cl_mem mem = clCreateBuffer(device->context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, (size_t)size, host, &code);
    if (code != CL_SUCCESS) {
        clSVMFree(device->context, host);
        return NULL;
    }
    *ret_host = host;
    return mem;
}

/* host: where the host shares it, if it can be had so; NULL: the device's own is wanted. */
static cl_mem
create(struct hearth_device *device, uint64_t size, unsigned char **host, cl_int *ret_code)
{
    *ret_code = CL_SUCCESS;
    if (ocl_fault_alloc(device->fault)) {
        *ret_code = CL_MEM_OBJECT_ALLOCATION_FAILURE;
        return NULL;
    }
    cl_mem mem = host != NULL && ocl_copies_are_shared(device) ? create_shared(device, size, host) : NULL;
    return mem != NULL ? mem : clCreateBuffer(device->context, CL_MEM_READ_WRITE, (size_t)size, NULL, ret_code);
}

cl_mem
ocl_mem_create(struct hearth_device *device, uint64_t size, cl_int *ret_code)
{
    return create(device, size, NULL, ret_code);
}

cl_mem
ocl_mem_create_shared(struct hearth_device *device, uint64_t size, unsigned char **ret_host, cl_int *ret_code)
{
    *ret_host = NULL;
    return create(device, size, ret_host, ret_code);
}

void
ocl_mem_free_shared(struct hearth_device *device, cl_mem mem, unsigned char *host)
{
    void *pointers[1] = {host};
    clReleaseMemObject(mem);
    if (host != NULL && clEnqueueSVMFree(device->queue, 1, pointers, NULL, NULL, 0, NULL, NULL) != CL_SUCCESS) {
        clSVMFree(device->context, host); /* a lost device, whose queue takes nothing any more */
    }
}

int
ocl_buffer_alloc(struct hearth_device *device, uint64_t size, struct hearth_buffer **ret_buffer,
                 struct hearth_error *err)
{
    cl_int code;
    if (size == 0 || size > device->caps.max_alloc_bytes) {
        return host_error(err, HEARTH_EMEMORY, 0,
                          "a buffer of %llu bytes wanted, the device allocates 1 .. %llu at once",
                          (unsigned long long)size, (unsigned long long)device->caps.max_alloc_bytes);
    }
    struct hearth_buffer *buffer = malloc(sizeof *buffer);
    if (buffer == NULL) {
        return host_error(err, HEARTH_EMEMORY, 0, "no memory for a buffer");
    }
    buffer->size = size;
    buffer->mem = ocl_mem_create_shared(device, ocl_align_up(size, OCL_VIEW_ALIGN), &buffer->host, &code);
    if (code != CL_SUCCESS) {
        free(buffer);
        const int status = ocl_cl_error(NULL, code, "");
        return host_error(err, status, code, "a buffer of %llu bytes: %s (%d)", (unsigned long long)size,
                          ocl_code_name(code), (int)code);
    }
    *ret_buffer = buffer;
    return 0;
}

void
ocl_buffer_free(struct hearth_device *device, struct hearth_buffer *buffer)
{
    if (buffer != NULL && !device->is_stuck) {
        ocl_mem_free_shared(device, buffer->mem, buffer->host);
    }
    free(buffer);
}

static uint64_t
slab_size(const struct hearth_device *device, uint64_t least)
{
    uint64_t size = device->slabs_bytes > SLAB_FIRST_BYTES ? device->slabs_bytes : SLAB_FIRST_BYTES;
    size = size < ocl_slab_most(&device->caps) ? size : ocl_slab_most(&device->caps);
    return size > least ? size : least;
}

/* A slab in the first free place, smaller if the device has no memory for a large one. */
static int
slab_new(struct hearth_device *device, uint64_t least, uint32_t *ret_slab, struct hearth_error *err)
{
    uint64_t size = slab_size(device, least);
    unsigned char *host;
    uint32_t at = 0;
    cl_int code;
    while (at < device->n_slabs && device->slabs[at].mem != NULL) {
        at++;
    }
    if (at == OCL_MAX_SLABS) {
        return host_error(err, HEARTH_EMEMORY, 0, "weights: more than %u pieces of memory", OCL_MAX_SLABS);
    }
    cl_mem mem = ocl_mem_create_shared(device, size, &host, &code);
    if (code != CL_SUCCESS && size > least) {
        size = least;
        mem = ocl_mem_create_shared(device, size, &host, &code);
    }
    if (code != CL_SUCCESS) {
        return host_error(err, HEARTH_EMEMORY, code, "weights: %llu bytes beside %llu: %s (%d)",
                          (unsigned long long)size, (unsigned long long)device->slabs_bytes, ocl_code_name(code),
                          (int)code);
    }
    device->slabs[at] = (struct ocl_slab){.mem = mem, .host = host, .size = size};
    device->slabs_bytes += size;
    device->n_slabs += at == device->n_slabs;
    *ret_slab = at;
    return 0;
}

int
ocl_slab_take(struct hearth_device *device, uint64_t size, uint32_t *ret_slab, struct ocl_span *ret_span,
              struct hearth_error *err)
{
    const uint64_t padded = ocl_align_up(size, OCL_SCRATCH_ALIGN);
    uint32_t at = device->n_slabs;
    for (uint32_t i = device->n_slabs; i-- > 0 && at == device->n_slabs;) {
        const struct ocl_slab *slab = &device->slabs[i];
        if (slab->mem != NULL && padded <= slab->size - slab->used) {
            at = i;
        }
    }
    if (at == device->n_slabs) {
        const int status = slab_new(device, padded, &at, err);
        if (status < 0) {
            return status;
        }
    }
    struct ocl_slab *slab = &device->slabs[at];
    *ret_span = (struct ocl_span){slab->mem, slab->used};
    *ret_slab = at;
    slab->used += padded;
    slab->n_live++;
    return 0;
}

void
ocl_slab_give(struct hearth_device *device, uint32_t at)
{
    struct ocl_slab *slab = &device->slabs[at];
    if (--slab->n_live > 0) {
        return;
    }
    slab->used = 0;
    device->is_recycled = true;
    if (device->slabs_bytes > slab->size && !device->is_stuck) { /* the last one stays for what comes next */
        ocl_mem_free_shared(device, slab->mem, slab->host);
        device->slabs_bytes -= slab->size;
        slab->mem = NULL;
    }
}

void
ocl_slabs_free(struct hearth_device *device)
{
    for (uint32_t i = 0; i < device->n_slabs; i++) {
        if (device->slabs[i].mem != NULL) {
            ocl_mem_free_shared(device, device->slabs[i].mem, device->slabs[i].host);
        }
    }
    free(device->slabs);
}
