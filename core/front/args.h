/* core/front/args.h - the command line: one table of options per subcommand, from which come
 * parsing (getopt_long), --help and the nearest-name hints, so that they cannot disagree. */
#ifndef CORE_FRONT_ARGS_H
#define CORE_FRONT_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hearth/status.h>

#include "core/base/text.h"

struct front;

#define ARGS_MAX_LIST 16u

struct args_list {
    size_t n;
    uint64_t values[ARGS_MAX_LIST];
};

struct args_texts {
    size_t n;
    const char *values[ARGS_MAX_LIST + 1]; /* then NULL */
};

/* What an option's value becomes, and where: at `offset` of the command's own struct unless said
 * otherwise. */
enum args_kind {
    ARGS_FLAG,        /* bool */
    ARGS_TEXT,        /* const char * */
    ARGS_TEXTS,       /* struct args_texts: KEY=VALUE each time the option is given */
    ARGS_U64,         /* uint64_t within [min, max] */
    ARGS_LIST,        /* struct args_list: numbers within [min, max], separated by commas */
    ARGS_CONFIG,      /* the configuration key `key` */
    ARGS_CONFIG_FLAG, /* no value; the key is set to `fallback` */
    ARGS_SET          /* any configuration key: KEY=VALUE */
};

struct args_option {
    const char *name; /* long name */
    char letter;      /* 0: none */
    enum args_kind kind;
    const char *value; /* what the help calls the value; NULL: a flag */
    size_t offset;
    const char *key;
    uint64_t min, max;
    const char *fallback; /* taken, and shown by the help, when the option is absent; NULL: zero */
    const char *help;
};

struct args_operands {
    int n;
    char **items;
};

struct command {
    const char *name;     /* one word, or two: "eval ppl" */
    const char *summary;  /* one line */
    const char *operands; /* "[NAME]" in the usage line; NULL: none are taken */
    const char *notes;    /* paragraphs after the summary; may be NULL */
    const struct args_option *options;
    size_t n_options, values_size; /* values_size: of the struct that offsets point into */
    bool without_config;           /* runs even when the configuration cannot be read */
    int (*run)(struct front *front, const void *values, const struct args_operands *operands,
               struct hearth_error *err);
};

extern const struct command *const commands[];
extern const size_t n_commands;

struct args_override {
    const char *key, *value; /* key is not NUL-terminated: key_length */
    size_t key_length;
};

struct args_globals {
    bool quiet, json, no_progress, help, version;
    const char *config_path;
};

struct args {
    const struct command *command; /* NULL: none was named (help or version wanted) */
    const char *group;             /* "eval" when --help was asked of a group of commands */
    struct args_globals globals;
    struct args_override *overrides;
    size_t n_overrides;
    void *values;
    struct args_operands operands;
};

/* Reads the command line.  Errors: EUSAGE, naming the nearest valid word.  args_done whatever came
 * back. */
int args_parse(int argc, char **argv, struct args *ret_args, struct hearth_error *err);
void args_done(struct args *args);

/* The help of one command; NULL: of the program; group: of the commands that begin with that word.
 */
void args_help(const struct command *command, const char *group, struct text *text);
/* The command with this name, NULL if there is none. */
const struct command *args_command(const char *name);

/* Of n words the one with the fewest edits from word; NULL if none is near enough to be meant. */
const char *nearest_word(const char *word, size_t n, const char *const *words);

#endif
