/* plugin_check.c - the JSON behind `hearth plugin check`: the conformance suite on one plugin file. */
#include <config.h>

#include "core/engine/engine_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/json.h"
#include "core/conformance/conformance.h"
#include "core/plugin/loader.h"

/* The plugin whose answers are right by definition. */
#define REFERENCE_NAME "ref"


struct check_run {
    const struct hearth_config *config;
    const struct hearth_progress *progress;
    const char *plugin_name;
    char threads[24]; /* cpu.threads as an option's text; empty: the plugin decides */
    uint64_t n_lines, n_done; /* operations and numerics */
    const struct conformance_line *line;
};

static const char *
check_option(void *context, const char *key)
{
    const struct check_run *run = context;
    const char *text = config_plugin_option(run->config, run->plugin_name, key);
    return !text && run->threads[0] && strcmp(key, "threads") == 0 ? run->threads : text;
}

/* One unit for each operation and numerics. */
static bool
check_step(void *context, const struct conformance_line *line, const struct conformance_trial *trial)
{
    struct check_run *run = context;
    (void)trial;
    if (line != run->line) {
        run->n_done += run->line != NULL;
        run->line = line;
    }
    return !run->progress ||
           run->progress->step(run->progress->context, line->op, run->n_done, run->n_lines, "checks");
}

static struct json_object *
check_wrong(const struct conformance_trial *trial)
{
    struct json_object *object = json_object_new_object();
    json_object_object_add(object, "trial", json_object_new_string(trial->name));
    json_object_object_add(object, "reason", json_object_new_string(trial->why));
    return object;
}

static struct json_object *
check_line(const struct conformance_line *line, double roof)
{
    struct json_object *object = json_object_new_object();
    json_object_object_add(object, "operation", json_object_new_string(line->op));
    json_object_object_add(object, "numerics",
                           json_object_new_string(line->numerics == HEARTH_NATIVE ? "native" : "exact"));
    json_object_object_add(object, "supported", json_object_new_boolean(line->supported));
    if (!line->supported) {
        return object;
    }
    json_object_object_add(object, "right", json_object_new_boolean(conformance_line_is_right(line)));
    json_object_object_add(object, "trials", json_object_new_uint64(line->n_trials));
    json_object_object_add(object, "wrong", json_object_new_uint64(line->n_wrong));
    json_object_object_add(object, "refused", json_object_new_uint64(line->n_refused));
    json_object_object_add(object, "same_bits", json_object_new_boolean(line->same_bits));
    json_object_object_add(object, "tolerance_used", json_object_new_double(line->used));
    if (line->n_wrong > 0) {
        json_object_object_add(object, "first_wrong", check_wrong(&line->first_wrong));
    }
    if (line->seconds > 0) {
        const double speed = line->bytes / line->seconds;
        json_object_object_add(object, "seconds", json_object_new_double(line->seconds));
        json_object_object_add(object, "bytes", json_object_new_double(line->bytes));
        json_object_object_add(object, "bytes_per_second", json_object_new_double(speed));
        if (roof > 0) {
            json_object_object_add(object, "share_of_roof", json_object_new_double(speed / roof));
        }
    }
    return object;
}

/* The plugin's measurement, else what its device claims, else this machine's memory. */
static double
check_roof(const struct check_run *run, const struct conformance_report *report, const char **ret_source)
{
    struct topology *topology = NULL;
    double roof = 0;
    if (report->roof.read_bytes_per_second > 0) {
        *ret_source = "measured by the plugin";
        return report->roof.read_bytes_per_second;
    }
    if (report->info.read_bytes_per_second > 0) {
        *ret_source = "claimed by the device";
        return report->info.read_bytes_per_second;
    }
    if (topology_probe(NULL, &topology, NULL) == HEARTH_OK) {
        roof = rooms_host_bandwidth(run->config, topology_facts(topology));
        topology_free(topology);
    }
    *ret_source = "memory of this machine, measured";
    return roof;
}

static char *
check_report(const struct check_run *run, const struct hearth_plugin_check *check, const struct hearth_plugin *plugin,
             const struct conformance_report *report)
{
    char abi[32];
    const char *source = "";
    const double roof = check->speed ? check_roof(run, report, &source) : 0;
    struct json_object *object = json_object_new_object(), *lines = json_object_new_array();
    snprintf(abi, sizeof abi, "%u.%u", plugin->abi >> 16, plugin->abi & 0xFFFFu);
    json_object_object_add(object, "file", json_object_new_string(check->file));
    json_object_object_add(object, "plugin", json_object_new_string(plugin->name));
    json_object_object_add(object, "version", json_object_new_string(plugin->version ? plugin->version : ""));
    json_object_object_add(object, "abi", json_object_new_string(abi));
    json_object_object_add(object, "device", json_object_new_string(report->info.name));
    json_object_object_add(object, "seed", json_object_new_uint64(check->seed));
    if (roof > 0) {
        json_object_object_add(object, "roof_bytes_per_second", json_object_new_double(roof));
        json_object_object_add(object, "roof_source", json_object_new_string(source));
    }
    json_object_object_add(object, "right", json_object_new_boolean(conformance_is_right(report)));
    for (size_t i = 0; i < report->n_lines; i++) {
        json_object_array_add(lines, check_line(&report->lines[i], roof));
    }
    json_object_object_add(object, "operations", lines);
    const char *text =
        json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
    char *copy = text ? strdup(text) : NULL;
    json_object_put(object);
    return copy;
}

static int
check_with_reference(struct check_run *run, const struct hearth_plugin_check *check,
                     const struct hearth_plugin *plugin, const struct hearth_plugin *reference, bool *ret_right,
                     char **ret_json, struct hearth_error *err)
{
    const struct conformance_request request = {
        .plugin = plugin,
        .reference = reference,
        .options = check->options,
        .option = check_option,
        .device = check->device,
        .op = check->op,
        .seed = check->seed,
        .speed = check->speed,
        .step = check_step,
        .context = run,
    };
    struct conformance_report report;
    const int status = conformance_run(&request, &report, err);
    if (status < 0) {
        return status;
    }
    char *json = check_report(run, check, plugin, &report);
    if (!json) {
        return error_no_memory(err, "a report");
    }
    *ret_json = json;
    *ret_right = conformance_is_right(&report);
    return HEARTH_OK;
}

int
hearth_plugin_check(const struct hearth_config *config, const struct hearth_plugin_check *check,
                    const struct hearth_progress *progress, bool *ret_right, char **ret_json,
                    struct hearth_error *err)
{
    struct plugin_library library, reference;
    struct check_run run = {.config = config, .progress = progress};
    const struct config_values *values = config_values(config);
    int status = plugin_library_open_file(check->file, &library, err);
    if (status < 0) {
        return status;
    }
    status = plugin_library_open(&values->plugins.path, REFERENCE_NAME, &reference, err);
    if (status < 0) {
        goto fail_reference;
    }
    run.plugin_name = library.table.name;
    run.n_lines = check->op ? 2 : 2 * HEARTH_N_OPS;
    if (values->cpu.threads > 0) {
        snprintf(run.threads, sizeof run.threads, "%" PRIu64, values->cpu.threads);
    }
    status = check_with_reference(&run, check, &library.table, &reference.table, ret_right, ret_json, err);
    plugin_library_close(&reference);
fail_reference:
    plugin_library_close(&library);
    return status;
}
