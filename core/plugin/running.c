/* running.c - see running.h.  The list is the process's own, as what dlopen keeps is. */
#include <config.h>

#include "core/plugin/running.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/plugin/loader.h"

struct option {
    char *key, *text; /* owned */
};

/* Its address is the context of every host call. */
struct run {
    struct plugin_running shown; /* first: what takers hold is the run */
    struct run *next;
    struct plugin_library library;
    struct hearth_host host;
    struct option *options; /* copies: a configuration ends with its engine */
    size_t n_options;
    size_t n_takers;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct run *runs;

static void
host_log(void *context, int level, const char *text)
{
    const struct run *run = context;
    log_line(level, "%s: %s", run->library.table.name, text);
}

static const char *
host_option(void *context, const char *key)
{
    const struct run *run = context;
    for (size_t i = 0; i < run->n_options; i++) {
        if (strcmp(run->options[i].key, key) == 0) {
            return run->options[i].text;
        }
    }
    return NULL;
}

int
plugin_complain(const struct plugin_running *running, int status, const char *call, const struct hearth_error *said,
                struct hearth_error *err)
{
    const char *text = said->text[0] ? said->text : hearth_status_name(status);
    return error_set(err, status, "plugin %s: %s%s%.380s", running->table.name, said->text[0] ? "" : call,
                     said->text[0] ? "" : ": ", text);
}

static void
run_free(struct run *run)
{
    for (size_t i = 0; i < run->n_options; i++) {
        free(run->options[i].key);
        free(run->options[i].text);
    }
    free(run->options);
    free(run);
}

/* Adds an option unless the plugin has one of its own by that key. */
static int
option_add(struct run *run, const char *key, const char *text, struct hearth_error *err)
{
    if (host_option(run, key)) {
        return HEARTH_OK;
    }
    struct option *grown = realloc(run->options, (run->n_options + 1) * sizeof *grown);
    if (!grown) {
        return error_no_memory(err, "a plugin's options");
    }
    run->options = grown;
    const struct option added = {strdup(key), strdup(text)};
    run->options[run->n_options++] = added;
    return added.key && added.text ? HEARTH_OK : error_no_memory(err, "a plugin's options");
}

/* A plugin's own option wins over what the configuration says to all: cpu.threads, device.timeout, cache.directory. */
static int
options_copy(struct run *run, const struct hearth_config *config, const char *name, struct hearth_error *err)
{
    const struct config_values *values = config_values(config);
    const char *key, *text;
    char number[32];
    int status = HEARTH_OK;
    for (size_t i = 0; status == HEARTH_OK && (text = config_plugin_option_at(config, name, i, &key)) != NULL; i++) {
        status = option_add(run, key, text, err);
    }
    if (status == HEARTH_OK && values->cpu.threads > 0) {
        snprintf(number, sizeof number, "%" PRIu64, values->cpu.threads);
        status = option_add(run, "threads", number, err);
    }
    if (status == HEARTH_OK) {
        snprintf(number, sizeof number, "%.3f", (double)values->device.timeout_seconds);
        status = option_add(run, "timeout", number, err);
    }
    if (status == HEARTH_OK && values->cache.directory) {
        status = option_add(run, "cache", values->cache.directory, err);
    }
    return status;
}

/* The first option of `a` that `b` has not, or has otherwise; NULL: none. */
static const struct option *
option_unlike(const struct run *a, struct run *b)
{
    for (size_t i = 0; i < a->n_options; i++) {
        const char *text = host_option(b, a->options[i].key);
        if (!text || strcmp(text, a->options[i].text) != 0) {
            return &a->options[i];
        }
    }
    return NULL;
}

/* Whether what runs was started as `wanted` asks. */
static int
run_matches(struct run *run, struct run *wanted, struct hearth_error *err)
{
    const struct option *unlike = option_unlike(wanted, run);
    unlike = unlike ? unlike : option_unlike(run, wanted);
    if (!unlike) {
        return HEARTH_OK;
    }
    const char *has = host_option(run, unlike->key), *asked = host_option(wanted, unlike->key);
    return error_set(err, HEARTH_ECONFIG,
                     "plugin %s: runs in this process with %s %s, another engine wanted %s; a process starts a plugin "
                     "once",
                     run->library.table.name, unlike->key, has ? has : "unset", asked ? asked : "none");
}

static int
run_start(struct run *run, struct hearth_error *err)
{
    struct hearth_error said = {0};
    run->host = (struct hearth_host){.struct_size = sizeof run->host, .context = run, .log = host_log,
                                     .option = host_option};
    const int status = run->library.table.start(&run->host, &run->shown.n_devices, &said);
    return status < 0 ? plugin_complain(&run->shown, status, "start", &said, err) : status;
}

static struct run *
run_find(const struct plugin_library *library)
{
    struct run *run = runs;
    while (run != NULL &&
           (run->library.handle != library->handle || strcmp(run->library.table.name, library->table.name) != 0)) {
        run = run->next;
    }
    return run;
}

/* With the lock held.  fresh: its library is open, its options are there; it ends in the list or stays the caller's. */
static int
run_join(struct run *fresh, struct run **ret_run, struct hearth_error *err)
{
    struct run *run = run_find(&fresh->library);
    int status = run ? run_matches(run, fresh, err) : run_start(fresh, err);
    if (status < 0) {
        return status;
    }
    if (!run) {
        run = fresh;
        run->next = runs;
        runs = run;
    }
    run->n_takers++;
    *ret_run = run;
    return HEARTH_OK;
}

int
plugin_running_take(const struct hearth_config *config, const char *name, const struct plugin_running **ret_running,
                    struct hearth_error *err)
{
    struct run *run = NULL;
    struct run *fresh = calloc(1, sizeof *fresh);
    if (!fresh) {
        return error_no_memory(err, "a plugin");
    }
    int status = plugin_library_open(&config_values(config)->plugins.path, name, &fresh->library, err);
    if (status < 0) {
        run_free(fresh);
        return status;
    }
    fresh->shown.table = fresh->library.table;
    status = options_copy(fresh, config, name, err);
    if (status == HEARTH_OK) {
        pthread_mutex_lock(&lock);
        status = run_join(fresh, &run, err);
        pthread_mutex_unlock(&lock);
    }
    if (run != fresh) { /* joined, or failed: dlopen counts, so the one that runs keeps its library */
        plugin_library_close(&fresh->library);
        run_free(fresh);
    }
    if (status == HEARTH_OK) {
        *ret_running = &run->shown;
    }
    return status;
}

void
plugin_running_give(const struct plugin_running *running)
{
    if (!running) {
        return;
    }
    pthread_mutex_lock(&lock);
    struct run **at = &runs;
    while (&(*at)->shown != running) {
        at = &(*at)->next;
    }
    struct run *run = *at;
    const bool is_last = --run->n_takers == 0;
    if (is_last) {
        *at = run->next;
        run->library.table.stop();
        plugin_library_close(&run->library);
    }
    pthread_mutex_unlock(&lock);
    if (is_last) {
        run_free(run);
    }
}
