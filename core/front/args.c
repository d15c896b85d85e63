/* args.c - parsing by the option tables; see args.h.  The help is made in args_help.c. */
#include <config.h>

#include "core/front/args_internal.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"

#define GLOBAL(field) offsetof(struct args_globals, field)

const struct args_option args_global_options[] = {
    {.name = "model", .letter = 'm', .kind = ARGS_CONFIG, .value = "PATH", .key = "model.path",
     .help = "the model: a checkpoint folder"},
    {.name = "config", .letter = 'c', .kind = ARGS_TEXT, .value = "FILE",
     .offset = GLOBAL(config_path),
     .help = "read this configuration file and no other"},
    {.name = "set", .kind = ARGS_SET, .value = "KEY=VALUE",
     .help = "set a configuration key; may be given several times (hearth config --list names the "
             "keys)"},
    {.name = "context", .letter = 'C', .kind = ARGS_CONFIG, .value = "N", .key = "context.length",
     .help = "tokens of context to make room for"},
    {.name = "threads", .letter = 't', .kind = ARGS_CONFIG, .value = "N", .key = "cpu.threads",
     .help = "threads on the processor; 0 is one per core"},
    {.name = "numerics", .kind = ARGS_CONFIG, .value = "MODE", .key = "model.numerics",
     .help = "native (the quantised arithmetic the model was trained for) or exact"},
    {.name = "json", .kind = ARGS_FLAG, .offset = GLOBAL(json),
     .help = "results and errors as JSON"},
    {.name = "quiet", .letter = 'q', .kind = ARGS_FLAG, .offset = GLOBAL(quiet),
     .help = "neither progress nor notes on standard error"},
    {.name = "no-progress", .kind = ARGS_FLAG, .offset = GLOBAL(no_progress),
     .help = "no progress on standard error"},
    {.name = "verbose", .letter = 'v', .kind = ARGS_CONFIG_FLAG, .key = "log.level",
     .fallback = "info",
     .help = "log what is being done; the same as --log-level info"},
    {.name = "log-level", .kind = ARGS_CONFIG, .value = "LEVEL", .key = "log.level",
     .help = "error, warning, info or debug"},
    {.name = "help", .letter = 'h', .kind = ARGS_FLAG, .offset = GLOBAL(help),
     .help = "show this help"},
    {.name = "version", .letter = 'V', .kind = ARGS_FLAG, .offset = GLOBAL(version),
     .help = "show the version"},
};
const size_t n_args_global_options = sizeof args_global_options / sizeof args_global_options[0];

/* The options valid at one place of the line: those of the command, then the global ones they do
 * not hide. */
struct args_table {
    size_t n, n_own; /* the first n_own are the command's */
    const struct args_option *items[ARGS_MAX_OPTIONS];
    struct option longs[ARGS_MAX_OPTIONS + 1];
    char shorts[2 * ARGS_MAX_OPTIONS + 3];
};

bool
args_is_hidden(const struct command *command, const struct args_option *global)
{
    for (size_t i = 0; command && i < command->n_options; i++) {
        const struct args_option *own = &command->options[i];
        if (strcmp(own->name, global->name) == 0
            || (own->letter && own->letter == global->letter)) {
            return true;
        }
    }
    return false;
}

static void
args_table_make(struct args_table *table, const struct command *command)
{
    memset(table, 0, sizeof *table);
    for (size_t i = 0; command && i < command->n_options; i++) {
        table->items[table->n++] = &command->options[i];
    }
    table->n_own = table->n;
    for (size_t i = 0; i < n_args_global_options; i++) {
        if (!args_is_hidden(command, &args_global_options[i])) {
            table->items[table->n++] = &args_global_options[i];
        }
    }
    /* "+": what is before the command ends at its name; ":": a missing value is told from an
     * unknown name */
    size_t used = 0;
    if (!command) {
        table->shorts[used++] = '+';
    }
    table->shorts[used++] = ':';
    for (size_t i = 0; i < table->n; i++) {
        const struct args_option *option = table->items[i];
        table->longs[i] = (struct option){
            option->name, option->value ? required_argument : no_argument, NULL, 256 + (int)i};
        if (option->letter) {
            table->shorts[used++] = option->letter;
            if (option->value) {
                table->shorts[used++] = ':';
            }
        }
    }
}

