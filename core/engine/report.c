/* report.c - the JSON behind `hearth inspect`, `devices` and `plan`. */
#include <config.h>

#include "core/engine/engine_internal.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/json.h"

int
hearth_inspect(const char *path, char **ret_json, struct hearth_error *err)
{
    struct model *model = NULL;
    int status = model_open(path, MODEL_HEADERS_ONLY, &model, err);
    if (status < 0) {
        return status;
    }
    status = model_inspect(model, ret_json, err);
    model_close(model);
    return status;
}

static void
add_u64(struct json_object *object, const char *key, uint64_t value)
{
    json_object_object_add(object, key, json_object_new_uint64(value));
}

static void
add_string(struct json_object *object, const char *key, const char *value)
{
    json_object_object_add(object, key, json_object_new_string(value));
}

static struct json_object *
report_topology(const struct topology_facts *facts, double bandwidth)
{
    struct json_object *object = json_object_new_object();
    add_string(object, "cpu", facts->cpu_name);
    add_u64(object, "packages", facts->n_packages);
    add_u64(object, "numa_nodes", facts->n_nodes);
    add_u64(object, "cores", facts->n_cores);
    add_u64(object, "threads", facts->n_threads);
    add_u64(object, "threads_allowed", facts->n_threads_allowed);
    add_u64(object, "memory_bytes", facts->memory_bytes);
    add_u64(object, "memory_available_bytes", facts->memory_available_bytes);
    add_u64(object, "l1d_bytes", facts->l1d_bytes);
    add_u64(object, "l2_bytes", facts->l2_bytes);
    add_u64(object, "l3_bytes", facts->l3_bytes);
    if (bandwidth > 0) {
        json_object_object_add(object, "read_bytes_per_second", json_object_new_double(bandwidth));
    }
    struct json_object *nodes = json_object_new_array();
    for (uint32_t i = 0; i < facts->n_nodes && i < TOPOLOGY_MAX_NODES; i++) {
        struct json_object *node = json_object_new_object();
        add_u64(node, "node", facts->nodes[i].os_index);
        add_u64(node, "cores", facts->nodes[i].n_cores);
        add_u64(node, "threads", facts->nodes[i].n_threads);
        add_u64(node, "memory_bytes", facts->nodes[i].memory_bytes);
        json_object_array_add(nodes, node);
    }
    json_object_object_add(object, "nodes", nodes);
    return object;
}

/* The operations a device lacks in one of the two numerics. */
static struct json_object *
report_lacks(const struct plugin_device *device, uint32_t numerics)
{
    static const char *const op_names[HEARTH_N_OPS] = {
#define HEARTH_OP(NAME, name) [HEARTH_OP_##NAME] = #name,
#include <hearth/ops.def>
#undef HEARTH_OP
    };
    struct json_object *array = json_object_new_array();
    for (uint32_t op = 0; op < HEARTH_N_OPS; op++) {
        if (!device->supports[numerics][op]) {
            json_object_array_add(array, json_object_new_string(op_names[op]));
        }
    }
    return array;
}

/* "GPU, fp16" as a list. */
static struct json_object *
report_features(const char *features)
{
    struct json_object *array = json_object_new_array();
    while (*features) {
        const size_t length = strcspn(features, ",");
        json_object_array_add(array, json_object_new_string_len(features, (int)length));
        features += length;
        features += strspn(features, ", ");
    }
    return array;
}

