/* config.c - a configuration: defaults, then file, environment and explicit settings over them.  The one place of
 * getenv. */
#include <config.h>

#include "core/config/schema.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/error.h"
#include "core/base/text.h"

/* ---- values ------------------------------------------------------------------------------------------------------ */

/* The multiplier of a suffix of a COUNT or BYTES value; 0 if it is none. */
static double
suffix_scale(enum config_type type, const char *suffix)
{
    static const struct {
        enum config_type type;
        const char *suffix;
        double scale;
    } suffixes[] = {
        {CONFIG_COUNT, "", 1},          {CONFIG_COUNT, "k", 1024},         {CONFIG_COUNT, "M", 1048576},
        {CONFIG_BYTES, "", 1},          {CONFIG_BYTES, "KiB", 1024},       {CONFIG_BYTES, "MiB", 1048576},
        {CONFIG_BYTES, "GiB", 0x1p30},  {CONFIG_BYTES, "TiB", 0x1p40},     {CONFIG_NUMBER, "", 1},
    };
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        if (suffixes[i].type == type && strcmp(suffixes[i].suffix, suffix) == 0) {
            return suffixes[i].scale;
        }
    }
    return 0;
}

static bool
number_parse(const struct config_key *key, const char *text, double *ret_number)
{
    char *end;
    if (!isdigit((unsigned char)text[0]) && !(key->type == CONFIG_NUMBER && strchr("+-.", text[0]) && text[0])) {
        return false;
    }
    const double number = strtod(text, &end);
    if (end == text || !isfinite(number)) {
        return false;
    }
    while (*end == ' ') {
        end++;
    }
    const double scaled = number * suffix_scale(key->type, end);
    if (suffix_scale(key->type, end) == 0 || scaled < key->min || scaled > key->max ||
        (key->type != CONFIG_NUMBER && scaled != floor(scaled))) {
        return false;
    }
    *ret_number = scaled;
    return true;
}

static bool
bool_parse(const char *text, bool *ret_value)
{
    static const char *const words[2][4] = {{"false", "no", "off", "0"}, {"true", "yes", "on", "1"}};
    for (int value = 0; value < 2; value++) {
        for (int i = 0; i < 4; i++) {
            if (strcmp(text, words[value][i]) == 0) {
                *ret_value = value;
                return true;
            }
        }
    }
    return false;
}

static bool
choice_is_valid(const char *choices, const char *text)
{
    const size_t length = strlen(text);
    for (const char *choice = choices; choice; choice = strchr(choice, '|') ? strchr(choice, '|') + 1 : NULL) {
        if (length && strncmp(choice, text, length) == 0 && (choice[length] == '|' || choice[length] == '\0')) {
            return true;
        }
    }
    return false;
}

static bool
value_is_valid(const struct config_key *key, const char *text)
{
    double number;
    bool flag;
    switch (key->type) {
    case CONFIG_CHOICE:
        return choice_is_valid(key->choices, text);
    case CONFIG_BOOL:
        return bool_parse(text, &flag);
    case CONFIG_COUNT:
    case CONFIG_BYTES:
    case CONFIG_NUMBER:
        return number_parse(key, text, &number);
    case CONFIG_STRING:
    case CONFIG_LIST:
        break;
    }
    return true;
}

static int
value_refuse(const struct config_key *key, const char *text, const char *where, struct hearth_error *err)
{
    char wanted[96];
    switch (key->type) {
    case CONFIG_CHOICE:
        snprintf(wanted, sizeof wanted, "one of %s", key->choices);
        break;
    case CONFIG_BOOL:
        snprintf(wanted, sizeof wanted, "true or false");
        break;
    default:
        snprintf(wanted, sizeof wanted, "%s in [%.15g, %.15g]%s%s",
                 key->type == CONFIG_NUMBER ? "a number" : "an integer", key->min, key->max, key->unit ? " " : "",
                 key->unit ? key->unit : "");
    }
    return error_set(err, HEARTH_ECONFIG, "%s: %s: %s wanted, \"%.60s\" found", where, key->name, wanted, text);
}

