/* rooms.c - opens topology, plugins, model and plan as the configuration says, and decides which devices
 * the plan may use.
 *
 * The chosen device comes alone if it can do everything and has the memory.  Otherwise the first other
 * device whose memory is the host's stands behind it: it does what the chosen one lacks. */
#include <config.h>

#include "core/engine/engine_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/log.h"

#define DEFAULT_CONTEXT 32768u

static bool
is_host_device(const struct plugin_device *device)
{
    return (device->info.flags & HEARTH_DEVICE_HOST_MEMORY) != 0;
}

double
rooms_host_bandwidth(const struct hearth_config *config, const struct topology_facts *facts)
{
    const uint64_t wanted = config_values(config)->cpu.threads;
    const uint32_t n_threads = wanted > 0 ? (uint32_t)wanted : facts->n_threads_allowed;
    double bytes_per_second = 0;
    struct hearth_error reason = {0};
    if (topology_read_bandwidth(n_threads, &bytes_per_second, &reason) < 0) {
        log_line(HEARTH_LOG_WARNING, "memory bandwidth is unknown: %s", reason.text);
        return 0;
    }
    return bytes_per_second;
}

/* Host memory that may be used: the configured limit, or what is free. */
static uint64_t
host_memory(const struct rooms *rooms)
{
    const uint64_t limit = config_values(rooms->config)->memory.memory_bytes;
    return limit > 0 ? limit : topology_facts(rooms->topology)->memory_available_bytes;
}

static void
describe_device(const struct rooms *rooms, const struct plugin_device *device, double host_bandwidth,
                struct plan_device *ret_facts)
{
    struct plan_device facts = {
        .plugin = device->plugin->name,
        .name = device->info.name,
        .is_host = is_host_device(device),
        .memory_bytes = device->info.memory_bytes,
        .read_bytes_per_second = device->info.read_bytes_per_second,
    };
    const uint64_t host = host_memory(rooms);
    if (facts.is_host && host > 0 && (facts.memory_bytes == 0 || host < facts.memory_bytes)) {
        facts.memory_bytes = host;
    }
    if (facts.is_host && !(facts.read_bytes_per_second > 0)) {
        facts.read_bytes_per_second = host_bandwidth;
    }
    memcpy(facts.supports, device->supports[rooms->numerics], sizeof facts.supports);
    *ret_facts = facts;
}

static int
add_device(struct rooms *rooms, struct plugin_device *device, double host_bandwidth,
           struct hearth_error *err)
{
    const int status = plugin_device_open(device, err);
    if (status == HEARTH_OK) {
        describe_device(rooms, device, host_bandwidth, &rooms->facts[rooms->n_devices]);
        rooms->devices[rooms->n_devices++] = device;
    }
    return status;
}

struct plugin_device *
rooms_host_device(const struct rooms *rooms, const struct plugin_device *other)
{
    size_t n = 0;
    struct plugin_device *devices = plugin_set_devices(rooms->plugins, &n);
    for (size_t i = 0; i < n; i++) {
        if (&devices[i] != other && is_host_device(&devices[i]) && !devices[i].is_given_up) {
            return &devices[i];
        }
    }
    return NULL;
}

/* The configured device or, if that is given up, the host's. */
static int
choose_home(const struct rooms *rooms, struct plugin_device **ret_home, struct hearth_error *err)
{
    const int status = plugin_set_choose(rooms->plugins, &config_values(rooms->config)->device, ret_home, err);
    if (status == HEARTH_OK && (*ret_home)->is_given_up) {
        *ret_home = rooms_host_device(rooms, NULL);
        assert(*ret_home); /* takeover_begin saw one */
    }
    return status;
}

static int
make_plan(struct rooms *rooms, struct hearth_error *err)
{
    const struct plan_request request = {
        .shape = model_shape(rooms->model),
        .roles = model_roles(rooms->model),
        .devices = rooms->facts,
        .n_devices = rooms->n_devices,
        .numerics = rooms->numerics,
        .format = rooms->format,
        .context_length = rooms->context_length,
        .activation_bytes = graph_activation_bytes(model_shape(rooms->model), rooms->chunk),
    };
    return plan_make(&request, &rooms->plan, err);
}

