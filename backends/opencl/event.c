/* event.c - waiting for the device.  OpenCL has no wait with a time limit: we ask again and again, at first without a
 * pause (an answer of a GPU is microseconds away), then resting a little. */
#include <config.h>

#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "backends/opencl/internal.h"

#define EAGER_NS 20000000u /* a token's time: so long a GPU is asked without rest */
#define REST_NS 50000u

struct hearth_event {
    cl_event handle;
    uint64_t n_submitted; /* up to it */
};

int
ocl_event_new(struct hearth_device *device, cl_event handle, struct hearth_event **ret_event, struct hearth_error *err)
{
    struct hearth_event *event = malloc(sizeof *event);
    if (event == NULL) {
        clReleaseEvent(handle);
        return host_error(err, HEARTH_EMEMORY, 0, "no memory for an event");
    }
    event->handle = handle;
    event->n_submitted = device->n_submitted;
    *ret_event = event;
    return 0;
}

static uint64_t
now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* How the event ended; 1: it has not. */
static int
ask(struct hearth_device *device, cl_event handle, struct hearth_error *err)
{
    cl_int state = CL_QUEUED;
    cl_int code = clGetEventInfo(handle, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL);
    if (code == CL_SUCCESS && state >= 0) {
        return state == CL_COMPLETE ? 0 : 1;
    }
    code = code == CL_SUCCESS ? state : code;
    const int status = ocl_cl_error(err, code, "work on the device ended");
    device->is_lost = device->is_lost || status == HEARTH_ELOST;
    return status;
}

int
ocl_wait(struct hearth_device *device, cl_event handle, uint64_t timeout_ns, struct hearth_error *err)
{
    const uint64_t start = now_ns();
    const uint64_t eager_ns = device->caps.is_cpu ? 0 : EAGER_NS; /* a CPU needs its cores for the work itself */
    const struct timespec rest = {0, REST_NS};
    int status = ask(device, handle, err);
    while (status == 1) {
        const uint64_t waited = now_ns() - start;
        if (waited >= timeout_ns) {
            return host_error(err, HEARTH_ETIMEOUT, 0, "the work is not done after %.1f s", 1e-9 * (double)timeout_ns);
        }
        if (timeout_ns == UINT64_MAX && waited >= eager_ns) {
            const cl_int code = clWaitForEvents(1, &handle);
            if (code != CL_SUCCESS && code != CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST) {
                return ocl_cl_error(err, code, "clWaitForEvents");
            }
        } else if (waited < eager_ns) {
            sched_yield();
        } else {
            nanosleep(&rest, NULL);
        }
        status = ask(device, handle, err);
    }
    return status;
}

int
ocl_give_up(struct hearth_device *device)
{
    device->is_lost = true;
    device->is_stuck = true;
    return HEARTH_ETIMEOUT;
}

int
ocl_event_wait(struct hearth_device *device, struct hearth_event *event, uint64_t timeout_ns, struct hearth_error *err)
{
    const int status = ocl_wait(device, event->handle, timeout_ns, err);
    if (status == 0 && event->n_submitted > device->n_finished) {
        device->n_finished = event->n_submitted;
    }
    ocl_trace_drain(device->trace);
    /* the caller's limit is the same number, but for its rounding */
    const bool is_limit = timeout_ns >= ocl_settings.timeout_ns - ocl_settings.timeout_ns / 1000;
    return status == HEARTH_ETIMEOUT && is_limit ? ocl_give_up(device) : status;
}

int
ocl_settle(struct hearth_device *device, uint64_t timeout_ns, struct hearth_error *err)
{
    const uint64_t n_submitted = device->n_submitted;
    cl_event marker;
    if (n_submitted == device->n_finished) {
        return 0;
    }
    const cl_int code = clEnqueueMarkerWithWaitList(device->queue, 0, NULL, &marker);
    if (code != CL_SUCCESS) {
        return ocl_cl_error(err, code, "clEnqueueMarkerWithWaitList");
    }
    (void)clFlush(device->queue);
    const int status = ocl_wait(device, marker, timeout_ns, err);
    clReleaseEvent(marker);
    if (status == 0) {
        device->n_finished = n_submitted;
    }
    return status == HEARTH_ETIMEOUT ? ocl_give_up(device) : status;
}

void
ocl_event_free(struct hearth_device *device, struct hearth_event *event)
{
    (void)device;
    if (event != NULL) {
        clReleaseEvent(event->handle);
        free(event);
    }
}
