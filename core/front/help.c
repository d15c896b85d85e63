/* help.c - hearth help: the same text as --help. */
#include <stdio.h>

#include "core/base/error.h"
#include "core/front/args_internal.h"
#include "core/front/front.h"
#include "core/front/out.h"

static int
help_run(struct front *front, const void *values, const struct args_operands *operands,
         struct hearth_error *err)
{
    (void)front;
    (void)values;
    char name[64] = "";
    const struct command *command = NULL;
    const char *group = NULL;
    for (int i = 0, used = 0; i < operands->n && used >= 0 && (size_t)used < sizeof name; i++) {
        used += snprintf(name + used, sizeof name - (size_t)used, "%s%s", i ? " " : "",
                         operands->items[i]);
    }
    if (name[0]) {
        command = args_command(name);
        for (size_t i = 0; i < n_commands && !command; i++) {
            group = args_in_group(commands[i], name) ? name : group;
        }
        if (!command && !group) {
            return error_set(err, HEARTH_EUSAGE,
                             "there is no command \"%s\"; hearth --help lists the commands", name);
        }
    }
    struct text text = {0};
    args_help(command, group, &text);
    return out_text(&text, err);
}

const struct command command_help = {
    .name = "help",
    .summary = "Show the help of the program or of a command.",
    .operands = "[COMMAND]",
    .without_config = true,
    .run = help_run,
};
