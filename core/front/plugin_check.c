/* plugin_check.c - hearth plugin check: the conformance suite on a plugin file. */
#include "core/base/error.h"
#include "core/front/plugin_check_report.h"
#include "core/front/report.h"

struct plugin_check_values {
    const char *op;
    struct args_texts options;
    uint64_t seed, device;
    bool no_speed;
};

static const struct args_option plugin_check_options[] = {
    {.name = "op", .kind = ARGS_TEXT, .value = "NAME", .offset = offsetof(struct plugin_check_values, op),
     .help = "check this operation only"},
    {.name = "option", .kind = ARGS_TEXTS, .value = "KEY=VALUE",
     .offset = offsetof(struct plugin_check_values, options),
     .help = "an option of the plugin; may be given several times, wins over plugins.options of the configuration"},
    {.name = "device", .kind = ARGS_U64, .value = "N", .offset = offsetof(struct plugin_check_values, device),
     .max = 1023, .fallback = "0", .help = "which of the plugin's devices"},
    {.name = "seed", .kind = ARGS_U64, .value = "N", .offset = offsetof(struct plugin_check_values, seed),
     .max = UINT64_MAX, .fallback = "1", .help = "of the random contents"},
    {.name = "no-speed", .kind = ARGS_FLAG, .offset = offsetof(struct plugin_check_values, no_speed),
     .help = "only check; measure nothing"},
};

/* Prints the report, which is released. */
static int
plugin_check_print(struct front *front, struct json_object *report, struct hearth_error *err)
{
    struct text text = {0};
    int status;
    if (front->json) {
        status = out_json(report, err);
    } else {
        plugin_check_report(report, &text);
        json_object_put(report);
        status = out_text(&text, err);
    }
    return status < 0 ? status : out_flush(err);
}

static int
plugin_check_run(struct front *front, const void *values, const struct args_operands *operands,
                 struct hearth_error *err)
{
    const struct plugin_check_values *wanted = values;
    char *json = NULL;
    bool is_right = false;
    struct json_object *report = NULL;
    if (operands->n != 1) {
        return error_set(err, HEARTH_EUSAGE, "plugin check: one plugin file wanted, %d found", operands->n);
    }
    const struct hearth_plugin_check check = {
        .file = operands->items[0],
        .options = wanted->options.values,
        .op = wanted->op,
        .seed = wanted->seed,
        .device = (uint32_t)wanted->device,
        .speed = !wanted->no_speed,
    };
    int status = hearth_plugin_check(front->config, &check, &front->progress.callback, &is_right, &json, err);
    progress_clear(&front->progress);
    if (status == HEARTH_OK) {
        status = report_parse("the report on the plugin", json, &report, err);
    }
    if (status == HEARTH_OK) {
        status = plugin_check_print(front, report, err);
    }
    /* a wrong plugin: the report has said so */
    return status < 0 ? status : is_right ? HEARTH_OK : HEARTH_EPLUGIN;
}

const struct command command_plugin_check = {
    .name = "plugin check",
    .summary = "Check a plugin's operations against the reference, and time them.",
    .operands = "FILE.so",
    .notes = "Runs the conformance suite on every operation and numerics that the plugin's device supports, then one "
             "token's work at V4-Flash's sizes. The exit status is 0 only if everything it supports is right.",
    .options = plugin_check_options,
    .n_options = sizeof plugin_check_options / sizeof plugin_check_options[0],
    .values_size = sizeof(struct plugin_check_values),
    .run = plugin_check_run,
};
