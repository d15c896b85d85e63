/* opencl.c - the socket of backends/opencl: hearth-opencl.so. */
#include <config.h>

#include <hearth/plugin.h>

#include "backends/opencl/internal.h"

extern const struct hearth_plugin hearth_plugin_opencl;

const struct hearth_plugin hearth_plugin_opencl = {
    .abi = HEARTH_PLUGIN_ABI,
    .struct_size = sizeof(struct hearth_plugin),
    .name = "opencl",
    .version = PACKAGE_VERSION,
    .start = ocl_start,
    .stop = ocl_stop,
    .describe = ocl_describe,
    .open = ocl_open,
    .close = ocl_close,
    .buffer_alloc = ocl_buffer_alloc,
    .buffer_free = ocl_buffer_free,
    .buffer_write = ocl_buffer_write,
    .buffer_read = ocl_buffer_read,
    .weight_create = ocl_weight_create,
    .weight_free = ocl_weight_free,
    .supports = ocl_supports,
    .submit = ocl_submit,
    .event_wait = ocl_event_wait,
    .event_free = ocl_event_free,
    .measure = ocl_measure,
    .weight_refill = ocl_weight_refill,
};
