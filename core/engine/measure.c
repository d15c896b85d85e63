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
measure_host(const struct rooms *rooms, const struct plugin_device *device, struct hearth_roof *roof,
             struct hearth_error *err)
{
    if (!(device->info.flags & HEARTH_DEVICE_HOST_MEMORY)) {
        return error_set(err, HEARTH_EUNSUPPORTED,
                         "device %s: a measurement of its memory wanted, plugin %s has none", device->info.name,
                         device->plugin->name);
    }
    roof->read_bytes_per_second = rooms_host_bandwidth(rooms->config, topology_facts(rooms->topology));
    return HEARTH_OK;
}

/* The rate of several that work one after the other, each for its share; 0: one of them is unknown. */
static double
join_rates(double sum, double rate, double share, bool is_first)
{
    if (share <= 0) {
        return sum;
    }
    const bool is_known = rate > 0 && (is_first || sum > 0);
    return is_known ? 1 / ((is_first ? 0 : 1 / sum) + share / rate) : 0;
}

/* A device's share of the work, of 1. */
struct share {
    double bytes, operations;
};

/* One device's measurement, for its share of the work. */
static int
add_limits(struct hearth_engine *engine, const struct plugin_device *device, double seconds, struct share share,
           struct hearth_limits *limits, struct hearth_error *err)
{
    struct hearth_roof roof = {.struct_size = sizeof roof};
    const bool is_first = limits->read_bytes_per_second <= 0;
    const int status = device->plugin->measure ? device->plugin->measure(device->device, seconds, &roof, err)
                                               : measure_host(&engine->rooms, device, &roof, err);
    if (status < 0) {
        return status;
    }
    limits->read_bytes_per_second =
        join_rates(limits->read_bytes_per_second, roof.read_bytes_per_second, share.bytes, is_first);
    limits->operations_per_second =
        join_rates(limits->operations_per_second, roof.operations_per_second, share.operations, is_first);
    limits->exact_operations_per_second =
        join_rates(limits->exact_operations_per_second, roof.exact_operations_per_second, share.operations,
                   is_first);
    limits->is_measured_by_device = device->plugin->measure && (is_first || limits->is_measured_by_device);
    if (is_first) {
        snprintf(limits->operation, sizeof limits->operation, "%s", roof.operation);
        engine->n_launches = 0;
        engine->launch_seconds = 0;
    }
    engine->n_launches += roof.n_launches;
    if (roof.launch_seconds > engine->launch_seconds) {
        engine->launch_seconds = roof.launch_seconds;
    }
    return HEARTH_OK;
}

/* Each device's share, by the bytes that a token reads there.  Of operations, which prompts are made of, a host that
 * lends its experts has none.  Returns how many devices have one. */
static uint32_t
share_work(const struct rooms *rooms, struct share shares[PLAN_MAX_DEVICES])
{
    struct share total = {0, 0};
    const bool is_borrowed = rooms->plan && plan_borrows(rooms->plan);
    uint32_t n = 0;
    for (uint32_t i = 0; i < rooms->n_devices; i++) {
        /* while a device that failed has left no plan, the first stands for all */
        const double bytes = rooms->plan ? plan_read_bytes(rooms->plan, i, model_shape(rooms->model)->window) : i == 0;
        shares[i] = (struct share){bytes, is_borrowed && rooms->facts[i].is_host ? 0 : bytes};
        total.bytes += shares[i].bytes;
        total.operations += shares[i].operations;
        n += bytes > 0;
    }
    for (uint32_t i = 0; i < rooms->n_devices; i++) {
        shares[i].bytes /= total.bytes;
        shares[i].operations /= total.operations;
    }
    return n;
}

int
hearth_engine_limits(struct hearth_engine *engine, double seconds, struct hearth_limits *ret_limits,
                     struct hearth_error *err)
{
    struct hearth_limits limits = {0};
    struct share shares[PLAN_MAX_DEVICES];
    int status = HEARTH_OK;
    pthread_mutex_lock(&engine->lock);
    const struct rooms *rooms = &engine->rooms;
    const uint32_t n = share_work(rooms, shares);
    for (uint32_t i = 0; status == HEARTH_OK && i < rooms->n_devices; i++) {
        if (shares[i].bytes > 0) {
            status = add_limits(engine, rooms->devices[i], seconds / n, shares[i], &limits, err);
        }
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
