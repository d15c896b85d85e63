/* core/config/config.h - the effective configuration as typed values.  The public side (load, set, dump) is in
 * hearth/engine.h; every key, its type, range, default and unit stand in one table, config/schema.c. */
#ifndef CORE_CONFIG_CONFIG_H
#define CORE_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hearth/engine.h>

#define CONFIG_MAX_LIST 32u

struct config_list {
    size_t n;
    const char *items[CONFIG_MAX_LIST];
};

/* How the compute device for the model is chosen. */
struct config_device {
    const char *plugin; /* NULL: the first plugin with a device */
    const char *select; /* NULL: its first device; else an index, a PCI address, or a part of the name */
    uint64_t accelerators; /* device.accelerators: most that share a model; 0: as many as are needed */
    uint64_t borrow_tokens; /* device.borrow_tokens: a step of so many sends the host's experts to it; 0: none does */
    float timeout_seconds; /* device.timeout */
    bool takeover;         /* device.takeover */
};

/* Strings are borrowed from the config and never NULL unless said. */
struct config_values {
    struct {
        const char *path;       /* model.path: a checkpoint folder */
        const char *numerics;   /* model.numerics: native | exact */
    } model;
    struct {
        uint64_t length;        /* context.length, tokens; 0: the smaller of 32768 and the model's maximum */
        uint64_t prefill_chunk; /* context.prefill_chunk, tokens per step; 0: as many as serve the plan */
    } context;
    struct {
        uint64_t threads;       /* cpu.threads; 0: one per core */
    } cpu;
    struct {
        struct config_list path; /* plugins.path: folders, searched in order before the installed one */
        struct config_list load; /* plugins.load: names, in order of preference */
    } plugins;
    struct config_device device; /* device.plugin, device.select */
    struct {
        uint64_t memory_bytes;   /* memory.limit: most bytes hearth may take on the host; 0: what is free */
    } memory;
    struct hearth_sampling sampling;         /* sampling.temperature, top_p, min_p, top_k, seed (0: from the clock) */
    struct {
        uint64_t max_tokens;     /* generate.max_tokens; 0: until the context is full */
    } generate;
    struct {
        const char *revision;    /* chat.revision: april | 0731 */
        bool thinking;           /* chat.thinking */
        const char *effort;      /* chat.effort; NULL: none */
        bool drop_thinking;      /* chat.drop_thinking */
        const char *system;      /* chat.system; NULL: none */
        const char *history;     /* chat.history: file of line-editing history; NULL: none kept */
    } chat;
    struct {
        const char *synthetic;   /* topology.synthetic; NULL: this machine */
    } topology;
    struct {
        const char *directory;   /* session.directory */
    } session;
    struct {
        const char *directory;   /* cache.directory: of what can be made again; NULL: nothing is kept */
        bool weights;            /* cache.weights: packed weights too */
    } cache;
    struct {
        const char *level;       /* log.level: error | warning | info | debug */
    } log;
};

const struct config_values *config_values(const struct hearth_config *config);
/* Whether nobody set the key: neither file, environment nor command line. */
bool config_is_default(const struct hearth_config *config, const char *key);
/* plugins.options.<plugin>.<key>, or NULL.  Borrowed. */
const char *config_plugin_option(const struct hearth_config *config, const char *plugin, const char *key);
/* Option i of those that the plugin has, and its key; NULL: it has fewer.  Borrowed. */
const char *config_plugin_option_at(const struct hearth_config *config, const char *plugin, size_t i,
                                    const char **ret_key);

#endif
