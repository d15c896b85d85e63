/* buffer.c - the plugin's copies: buffers to and from the host's memory, after all work submitted before. */
#include <config.h>

#include <string.h>

#include "backends/opencl/internal.h"

static int
check_copy(const struct hearth_device *device, struct hearth_view view, uint64_t size, struct hearth_error *err)
{
    if (device->is_lost) {
        return host_error(err, HEARTH_ELOST, 0, "the device is lost");
    }
    if (view.buffer == NULL || view.offset > view.buffer->size || size > view.buffer->size - view.offset) {
        return host_error(err, HEARTH_EINTERNAL, 0, "copy of %llu bytes at offset %llu, the buffer has %llu",
                          (unsigned long long)size, (unsigned long long)view.offset,
                          (unsigned long long)(view.buffer == NULL ? 0 : view.buffer->size));
    }
    return 0;
}

/* dst or src is the buffer's own memory, which the host shares. */
static int
copy_shared(struct hearth_device *device, void *dst, const void *src, uint64_t size, struct hearth_error *err)
{
    const int status = ocl_settle(device, ocl_settings.timeout_ns, err);
    if (status == 0) {
        memcpy(dst, src, (size_t)size);
    }
    return status;
}

/* The event of a copy that is done, or will be before anything that is queued later. */
static int
copy_event(struct hearth_device *device, struct hearth_event **ret_event, struct hearth_error *err)
{
    cl_event marker;
    if (ret_event == NULL) {
        return 0;
    }
    const cl_int code = clEnqueueMarkerWithWaitList(device->queue, 0, NULL, &marker);
    if (code != CL_SUCCESS) {
        return ocl_cl_error(err, code, "clEnqueueMarkerWithWaitList");
    }
    (void)clFlush(device->queue);
    return ocl_event_new(device, marker, ret_event, err);
}

int
ocl_buffer_write(struct hearth_device *device, struct hearth_view dst, const void *src, uint64_t size,
                 struct hearth_event **ret_event, struct hearth_error *err)
{
    int status = check_copy(device, dst, size, err);
    if (status == 0 && size > 0 && dst.buffer->host != NULL) {
        status = copy_shared(device, dst.buffer->host + dst.offset, src, size, err);
    } else if (status == 0 && size > 0) {
        const struct ocl_span span = {dst.buffer->mem, dst.offset};
        status = ocl_stage_write(device, device->queue, span, src, size, err);
    }
    return status < 0 ? status : copy_event(device, ret_event, err);
}

int
ocl_buffer_read(struct hearth_device *device, void *dst, struct hearth_view src, uint64_t size,
                struct hearth_event **ret_event, struct hearth_error *err)
{
    int status = check_copy(device, src, size, err);
    if (status == 0 && size > 0 && src.buffer->host != NULL) {
        status = copy_shared(device, dst, src.buffer->host + src.offset, size, err);
    } else if (status == 0 && size > 0) {
        const struct ocl_span span = {src.buffer->mem, src.offset};
        status = ocl_stage_read(device, dst, span, size, err);
    }
    return status < 0 ? status : copy_event(device, ret_event, err);
}
