/* device.c - the devices of this process: found by start, described, opened, closed. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/opencl/internal.h"
#include "backends/opencl/tuning.h"

/* A device with work that nobody waits for any more is closed after at most this. */
#define LAST_WAIT_NS UINT64_C(2000000000)

/* Of a device's memory the driver keeps some for itself. */
#define DRIVER_SHARE 32u
#define EMULATED_SUBGROUP 16u /* lanes */

static struct {
    struct ocl_found devices[OCL_MAX_DEVICES];
    uint32_t n;
} found;

int
ocl_start(const struct hearth_host *host, uint32_t *ret_n_devices, struct hearth_error *err)
{
    int status = ocl_settings_read(host, err);
    host_tables_fill();
    if (status == 0) {
        status = ocl_find_devices(found.devices, OCL_MAX_DEVICES, &found.n, err);
    }
    if (status < 0) {
        return status;
    }
    *ret_n_devices = found.n;
    return 0;
}

void
ocl_stop(void)
{
    found.n = 0;
    ocl_settings = (struct ocl_settings){.host = NULL};
}

static int
check_index(uint32_t index, struct hearth_error *err)
{
    return index < found.n ? 0 : host_error(err, HEARTH_EDEVICE, 0, "no device %u among %u", index, found.n);
}

int
ocl_describe(uint32_t index, struct hearth_device_info *info, struct hearth_error *err)
{
    const int status = check_index(index, err);
    if (status < 0) {
        return status;
    }
    const struct ocl_found *device = &found.devices[index];
    struct hearth_device_info filled = {.flags = HEARTH_DEVICE_ASYNC, .align_bytes = OCL_VIEW_ALIGN};
    const uint64_t kept = device->caps.memory_bytes / DRIVER_SHARE + ocl_slab_most(&device->caps);
    filled.memory_bytes = device->caps.memory_bytes > kept ? device->caps.memory_bytes - kept : 0;
    if (ocl_settings.memory_bytes > 0 && ocl_settings.memory_bytes < filled.memory_bytes) {
        filled.memory_bytes = ocl_settings.memory_bytes;
    }
    filled.max_buffer_bytes = device->caps.max_alloc_bytes;
    memcpy(filled.name, device->name, sizeof filled.name);
    memcpy(filled.pci_address, device->pci_address, sizeof filled.pci_address);
    memcpy(filled.driver, device->driver, sizeof filled.driver);
    memcpy(filled.features, device->features, sizeof filled.features);
    filled.struct_size = info->struct_size;
    memcpy(info, &filled, info->struct_size < sizeof filled ? info->struct_size : sizeof filled);
    return 0;
}

/* The options of every kernel.  Nothing here lets the compiler change a result: docs/numerics.md. */
static void
choose_options(struct hearth_device *device, const struct ocl_found *from)
{
    const struct ocl_caps *caps = &device->caps;
    const enum ocl_choice choice = ocl_settings.subgroups;
    /* not by default where sizes are asked for: Intel's compiler then lacks registers in large tiles (HACKING.md) */
    const bool by_device = caps->subgroup > 0 && ocl_tuning_of(device)->subgroups && !caps->std3_subgroups;
    const bool has_subgroups = choice == OCL_BY_DEVICE ? by_device : choice == OCL_YES;
    char nvidia[32] = "", subgroup[64] = "";
    if (has_subgroups) {
        snprintf(subgroup, sizeof subgroup, " -DOCL_SUBGROUP=%u%s",
                 caps->subgroup > 0 ? caps->subgroup : EMULATED_SUBGROUP,
                 caps->subgroup > 0 ? "" : " -DOCL_EMULATE_SUBGROUPS");
    }
    if (caps->nv_capability > 0) {
        snprintf(nvidia, sizeof nvidia, " -DOCL_NVIDIA=%u", caps->nv_capability);
    }
    snprintf(device->build_options, sizeof device->build_options, "-cl-std=CL%s%s -DOCL_LANES=%u%s%s%s%s%s%s",
             (has_subgroups && caps->std3_subgroups) || caps->dot_function ? "3.0" : "1.2",
             caps->exact_divide ? " -cl-fp32-correctly-rounded-divide-sqrt" : "", caps->lanes,
             caps->is_cpu ? " -DOCL_CPU" : "", caps->fp64 ? " -DOCL_HAS_FP64" : "", caps->fp16 ? " -DOCL_HAS_FP16" : "",
             subgroup, caps->dot_function ? " -DOCL_HAS_INT_DOT" : "", nvidia);
    device->build_key = ocl_hash(OCL_HASH_START, from->build, strlen(from->build) + 1);
}

