/* loader.c - opens plugin files; refuses with a sentence what does not fit the ABI. */
#include <config.h>

#include "core/plugin/loader.h"

#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/error.h"
#include "core/base/text.h"

#define SYMBOL_PREFIX "hearth_plugin_"
#define FILE_PREFIX "hearth-"
#define FILE_SUFFIX ".so"
#define NAME_MAX_LENGTH 64

/* Names become part of a file name and of a symbol. */
static bool
name_is_valid(const char *name)
{
    const size_t length = strlen(name);
    for (size_t i = 0; i < length; i++) {
        if (!(isalnum((unsigned char)name[i]) || name[i] == '-' || name[i] == '_')) {
            return false;
        }
    }
    return length > 0 && length <= NAME_MAX_LENGTH;
}

static void
symbol_of(const char *name, char symbol[sizeof SYMBOL_PREFIX + NAME_MAX_LENGTH])
{
    const int length = sprintf(symbol, SYMBOL_PREFIX "%s", name);
    for (int i = 0; i < length; i++) {
        symbol[i] = symbol[i] == '-' ? '_' : symbol[i];
    }
}

/* The calls the core cannot do without; buffer_host is optional. */
static const struct {
    size_t offset;
    const char *name;
} required[] = {
#define REQUIRED(member) {offsetof(struct hearth_plugin, member), #member}
    REQUIRED(start), REQUIRED(stop), REQUIRED(describe), REQUIRED(open), REQUIRED(close),
    REQUIRED(buffer_alloc), REQUIRED(buffer_free), REQUIRED(buffer_write), REQUIRED(buffer_read),
    REQUIRED(weight_create), REQUIRED(weight_free), REQUIRED(supports), REQUIRED(submit), REQUIRED(event_wait),
    REQUIRED(event_free),
#undef REQUIRED
};

/* Reads the foreign table, which may be shorter (older minor) or longer (newer minor) than ours. */
static int
table_check(const char *file, const char *name, const struct hearth_plugin *foreign, struct hearth_plugin *ret_table,
            struct hearth_error *err)
{
    struct hearth_plugin table = {0};
    const size_t least = offsetof(struct hearth_plugin, event_free) + sizeof foreign->event_free; /* minor 0 */
    if (foreign->abi >> 16 != HEARTH_PLUGIN_ABI_MAJOR) {
        return error_set(err, HEARTH_EPLUGIN, "%s: plugin ABI %u.x wanted, %u.%u found", file, HEARTH_PLUGIN_ABI_MAJOR,
                         foreign->abi >> 16, foreign->abi & 0xFFFFu);
    }
    if (foreign->struct_size < least) {
        return error_set(err, HEARTH_EPLUGIN, "%s: a plugin table of at least %zu bytes wanted, %u found", file, least,
                         foreign->struct_size);
    }
    memcpy(&table, foreign, foreign->struct_size < sizeof table ? foreign->struct_size : sizeof table);
    if (!table.name || strcmp(table.name, name) != 0) {
        return error_set(err, HEARTH_EPLUGIN, "%s: a plugin named %s wanted, %s found", file, name,
                         table.name ? table.name : "no name");
    }
    for (size_t i = 0; i < sizeof required / sizeof required[0]; i++) {
        void (*call)(void);
        memcpy(&call, (const char *)&table + required[i].offset, sizeof call);
        if (!call) {
            return error_set(err, HEARTH_EPLUGIN, "%s: the call %s wanted, none found", file, required[i].name);
        }
    }
    *ret_table = table;
    return HEARTH_OK;
}

static int
library_open(const char *file, const char *name, struct plugin_library *ret_library, struct hearth_error *err)
{
    char symbol[sizeof SYMBOL_PREFIX + NAME_MAX_LENGTH];
    struct plugin_library library = {0};
    library.handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!library.handle) {
        return error_set(err, HEARTH_EPLUGIN, "%s: a loadable plugin wanted: %s", file, dlerror());
    }
    symbol_of(name, symbol);
    const struct hearth_plugin *foreign = dlsym(library.handle, symbol);
    int status = foreign ? table_check(file, name, foreign, &library.table, err)
                         : error_set(err, HEARTH_EPLUGIN, "%s: the symbol %s wanted, none found", file, symbol);
    if (status < 0) {
        dlclose(library.handle);
        return status;
    }
    *ret_library = library;
    return HEARTH_OK;
}

