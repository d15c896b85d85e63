/* core/plugin/plugin_set.h - the loaded plugins and their devices.  The one door to dlopen.
 *
 * Loading is loud: a plugin that the configuration names and that cannot be used is an error with a sentence. */
#ifndef CORE_PLUGIN_PLUGIN_SET_H
#define CORE_PLUGIN_PLUGIN_SET_H

#include <stdbool.h>
#include <stddef.h>

#include <hearth/plugin.h>

#include "core/config/config.h"

struct plugin_set;

/* A device of a loaded plugin.  Before plugin_device_open, device is NULL. */
struct plugin_device {
    const struct hearth_plugin *plugin;
    uint32_t index;                 /* within the plugin */
    struct hearth_device_info info;
    struct hearth_device *device;
    bool supports[2][HEARTH_N_OPS]; /* [numerics][op], asked once when the device is opened */
    struct hearth_error fault;      /* of plugin_device_failed; status 0: none */
    bool is_given_up;               /* it failed, and no plan asks for it again */
};

/* Loads the configured plugins in order: plugins.path, then HEARTH_PLUGIN_PATH (read by config), then the installed
 * folder.  Thread: main, once per process at a time. */
int plugin_set_load(const struct hearth_config *config, struct plugin_set **ret_set, struct hearth_error *err);
void plugin_set_free(struct plugin_set *set); /* closes devices, stops plugins, dlcloses; NULL allowed */

struct plugin_device *plugin_set_devices(struct plugin_set *set, size_t *ret_n);
/* The device device.plugin and device.select choose. */
int plugin_set_choose(struct plugin_set *set, const struct config_device *choice, struct plugin_device **ret_device,
                      struct hearth_error *err);
int plugin_device_open(struct plugin_device *device, struct hearth_error *err); /* again: no effect */
/* A call to the device ended with status < 0, for a reason it gave or none: err becomes "device NAME: reason".  What a
 * device may not get over (EMEMORY, EDEVICE, ELOST, ETIMEOUT) also becomes its fault.  Returns status. */
int plugin_device_failed(struct plugin_device *device, int status, const struct hearth_error *reason,
                         struct hearth_error *err);

#endif
