/* core/plugin/running.h - plugins that run in this process.  A plugin is started once (hearth/plugin.h), however many
 * engines use it: the first to ask starts it, the last to leave stops it. */
#ifndef CORE_PLUGIN_RUNNING_H
#define CORE_PLUGIN_RUNNING_H

#include <hearth/plugin.h>

#include "core/config/config.h"

struct plugin_running {
    struct hearth_plugin table; /* a copy, as the loader checked it */
    uint32_t n_devices;
};

/* Finds the plugin, and starts it with the configuration's options or joins it where it runs.  What runs keeps the
 * options it was started with, so other ones are refused.  Errors: EPLUGIN, ECONFIG, EMEMORY, those of start.  Owner:
 * the caller; plugin_running_give.  Thread: any. */
int plugin_running_take(const struct hearth_config *config, const char *name, const struct plugin_running **ret_running,
                        struct hearth_error *err);
/* All devices opened by the taker are closed.  NULL allowed. */
void plugin_running_give(const struct plugin_running *running);
/* Puts the plugin's name before the line it gave, or makes a line if it gave none.  Returns status. */
int plugin_complain(const struct plugin_running *running, int status, const char *call, const struct hearth_error *said,
                    struct hearth_error *err);

#endif