static int
open_queues(struct hearth_device *device, struct hearth_error *err)
{
    const cl_context_properties properties[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)device->platform, 0};
    const cl_command_queue_properties kind = ocl_settings.trace != NULL ? CL_QUEUE_PROFILING_ENABLE : 0;
    cl_int code;
    device->context = clCreateContext(properties, 1, &device->id, NULL, NULL, &code);
    if (code != CL_SUCCESS) {
        device->context = NULL;
        return ocl_cl_error(err, code, "clCreateContext");
    }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    /* the call that OpenCL 1.2 has; clCreateCommandQueueWithProperties came with 2.0 */
    device->queue = clCreateCommandQueue(device->context, device->id, kind, &code);
    if (code == CL_SUCCESS) {
        device->copy_queue = clCreateCommandQueue(device->context, device->id, 0, &code);
    }
#pragma GCC diagnostic pop
    return code == CL_SUCCESS ? 0 : ocl_cl_error(err, code, "clCreateCommandQueue");
}

static int
open_parts(struct hearth_device *device, uint32_t index, struct hearth_error *err)
{
    device->slabs = calloc(OCL_MAX_SLABS, sizeof *device->slabs);
    if (device->slabs == NULL) {
        return host_error(err, HEARTH_EMEMORY, 0, "no memory for a device");
    }
    int status = ocl_fault_new(ocl_settings.fault, index, &device->fault, err);
    if (status == 0) {
        status = ocl_trace_new(ocl_settings.trace, index, device->name, &device->trace, err);
    }
    if (status == 0) {
        status = open_queues(device, err);
    }
    return status < 0 ? status : ocl_staging_new(device, err);
}

int
ocl_open(uint32_t index, struct hearth_device **ret_device, struct hearth_error *err)
{
    int status = check_index(index, err);
    if (status < 0) {
        return status;
    }
    struct hearth_device *device = calloc(1, sizeof *device);
    if (device == NULL) {
        return host_error(err, HEARTH_EMEMORY, 0, "no memory for a device");
    }
    const struct ocl_found *from = &found.devices[index];
    device->platform = from->platform;
    device->id = from->id;
    device->caps = from->caps;
    device->uses_bytes = ocl_settings.bytes == OCL_BY_DEVICE ? device->caps.int_dot && ocl_tuning_of(device)->bytes
                                                             : ocl_settings.bytes == OCL_YES;
    device->uses_mma = ocl_settings.mma == OCL_BY_DEVICE ? device->caps.mma : ocl_settings.mma == OCL_YES;
    memcpy(device->name, from->name, sizeof device->name);
    pthread_mutex_init(&device->lock, NULL);
    choose_options(device, from);
    status = open_parts(device, index, err);
    if (status < 0) {
        ocl_close(device);
        return status;
    }
    ocl_log(HEARTH_LOG_DEBUG, "%s: kernels are built with %s", device->name, device->build_options);
    *ret_device = device;
    return 0;
}

/* Whether nothing runs on the device, so that what it uses can be given back. */
static bool
is_at_rest(struct hearth_device *device)
{
    if (device->queue == NULL || (device->is_lost && !device->is_stuck)) {
        return true;
    }
    if (ocl_settle(device, LAST_WAIT_NS, NULL) == HEARTH_ETIMEOUT) {
        return false;
    }
    (void)clFinish(device->queue);
    return true;
}

/* Lets go of what an open got so far, the last first. */
void
ocl_close(struct hearth_device *device)
{
    if (device == NULL) {
        return;
    }
    ocl_fault_release(device->fault);
    if (!is_at_rest(device)) {
        ocl_log(HEARTH_LOG_WARNING, "%s: work does not end; what it uses stays", device->name);
        ocl_trace_free(device->trace);
        return;
    }
    if (device->expert_state_free != NULL) {
        device->expert_state_free(device);
    }
    ocl_trace_free(device->trace);
    ocl_uploads_free(device, true);
    ocl_scratch_reset(device);
    if (device->counter != NULL) {
        clReleaseMemObject(device->counter);
    }
    if (device->scratch != NULL) {
        clReleaseMemObject(device->scratch);
    }
    ocl_programs_free(device);
    ocl_slabs_free(device);
    ocl_staging_free(device);
    if (device->copied != NULL) {
        clReleaseEvent(device->copied);
    }
    if (device->copy_queue != NULL) {
        clReleaseCommandQueue(device->copy_queue);
    }
    if (device->queue != NULL) {
        clReleaseCommandQueue(device->queue);
    }
    if (device->context != NULL) {
        clReleaseContext(device->context);
    }
    ocl_fault_free(device->fault);
    pthread_mutex_destroy(&device->lock);
    free(device);
}
