/* ref.c - the socket of backends/ref: hearth-ref.so. */
#include <config.h>

#include <hearth/plugin.h>

#include "backends/ref/ref.h"

extern const struct hearth_plugin hearth_plugin_ref;

const struct hearth_plugin hearth_plugin_ref = {
    .abi = HEARTH_PLUGIN_ABI,
    .struct_size = sizeof(struct hearth_plugin),
    .name = "ref",
    .version = PACKAGE_VERSION,
    .start = ref_start,
    .stop = ref_stop,
    .describe = ref_describe,
    .open = ref_open,
    .close = ref_close,
    .buffer_alloc = host_buffer_alloc,
    .buffer_free = host_buffer_free,
    .buffer_write = host_buffer_write,
    .buffer_read = host_buffer_read,
    .buffer_host = host_buffer_host,
    .weight_create = ref_weight_create,
    .weight_free = ref_weight_free,
    .supports = ref_supports,
    .submit = ref_submit,
    .event_wait = host_event_wait,
    .event_free = host_event_free,
    .weight_read = host_weight_read,
};
