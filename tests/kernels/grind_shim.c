/* grind_shim.c - preloaded under Oclgrind: turns a write to a part of a buffer into one to all of it, and says that
 * division is correctly rounded, without which nobody asks for native expert_ffn.
 *
 * Oclgrind divides as this machine does, and does not say so.  Version 21.10 keeps beside each buffer which of its
 * bytes hold something, and forgets all of it but the last write's when the host writes a second time.  Weights share
 * buffers, so every one but the last would look uninitialised.  What kernels write, and scratch that nobody writes, is
 * followed as ever. */
#define _GNU_SOURCE /* RTLD_NEXT */
#define CL_TARGET_OPENCL_VERSION 120

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <CL/cl.h>

typedef cl_int ask_function(cl_device_id, cl_device_info, size_t, void *, size_t *);
typedef cl_int write_function(cl_command_queue, cl_mem, cl_bool, size_t, size_t, const void *, cl_uint,
                              const cl_event *, cl_event *);

CL_API_ENTRY cl_int CL_API_CALL
clGetDeviceInfo(cl_device_id id, cl_device_info what, size_t size, void *value, size_t *ret_size)
{
    ask_function *const next = (ask_function *)dlsym(RTLD_NEXT, "clGetDeviceInfo");
    const cl_int code = next(id, what, size, value, ret_size);
    if (code == CL_SUCCESS && what == CL_DEVICE_SINGLE_FP_CONFIG && value != NULL) {
        *(cl_device_fp_config *)value |= CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT;
    }
    return code;
}

CL_API_ENTRY cl_int CL_API_CALL
clEnqueueWriteBuffer(cl_command_queue queue, cl_mem mem, cl_bool is_blocking, size_t offset, size_t size,
                     const void *src, cl_uint n_waits, const cl_event *waits, cl_event *event)
{
    write_function *const next = (write_function *)dlsym(RTLD_NEXT, "clEnqueueWriteBuffer");
    size_t whole = 0;
    if (clGetMemObjectInfo(mem, CL_MEM_SIZE, sizeof whole, &whole, NULL) != CL_SUCCESS || size == whole) {
        return next(queue, mem, is_blocking, offset, size, src, n_waits, waits, event);
    }
    char *bytes = malloc(whole);
    if (bytes == NULL) {
        return CL_OUT_OF_HOST_MEMORY;
    }
    cl_int code = clEnqueueReadBuffer(queue, mem, CL_TRUE, 0, whole, bytes, n_waits, waits, NULL);
    if (code == CL_SUCCESS) {
        memcpy(bytes + offset, src, size);
        code = next(queue, mem, CL_TRUE, 0, whole, bytes, 0, NULL, event);
    }
    free(bytes);
    return code;
}
