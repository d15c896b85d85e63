/* cpu.c - the socket of backends/cpu: hearth-cpu.so. */
#include <config.h>

#include <hearth/plugin.h>

#include "backends/cpu/cpu.h"

extern const struct hearth_plugin hearth_plugin_cpu;

const struct hearth_plugin hearth_plugin_cpu = {
    .abi = HEARTH_PLUGIN_ABI,
    .struct_size = sizeof(struct hearth_plugin),
    .name = "cpu",
    .version = PACKAGE_VERSION,
    .start = cpu_start,
    .stop = cpu_stop,
    .describe = cpu_describe,
    .open = cpu_open,
    .close = cpu_close,
    .buffer_alloc = host_buffer_alloc,
    .buffer_free = host_buffer_free,
    .buffer_write = host_buffer_write,
    .buffer_read = host_buffer_read,
    .buffer_host = host_buffer_host,
    .weight_create = cpu_weight_create,
    .weight_free = cpu_weight_free,
    .supports = cpu_supports,
    .submit = cpu_submit,
    .event_wait = host_event_wait,
    .event_free = host_event_free,
    .packed_bytes = cpu_packed_bytes,
    .weight_pack = cpu_weight_pack,
    .weight_map = cpu_weight_map,
    .measure = cpu_measure,
    .weight_read = cpu_weight_read,
};
