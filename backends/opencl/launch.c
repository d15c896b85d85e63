/* launch.c - arguments of kernels, launches, and the small copies of an operation. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "backends/opencl/internal.h"

static void
set_arg(struct ocl_call *call, struct ocl_kernel *kernel, size_t size, const void *value)
{
    if (call->status < 0 || kernel == NULL) {
        return;
    }
    const cl_int code = clSetKernelArg(kernel->handle, kernel->next, size, value);
    if (code != CL_SUCCESS) {
        ocl_call_fail(call, HEARTH_EINTERNAL, "%s: argument %u: %s (%d)", kernel->name, kernel->next,
                      ocl_code_name(code), (int)code);
    }
    kernel->next++;
}

void
ocl_arg_mem(struct ocl_call *call, struct ocl_kernel *kernel, cl_mem mem)
{
    set_arg(call, kernel, sizeof mem, mem == NULL ? NULL : &mem);
}

void
ocl_arg_span(struct ocl_call *call, struct ocl_kernel *kernel, struct ocl_span span)
{
    const cl_ulong at = span.offset;
    ocl_arg_mem(call, kernel, span.mem);
    set_arg(call, kernel, sizeof at, &at);
}

void
ocl_arg_u32(struct ocl_call *call, struct ocl_kernel *kernel, uint32_t value)
{
    set_arg(call, kernel, sizeof value, &value);
}

void
ocl_arg_u64(struct ocl_call *call, struct ocl_kernel *kernel, uint64_t value)
{
    set_arg(call, kernel, sizeof value, &value);
}

void
ocl_arg_f32(struct ocl_call *call, struct ocl_kernel *kernel, float value)
{
    set_arg(call, kernel, sizeof value, &value);
}

void
ocl_arg_struct(struct ocl_call *call, struct ocl_kernel *kernel, const void *value, size_t size)
{
    set_arg(call, kernel, size, value);
}

void
ocl_arg_local(struct ocl_call *call, struct ocl_kernel *kernel, uint64_t bytes)
{
    set_arg(call, kernel, (size_t)bytes, NULL);
}

void
ocl_launch(struct ocl_call *call, struct ocl_kernel *kernel, uint32_t dims, const size_t *groups, const size_t *local)
{
    struct hearth_device *device = call->device;
    size_t global[3] = {1, 1, 1};
    if (call->status < 0 || kernel == NULL) {
        return;
    }
    if (kernel->next != kernel->n_args || dims < 1 || dims > 3) {
        ocl_call_fail(call, HEARTH_EINTERNAL, "%s: %u arguments wanted, %u given, %u dimensions", kernel->name,
                      kernel->n_args, kernel->next, dims);
        return;
    }
    for (uint32_t i = 0; i < dims; i++) {
        if (__builtin_mul_overflow(groups[i], local[i], &global[i]) || global[i] == 0) {
            ocl_call_fail(call, HEARTH_EINTERNAL, "%s: impossible size %zu x %zu", kernel->name, groups[i], local[i]);
            return;
        }
    }
    const cl_int code = clEnqueueNDRangeKernel(device->queue, kernel->handle, dims, NULL, global, local, 0, NULL,
                                               ocl_trace_next(device->trace, call->op, kernel->name));
    (void)ocl_call_cl(call, code, kernel->name);
    device->n_launches++;
}

void
ocl_launch_1d(struct ocl_call *call, struct ocl_kernel *kernel, uint64_t groups, uint64_t local)
{
    const size_t n_groups = (size_t)groups, n_local = (size_t)local;
    ocl_launch(call, kernel, 1, &n_groups, &n_local);
}

/* A copy of host memory that the queue still reads. */
struct ocl_upload {
    struct ocl_upload *next;
    cl_event event;
    unsigned char bytes[];
};

void
ocl_upload(struct ocl_call *call, struct ocl_span dst, const void *src, uint64_t size)
{
    struct hearth_device *device = call->device;
    if (call->status < 0) {
        return;
    }
    struct ocl_upload *upload = malloc(sizeof *upload + (size_t)size);
    if (upload == NULL) {
        ocl_call_fail(call, HEARTH_EMEMORY, "no memory to copy %llu bytes", (unsigned long long)size);
        return;
    }
    memcpy(upload->bytes, src, (size_t)size);
    const cl_int code = clEnqueueWriteBuffer(device->queue, dst.mem, CL_FALSE, (size_t)dst.offset, (size_t)size,
                                             upload->bytes, 0, NULL, &upload->event);
    if (!ocl_call_cl(call, code, "copy to the device")) {
        free(upload);
        return;
    }
    upload->next = device->uploads;
    device->uploads = upload;
}

void
ocl_uploads_free(struct hearth_device *device, bool all)
{
    struct ocl_upload **at = &device->uploads;
    while (*at != NULL) {
        struct ocl_upload *upload = *at;
        cl_int state = CL_QUEUED;
        const cl_int code =
            clGetEventInfo(upload->event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL);
        if (!all && code == CL_SUCCESS && state > CL_COMPLETE) {
            at = &upload->next;
            continue;
        }
        *at = upload->next;
        clReleaseEvent(upload->event);
        free(upload);
    }
}

void
ocl_download(struct ocl_call *call, void *dst, struct ocl_span src, uint64_t size)
{
    if (call->status == 0) {
        struct hearth_error err = {0};
        const int status = ocl_stage_read(call->device, dst, src, size, &err);
        if (status < 0) {
            ocl_call_fail(call, status, "%.300s", err.text);
        }
    }
}

void
ocl_fill(struct ocl_call *call, struct ocl_span dst, uint32_t pattern, uint64_t size)
{
    if (call->status == 0) {
        const cl_int code = clEnqueueFillBuffer(call->device->queue, dst.mem, &pattern, sizeof pattern,
                                                (size_t)dst.offset, (size_t)size, 0, NULL, NULL);
        (void)ocl_call_cl(call, code, "clEnqueueFillBuffer");
    }
}
