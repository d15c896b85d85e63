/* plan.c - hearth plan: what would go where, before anything is loaded. */
#include "core/front/report.h"

static int
plan_run(struct front *front, const void *values, const struct args_operands *operands,
         struct hearth_error *err)
{
    (void)values;
    (void)operands;
    char *json = NULL;
    struct json_object *report = NULL;
    int status = hearth_plan(front->config, &json, err);
    if (status == HEARTH_OK) {
        status = report_parse("the plan", json, &report, err);
    }
    return status < 0 ? status : report_print(front, report, NULL, err);
}

const struct command command_plan = {
    .name = "plan",
    .summary = "Show what would go where: devices, bytes on each, expected tokens per second.",
    .notes =
        "Reads the headers of the model and asks the plugins for their devices; loads no weights.  Memory whose "
        "speed no device tells is read for a moment to time it.",
    .run = plan_run,
};