static const struct args_option *
args_table_find(const struct args_table *table, int value, bool *ret_own)
{
    for (size_t i = 0; i < table->n; i++) {
        if (value == 256 + (int)i || (value < 256 && value == table->items[i]->letter)) {
            *ret_own = i < table->n_own;
            return table->items[i];
        }
    }
    return NULL;
}

static int
args_override_add(struct args *args, const char *key, size_t key_length, const char *value,
                  struct hearth_error *err)
{
    struct args_override *more = realloc(args->overrides, (args->n_overrides + 1) * sizeof *more);
    if (!more) {
        return error_no_memory(err, "the command line");
    }
    args->overrides = more;
    more[args->n_overrides++] =
        (struct args_override){.key = key, .key_length = key_length, .value = value};
    return HEARTH_OK;
}

/* "4096", and "64k" or "1M" in powers of two. */
static int
args_read_u64(const struct args_option *option, const char *text, char end_wanted,
              const char **ret_end, uint64_t *ret_value, struct hearth_error *err)
{
    char *end;
    errno = 0;
    const unsigned long long read = strtoull(text, &end, 10);
    const unsigned shift = *end == 'k' || *end == 'K' ? 10 : *end == 'm' || *end == 'M' ? 20 : 0;
    const char *after = end + (shift ? 1 : 0);
    const bool number =
        text[0] >= '0' && text[0] <= '9' && errno == 0 && read <= UINT64_MAX >> shift;
    const uint64_t value = number ? (uint64_t)read << shift : 0;
    if (!number || (*after && *after != end_wanted) || value < option->min || value > option->max) {
        return error_set(err, HEARTH_EUSAGE,
                         "--%s: a whole number in [%" PRIu64 ", %" PRIu64 "] wanted, \"%s\" found",
                         option->name, option->min, option->max, text);
    }
    *ret_end = after;
    *ret_value = value;
    return HEARTH_OK;
}

static int
args_read_list(const struct args_option *option, const char *text, struct args_list *list,
               struct hearth_error *err)
{
    list->n = 0;
    for (;;) {
        if (list->n == ARGS_MAX_LIST) {
            return error_set(err, HEARTH_EUSAGE, "--%s: at most %u numbers wanted", option->name,
                             ARGS_MAX_LIST);
        }
        const int status = args_read_u64(option, text, ',', &text, &list->values[list->n], err);
        if (status < 0) {
            return status;
        }
        list->n++;
        if (*text == '\0') {
            return HEARTH_OK;
        }
        text++;
    }
}

static int
args_read_set(struct args *args, const char *text, struct hearth_error *err)
{
    const char *equals = strchr(text, '=');
    if (!equals || equals == text) {
        return error_set(err, HEARTH_EUSAGE, "--set: KEY=VALUE wanted, \"%s\" found", text);
    }
    return args_override_add(args, text, (size_t)(equals - text), equals + 1, err);
}

static int
args_read_texts(const struct args_option *option, const char *text, struct args_texts *texts,
                struct hearth_error *err)
{
    const char *equals = strchr(text, '=');
    if (!equals || equals == text) {
        return error_set(err, HEARTH_EUSAGE, "--%s: %s wanted, \"%s\" found", option->name,
                         option->value, text);
    }
    if (texts->n == ARGS_MAX_LIST) {
        return error_set(err, HEARTH_EUSAGE, "--%s: given at most %u times", option->name,
                         ARGS_MAX_LIST);
    }
    texts->values[texts->n++] = text;
    return HEARTH_OK;
}

