/* yaml.c - YAML text to configuration entries; every complaint has file, line and column. */
#include "core/config/schema.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "core/base/error.h"
#include "core/base/text.h"

struct reader {
    struct hearth_config *config;
    yaml_document_t document;
    const char *name; /* of the file */
};

#define PLACE_BYTES 320
#define NAME_BYTES 160

static const char *
place_of(const struct reader *reader, const yaml_node_t *node, char place[PLACE_BYTES])
{
    snprintf(place, PLACE_BYTES, "%.250s:%zu:%zu", reader->name, node->start_mark.line + 1,
             node->start_mark.column + 1);
    return place;
}

static const char *
origin_of(const struct reader *reader, const yaml_node_t *node, char origin[PLACE_BYTES])
{
    snprintf(origin, PLACE_BYTES, "%.250s:%zu", reader->name, node->start_mark.line + 1);
    return origin;
}

static const char *
node_kind(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE ? "a value" : node->type == YAML_SEQUENCE_NODE ? "a list" : "a mapping";
}

/* NULL: not a scalar, or one with a NUL inside */
static const char *
scalar_text(const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE || strlen((const char *)node->data.scalar.value) != node->data.scalar.length) {
        return NULL;
    }
    return (const char *)node->data.scalar.value;
}

static bool
scalar_is_null(const yaml_node_t *node)
{
    const char *text = scalar_text(node);
    return text && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!*text || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
}

static int
key_is_repeated(const struct reader *reader, yaml_node_t *mapping, const yaml_node_pair_t *pair,
                struct hearth_error *err)
{
    char place[PLACE_BYTES];
    yaml_document_t *document = (yaml_document_t *)&reader->document;
    const yaml_node_t *key = yaml_document_get_node(document, pair->key);
    for (const yaml_node_pair_t *other = mapping->data.mapping.pairs.start; other < pair; other++) {
        const yaml_node_t *other_key = yaml_document_get_node(document, other->key);
        if (strcmp(scalar_text(other_key), scalar_text(key)) == 0) {
            return error_set(err, HEARTH_ECONFIG, "%s: key %.80s: once wanted, found again (first in line %zu)",
                             place_of(reader, key, place), scalar_text(key), other_key->start_mark.line + 1);
        }
    }
    return HEARTH_OK;
}

/* Calls each for every pair of a mapping, with the key's text. */
static int
mapping_walk(struct reader *reader, yaml_node_t *mapping, const char *prefix,
             int (*each)(struct reader *reader, const char *prefix, const yaml_node_t *key, yaml_node_t *value,
                         struct hearth_error *err),
             struct hearth_error *err)
{
    char place[PLACE_BYTES];
    if (scalar_is_null(mapping)) {
        return HEARTH_OK; /* a section with nothing in it */
    }
    if (mapping->type != YAML_MAPPING_NODE) {
        return error_set(err, HEARTH_ECONFIG, "%s: %s: a mapping wanted, %s found", place_of(reader, mapping, place),
                         *prefix ? prefix : "the file", node_kind(mapping));
    }
    for (yaml_node_pair_t *pair = mapping->data.mapping.pairs.start; pair < mapping->data.mapping.pairs.top; pair++) {
        yaml_node_t *key = yaml_document_get_node(&reader->document, pair->key);
        if (!scalar_text(key)) {
            return error_set(err, HEARTH_ECONFIG, "%s: a key wanted, %s found", place_of(reader, key, place),
                             node_kind(key));
        }
        int status = key_is_repeated(reader, mapping, pair, err);
        if (status == HEARTH_OK) {
            status = each(reader, prefix, key, yaml_document_get_node(&reader->document, pair->value), err);
        }
        if (status < 0) {
            return status;
        }
    }
    return HEARTH_OK;
}

static int
list_text(struct reader *reader, const char *name, yaml_node_t *list, struct text *items, struct hearth_error *err)
{
    char place[PLACE_BYTES];
    if (list->type != YAML_SEQUENCE_NODE) {
        return error_set(err, HEARTH_ECONFIG, "%s: %s: a list wanted, %s found", place_of(reader, list, place), name,
                         node_kind(list));
    }
    for (yaml_node_item_t *item = list->data.sequence.items.start; item < list->data.sequence.items.top; item++) {
        const yaml_node_t *node = yaml_document_get_node(&reader->document, *item);
        const char *text = scalar_text(node);
        if (!text || !*text || strchr(text, '\n')) {
            return error_set(err, HEARTH_ECONFIG, "%s: %s: one line of text wanted, %s found",
                             place_of(reader, node, place), name, text ? "another" : node_kind(node));
        }
        text_printf(items, "%s\n", text);
    }
    text_add(items, "");
    return items->failed ? error_no_memory(err, name) : HEARTH_OK;
}