#if defined STATIC_PLUGINS && defined LINKED_PLUGINS
/* LINKED_PLUGINS(X): one X(name) for each, made by configure. */
#define LINKED_DECLARE(name) extern const struct hearth_plugin hearth_plugin_##name;
LINKED_PLUGINS(LINKED_DECLARE)

#define LINKED_ENTRY(name) &hearth_plugin_##name,
static const struct hearth_plugin *const linked_plugins[] = {LINKED_PLUGINS(LINKED_ENTRY)};

static const struct hearth_plugin *
linked_find(const char *name)
{
    for (size_t i = 0; i < sizeof linked_plugins / sizeof linked_plugins[0]; i++) {
        if (strcmp(linked_plugins[i]->name, name) == 0) {
            return linked_plugins[i];
        }
    }
    return NULL;
}
#else
static const struct hearth_plugin *
linked_find(const char *name)
{
    (void)name;
    return NULL;
}
#endif

/* hearth-<name>.so in the folder; false if it is not there or the path cannot be built */
static bool
folder_has(const char *folder, const char *name, struct text *path)
{
    text_clear(path);
    text_printf(path, "%s/" FILE_PREFIX "%s" FILE_SUFFIX, folder, name);
    return !path->failed && access(path->bytes, F_OK) == 0;
}

static int
folders_search(const struct config_list *folders, const char *name, struct plugin_library *ret_library,
               struct hearth_error *err)
{
    struct text path = {0};
    bool found = false;
    for (size_t i = 0; i < folders->n && !found && !path.failed; i++) {
        found = folder_has(folders->items[i], name, &path);
    }
    found = found || (!path.failed && folder_has(HEARTH_PLUGINDIR, name, &path));
    int status;
    if (path.failed) {
        status = error_no_memory(err, "a path");
    } else if (!found) {
        status = error_set(err, HEARTH_EPLUGIN, "plugin %s: " FILE_PREFIX "%s" FILE_SUFFIX " wanted in %s%s%s", name,
                           name, folders->n ? folders->items[0] : "", folders->n ? " or " : "", HEARTH_PLUGINDIR);
    } else {
        status = library_open(path.bytes, name, ret_library, err);
    }
    text_free(&path);
    return status;
}

int
plugin_library_open(const struct config_list *folders, const char *name, struct plugin_library *ret_library,
                    struct hearth_error *err)
{
    if (!name_is_valid(name)) {
        return error_set(err, HEARTH_ECONFIG,
                         "plugins.load: a name of letters, digits, - and _ wanted, \"%.80s\" found", name);
    }
    const struct hearth_plugin *linked = linked_find(name);
    if (linked) {
        ret_library->handle = NULL;
        return table_check("(linked in)", name, linked, &ret_library->table, err);
    }
    return folders_search(folders, name, ret_library, err);
}

int
plugin_library_open_file(const char *path, struct plugin_library *ret_library, struct hearth_error *err)
{
    char name[NAME_MAX_LENGTH + 1];
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    const size_t length = strlen(base);
    const size_t around = strlen(FILE_PREFIX) + strlen(FILE_SUFFIX);
    const bool fits = strncmp(base, FILE_PREFIX, strlen(FILE_PREFIX)) == 0 && length > around &&
                      length - around <= NAME_MAX_LENGTH &&
                      strcmp(base + length - strlen(FILE_SUFFIX), FILE_SUFFIX) == 0;
    if (!fits) {
        return error_set(err, HEARTH_EPLUGIN, "%s: a file named " FILE_PREFIX "NAME" FILE_SUFFIX " wanted", path);
    }
    snprintf(name, sizeof name, "%.*s", (int)(length - around), base + strlen(FILE_PREFIX));
    if (!name_is_valid(name)) {
        return error_set(err, HEARTH_EPLUGIN, "%s: a name of letters, digits, - and _ wanted", path);
    }
    return library_open(path, name, ret_library, err);
}

void
plugin_library_close(struct plugin_library *library)
{
    if (library->handle) {
        dlclose(library->handle);
    }
    *library = (struct plugin_library){0};
}
