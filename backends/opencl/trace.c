/* trace.c - when each kernel was queued and ran, as JSON that Chrome and Perfetto show: one line of time for the
 * wait in the queue, one for the work.  Times are the device's own, in microseconds from the first launch. */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/opencl/internal.h"

#define MAX_WAITING 4096u

struct launch {
    cl_event event;
    const char *op, *kernel; /* both outlive the device's work */
};

struct ocl_trace {
    FILE *file;
    struct launch launches[MAX_WAITING]; /* begun, not yet written; a ring */
    uint32_t first, n;
    uint64_t zero_ns; /* when the first one was queued; 0: not known yet */
    uint64_t n_left_out;
};

static uint32_t n_traces; /* open ones */

/* NULL: it cannot be written, and errno says why. */
static FILE *
open_file(const char *path, uint32_t index)
{
    const size_t size = strlen(path) + 16;
    char *own = malloc(size);
    if (own == NULL) {
        return NULL;
    }
    snprintf(own, size, "%s.%u", path, index);
    FILE *file = fopen(n_traces > 0 ? own : path, "w");
    free(own);
    return file;
}

int
ocl_trace_new(const char *path, uint32_t index, const char *device_name, struct ocl_trace **ret_trace,
              struct hearth_error *err)
{
    if (path == NULL) {
        *ret_trace = NULL;
        return 0;
    }
    struct ocl_trace *trace = calloc(1, sizeof *trace);
    if (trace == NULL) {
        return host_error(err, HEARTH_EMEMORY, 0, "no memory for a trace");
    }
    trace->file = open_file(path, index);
    if (trace->file == NULL) {
        const int native = errno;
        free(trace);
        return host_error(err, HEARTH_EIO, native, "option trace: %s: %s", path, strerror(native));
    }
    n_traces++;
    fprintf(trace->file, "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n"
                         "{\"ph\":\"M\",\"pid\":1,\"name\":\"process_name\",\"args\":{\"name\":\"");
    for (const char *at = device_name; *at != '\0'; at++) {
        fputc(*at == '"' || *at == '\\' || (unsigned char)*at < ' ' ? ' ' : *at, trace->file);
    }
    fprintf(trace->file, "\"}},\n"
                         "{\"ph\":\"M\",\"pid\":1,\"tid\":1,\"name\":\"thread_name\",\"args\":{\"name\":\"work\"}},\n"
                         "{\"ph\":\"M\",\"pid\":1,\"tid\":2,\"name\":\"thread_name\",\"args\":{\"name\":\"queue\"}}");
    *ret_trace = trace;
    return 0;
}

static void
write_bar(const struct ocl_trace *trace, const struct launch *launch, int line, cl_ulong begin, cl_ulong end)
{
    fprintf(trace->file,
            ",\n{\"ph\":\"X\",\"pid\":1,\"tid\":%d,\"cat\":\"%s\",\"name\":\"%s\",\"ts\":%.3f,\"dur\":%.3f}", line,
            launch->op, launch->kernel, 1e-3 * ((double)begin - (double)trace->zero_ns),
            1e-3 * ((double)end - (double)begin));
}

static void
write_launch(struct ocl_trace *trace, const struct launch *launch)
{
    cl_ulong queued, start, end;
    if (clGetEventProfilingInfo(launch->event, CL_PROFILING_COMMAND_QUEUED, sizeof queued, &queued, NULL) !=
            CL_SUCCESS ||
        clGetEventProfilingInfo(launch->event, CL_PROFILING_COMMAND_START, sizeof start, &start, NULL) != CL_SUCCESS ||
        clGetEventProfilingInfo(launch->event, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL) != CL_SUCCESS) {
        trace->n_left_out++;
        return;
    }
    trace->zero_ns = trace->zero_ns == 0 ? queued : trace->zero_ns;
    write_bar(trace, launch, 1, start, end);
    write_bar(trace, launch, 2, queued, start);
}

cl_event *
ocl_trace_next(struct ocl_trace *trace, const char *op, const char *kernel)
{
    if (trace == NULL) {
        return NULL;
    }
    if (trace->n == MAX_WAITING) {
        ocl_trace_drain(trace);
    }
    if (trace->n == MAX_WAITING) {
        trace->n_left_out++;
        return NULL;
    }
    struct launch *launch = &trace->launches[(trace->first + trace->n++) % MAX_WAITING];
    *launch = (struct launch){NULL, op, kernel};
    return &launch->event;
}

void
ocl_trace_drain(struct ocl_trace *trace)
{
    while (trace != NULL && trace->n > 0) {
        const struct launch *launch = &trace->launches[trace->first];
        cl_int state = CL_COMPLETE;
        if (launch->event != NULL) { /* NULL: the launch was refused */
            const cl_int code =
                clGetEventInfo(launch->event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL);
            if (code == CL_SUCCESS && state > CL_COMPLETE) {
                return;
            }
            write_launch(trace, launch);
            clReleaseEvent(launch->event);
        }
        trace->first = (trace->first + 1) % MAX_WAITING;
        trace->n--;
    }
}

void
ocl_trace_free(struct ocl_trace *trace)
{
    if (trace == NULL) {
        return;
    }
    ocl_trace_drain(trace);
    while (trace->n > 0) { /* of a device that does not answer any more */
        if (trace->launches[trace->first].event != NULL) {
            clReleaseEvent(trace->launches[trace->first].event);
        }
        trace->first = (trace->first + 1) % MAX_WAITING;
        trace->n--;
        trace->n_left_out++;
    }
    n_traces--;
    fprintf(trace->file, "\n]}\n");
    if (fclose(trace->file) != 0) {
        ocl_log(HEARTH_LOG_WARNING, "the trace could not be written whole");
    }
    if (trace->n_left_out > 0) {
        ocl_log(HEARTH_LOG_WARNING, "%llu launches are not in the trace", (unsigned long long)trace->n_left_out);
    }
    free(trace);
}
