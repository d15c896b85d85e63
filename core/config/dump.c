/* dump.c - the effective configuration as YAML that can be loaded again, or as JSON, with the origin of every value. */
#include "core/config/schema.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/json.h"
#include "core/base/text.h"

static const char *
type_name(enum config_type type)
{
    static const char *const names[] = {"string", "choice", "boolean", "count", "bytes", "number", "list"};
    return names[type];
}

/* string as a double-quoted scalar, which JSON and YAML read alike */
static int
quoted_add(struct text *out, const char *string, size_t length)
{
    struct json_object *value = json_object_new_string_len(string, (int)length);
    if (!value) {
        return -1;
    }
    text_add(out, json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(value);
    return out->failed ? -1 : 0;
}

static int
list_add(struct text *out, const char *items)
{
    text_add(out, "[");
    for (const char *item = items; *item;) {
        const size_t length = strcspn(item, "\n");
        if (item != items) {
            text_add(out, ", ");
        }
        if (quoted_add(out, item, length) < 0) {
            return -1;
        }
        item += length + (item[length] == '\n');
    }
    text_add(out, "]");
    return 0;
}

/* The value in a form that both YAML and JSON parse: strings quoted, numbers with a unit quoted too. */
static int
value_add(struct text *out, const struct config_key *key, const char *text)
{
    if (!text) {
        text_add(out, "null");
        return 0;
    }
    switch (key->type) {
    case CONFIG_LIST:
        return list_add(out, text);
    case CONFIG_BOOL:
        text_add(out, strchr("ty1", text[0]) || strcmp(text, "on") == 0 ? "true" : "false");
        return 0;
    case CONFIG_COUNT:
    case CONFIG_BYTES:
    case CONFIG_NUMBER:
        if (strspn(text, "0123456789") == strlen(text)) {
            text_add(out, text);
            return 0;
        }
        break;
    case CONFIG_STRING:
    case CONFIG_CHOICE:
        break;
    }
    return quoted_add(out, text, strlen(text));
}

/* Keys of one section stand together, sections in the order of the table's first mention. */
static bool
section_is_first(size_t index)
{
    const size_t length = strcspn(config_keys[index].name, ".") + 1;
    for (size_t i = 0; i < index; i++) {
        if (strncmp(config_keys[i].name, config_keys[index].name, length) == 0) {
            return false;
        }
    }
    return true;
}

static int
options_dump(const struct hearth_config *config, struct text *out)
{
    for (size_t i = 0; i < config->n_options; i++) {
        const struct config_option *option = &config->options[i];
        bool first = true;
        for (size_t j = 0; j < i; j++) {
            first = first && strcmp(config->options[j].plugin, option->plugin) != 0;
        }
        if (!first) {
            continue;
        }
        text_printf(out, "%s    %s:\n", i == 0 ? "  options:\n" : "", option->plugin);
        for (size_t j = i; j < config->n_options; j++) {
            const struct config_option *same = &config->options[j];
            if (strcmp(same->plugin, option->plugin) != 0) {
                continue;
            }
            text_printf(out, "      %s: ", same->key);
            if (quoted_add(out, same->entry.text, strlen(same->entry.text)) < 0) {
                return -1;
            }
            text_printf(out, "  # %s\n", same->entry.origin);
        }
    }
    return 0;
}

static int
section_dump(const struct hearth_config *config, size_t first, struct text *out)
{
    const char *name = config_keys[first].name;
    const size_t length = strcspn(name, ".");
    text_printf(out, "%s%.*s:\n", first ? "\n" : "", (int)length, name);
    for (size_t i = first; i < CONFIG_N_KEYS; i++) {
        const struct config_key *key = &config_keys[i];
        if (strncmp(key->name, name, length + 1) != 0) {
            continue;
        }
        text_printf(out, "  # %s%s%s%s\n  %s: ", key->help, key->unit ? " [" : "", key->unit ? key->unit : "",
                    key->unit ? "]" : "", key->name + length + 1);
        if (value_add(out, key, config->entries[i].text) < 0) {
            return -1;
        }
        text_printf(out, "  # %s\n", config->entries[i].origin);
    }
    return strncmp(name, "plugins.", 8) == 0 ? options_dump(config, out) : 0;
}

static void
json_field(struct text *out, const char *name, const char *value)
{
    if (value) {
        text_printf(out, ", \"%s\": ", name);
        quoted_add(out, value, strlen(value));
    }
}

static int
json_dump(const struct hearth_config *config, struct text *out)
{
    text_add(out, "{");
    for (size_t i = 0; i < CONFIG_N_KEYS; i++) {
        const struct config_key *key = &config_keys[i];
        text_printf(out, "%s\"%s\": {\"value\": ", i ? ", " : "", key->name);
        if (value_add(out, key, config->entries[i].text) < 0) {
            return -1;
        }
        text_add(out, ", \"default\": ");
        if (value_add(out, key, key->fallback) < 0) {
            return -1;
        }
        json_field(out, "origin", config->entries[i].origin);
        json_field(out, "type", type_name(key->type));
        json_field(out, "choices", key->choices);
        json_field(out, "unit", key->unit);
        json_field(out, "help", key->help);
        text_add(out, "}");
    }
    for (size_t i = 0; i < config->n_options; i++) {
        const struct config_option *option = &config->options[i];
        text_printf(out, ", \"plugins.options.%s.%s\": {\"value\": ", option->plugin, option->key);
        quoted_add(out, option->entry.text, strlen(option->entry.text));
        json_field(out, "origin", option->entry.origin);
        text_add(out, "}");
    }
    text_add(out, "}");
    return 0;
}

int
hearth_config_dump(const struct hearth_config *config, bool json, char **ret_text, struct hearth_error *err)
{
    struct text out = {0};
    int status = 0;
    if (json) {
        status = json_dump(config, &out);
    } else {
        for (size_t i = 0; i < CONFIG_N_KEYS && status == 0; i++) {
            status = section_is_first(i) ? section_dump(config, i, &out) : 0;
        }
    }
    char *text = text_take(&out);
    if (status < 0 || !text) {
        free(text);
        return error_no_memory(err, "the configuration's text");
    }
    *ret_text = text;
    return HEARTH_OK;
}
