/* plugin_set.c - starts the configured plugins, lists and opens their devices, and ends them in reverse order. */
#include <config.h>

#include "core/plugin/plugin_set.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/plugin/loader.h"

/* What one plugin was lent; its address is the context of every host call. */
struct plugin_slot {
    struct plugin_library library;
    struct hearth_host host;
    const struct hearth_config *config;
    bool is_started;
    uint32_t n_devices;
    char threads[24]; /* cpu.threads as an option's text; empty: the plugin decides */
    char timeout[24]; /* device.timeout likewise, in seconds */
};

struct plugin_set {
    struct plugin_slot *slots;
    size_t n_slots;
    struct plugin_device *devices;
    size_t n_devices;
};

static void
host_log(void *context, int level, const char *text)
{
    const struct plugin_slot *slot = context;
    log_line(level, "%s: %s", slot->library.table.name, text);
}

/* A plugin's own option wins over what the configuration says to all: cpu.threads, device.timeout, cache.directory. */
static const char *
host_option(void *context, const char *key)
{
    const struct plugin_slot *slot = context;
    const char *text = config_plugin_option(slot->config, slot->library.table.name, key);
    if (!text && slot->threads[0] && strcmp(key, "threads") == 0) {
        return slot->threads;
    }
    if (!text && strcmp(key, "timeout") == 0) {
        return slot->timeout;
    }
    return !text && strcmp(key, "cache") == 0 ? config_values(slot->config)->cache.directory : text;
}

/* Puts the plugin's name before the line it gave, or makes a line if it gave none. */
static int
plugin_complain(const struct plugin_slot *slot, int status, const char *call, const struct hearth_error *said,
                struct hearth_error *err)
{
    const char *text = said->text[0] ? said->text : hearth_status_name(status);
    return error_set(err, status, "plugin %s: %s%s%.380s", slot->library.table.name, said->text[0] ? "" : call,
                     said->text[0] ? "" : ": ", text);
}

static int
slot_start(struct plugin_slot *slot, const struct config_list *folders, const char *name,
           const struct hearth_config *config, struct hearth_error *err)
{
    struct hearth_error said = {0};
    int status = plugin_library_open(folders, name, &slot->library, err);
    if (status < 0) {
        return status;
    }
    slot->config = config;
    if (config_values(config)->cpu.threads > 0) {
        snprintf(slot->threads, sizeof slot->threads, "%" PRIu64, config_values(config)->cpu.threads);
    }
    snprintf(slot->timeout, sizeof slot->timeout, "%.3f", (double)config_values(config)->device.timeout_seconds);
    slot->host = (struct hearth_host){.struct_size = sizeof slot->host, .context = slot, .log = host_log,
                                      .option = host_option};
    status = slot->library.table.start(&slot->host, &slot->n_devices, &said);
    if (status < 0) {
        status = plugin_complain(slot, status, "start", &said, err);
        plugin_library_close(&slot->library);
        return status;
    }
    slot->is_started = true;
    return HEARTH_OK;
}

static int
slot_describe(struct plugin_set *set, const struct plugin_slot *slot, struct hearth_error *err)
{
    if (slot->n_devices == 0) {
        return HEARTH_OK;
    }
    struct plugin_device *grown = realloc(set->devices, (set->n_devices + slot->n_devices) * sizeof *grown);
    if (!grown) {
        return error_no_memory(err, "the list of devices");
    }
    set->devices = grown;
    for (uint32_t i = 0; i < slot->n_devices; i++) {
        struct hearth_error said = {0};
        struct plugin_device device = {.plugin = &slot->library.table, .index = i};
        device.info.struct_size = sizeof device.info;
        const int status = slot->library.table.describe(i, &device.info, &said);
        if (status < 0) {
            return plugin_complain(slot, status, "describe", &said, err);
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
    set->slots = calloc(n ? n : 1, sizeof *set->slots);
    if (!set->slots) {
        status = error_no_memory(err, "the plugins");
    }
    for (size_t i = 0; i < n && status == HEARTH_OK; i++) {
        status = slot_start(&set->slots[i], &values->plugins.path, values->plugins.load.items[i], config, err);
        if (status == HEARTH_OK) {
            set->n_slots++;
            status = slot_describe(set, &set->slots[i], err);
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
    for (size_t i = set->n_slots; i-- > 0;) {
        if (set->slots[i].is_started) {
            set->slots[i].library.table.stop();
        }
        plugin_library_close(&set->slots[i].library);
    }
    free(set->devices);
    free(set->slots);
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
                     set->n_slots);
}
