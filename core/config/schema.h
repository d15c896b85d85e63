/* core/config/schema.h - the one table of configuration keys, and the state of a configuration behind it. */
#ifndef CORE_CONFIG_SCHEMA_H
#define CORE_CONFIG_SCHEMA_H

#include "core/config/config.h"

enum config_type {
    CONFIG_STRING,
    CONFIG_CHOICE, /* one of `choices` */
    CONFIG_BOOL,
    CONFIG_COUNT,  /* an integer; k and M may follow (1024, 1024^2) */
    CONFIG_BYTES,  /* an integer; KiB, MiB, GiB, TiB may follow */
    CONFIG_NUMBER,
    CONFIG_LIST    /* of strings */
};

struct config_key {
    const char *name;     /* "section.key" */
    enum config_type type;
    double min, max;      /* COUNT, BYTES, NUMBER */
    const char *choices;  /* CHOICE: "a|b|c" */
    const char *fallback; /* the default as text; NULL: unset (or computed, see config.c) */
    const char *unit;     /* NULL: none */
    const char *help;
    size_t offset;        /* of the member of struct config_values */
    enum { CONFIG_MEMBER_STRING, CONFIG_MEMBER_BOOL, CONFIG_MEMBER_U64, CONFIG_MEMBER_U32, CONFIG_MEMBER_FLOAT,
           CONFIG_MEMBER_LIST } member;
};

#define CONFIG_N_KEYS 31u
extern const struct config_key config_keys[CONFIG_N_KEYS];

/* A later source wins over an earlier one, whatever the order of the calls. */
enum config_rank { CONFIG_RANK_DEFAULT, CONFIG_RANK_FILE, CONFIG_RANK_ENVIRONMENT, CONFIG_RANK_SET };

struct config_entry {
    char *text;   /* canonical text; NULL: unset; a list's items each end in '\n' */
    char *origin; /* "default", "hearth.yaml:3", "HEARTH_MODEL", "command line" */
    enum config_rank rank;
};

struct config_option { /* plugins.options.<plugin>.<key> */
    char *plugin, *key;
    struct config_entry entry;
};

struct hearth_config {
    struct config_entry entries[CONFIG_N_KEYS];
    struct config_option *options;
    size_t n_options;
    struct config_values values;
    char *list_texts[CONFIG_N_KEYS]; /* what the items of list values point into */
};

/* NULL if there is none of that name. */
const struct config_key *config_key_find(const char *name);
/* The known key or section nearest to name; NULL when none is near. */
const char *config_key_nearest(const char *name);

/* Checks text as a value of key and stores it unless a higher rank is there.  where ("FILE:LINE:COLUMN" or the origin)
 * opens the error line. */
int config_entry_set(struct hearth_config *config, const struct config_key *key, const char *text, const char *where,
                     const char *origin, enum config_rank rank, struct hearth_error *err);
int config_option_set(struct hearth_config *config, const char *plugin, const char *option, const char *text,
                      const char *origin, enum config_rank rank, struct hearth_error *err);
/* Derives config->values from the entries. */
int config_refresh(struct hearth_config *config, struct hearth_error *err);

/* core/config/yaml.c, the one door to libyaml */
int config_yaml_load(struct hearth_config *config, const char *name, const char *bytes, size_t length,
                     struct hearth_error *err);

#endif