/* ---- entries ----------------------------------------------------------------------------------------------------- */

static void
entry_done(struct config_entry *entry)
{
    free(entry->text);
    free(entry->origin);
    *entry = (struct config_entry){0};
}

/* text NULL: unset */
static int
entry_replace(struct config_entry *entry, const char *text, const char *origin, enum config_rank rank,
              struct hearth_error *err)
{
    char *new_text = text ? strdup(text) : NULL;
    char *new_origin = strdup(origin);
    if ((text && !new_text) || !new_origin) {
        free(new_text);
        free(new_origin);
        return error_no_memory(err, "a configuration value");
    }
    entry_done(entry);
    *entry = (struct config_entry){new_text, new_origin, rank};
    return HEARTH_OK;
}

int
config_entry_set(struct hearth_config *config, const struct config_key *key, const char *text, const char *where,
                 const char *origin, enum config_rank rank, struct hearth_error *err)
{
    struct config_entry *entry = &config->entries[key - config_keys];
    char plain[32];
    double number;
    if (!value_is_valid(key, text)) {
        return value_refuse(key, text, where, err);
    }
    if (entry->rank > rank) {
        return HEARTH_OK;
    }
    if ((key->type == CONFIG_COUNT || key->type == CONFIG_BYTES) && number_parse(key, text, &number)) {
        snprintf(plain, sizeof plain, "%.0f", number);
        text = plain;
    }
    return entry_replace(entry, text, origin, rank, err);
}

int
config_option_set(struct hearth_config *config, const char *plugin, const char *option, const char *text,
                  const char *origin, enum config_rank rank, struct hearth_error *err)
{
    for (size_t i = 0; i < config->n_options; i++) {
        struct config_option *known = &config->options[i];
        if (strcmp(known->plugin, plugin) == 0 && strcmp(known->key, option) == 0) {
            return known->entry.rank > rank ? HEARTH_OK : entry_replace(&known->entry, text, origin, rank, err);
        }
    }
    struct config_option *grown = realloc(config->options, (config->n_options + 1) * sizeof *grown);
    if (!grown) {
        return error_no_memory(err, "a plugin option");
    }
    config->options = grown;
    struct config_option added = {.plugin = strdup(plugin), .key = strdup(option)};
    int status = added.plugin && added.key ? entry_replace(&added.entry, text, origin, rank, err)
                                           : error_no_memory(err, "a plugin option");
    if (status < 0) {
        free(added.plugin);
        free(added.key);
        return status;
    }
    config->options[config->n_options++] = added;
    return HEARTH_OK;
}

static int
list_refresh(struct hearth_config *config, size_t index, struct config_list *list, struct hearth_error *err)
{
    free(config->list_texts[index]);
    config->list_texts[index] = strdup(config->entries[index].text ? config->entries[index].text : "");
    if (!config->list_texts[index]) {
        return error_no_memory(err, "a configuration list");
    }
    *list = (struct config_list){0};
    for (char *item = config->list_texts[index]; *item;) {
        char *end = strchr(item, '\n');
        if (list->n == CONFIG_MAX_LIST) {
            return error_set(err, HEARTH_ECONFIG, "%s: %s: at most %u items wanted", config->entries[index].origin,
                             config_keys[index].name, CONFIG_MAX_LIST);
        }
        list->items[list->n++] = item;
        if (!end) {
            break;
        }
        *end = '\0';
        item = end + 1;
    }
    return HEARTH_OK;
}