int
rooms_plan(struct rooms *rooms, bool measure, struct hearth_error *err)
{
    const double host_bandwidth =
        measure ? rooms_host_bandwidth(rooms->config, topology_facts(rooms->topology)) : 0;
    struct plugin_device *home = NULL;
    rooms->n_devices = 0;
    int status = choose_home(rooms, &home, err);
    if (status == HEARTH_OK) {
        status = add_device(rooms, home, host_bandwidth, err);
    }
    if (status < 0) {
        return status;
    }
    status = make_plan(rooms, err);
    struct plugin_device *helper = rooms_host_device(rooms, home);
    if ((status == HEARTH_EPLUGIN || status == HEARTH_EMEMORY) && helper) {
        status = add_device(rooms, helper, host_bandwidth, err);
        if (status == HEARTH_OK) {
            status = make_plan(rooms, err);
        }
    }
    return status;
}

/* What the configuration and the model say together. */
static int
settle_lengths(struct rooms *rooms, struct hearth_error *err)
{
    const struct config_values *values = config_values(rooms->config);
    const struct model_shape *shape = model_shape(rooms->model);
    const uint64_t wanted = values->context.length;
    if (wanted > shape->max_positions) {
        return error_set(err, HEARTH_ECONFIG,
                         "context.length: at most %u wanted (max_position_embeddings of %s), %" PRIu64
                         " found", shape->max_positions, model_name(rooms->model), wanted);
    }
    rooms->context_length = wanted > 0 ? wanted
                            : shape->max_positions < DEFAULT_CONTEXT ? shape->max_positions
                                                                     : DEFAULT_CONTEXT;
    rooms->chunk = values->context.prefill_chunk < rooms->context_length
                       ? (uint32_t)values->context.prefill_chunk
                       : (uint32_t)rooms->context_length;
    const bool is_exact = strcmp(values->model.numerics, "exact") == 0;
    rooms->numerics = is_exact ? HEARTH_EXACT : HEARTH_NATIVE;
    rooms->format = (struct state_format){
        .kv_format = is_exact ? HEARTH_KV_F32 : HEARTH_KV_PACKED,
        .ring_slots = state_ring_slots(shape, rooms->chunk),
    };
    return HEARTH_OK;
}

int
rooms_open(struct rooms *rooms, const struct hearth_config *config, const struct hearth_synthetic *synthetic,
           unsigned flags, bool measure, struct hearth_error *err)
{
    const struct config_values *values = config_values(config);
    *rooms = (struct rooms){.config = config};
    /* before the topology: what random weights take is no longer free */
    int status = synthetic ? model_synthetic(synthetic, &rooms->model, err) : HEARTH_OK;
    if (status == HEARTH_OK) {
        status = topology_probe(values->topology.synthetic, &rooms->topology, err);
    }
    if (status == HEARTH_OK) {
        status = plugin_set_load(config, &rooms->plugins, err);
    }
    if (status == HEARTH_OK && !synthetic) {
        status = model_open(values->model.path, flags, &rooms->model, err);
    }
    if (status == HEARTH_OK) {
        status = settle_lengths(rooms, err);
    }
    if (status == HEARTH_OK) {
        do {
            status = rooms_plan(rooms, measure, err);
        } while (status < 0 && takeover_begin(rooms, status));
    }
    if (status < 0) {
        rooms_close(rooms);
        return status;
    }
    takeover_tell(rooms, 0);
    return HEARTH_OK;
}

void
rooms_close(struct rooms *rooms)
{
    takeover_done(&rooms->takeover);
    plan_free(rooms->plan);
    plugin_set_free(rooms->plugins);
    model_close(rooms->model);
    topology_free(rooms->topology);
    *rooms = (struct rooms){0};
}
