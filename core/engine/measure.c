/* measure.c - what figures stand beside: the work of a step, the limits of the device, sessions that pretend. */
#include <config.h>

#include "core/engine/engine_internal.h"

#include <stdio.h>

#include "core/base/error.h"
#include "core/model/cost.h"

int
hearth_session_pretend(struct hearth_session *session, uint64_t length, struct hearth_error *err)
{
    struct hearth_engine *engine = session->engine;
    bool may_refuse;
    int status;
    pthread_mutex_lock(&engine->lock);
    do {
        status = engine_prepare(engine, session->session, NULL, err);
        may_refuse = status == HEARTH_OK && engine->sessions->next;
        status = status < 0 ? status : session_pretend(session->session, length, err);
    } while (status < 0 && engine_take_over(engine, status, may_refuse));
    pthread_mutex_unlock(&engine->lock);
    return status;
}

/* What the head is to the device that multiplies with it, as far as the device says; else 0. */
static uint64_t
head_bytes(const struct rooms *rooms)
{
    const uint32_t n_layers = model_shape(rooms->model)->n_layers;
    const struct plugin_device *device = rooms->devices[plan_op_device(rooms->plan, n_layers, HEARTH_OP_LINEAR)];
    const struct hearth_matrix *matrices = NULL;
    const size_t n = part_matrices(model_roles(rooms->model), n_layers, n_layers, PART_HEAD, &matrices);
    uint64_t bytes = 0;
    if (n == 0 || !device->plugin->packed_bytes ||
        device->plugin->packed_bytes(device->device, HEARTH_WEIGHT_HEAD, matrices, n, &bytes, NULL) < 0) {
        return 0;
    }
    return bytes;
}

void
hearth_engine_costs(const struct hearth_engine *engine, uint64_t position, uint64_t n_tokens,
                    struct hearth_costs *ret_costs)
{
    const struct rooms *rooms = &engine->rooms;
    const struct cost_step step = {
        .shape = model_shape(rooms->model),
        .expert_dtype = (enum hearth_dtype)model_roles(rooms->model)->layers[0].experts[0].w[0].dtype,
        .numerics = rooms->numerics,
        .kv_format = rooms->format.kv_format,
        .position = position,
        .n_tokens = n_tokens,
        .head_bytes = head_bytes(rooms),
    };
    cost_of_step(&step, ret_costs);
}

/* For devices that do not measure themselves. */
static int
measure_host(const struct rooms *rooms, const struct plugin_device *device, struct hearth_limits *limits,
             struct hearth_error *err)
{
    if (!(device->info.flags & HEARTH_DEVICE_HOST_MEMORY)) {
        return error_set(err, HEARTH_EUNSUPPORTED,
                         "device %s: a measurement of its memory wanted, plugin %s has none", device->info.name,
                         device->plugin->name);
    }
    limits->read_bytes_per_second = rooms_host_bandwidth(rooms->config, topology_facts(rooms->topology));
    return HEARTH_OK;
}

int
hearth_engine_limits(struct hearth_engine *engine, double seconds, struct hearth_limits *ret_limits,
                     struct hearth_error *err)
{
    struct hearth_limits limits = {0};
    struct hearth_roof roof = {.struct_size = sizeof roof};
    int status;
    pthread_mutex_lock(&engine->lock);
    const struct plugin_device *device = engine->rooms.devices[0];
    if (device->plugin->measure) {
        status = device->plugin->measure(device->device, seconds, &roof, err);
        limits.read_bytes_per_second = roof.read_bytes_per_second;
        limits.operations_per_second = roof.operations_per_second;
        limits.exact_operations_per_second = roof.exact_operations_per_second;
        limits.is_measured_by_device = true;
        engine->n_launches = roof.n_launches;
        engine->launch_seconds = roof.launch_seconds;
        snprintf(limits.operation, sizeof limits.operation, "%s", roof.operation);
    } else {
        status = measure_host(&engine->rooms, device, &limits, err);
    }
    pthread_mutex_unlock(&engine->lock);
    if (status == HEARTH_OK) {
        *ret_limits = limits;
    }
    return status;
}

void
hearth_engine_launches(struct hearth_engine *engine, uint64_t *ret_n, double *ret_seconds)
{
    pthread_mutex_lock(&engine->lock);
    *ret_n = engine->n_launches;
    *ret_seconds = engine->launch_seconds;
    pthread_mutex_unlock(&engine->lock);
}
