/* config.c - hearth config: the effective configuration, the check of a file, the list of keys. */
#include <stdlib.h>

#include "core/base/error.h"
#include "core/front/render.h"
#include "core/front/report.h"

struct config_command_values {
    bool dump, list;
    const char *check;
};

#define CONFIG(field) offsetof(struct config_command_values, field)

static const struct args_option config_options[] = {
    {.name = "dump", .kind = ARGS_FLAG, .offset = CONFIG(dump),
     .help = "print the effective configuration, each value with its origin; this is what happens "
             "without an option"},
    {.name = "check", .kind = ARGS_TEXT, .value = "FILE", .offset = CONFIG(check),
     .help = "check a configuration file and print nothing if it is right"},
    {.name = "list", .kind = ARGS_FLAG, .offset = CONFIG(list),
     .help = "list every key: type, default, meaning"},
};

static int
config_dump(struct front *front, struct hearth_error *err)
{
    char *dump = NULL;
    int status = hearth_config_dump(front->config, front->json, &dump, err);
    if (status < 0) {
        return status;
    }
    if (front->json) {
        struct json_object *object = NULL;
        status = report_parse("the configuration", dump, &object, err);
        return status < 0 ? status : out_json(object, err);
    }
    struct text text = {0};
    text_add(&text, dump);
    free(dump);
    return out_text(&text, err);
}

static int
config_check(struct front *front, const char *path, struct hearth_error *err)
{
    struct hearth_config *config;
    int status = hearth_config_new(&config, err);
    if (status < 0) {
        return status;
    }
    status = hearth_config_load(config, path, err);
    hearth_config_free(config);
    if (status < 0 || !front->json) {
        return status;
    }
    struct json_object *object = json_object_new_object();
    json_object_object_add(object, "file", json_object_new_string(path));
    json_object_object_add(object, "valid", json_object_new_boolean(true));
    return out_json(object, err);
}

static void
config_list_field(struct json_object *row, const char *name, struct json_object *from,
                  const char *key)
{
    struct json_object *value = NULL;
    json_object_object_get_ex(from, key, &value);
    json_object_object_add(row, name, json_object_get(value));
}

/* The rows of --list: what the dump says of each key, but its value. */
static struct json_object *
config_list_rows(struct json_object *dump)
{
    struct json_object *rows = json_object_new_array();
    json_object_object_foreach (dump, key, entry) {
        if (!json_object_object_get_ex(entry, "type", NULL)) {
            continue; /* an option of a plugin: hearth knows no type of it */
        }
        struct json_object *row = json_object_new_object();
        json_object_object_add(row, "key", json_object_new_string(key));
        const bool choice = json_object_object_get_ex(entry, "choices", NULL);
        config_list_field(row, "type", entry, choice ? "choices" : "type");
        config_list_field(row, "default", entry, "default");
        config_list_field(row, "unit", entry, "unit");
        config_list_field(row, "meaning", entry, "help");
        json_object_array_add(rows, row);
    }
    return rows;
}

static int
config_list(struct front *front, struct hearth_error *err)
{
    char *json = NULL;
    struct json_object *dump = NULL;
    int status = hearth_config_dump(front->config, true, &json, err);
    if (status == HEARTH_OK) {
        status = report_parse("the configuration", json, &dump, err);
    }
    if (status < 0) {
        return status;
    }
    struct json_object *rows = config_list_rows(dump);
    json_object_put(dump);
    if (front->json) {
        return out_json(rows, err);
    }
    struct text text = {0};
    render_table(rows, "", &text);
    json_object_put(rows);
    return out_text(&text, err);
}

static int
config_run(struct front *front, const void *values, const struct args_operands *operands,
           struct hearth_error *err)
{
    (void)operands;
    const struct config_command_values *wanted = values;
    if (wanted->dump + wanted->list + (wanted->check != NULL) > 1) {
        return error_set(err, HEARTH_EUSAGE,
                         "config: one of --dump, --check and --list wanted, several found");
    }
    if (wanted->check) {
        return config_check(front, wanted->check, err);
    }
    return wanted->list ? config_list(front, err) : config_dump(front, err);
}

const struct command command_config = {
    .name = "config",
    .summary = "Show the effective configuration, check a file, or list the keys.",
    .options = config_options,
    .n_options = sizeof config_options / sizeof config_options[0],
    .values_size = sizeof(struct config_command_values),
    .run = config_run,
};