/* base: the struct that the option's offset points into. */
static int
args_apply(struct args *args, const struct args_option *option, const char *value, void *base,
           struct hearth_error *err)
{
    void *field = (char *)base + option->offset;
    switch (option->kind) {
    case ARGS_FLAG:
        *(bool *)field = true;
        return HEARTH_OK;
    case ARGS_TEXT:
        *(const char **)field = value;
        return HEARTH_OK;
    case ARGS_TEXTS:
        return args_read_texts(option, value, field, err);
    case ARGS_U64:
        return args_read_u64(option, value, '\0', &value, field, err);
    case ARGS_LIST:
        return args_read_list(option, value, field, err);
    case ARGS_CONFIG:
        return args_override_add(args, option->key, strlen(option->key), value, err);
    case ARGS_CONFIG_FLAG:
        return args_override_add(args, option->key, strlen(option->key), option->fallback, err);
    case ARGS_SET:
        return args_read_set(args, value, err);
    }
    return HEARTH_OK;
}

static int
args_unknown_option(const struct args_table *table, const char *command, const char *given,
                    struct hearth_error *err)
{
    if (given[0] != '-' || given[1] != '-') {
        return error_set(err, HEARTH_EUSAGE,
                         "there is no option -%c; hearth %s--help lists the options", optopt, command);
    }
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(given + 2, "="), given + 2);
    const char *words[ARGS_MAX_OPTIONS];
    for (size_t i = 0; i < table->n; i++) {
        words[i] = table->items[i]->name;
    }
    const char *nearest = nearest_word(name, table->n, words);
    if (nearest) {
        return error_set(err, HEARTH_EUSAGE, "there is no option --%s; did you mean --%s?", name,
                         nearest);
    }
    return error_set(err, HEARTH_EUSAGE,
                     "there is no option --%s; hearth %s--help lists the options", name, command);
}

/* What getopt_long objects to. */
static int
args_objection(const struct args_table *table, const struct command *command, int code, char **argv,
               struct hearth_error *err)
{
    char words[80] = "";
    if (command) {
        snprintf(words, sizeof words, "%s ", command->name);
    }
    bool own;
    const struct args_option *option = optopt ? args_table_find(table, optopt, &own) : NULL;
    if (code == ':' && option) {
        return error_set(err, HEARTH_EUSAGE, "--%s: %s wanted, nothing found", option->name,
                         option->value);
    }
    if (option) {
        return error_set(err, HEARTH_EUSAGE, "--%s takes no value, \"%s\" found", option->name,
                         argv[optind - 1]);
    }
    return args_unknown_option(table, words, argv[optind - 1], err);
}

static int
args_scan(struct args *args, const struct command *command, int argc, char **argv,
          struct hearth_error *err)
{
    struct args_table table;
    args_table_make(&table, command);
    opterr = 0;
    optind = 0; /* GNU getopt: start anew, and reread the order in shorts */
    for (;;) {
        const int code = getopt_long(argc, argv, table.shorts, table.longs, NULL);
        if (code == -1) {
            return HEARTH_OK;
        }
        bool own = false;
        const struct args_option *option =
            code == '?' || code == ':' ? NULL : args_table_find(&table, code, &own);
        if (!option) {
            return args_objection(&table, command, code, argv, err);
        }
        const int status =
            args_apply(args, option, optarg, own ? args->values : &args->globals, err);
        if (status < 0) {
            return status;
        }
    }
}

const struct command *
args_command(const char *name)
{
    for (size_t i = 0; i < n_commands; i++) {
        if (strcmp(commands[i]->name, name) == 0) {
            return commands[i];
        }
    }
    return NULL;
}

bool
args_in_group(const struct command *command, const char *group)
{
    const size_t length = strlen(group);
    return strncmp(command->name, group, length) == 0 && command->name[length] == ' ';
}

