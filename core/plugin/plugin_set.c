/* plugin_set.c - starts the configured plugins, lists and opens their devices, and ends them in reverse order. */
#include <config.h>

#include "core/plugin/plugin_set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/plugin/running.h"

struct plugin_set {
    const struct plugin_running **running;
    size_t n_running;
    struct plugin_device *devices;
    size_t n_devices;
};

static int
describe_devices(struct plugin_set *set, const struct plugin_running *running, struct hearth_error *err)
{
    if (running->n_devices == 0) {
        return HEARTH_OK;
    }
    struct plugin_device *grown = realloc(set->devices, (set->n_devices + running->n_devices) * sizeof *grown);
    if (!grown) {
        return error_no_memory(err, "the list of devices");
    }
    set->devices = grown;
    for (uint32_t i = 0; i < running->n_devices; i++) {
        struct hearth_error said = {0};
        struct plugin_device device = {.plugin = &running->table, .index = i};
        device.info.struct_size = sizeof device.info;
        const int status = running->table.describe(i, &device.info, &said);
        if (status < 0) {
            return plugin_complain(running, status, "describe", &said, err);
        }
        device.info.name[sizeof device.info.name - 1] = '\0';
        device.info.pci_address[sizeof device.info.pci_address - 1] = '\0';
        device.info.packed_layout[sizeof device.info.packed_layout - 1] = '\0';
        device.info.driver[sizeof device.info.driver - 1] = '\0';
        device.info.features[sizeof device.info.features - 1] = '\0';
        set->devices[set->n_devices++] = device;
    }
    return HEARTH_OK;
}

int
plugin_set_load(const struct hearth_config *config, struct plugin_set **ret_set, struct hearth_error *err)
{
    const struct config_values *values = config_values(config);
    const size_t n = values->plugins.load.n;
    int status = HEARTH_OK;
    struct plugin_set *set = calloc(1, sizeof *set);
    if (!set) {
        return error_no_memory(err, "the plugins");
    }
    set->running = calloc(n ? n : 1, sizeof *set->running);
    if (!set->running) {
        status = error_no_memory(err, "the plugins");
    }
    for (size_t i = 0; i < n && status == HEARTH_OK; i++) {
        status = plugin_running_take(config, values->plugins.load.items[i], &set->running[i], err);
        if (status == HEARTH_OK) {
            set->n_running++;
            status = describe_devices(set, set->running[i], err);
        }
    }
    if (status < 0) {
        plugin_set_free(set);
        return status;
    }
    *ret_set = set;
    return HEARTH_OK;
}

void
plugin_set_free(struct plugin_set *set)
{
    if (!set) {
        return;
    }
    for (size_t i = set->n_devices; i-- > 0;) {
        if (set->devices[i].device) {
            set->devices[i].plugin->close(set->devices[i].device);
        }
    }
    for (size_t i = set->n_running; i-- > 0;) {
        plugin_running_give(set->running[i]);
    }
    free(set->devices);
    free(set->running);
    free(set);
}

struct plugin_device *
plugin_set_devices(struct plugin_set *set, size_t *ret_n)
{
    *ret_n = set->n_devices;
    return set->devices;
}

int
plugin_device_open(struct plugin_device *device, struct hearth_error *err)
{
    struct hearth_error said = {0};
    if (device->device) {
        return HEARTH_OK;
    }
    const int status = device->plugin->open(device->index, &device->device, &said);
    if (status < 0) {
        device->device = NULL;
        return plugin_device_failed(device, status, &said, err);
    }
    for (uint32_t numerics = 0; numerics < 2; numerics++) {
        for (uint32_t op = 0; op < HEARTH_N_OPS; op++) {
            device->supports[numerics][op] = device->plugin->supports(device->device, op, numerics);
        }
    }
    return HEARTH_OK;
}

int
plugin_device_failed(struct plugin_device *device, int status, const struct hearth_error *reason,
                     struct hearth_error *err)
{
    struct hearth_error said = *reason; /* which may be err itself */
    if (said.text[0] == '\0') {
        error_set(&said, status, "%s", hearth_status_name(status));
    }
    said.status = status;
    if (status == HEARTH_EMEMORY || status == HEARTH_EDEVICE || status == HEARTH_ELOST || status == HEARTH_ETIMEOUT) {
        device->fault = said;
    }
    error_set(err, status, "device %s: %.380s", device->info.name, said.text);
    if (err) {
        err->native = said.native;
    }
    return status;
}

/* select: an index among the plugin's devices, a PCI address, or a part of the name */
static bool
device_matches(const struct plugin_device *device, const char *select)
{
    char *end;
    const unsigned long index = strtoul(select, &end, 10);
    if (end != select && *end == '\0') {
        return device->index == index;
    }
    return strcmp(device->info.pci_address, select) == 0 || strstr(device->info.name, select) != NULL;
}

int
plugin_set_choose(struct plugin_set *set, const struct config_device *choice, struct plugin_device **ret_device,
                  struct hearth_error *err)
{
    for (size_t i = 0; i < set->n_devices; i++) {
        struct plugin_device *device = &set->devices[i];
        if ((choice->plugin && strcmp(choice->plugin, device->plugin->name) != 0) ||
            (choice->select && !device_matches(device, choice->select))) {
            continue;
        }
        *ret_device = device;
        return HEARTH_OK;
    }
    return error_set(err, HEARTH_EPLUGIN, "device: %s%s%s%s wanted, none found among %zu device(s) of %zu plugin(s)",
                     choice->plugin ? "plugin " : "any plugin", choice->plugin ? choice->plugin : "",
                     choice->select ? ", device " : "", choice->select ? choice->select : "", set->n_devices,
                     set->n_running);
}