static int
option_read(struct reader *reader, const char *plugin, const yaml_node_t *key, yaml_node_t *value,
            struct hearth_error *err)
{
    char place[PLACE_BYTES];
    if (!scalar_text(value)) {
        return error_set(err, HEARTH_ECONFIG, "%s: plugins.options.%.60s.%.60s: a value wanted, %s found",
                         place_of(reader, value, place), plugin, scalar_text(key), node_kind(value));
    }
    return config_option_set(reader->config, plugin, scalar_text(key), scalar_text(value),
                             origin_of(reader, value, place), CONFIG_RANK_FILE, err);
}

static int
options_read(struct reader *reader, const char *prefix, const yaml_node_t *key, yaml_node_t *value,
             struct hearth_error *err)
{
    (void)prefix;
    return mapping_walk(reader, value, scalar_text(key), option_read, err);
}

static int
key_read(struct reader *reader, const char *section, const yaml_node_t *key_node, yaml_node_t *value,
         struct hearth_error *err)
{
    char name[NAME_BYTES], place[PLACE_BYTES], origin[PLACE_BYTES];
    snprintf(name, sizeof name, "%.70s.%.70s", section, scalar_text(key_node));
    if (strcmp(name, "plugins.options") == 0) {
        return mapping_walk(reader, value, name, options_read, err);
    }
    const struct config_key *key = config_key_find(name);
    if (!key) {
        const char *nearest = config_key_nearest(name);
        return error_set(err, HEARTH_ECONFIG, "%s: unknown key %s%s%s%s", place_of(reader, key_node, place), name,
                         nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
    }
    origin_of(reader, value, origin);
    place_of(reader, value, place);
    if (scalar_is_null(value)) {
        return HEARTH_OK; /* `key:` leaves the default */
    }
    if (key->type == CONFIG_LIST) {
        struct text items = {0};
        int status = list_text(reader, name, value, &items, err);
        if (status == HEARTH_OK) {
            status = config_entry_set(reader->config, key, items.bytes, place, origin, CONFIG_RANK_FILE, err);
        }
        text_free(&items);
        return status;
    }
    if (!scalar_text(value)) {
        return error_set(err, HEARTH_ECONFIG, "%s: %s: a value wanted, %s found", place, name, node_kind(value));
    }
    return config_entry_set(reader->config, key, scalar_text(value), place, origin, CONFIG_RANK_FILE, err);
}

static int
section_read(struct reader *reader, const char *prefix, const yaml_node_t *key, yaml_node_t *value,
             struct hearth_error *err)
{
    char place[PLACE_BYTES];
    const char *section = scalar_text(key);
    const size_t length = strlen(section);
    (void)prefix;
    for (size_t i = 0; i < CONFIG_N_KEYS; i++) {
        if (strncmp(config_keys[i].name, section, length) == 0 && config_keys[i].name[length] == '.') {
            return mapping_walk(reader, value, section, key_read, err);
        }
    }
    const char *nearest = config_key_nearest(section);
    return error_set(err, HEARTH_ECONFIG, "%s: unknown section %.80s%s%s%s", place_of(reader, key, place), section,
                     nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
}

static int
parser_complain(const char *name, const yaml_parser_t *parser, struct hearth_error *err)
{
    if (parser->error == YAML_MEMORY_ERROR) {
        return error_no_memory(err, name);
    }
    if (parser->error == YAML_READER_ERROR) {
        return error_set(err, HEARTH_ECONFIG, "%s: byte %zu: UTF-8 text wanted: %s", name, parser->problem_offset,
                         parser->problem);
    }
    return error_set(err, HEARTH_ECONFIG, "%s:%zu:%zu: valid YAML wanted: %s", name, parser->problem_mark.line + 1,
                     parser->problem_mark.column + 1, parser->problem ? parser->problem : "unknown problem");
}

int
config_yaml_load(struct hearth_config *config, const char *name, const char *bytes, size_t length,
                 struct hearth_error *err)
{
    struct reader reader = {.config = config, .name = name};
    yaml_parser_t parser;
    int status = HEARTH_OK;
    if (!yaml_parser_initialize(&parser)) {
        return error_no_memory(err, "a YAML parser");
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)bytes, length);
    if (!yaml_parser_load(&parser, &reader.document)) {
        status = parser_complain(name, &parser, err);
        goto fail_load;
    }
    yaml_node_t *root = yaml_document_get_root_node(&reader.document);
    if (root) { /* an empty file says nothing */
        status = mapping_walk(&reader, root, "", section_read, err);
    }
    yaml_document_delete(&reader.document);
fail_load:
    yaml_parser_delete(&parser);
    return status;
}