static int
args_no_command(const char *name, struct hearth_error *err)
{
    const char *words[ARGS_MAX_COMMANDS];
    for (size_t i = 0; i < n_commands; i++) {
        words[i] = commands[i]->name;
    }
    const char *nearest = nearest_word(name, n_commands, words);
    if (nearest) {
        return error_set(err, HEARTH_EUSAGE, "there is no command \"%s\"; did you mean \"%s\"?",
                         name, nearest);
    }
    return error_set(err, HEARTH_EUSAGE,
                     "there is no command \"%s\"; hearth --help lists the commands", name);
}

/* Finds the command at argv[0] (and argv[1]); *ret_words: how many words it took, 0 when only its
 * group's help is wanted. */
static int
args_find_command(struct args *args, int argc, char **argv, int *ret_words,
                  struct hearth_error *err)
{
    args->command = args_command(argv[0]);
    *ret_words = 1;
    if (args->command) {
        return HEARTH_OK;
    }
    bool group = false;
    for (size_t i = 0; i < n_commands; i++) {
        group = group || args_in_group(commands[i], argv[0]);
    }
    if (!group) {
        return args_no_command(argv[0], err);
    }
    if (argc < 2) {
        return error_set(err, HEARTH_EUSAGE,
                         "%s: a second word wanted; hearth %s --help lists them", argv[0],
                         argv[0]);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        args->group = argv[0];
        args->globals.help = true;
        *ret_words = 0;
        return HEARTH_OK;
    }
    char name[64];
    snprintf(name, sizeof name, "%s %s", argv[0], argv[1]);
    args->command = args_command(name);
    *ret_words = 2;
    return args->command ? HEARTH_OK : args_no_command(name, err);
}

static int
args_take_fallbacks(struct args *args, struct hearth_error *err)
{
    const struct command *command = args->command;
    args->values = calloc(1, command->values_size ? command->values_size : 1);
    if (!args->values) {
        return error_no_memory(err, "the command line");
    }
    for (size_t i = 0; i < command->n_options; i++) {
        const struct args_option *option = &command->options[i];
        const bool taken =
            option->fallback && option->kind != ARGS_CONFIG && option->kind != ARGS_CONFIG_FLAG;
        const int status =
            taken ? args_apply(args, option, option->fallback, args->values, err) : HEARTH_OK;
        if (status < 0) {
            return status;
        }
    }
    return HEARTH_OK;
}

int
args_parse(int argc, char **argv, struct args *ret_args, struct hearth_error *err)
{
    int status = args_scan(ret_args, NULL, argc, argv, err);
    if (status < 0) {
        return status;
    }
    if (optind >= argc) {
        const bool answered = ret_args->globals.help || ret_args->globals.version;
        return answered ? HEARTH_OK
                        : error_set(err, HEARTH_EUSAGE,
                                    "a command wanted; hearth --help lists the commands");
    }
    const int first = optind;
    int n_words;
    status = args_find_command(ret_args, argc - first, argv + first, &n_words, err);
    if (status < 0 || n_words == 0) {
        return status;
    }
    status = args_take_fallbacks(ret_args, err);
    if (status < 0) {
        return status;
    }
    /* the last word of the command stands where getopt expects the program's name */
    char **rest = argv + first + n_words - 1;
    const int n_rest = argc - first - n_words + 1;
    status = args_scan(ret_args, ret_args->command, n_rest, rest, err);
    if (status < 0) {
        return status;
    }
    ret_args->operands = (struct args_operands){.n = n_rest - optind, .items = rest + optind};
    if (ret_args->operands.n > 0 && !ret_args->command->operands) {
        return error_set(err, HEARTH_EUSAGE, "%s takes options only, \"%s\" found",
                         ret_args->command->name, rest[optind]);
    }
    return HEARTH_OK;
}

void
args_done(struct args *args)
{
    free(args->overrides);
    free(args->values);
    *args = (struct args){0};
}