static struct json_object *
report_device(const struct plugin_device *device, const struct topology *topology, double bandwidth)
{
    struct json_object *object = json_object_new_object();
    const struct hearth_device_info *info = &device->info;
    const bool is_host = (info->flags & HEARTH_DEVICE_HOST_MEMORY) != 0;
    const double read = info->read_bytes_per_second > 0 ? info->read_bytes_per_second
                        : is_host ? bandwidth : 0;
    add_string(object, "plugin", device->plugin->name);
    add_string(object, "plugin_version", device->plugin->version ? device->plugin->version : "");
    add_u64(object, "index", device->index);
    add_string(object, "name", info->name);
    add_string(object, "driver", info->driver);
    json_object_object_add(object, "features", report_features(info->features));
    add_string(object, "pci_address", info->pci_address);
    if (info->pci_address[0]) {
        json_object_object_add(
            object, "numa_node",
            json_object_new_int(topology_pci_node(topology, info->pci_address)));
    }
    json_object_object_add(object, "host_memory", json_object_new_boolean(is_host));
    json_object_object_add(object, "maps_weights",
                           json_object_new_boolean(info->flags & HEARTH_DEVICE_MAPS_WEIGHTS));
    json_object_object_add(object, "asynchronous",
                           json_object_new_boolean(info->flags & HEARTH_DEVICE_ASYNC));
    add_u64(object, "memory_bytes", info->memory_bytes);
    json_object_object_add(object, "max_buffer_bytes",
                           info->max_buffer_bytes ? json_object_new_uint64(info->max_buffer_bytes) : NULL);
    json_object_object_add(object, "read_bytes_per_second", json_object_new_double(read));
    json_object_object_add(object, "lacks_native", report_lacks(device, HEARTH_NATIVE));
    json_object_object_add(object, "lacks_exact", report_lacks(device, HEARTH_EXACT));
    return object;
}

/* Text of a report, which is released. */
static int
finish_report(struct json_object *report, char **ret_json, struct hearth_error *err)
{
    const char *text = json_object_to_json_string_ext(
        report, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
    char *copy = text ? strdup(text) : NULL;
    json_object_put(report);
    if (!copy) {
        return error_no_memory(err, "a report");
    }
    *ret_json = copy;
    return HEARTH_OK;
}

/* A device that cannot be opened is reported with its reason: one dead card must not hide the others. */
static struct json_object *
open_and_report(struct plugin_device *device, const struct topology *topology, double bandwidth)
{
    struct hearth_error reason = {0};
    const int status = plugin_device_open(device, &reason);
    struct json_object *object = report_device(device, topology, bandwidth);
    if (status < 0) {
        add_string(object, "error", reason.text);
    }
    return object;
}

int
hearth_devices(const struct hearth_config *config, bool measure, char **ret_json,
               struct hearth_error *err)
{
    struct topology *topology = NULL;
    struct plugin_set *plugins = NULL;
    int status = topology_probe(config_values(config)->topology.synthetic, &topology, err);
    if (status == HEARTH_OK) {
        status = plugin_set_load(config, &plugins, err);
    }
    if (status == HEARTH_OK) {
        const struct topology_facts *facts = topology_facts(topology);
        const double bandwidth = measure ? rooms_host_bandwidth(config, facts) : 0;
        struct json_object *report = json_object_new_object();
        struct json_object *array = json_object_new_array();
        size_t n = 0;
        struct plugin_device *devices = plugin_set_devices(plugins, &n);
        for (size_t i = 0; i < n; i++) {
            json_object_array_add(array, open_and_report(&devices[i], topology, bandwidth));
        }
        json_object_object_add(report, "topology", report_topology(facts, bandwidth));
        json_object_object_add(report, "devices", array);
        status = finish_report(report, ret_json, err);
    }
    plugin_set_free(plugins);
    topology_free(topology);
    return status;
}

int
hearth_plan(const struct hearth_config *config, char **ret_json, struct hearth_error *err)
{
    struct rooms rooms;
    struct json_object *report = NULL;
    int status = rooms_open(&rooms, config, NULL, MODEL_HEADERS_ONLY, true, err);
    if (status < 0) {
        return status;
    }
    status = plan_report(rooms.plan, &report, err);
    if (status == HEARTH_OK) {
        add_string(report, "model", model_name(rooms.model));
        add_u64(report, "weight_bytes", model_weight_bytes(rooms.model));
        add_u64(report, "active_bytes", model_active_bytes(rooms.model));
        add_u64(report, "prefill_chunk", rooms.chunk);
        json_object_object_add(report, "topology",
                               report_topology(topology_facts(rooms.topology), 0));
        status = finish_report(report, ret_json, err);
    }
    rooms_close(&rooms);
    return status;
}
