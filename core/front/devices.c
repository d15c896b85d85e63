/* devices.c - hearth devices: the host and what every plugin found. */
#include "core/front/report.h"

struct devices_values {
    bool measure;
};

static const struct args_option devices_options[] = {
    {.name = "measure", .kind = ARGS_FLAG, .offset = offsetof(struct devices_values, measure),
     .help = "also read memory to time its bandwidth"},
};

static int
devices_run(struct front *front, const void *values, const struct args_operands *operands,
            struct hearth_error *err)
{
    (void)operands;
    const struct devices_values *wanted = values;
    char *json = NULL;
    struct json_object *report = NULL;
    int status = hearth_devices(front->config, wanted->measure, &json, err);
    if (status == HEARTH_OK) {
        status = report_parse("the list of devices", json, &report, err);
    }
    return status < 0 ? status : report_print(front, report, NULL, err);
}

const struct command command_devices = {
    .name = "devices",
    .summary = "Show the host's topology and the devices that the plugins found.",
    .options = devices_options,
    .n_options = sizeof devices_options / sizeof devices_options[0],
    .values_size = sizeof(struct devices_values),
    .run = devices_run,
};
