/* hearth.c - the program: reads the command line, makes the effective configuration, runs one
 * subcommand, and turns its status into one line and an exit code.  The subcommands stand in files
 * of their own names. */
#include <config.h>

#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/error.h"
#include "core/front/front.h"
#include "core/front/human.h"
#include "core/front/interrupt.h"
#include "core/front/out.h"

const struct command *const commands[] = {
    &command_run,     &command_chat,     &command_plan,         &command_devices,
    &command_inspect, &command_eval_ppl, &command_eval_passkey, &command_bench,
    &command_config,  &command_plugin_check, &command_version,  &command_help,
};
const size_t n_commands = sizeof commands / sizeof commands[0];

/* The one front of the process: the log has to take the progress bar away before it writes. */
static struct front the_front;

static void
front_log(void *context, int level, const char *text)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    const int n_names = sizeof names / sizeof names[0];
    struct front *front = context;
    const char *wanted = front->config ? hearth_config_get(front->config, "log.level") : NULL;
    int most = front->quiet ? 0 : 1;
    for (int i = 0; wanted && i < n_names; i++) {
        most = strcmp(wanted, names[i]) == 0 && !(front->quiet && i == 1) ? i : most;
    }
    if (level >= 0 && level <= most) {
        progress_line(&front->progress);
        fprintf(stderr, "hearth: %s: %s\n", names[level < n_names ? level : n_names - 1], text);
    }
}

void
front_note(struct front *front, const char *format, ...)
{
    if (front->quiet) {
        return;
    }
    progress_line(&front->progress);
    va_list args;
    va_start(args, format);
    fputs("hearth: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

/* Seconds of loading from which on a word about the cache is worth its line. */
#define SLOW_LOAD_SECONDS 10

/* Says that the next start could be faster. */
static void
suggest_cache(struct front *front, const struct hearth_engine *engine)
{
    char bytes[HUMAN_BYTES], seconds[HUMAN_BYTES];
    struct hearth_load load;
    const char *is_kept = hearth_config_get(front->config, "cache.weights");
    hearth_engine_load(engine, &load);
    if (load.seconds >= SLOW_LOAD_SECONDS && load.unkept_bytes > 0 && is_kept && strcmp(is_kept, "false") == 0) {
        front_note(front, "packing the weights took %s; cache.weights would keep them (%s in %s) for the next start",
                   human_duration(load.seconds, seconds), human_bytes((double)load.unkept_bytes, bytes),
                   hearth_config_get(front->config, "cache.directory"));
    }
}

int
front_engine_open(struct front *front, struct hearth_engine **ret_engine,
                  struct hearth_model_facts *ret_facts, struct hearth_error *err)
{
    const int status =
        hearth_engine_open(front->config, &front->progress.callback, ret_engine, err);
    progress_clear(&front->progress);
    if (status < 0) {
        return status;
    }
    hearth_engine_facts(*ret_engine, ret_facts);
    suggest_cache(front, *ret_engine);
    return HEARTH_OK;
}

int
front_model_file(const struct front *front, const char *name, struct text *path,
                 struct hearth_error *err)
{
    const char *folder = hearth_config_get(front->config, "model.path");
    text_printf(path, "%s/%s", folder ? folder : ".", name);
    return path->failed ? error_no_memory(err, name) : HEARTH_OK;
}

static int
front_configure(struct front *front, const struct args *args, struct hearth_error *err)
{
    int status = hearth_config_new(&front->config, err);
    if (status < 0) {
        return status;
    }
    status = hearth_config_load(front->config, args->globals.config_path, err);
    for (size_t i = 0; status == HEARTH_OK && i < args->n_overrides; i++) {
        const struct args_override *override = &args->overrides[i];
        struct text key = {0};
        text_append(&key, override->key, override->key_length);
        status = key.failed ? error_no_memory(err, "the command line")
                            : hearth_config_set(front->config, key.bytes, override->value,
                                                "command line", err);
        text_free(&key);
    }
    return status;
}

static int
front_help(const struct args *args, struct hearth_error *err)
{
    struct text text = {0};
    args_help(args->command, args->group, &text);
    return out_text(&text, err);
}

static int
front_run(struct front *front, const struct args *args, struct hearth_error *err)
{
    const struct command *command = args->globals.version ? &command_version : args->command;
    if (args->globals.help) {
        return front_help(args, err);
    }
    if (command->without_config) {
        return command->run(front, args->values, &args->operands, err);
    }
    const int status = front_configure(front, args, err);
    return status < 0 ? status : command->run(front, args->values, &args->operands, err);
}

/* One line for a person, or one object for a program.  An empty text: the command has already said
 * it. */
static void
front_report(struct front *front, const struct hearth_error *failure)
{
    progress_clear(&front->progress);
    if (failure->text[0] == '\0') {
        return;
    }
    if (!front->json) {
        fprintf(stderr, "hearth: %s\n", failure->text);
        return;
    }
    struct json_object *object = json_object_new_object(), *inner = json_object_new_object();
    json_object_object_add(inner, "status",
                           json_object_new_string(hearth_status_name(failure->status)));
    json_object_object_add(inner, "text", json_object_new_string(failure->text));
    json_object_object_add(object, "error", inner);
    if (out_json(object, NULL) < 0) {
        fprintf(stderr, "hearth: %s\n", failure->text);
    }
}

/* Known before parsing, so that a mistake on the line itself is reported in the wanted form. */
static bool
front_wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            return true;
        }
    }
    return false;
}

int
main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");
    interrupt_install();
    struct front *front = &the_front;
    struct hearth_error failure = {0};
    struct args args = {0};
    progress_init(&front->progress, false);
    front->json = front_wants_json(argc, argv);
    int status = args_parse(argc, argv, &args, &failure);
    if (status == HEARTH_OK) {
        front->quiet = args.globals.quiet;
        front->json = args.globals.json;
        front->config_path = args.globals.config_path;
        progress_init(&front->progress, !args.globals.quiet && !args.globals.no_progress);
        hearth_log_set(front_log, front);
        status = front_run(front, &args, &failure);
    }
    if (status == HEARTH_OK) {
        status = out_flush(&failure);
    }
    if (status < 0) {
        failure.status = status;
        front_report(front, &failure);
    }
    hearth_config_free(front->config);
    front->config = NULL;
    args_done(&args);
    return hearth_status_exit(status);
}
