/* core/plugin/loader.h - from a name to a checked plugin table. */
#ifndef CORE_PLUGIN_LOADER_H
#define CORE_PLUGIN_LOADER_H

#include <hearth/plugin.h>

#include "core/config/config.h"

struct plugin_library {
    struct hearth_plugin table; /* a copy: every member the core knows is there, NULL where an older minor lacks it */
    void *handle;                       /* of dlopen; NULL: linked in */
};

/* Finds hearth-<name>.so in the configured folders, then the installed one, and checks its table before any code of it
 * runs.  Errors: EPLUGIN naming the file and what is wrong with it.  Thread: main. */
int plugin_library_open(const struct config_list *folders, const char *name, struct plugin_library *ret_library,
                        struct hearth_error *err);
/* The same for one file, whose name tells the plugin's name. */
int plugin_library_open_file(const char *path, struct plugin_library *ret_library, struct hearth_error *err);
void plugin_library_close(struct plugin_library *library);

#endif
