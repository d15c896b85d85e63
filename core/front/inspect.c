/* inspect.c - hearth inspect: what a checkpoint is, from its headers alone. */
#include "core/base/error.h"
#include "core/front/report.h"

struct inspect_values {
    bool tensors;
};

static const struct args_option inspect_options[] = {
    {.name = "tensors", .kind = ARGS_FLAG, .offset = offsetof(struct inspect_values, tensors),
     .help = "also list every tensor"},
};

static int
inspect_run(struct front *front, const void *values, const struct args_operands *operands,
            struct hearth_error *err)
{
    static const char *const without_tensors[] = {"tensors", NULL};
    const struct inspect_values *wanted = values;
    if (operands->n > 1) {
        return error_set(err, HEARTH_EUSAGE,
                         "inspect: one model wanted, \"%s\" found after it",
                         operands->items[1]);
    }
    const char *path =
        operands->n ? operands->items[0] : hearth_config_get(front->config, "model.path");
    char *json = NULL;
    struct json_object *report = NULL;
    int status = hearth_inspect(path ? path : "", &json, err);
    if (status == HEARTH_OK) {
        status = report_parse("the model's report", json, &report, err);
    }
    return status < 0 ? status
                      : report_print(front, report, wanted->tensors ? NULL : without_tensors, err);
}

const struct command command_inspect = {
    .name = "inspect",
    .summary = "Show a model's hyper-parameters, sizes, context bytes and FLOPs per token.",
    .operands = "[MODEL]",
    .notes = "MODEL is a checkpoint folder, by default the configured one. Only headers are read.",
    .options = inspect_options,
    .n_options = sizeof inspect_options / sizeof inspect_options[0],
    .values_size = sizeof(struct inspect_values),
    .run = inspect_run,
};
