/* error.c - the words for what went wrong: names of OpenCL's codes, and which of hearth's codes they are. */
#include <config.h>

#include <stdarg.h>
#include <stdio.h>

#include "backends/opencl/opencl.h"

/* NVIDIA's code for a kernel that read or wrote where it must not; the context is gone then. */
#define NV_ILLEGAL_ACCESS (-9999)

static const struct {
    cl_int code;
    const char *name;
} code_names[] = {
#define NAME(code) {code, #code}
    NAME(CL_SUCCESS),
    NAME(CL_DEVICE_NOT_FOUND),
    NAME(CL_DEVICE_NOT_AVAILABLE),
    NAME(CL_COMPILER_NOT_AVAILABLE),
    NAME(CL_MEM_OBJECT_ALLOCATION_FAILURE),
    NAME(CL_OUT_OF_RESOURCES),
    NAME(CL_OUT_OF_HOST_MEMORY),
    NAME(CL_PROFILING_INFO_NOT_AVAILABLE),
    NAME(CL_MEM_COPY_OVERLAP),
    NAME(CL_BUILD_PROGRAM_FAILURE),
    NAME(CL_MAP_FAILURE),
    NAME(CL_MISALIGNED_SUB_BUFFER_OFFSET),
    NAME(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST),
    NAME(CL_COMPILE_PROGRAM_FAILURE),
    NAME(CL_LINKER_NOT_AVAILABLE),
    NAME(CL_LINK_PROGRAM_FAILURE),
    NAME(CL_KERNEL_ARG_INFO_NOT_AVAILABLE),
    NAME(CL_INVALID_VALUE),
    NAME(CL_INVALID_DEVICE_TYPE),
    NAME(CL_INVALID_PLATFORM),
    NAME(CL_INVALID_DEVICE),
    NAME(CL_INVALID_CONTEXT),
    NAME(CL_INVALID_QUEUE_PROPERTIES),
    NAME(CL_INVALID_COMMAND_QUEUE),
    NAME(CL_INVALID_HOST_PTR),
    NAME(CL_INVALID_MEM_OBJECT),
    NAME(CL_INVALID_BINARY),
    NAME(CL_INVALID_BUILD_OPTIONS),
    NAME(CL_INVALID_PROGRAM),
    NAME(CL_INVALID_PROGRAM_EXECUTABLE),
    NAME(CL_INVALID_KERNEL_NAME),
    NAME(CL_INVALID_KERNEL_DEFINITION),
    NAME(CL_INVALID_KERNEL),
    NAME(CL_INVALID_ARG_INDEX),
    NAME(CL_INVALID_ARG_VALUE),
    NAME(CL_INVALID_ARG_SIZE),
    NAME(CL_INVALID_KERNEL_ARGS),
    NAME(CL_INVALID_WORK_DIMENSION),
    NAME(CL_INVALID_WORK_GROUP_SIZE),
    NAME(CL_INVALID_WORK_ITEM_SIZE),
    NAME(CL_INVALID_GLOBAL_OFFSET),
    NAME(CL_INVALID_EVENT_WAIT_LIST),
    NAME(CL_INVALID_EVENT),
    NAME(CL_INVALID_OPERATION),
    NAME(CL_INVALID_BUFFER_SIZE),
    NAME(CL_INVALID_GLOBAL_WORK_SIZE),
    NAME(CL_INVALID_PROPERTY),
    NAME(CL_INVALID_COMPILER_OPTIONS),
    NAME(CL_INVALID_LINKER_OPTIONS),
#undef NAME
    {-1001, "CL_PLATFORM_NOT_FOUND_KHR"},
    {NV_ILLEGAL_ACCESS, "an access outside the device's memory"},
};

const char *
ocl_code_name(cl_int code)
{
    for (size_t i = 0; i < sizeof code_names / sizeof code_names[0]; i++) {
        if (code_names[i].code == code) {
            return code_names[i].name;
        }
    }
    return "unknown code";
}

/* Which of hearth's codes it is. */
static int
status_of(cl_int code)
{
    switch (code) {
    case CL_MEM_OBJECT_ALLOCATION_FAILURE:
    case CL_OUT_OF_HOST_MEMORY:
    case CL_INVALID_BUFFER_SIZE:
        return HEARTH_EMEMORY;
    case CL_DEVICE_NOT_AVAILABLE:
    case CL_INVALID_CONTEXT:
    case CL_INVALID_COMMAND_QUEUE:
    case NV_ILLEGAL_ACCESS:
        return HEARTH_ELOST;
    case CL_INVALID_KERNEL_ARGS:
    case CL_INVALID_ARG_INDEX:
    case CL_INVALID_ARG_SIZE:
    case CL_INVALID_ARG_VALUE:
        return HEARTH_EINTERNAL;
    default:
        return HEARTH_EDEVICE;
    }
}

int
ocl_cl_error(struct hearth_error *err, cl_int code, const char *what)
{
    return host_error(err, status_of(code), code, "%s: %s (%d)", what, ocl_code_name(code), (int)code);
}

void
ocl_call_fail(struct ocl_call *call, int status, const char *format, ...)
{
    char prefix[64];
    va_list arguments;
    if (call->status < 0) {
        return;
    }
    snprintf(prefix, sizeof prefix, "opencl: %s: ", call->op);
    va_start(arguments, format);
    call->status = host_error_in(call->err, status, prefix, format, arguments);
    va_end(arguments);
}

bool
ocl_call_check(struct ocl_call *call, bool what, const char *text)
{
    if (!what) {
        ocl_call_fail(call, HEARTH_EINTERNAL, "%s", text);
    }
    return what;
}

bool
ocl_call_cl(struct ocl_call *call, cl_int code, const char *what)
{
    if (code != CL_SUCCESS && call->status == 0) {
        const int status = status_of(code);
        ocl_call_fail(call, status, "%s: %s (%d)", what, ocl_code_name(code), (int)code);
        if (call->err != NULL) {
            call->err->native = code;
        }
        call->device->is_lost = call->device->is_lost || status == HEARTH_ELOST;
    }
    return code == CL_SUCCESS;
}
