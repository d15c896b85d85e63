/* core/front/front.h - what every subcommand is given. */
#ifndef CORE_FRONT_FRONT_H
#define CORE_FRONT_FRONT_H

#include <stdbool.h>

#include <hearth/engine.h>

#include "core/front/args.h"
#include "core/front/progress.h"

struct front {
    struct hearth_config *config; /* effective: defaults, file, command line */
    bool json;                    /* results and errors as JSON on standard output */
    bool quiet;
    const char *config_path; /* -c, or NULL */
    struct progress progress;
};

/* Opens the configured model, with progress.  The caller closes *ret_engine. */
int front_engine_open(struct front *front, struct hearth_engine **ret_engine,
                      struct hearth_model_facts *ret_facts, struct hearth_error *err);
/* A line on standard error unless --quiet. */
void front_note(struct front *front, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The path of a file inside the model folder.  Errors: EMEMORY. */
int front_model_file(const struct front *front, const char *name, struct text *path,
                     struct hearth_error *err);

extern const struct command command_bench, command_chat, command_config, command_devices,
    command_eval_passkey, command_eval_ppl, command_help, command_inspect, command_plan,
    command_plugin_check, command_run, command_version;

#endif
