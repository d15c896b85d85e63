/* check_kernels.c - the conformance suite (core/conformance) as TAP.  Without --plugin the reference, which is linked
 * in, is checked against itself: one thread against three. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/conformance/conformance.h"
#include "core/plugin/loader.h"

extern const struct hearth_plugin hearth_plugin_ref;

#define MAX_PLUGIN_OPTIONS 8

struct options {
    const char *plugin_options[MAX_PLUGIN_OPTIONS + 1]; /* "key=value", then NULL */
    size_t n_plugin_options;
    const char *plugin;
    const char *op;
    uint64_t seed;
    uint32_t device, max_trials;
    bool bench, list;
};

struct counts {
    unsigned n_trials, n_failed, n_skipped;
};

static bool
print_trial(void *context, const struct conformance_line *line, const struct conformance_trial *trial)
{
    struct counts *counts = context;
    const unsigned number = ++counts->n_trials;
    if (trial == NULL) {
        printf("ok %u - %s %s # SKIP not supported\n", number, line->op,
               line->numerics == HEARTH_NATIVE ? "native" : "exact");
        counts->n_skipped++;
    } else if (trial->verdict == CONFORMANCE_REFUSED) {
        printf("ok %u - %s # SKIP %s\n", number, trial->name, trial->why);
        counts->n_skipped++;
    } else if (trial->verdict == CONFORMANCE_WRONG) {
        printf("not ok %u - %s\n# %s\n", number, trial->name, trial->why);
        counts->n_failed++;
    } else {
        printf("ok %u - %s (%.2f of the slack)\n", number, trial->name, trial->used);
    }
    if (trial != NULL && trial->n_products > 0) {
        printf("# %.3f ms, %.3f G multiplications/s\n", 1e3 * trial->seconds,
               1e-9 * trial->n_products / trial->seconds);
    }
    return true;
}

static bool
parse_options(int argc, char **argv, struct options *options)
{
    *options = (struct options){.seed = 1};
    for (int i = 1; i < argc; i++) {
        const bool has_value = i + 1 < argc;
        if (strcmp(argv[i], "--bench") == 0) {
            options->bench = true;
        } else if (strcmp(argv[i], "--list") == 0) {
            options->list = true;
        } else if (strcmp(argv[i], "--plugin") == 0 && has_value) {
            options->plugin = argv[++i];
        } else if (strcmp(argv[i], "--option") == 0 && has_value && options->n_plugin_options < MAX_PLUGIN_OPTIONS) {
            options->plugin_options[options->n_plugin_options++] = argv[++i];
        } else if (strcmp(argv[i], "--op") == 0 && has_value) {
            options->op = argv[++i];
        } else if (strcmp(argv[i], "--seed") == 0 && has_value) {
            options->seed = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--trials") == 0 && has_value) {
            options->max_trials = (uint32_t)strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--device") == 0 && has_value) {
            options->device = (uint32_t)strtoul(argv[++i], NULL, 10);
        } else {
            fprintf(stderr,
                    "usage: check-kernels [--plugin FILE.so] [--option KEY=VALUE] [--device N] [--op NAME] [--seed N] "
                    "[--trials N] [--bench] [--list]\n");
            return false;
        }
    }
    return true;
}

static int
complain(const struct hearth_error *err)
{
    fprintf(stderr, "check-kernels: %s\n", err->text);
    return hearth_status_exit(err->status);
}

static int
run_all(const struct options *options, const struct hearth_plugin *plugin)
{
    static const char *const three_threads[] = {"threads=3", NULL};
    const bool by_default = options->plugin == NULL && options->n_plugin_options == 0;
    struct counts counts = {0, 0, 0};
    struct hearth_error err = {0};
    struct conformance_report report;
    const struct conformance_request request = {
        .plugin = plugin,
        .reference = &hearth_plugin_ref,
        .options = by_default ? three_threads : options->plugin_options,
        .device = options->device,
        .op = options->op,
        .max_trials = options->max_trials,
        .seed = options->seed,
        .time_trials = options->bench,
        .step = print_trial,
        .context = &counts,
    };
    printf("TAP version 13\n# %s %s, seed %llu\n", plugin->name, plugin->version, (unsigned long long)options->seed);
    if (conformance_run(&request, &report, &err) < 0) {
        return complain(&err);
    }
    printf("1..%u\n# %s\n# %u failed, %u skipped\n", counts.n_trials, report.info.name, counts.n_failed,
           counts.n_skipped);
    return counts.n_failed == 0 && conformance_is_right(&report) ? 0 : 1;
}

int
main(int argc, char **argv)
{
    struct options options;
    struct plugin_library library = {.table = hearth_plugin_ref};
    struct hearth_error err = {0};
    if (!parse_options(argc, argv, &options)) {
        return HEARTH_EXIT_USAGE;
    }
    if (options.list) {
        for (size_t i = 0; i < HEARTH_N_OPS; i++) {
            printf("%s: %u trials in each numerics\n", conformance_op_name(i), conformance_op_trials(i));
        }
        return 0;
    }
    if (options.plugin != NULL && plugin_library_open_file(options.plugin, &library, &err) < 0) {
        return complain(&err);
    }
    const int code = run_all(&options, &library.table);
    plugin_library_close(&library);
    return code;
}
