/* lane.c - one device: submissions, events, and the words for what went wrong there. */
#include <stdlib.h>

#include "core/base/error.h"
#include "core/exec/exec_internal.h"

static int
lane_error(const struct lane *lane, int status, const struct hearth_error *reason, struct hearth_error *err)
{
    return plugin_device_failed(lane->device, status, reason, err);
}

int
lane_reserve(struct lane *lane, enum tensor_id tensor, uint64_t size, struct hearth_error *err)
{
    struct hearth_error reason = {0};
    const int status = lane->device->plugin->buffer_alloc(lane->device->device, size, &lane->tensors[tensor], &reason);
    return status < 0 ? lane_error(lane, status, &reason, err) : HEARTH_OK;
}

static int
lane_grow(void **array, size_t *max, size_t n, size_t element, struct hearth_error *err)
{
    if (n < *max) {
        return HEARTH_OK;
    }
    const size_t bigger = *max ? 2 * *max : 64;
    void *grown = realloc(*array, bigger * element);
    if (!grown) {
        return error_no_memory(err, "commands of a device");
    }
    *array = grown;
    *max = bigger;
    return HEARTH_OK;
}

int
lane_append(struct lane *lane, const struct hearth_command *command, struct hearth_error *err)
{
    void *pending = lane->pending;
    const int status =
        lane_grow(&pending, &lane->max_pending, lane->n_pending, sizeof *lane->pending, err);
    lane->pending = pending;
    if (status < 0) {
        return status;
    }
    lane->pending[lane->n_pending++] = *command;
    return HEARTH_OK;
}

int
lane_submit(struct lane *lane, struct hearth_error *err)
{
    if (lane->n_pending == 0) {
        return HEARTH_OK;
    }
    void *events = lane->events;
    int status = lane_grow(&events, &lane->max_events, lane->n_events, sizeof *lane->events, err);
    lane->events = events;
    if (status < 0) {
        return status;
    }
    struct hearth_error reason = {0};
    struct hearth_event *event = NULL;
    status = lane->device->plugin->submit(lane->device->device, lane->pending, lane->n_pending, NULL,
                                          0, &event, &reason);
    lane->n_pending = 0;
    if (status < 0) {
        return lane_error(lane, status, &reason, err);
    }
    lane->events[lane->n_events++] = event;
    lane->n_submitted++;
    return HEARTH_OK;
}

int
lane_finish(struct lane *lane, struct hearth_error *err)
{
    int status = HEARTH_OK;
    const struct hearth_plugin *plugin = lane->device->plugin;
    for (size_t i = 0; i < lane->n_events; i++) {
        struct hearth_error reason = {0};
        /* what is behind a fault never ends, or means nothing */
        const int end = lane->device->fault.status < 0
                            ? status
                            : plugin->event_wait(lane->device->device, lane->events[i], lane->timeout_ns, &reason);
        if (end < 0 && status == HEARTH_OK) {
            status = lane_error(lane, end, &reason, err);
        }
        plugin->event_free(lane->device->device, lane->events[i]);
    }
    lane->n_events = 0;
    return status;
}

int
lane_wait(struct lane *lane, uint64_t submission, struct hearth_error *err)
{
    const uint64_t n_ended = lane->n_submitted - lane->n_events; /* those whose events are gone */
    if (submission <= n_ended) {
        return HEARTH_OK;
    }
    struct hearth_error reason = {0};
    struct hearth_event *event = lane->events[submission - n_ended - 1];
    const int status = lane->device->plugin->event_wait(lane->device->device, event, lane->timeout_ns, &reason);
    return status < 0 ? lane_error(lane, status, &reason, err) : HEARTH_OK;
}

void
lane_drop(struct lane *lane)
{
    lane->n_pending = 0;
    lane_finish(lane, NULL);
}

int
lane_host(struct lane *lane, enum tensor_id tensor, unsigned char **ret_bytes, struct hearth_error *err)
{
    const struct hearth_plugin *plugin = lane->device->plugin;
    *ret_bytes = NULL;
    if (!(lane->device->info.flags & HEARTH_DEVICE_HOST_MEMORY) || !plugin->buffer_host) {
        return HEARTH_OK;
    }
    int status = lane_submit(lane, err);
    status = status < 0 ? status : lane_finish(lane, err);
    if (status == HEARTH_OK) {
        *ret_bytes = plugin->buffer_host(lane->device->device, lane->tensors[tensor]);
    }
    return status;
}

int
lane_read(struct lane *lane, void *dst, enum tensor_id tensor, uint64_t size,
          struct hearth_error *err)
{
    struct hearth_error reason = {0};
    const struct hearth_view view = {lane->tensors[tensor], 0};
    int status = lane_submit(lane, err);
    if (status < 0) {
        return status;
    }
    status = lane->device->plugin->buffer_read(lane->device->device, dst, view, size, NULL, &reason);
    return status < 0 ? lane_error(lane, status, &reason, err) : HEARTH_OK;
}

int
lane_write(struct lane *lane, enum tensor_id tensor, uint64_t offset, const void *src, uint64_t size,
           struct hearth_error *err)
{
    struct hearth_error reason = {0};
    const struct hearth_view view = {lane->tensors[tensor], offset};
    int status = lane_submit(lane, err); /* what still reads the old contents goes first */
    if (status < 0) {
        return status;
    }
    status = lane->device->plugin->buffer_write(lane->device->device, view, src, size, NULL, &reason);
    return status < 0 ? lane_error(lane, status, &reason, err) : HEARTH_OK;
}
