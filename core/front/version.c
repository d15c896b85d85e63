/* version.c - hearth version: the version, how it was built, and the plugins it finds. */
#include <config.h>

#include <string.h>

#include "core/front/report.h"

static struct json_object *
version_build(void)
{
    struct json_object *build = json_object_new_object();
#ifdef HAVE_LIBEDIT
    const bool editing = true;
#else
    const bool editing = false;
#endif
#ifdef STATIC_PLUGINS
    const bool linked_plugins = true;
#else
    const bool linked_plugins = false;
#endif
    json_object_object_add(build, "compiler", json_object_new_string(__VERSION__));
    json_object_object_add(build, "line_editing", json_object_new_boolean(editing));
    json_object_object_add(
        build, "plugins",
        json_object_new_string(linked_plugins ? "linked in" : "loaded with dlopen"));
    return build;
}

/* Name and version of each plugin, once, from the rows of its devices. */
static struct json_object *
version_plugin_rows(struct json_object *devices)
{
    struct json_object *rows = json_object_new_array();
    const char *last = "";
    for (size_t i = 0; i < json_object_array_length(devices); i++) {
        struct json_object *plugin = NULL, *version = NULL, *row = json_object_new_object();
        json_object_object_get_ex(json_object_array_get_idx(devices, i), "plugin", &plugin);
        json_object_object_get_ex(json_object_array_get_idx(devices, i), "plugin_version", &version);
        const char *name = plugin ? json_object_get_string(plugin) : "";
        if (strcmp(name, last) == 0) {
            json_object_put(row);
            continue;
        }
        last = name;
        json_object_object_add(row, "name", json_object_get(plugin));
        json_object_object_add(row, "version", json_object_get(version));
        json_object_array_add(rows, row);
    }
    return rows;
}

/* Without a readable configuration or a usable plugin the version is still told. */
static struct json_object *
version_plugins(struct front *front)
{
    char *json = NULL;
    struct json_object *report = NULL, *devices = NULL, *rows = NULL;
    struct hearth_config *config = NULL;
    if (hearth_config_new(&config, NULL) == HEARTH_OK
        && hearth_config_load(config, front->config_path, NULL) == HEARTH_OK
        && hearth_devices(config, false, &json, NULL) == HEARTH_OK
        && report_parse("the list of devices", json, &report, NULL) == HEARTH_OK
        && json_object_object_get_ex(report, "devices", &devices)
        && json_object_is_type(devices, json_type_array)) {
        rows = version_plugin_rows(devices);
    }
    json_object_put(report);
    hearth_config_free(config);
    return rows;
}

static int
version_run(struct front *front, const void *values, const struct args_operands *operands,
            struct hearth_error *err)
{
    (void)values;
    (void)operands;
    struct json_object *object = json_object_new_object();
    json_object_object_add(object, "hearth", json_object_new_string(hearth_version()));
    json_object_object_add(object, "build", version_build());
    json_object_object_add(object, "plugins", version_plugins(front));
    return report_print(front, object, NULL, err);
}

const struct command command_version = {
    .name = "version",
    .summary = "Show the version, how it was built, and the plugins.",
    .without_config = true,
    .run = version_run,
};