static int
value_refresh(struct hearth_config *config, size_t index, struct hearth_error *err)
{
    const struct config_key *key = &config_keys[index];
    const char *text = config->entries[index].text;
    void *member = (char *)&config->values + key->offset;
    double number = 0;
    if (text && (key->type == CONFIG_COUNT || key->type == CONFIG_BYTES || key->type == CONFIG_NUMBER)) {
        number_parse(key, text, &number);
    }
    switch (key->member) {
    case CONFIG_MEMBER_STRING:
        *(const char **)member = text;
        break;
    case CONFIG_MEMBER_BOOL:
        bool_parse(text, (bool *)member);
        break;
    case CONFIG_MEMBER_U64:
        *(uint64_t *)member = (uint64_t)number;
        break;
    case CONFIG_MEMBER_U32:
        *(uint32_t *)member = (uint32_t)number;
        break;
    case CONFIG_MEMBER_FLOAT:
        *(float *)member = (float)number;
        break;
    case CONFIG_MEMBER_LIST:
        return list_refresh(config, index, member, err);
    }
    return HEARTH_OK;
}

int
config_refresh(struct hearth_config *config, struct hearth_error *err)
{
    for (size_t i = 0; i < CONFIG_N_KEYS; i++) {
        const int status = value_refresh(config, i, err);
        if (status < 0) {
            return status;
        }
    }
    return HEARTH_OK;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

/* Where the bundled model is: installed, or in the folder one stands in. */
static const char *
default_model_path(void)
{
    static const char *const candidates[] = {HEARTH_DATADIR "/models/pilot", "models/pilot"};
    for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++) {
        if (access(candidates[i], R_OK) == 0) {
            return candidates[i];
        }
    }
    return candidates[0];
}

/* The default of a key that is a path within a folder of the user's. */
static int
default_set_path(struct hearth_config *config, const char *key, const char *folder, const char *name,
                 struct hearth_error *err)
{
    struct text path = {0};
    text_printf(&path, "%s/%s", folder, name);
    const int status = path.failed ? error_no_memory(err, "a path")
                                   : entry_replace(&config->entries[config_key_find(key) - config_keys], path.bytes,
                                                   "default", CONFIG_RANK_DEFAULT, err);
    text_free(&path);
    return status;
}

static int
defaults_set(struct hearth_config *config, struct hearth_error *err)
{
    for (size_t i = 0; i < CONFIG_N_KEYS; i++) {
        const int status =
            entry_replace(&config->entries[i], config_keys[i].fallback, "default", CONFIG_RANK_DEFAULT, err);
        if (status < 0) {
            return status;
        }
    }
    int status = entry_replace(&config->entries[config_key_find("model.path") - config_keys], default_model_path(),
                               "default", CONFIG_RANK_DEFAULT, err);
    const char *home = getenv("HOME");
    if (status == HEARTH_OK && home && *home) {
        status = default_set_path(config, "chat.history", home, ".hearth_history", err);
    }
    const char *xdg = getenv("XDG_CACHE_HOME");
    if (status == HEARTH_OK && xdg && *xdg) {
        status = default_set_path(config, "cache.directory", xdg, "hearth", err);
    } else if (status == HEARTH_OK && home && *home) {
        status = default_set_path(config, "cache.directory", home, ".cache/hearth", err);
    }
    return status;
}

/* "a:b" as list text */
static int
environment_set_path(struct hearth_config *config, const char *variable, const char *value, struct hearth_error *err)
{
    struct text items = {0};
    for (const char *item = value; *item;) {
        const size_t length = strcspn(item, ":");
        if (length) {
            text_append(&items, item, length);
            text_add(&items, "\n");
        }
        item += length + (item[length] == ':');
    }
    text_add(&items, "");
    const int status = items.failed ? error_no_memory(err, variable)
                                    : config_entry_set(config, config_key_find("plugins.path"), items.bytes, variable,
                                                       variable, CONFIG_RANK_ENVIRONMENT, err);
    text_free(&items);
    return status;
}

static int
environment_set(struct hearth_config *config, struct hearth_error *err)
{
    const char *model = getenv("HEARTH_MODEL");
    const char *plugin_path = getenv("HEARTH_PLUGIN_PATH");
    int status = HEARTH_OK;
    if (model && *model) {
        status = config_entry_set(config, config_key_find("model.path"), model, "HEARTH_MODEL", "HEARTH_MODEL",
                                  CONFIG_RANK_ENVIRONMENT, err);
    }
    if (status == HEARTH_OK && plugin_path && *plugin_path) {
        status = environment_set_path(config, "HEARTH_PLUGIN_PATH", plugin_path, err);
    }
    return status;
}

int
hearth_config_new(struct hearth_config **ret_config, struct hearth_error *err)
{
    struct hearth_config *config = calloc(1, sizeof *config);
    if (!config) {
        return error_no_memory(err, "a configuration");
    }
    int status = defaults_set(config, err);
    if (status == HEARTH_OK) {
        status = environment_set(config, err);
    }
    if (status == HEARTH_OK) {
        status = config_refresh(config, err);
    }
    if (status < 0) {
        hearth_config_free(config);
        return status;
    }
    *ret_config = config;
    return HEARTH_OK;
}

void
hearth_config_free(struct hearth_config *config)
{
    if (!config) {
        return;
    }
    for (size_t i = 0; i < CONFIG_N_KEYS; i++) {
        entry_done(&config->entries[i]);
        free(config->list_texts[i]);
    }
    for (size_t i = 0; i < config->n_options; i++) {
        free(config->options[i].plugin);
        free(config->options[i].key);
        entry_done(&config->options[i].entry);
    }
    free(config->options);
    free(config);
}

/* ---- changes and questions --------------------------------------------------------------------------------------- */

/* A list given as "a,b" or "[a, b]" becomes one item a line. */
static void
list_text_from_words(const char *text, struct text *items)
{
    for (const char *at = text; *at;) {
        at += strspn(at, " [],\"'\n");
        const size_t length = strcspn(at, "[],\"'\n");
        size_t trimmed = length;
        while (trimmed && at[trimmed - 1] == ' ') {
            trimmed--;
        }
        if (trimmed) {
            text_append(items, at, trimmed);
            text_add(items, "\n");
        }
        at += length;
    }
    text_add(items, "");
}

static int
unknown_key(const char *key, const char *where, struct hearth_error *err)
{
    const char *nearest = config_key_nearest(key);
    return error_set(err, HEARTH_ECONFIG, "%s: unknown key %.80s%s%s%s", where, key, nearest ? "; did you mean " : "",
                     nearest ? nearest : "", nearest ? "?" : "");
}

#define OPTIONS_PREFIX "plugins.options."

static int
option_set_by_name(struct hearth_config *config, const char *key, const char *text, const char *origin,
                   struct hearth_error *err)
{
    const char *rest = key + strlen(OPTIONS_PREFIX);
    const char *dot = strchr(rest, '.');
    if (!dot || dot == rest || !dot[1]) {
        return error_set(err, HEARTH_ECONFIG, "%s: %splugin.key wanted, %.80s found", origin, OPTIONS_PREFIX, key);
    }
    char *plugin = strndup(rest, (size_t)(dot - rest));
    if (!plugin) {
        return error_no_memory(err, "a plugin option");
    }
    const int status = config_option_set(config, plugin, dot + 1, text, origin, CONFIG_RANK_SET, err);
    free(plugin);
    return status;
}

int
hearth_config_set(struct hearth_config *config, const char *key, const char *text, const char *origin,
                  struct hearth_error *err)
{
    int status;
    const struct config_key *known = config_key_find(key);
    if (strncmp(key, OPTIONS_PREFIX, strlen(OPTIONS_PREFIX)) == 0) {
        status = option_set_by_name(config, key, text, origin, err);
    } else if (!known) {
        return unknown_key(key, origin, err);
    } else if (known->type == CONFIG_LIST) {
        struct text items = {0};
        list_text_from_words(text, &items);
        status = items.failed ? error_no_memory(err, "a configuration list")
                              : config_entry_set(config, known, items.bytes, origin, origin, CONFIG_RANK_SET, err);
        text_free(&items);
    } else {
        status = config_entry_set(config, known, text, origin, origin, CONFIG_RANK_SET, err);
    }
    return status < 0 ? status : config_refresh(config, err);
}

const char *
hearth_config_get(const struct hearth_config *config, const char *key)
{
    const struct config_key *known = config_key_find(key);
    if (!known) {
        return NULL;
    }
    const char *text = config->entries[known - config_keys].text;
    return text ? text : "";
}

const struct config_values *
config_values(const struct hearth_config *config)
{
    return &config->values;
}

bool
config_is_default(const struct hearth_config *config, const char *key)
{
    const struct config_key *known = config_key_find(key);
    return known && config->entries[known - config_keys].rank == CONFIG_RANK_DEFAULT;
}

const char *
config_plugin_option(const struct hearth_config *config, const char *plugin, const char *key)
{
    for (size_t i = 0; i < config->n_options; i++) {
        if (strcmp(config->options[i].plugin, plugin) == 0 && strcmp(config->options[i].key, key) == 0) {
            return config->options[i].entry.text;
        }
    }
    return NULL;
}

const char *
config_plugin_option_at(const struct hearth_config *config, const char *plugin, size_t i, const char **ret_key)
{
    for (size_t at = 0; at < config->n_options; at++) {
        if (strcmp(config->options[at].plugin, plugin) == 0 && i-- == 0) {
            *ret_key = config->options[at].key;
            return config->options[at].entry.text;
        }
    }
    return NULL;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

#define CONFIG_MAX_FILE_BYTES (1u << 20)

static int
file_load(struct hearth_config *config, const char *path, struct hearth_error *err)
{
    int status = HEARTH_OK;
    FILE *file = fopen(path, "rb");
    if (!file) {
        return error_set_errno(err, HEARTH_EIO, "%s", path);
    }
    char *bytes = malloc(CONFIG_MAX_FILE_BYTES + 1);
    if (!bytes) {
        status = error_no_memory(err, path);
        goto fail_bytes;
    }
    const size_t length = fread(bytes, 1, CONFIG_MAX_FILE_BYTES + 1, file);
    if (ferror(file)) {
        status = error_set_errno(err, HEARTH_EIO, "%s", path);
    } else if (length > CONFIG_MAX_FILE_BYTES) {
        status = error_set(err, HEARTH_ECONFIG, "%s: a file of at most %u bytes wanted", path, CONFIG_MAX_FILE_BYTES);
    } else {
        status = config_yaml_load(config, path, bytes, length, err);
    }
    free(bytes);
fail_bytes:
    fclose(file);
    return status < 0 ? status : config_refresh(config, err);
}

/* The first of the places of a configuration file that exists; empty text: none. */
static int
file_find(struct text *path, struct hearth_error *err)
{
    const char *xdg = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    for (int place = 0; place < 4; place++) {
        text_clear(path);
        if (place == 0) {
            text_add(path, "hearth.yaml");
        } else if (place == 1 && xdg && *xdg) {
            text_printf(path, "%s/hearth/hearth.yaml", xdg);
        } else if (place == 2 && home && *home) {
            text_printf(path, "%s/.config/hearth/hearth.yaml", home);
        } else if (place == 3) {
            text_add(path, HEARTH_SYSCONFDIR "/hearth/hearth.yaml");
        }
        if (path->failed) {
            return error_no_memory(err, "a path");
        }
        if (path->length && access(path->bytes, F_OK) == 0) {
            return HEARTH_OK;
        }
    }
    text_clear(path);
    return HEARTH_OK;
}

int
hearth_config_load(struct hearth_config *config, const char *path, struct hearth_error *err)
{
    struct text found = {0};
    if (path) {
        return file_load(config, path, err);
    }
    int status = file_find(&found, err);
    if (status == HEARTH_OK && found.length) {
        status = file_load(config, found.bytes, err);
    }
    text_free(&found);
    return status;
}
