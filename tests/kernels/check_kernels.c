/* check_kernels.c - the conformance suite of plugins, as TAP.
 *
 * For each operation and numerics that the device supports, each trial runs on the device in one command, cut into
 * commands of one token, and on the reference.  Outputs must lie within their slack of the answer the check file works
 * out, agree with the reference where bits are the contract, not depend on the cut, and leave the memory around them
 * alone.  Without --plugin the reference is checked, with one thread against three. */
#include <config.h>

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/conformance/rig.h"

extern const struct hearth_plugin hearth_plugin_ref;

static const struct check *const checks[] = {
#define HEARTH_OP(NAME, name) &check_##name,
#include <hearth/ops.def>
#undef HEARTH_OP
};

#define MAX_PLUGIN_OPTIONS 8

struct options {
    const char *plugin_options[MAX_PLUGIN_OPTIONS + 1]; /* "key=value", then NULL */
    size_t n_plugin_options;
    const char *plugin;
    const char *op;
    uint64_t seed;
    uint32_t device;
    bool bench, list;
};

struct report {
    unsigned n_trials, n_failed, n_skipped;
};

static const char *const numerics_names[] = {"exact", "native"};

static void
complain(char *why, size_t size, const struct check_tensor *tensor, uint64_t at, double expected, double found,
         double slack)
{
    snprintf(why, size, "%s[%llu]: %.9g wanted, %.9g found (slack %.3g)", tensor->name, (unsigned long long)at,
             expected, found, slack);
}

/* Whether every element lies within its slack.  worst: the largest share of a slack that was used. */
static bool
within_slack(struct check_trial *trial, const struct check_tensor *tensor, const unsigned char *bytes, double *worst,
             char *why, size_t why_size)
{
    if (tensor->expected == NULL) {
        return true;
    }
    float *values = check_alloc(trial, tensor->n_values, sizeof *values);
    if (tensor->read != NULL) {
        tensor->read(trial, bytes, values);
    } else {
        memcpy(values, bytes, tensor->n_values * sizeof *values);
    }
    for (uint64_t i = 0; i < tensor->n_values; i++) {
        const double distance = fabs(values[i] - tensor->expected[i]);
        if (isnan(tensor->expected[i])) {
            continue;
        }
        if (!(distance <= tensor->slack[i])) {
            complain(why, why_size, tensor, i, tensor->expected[i], values[i], tensor->slack[i]);
            return false;
        }
        *worst = tensor->slack[i] > 0.0 ? fmax(*worst, distance / tensor->slack[i]) : *worst;
    }
    return true;
}

static bool
same_bits(const struct check_tensor *tensor, const unsigned char *a, const unsigned char *b, const char *against,
          char *why, size_t why_size)
{
    for (uint64_t i = 0; i < tensor->size_bytes; i++) {
        if (a[i] != b[i]) {
            snprintf(why, why_size, "%s: byte %llu differs from %s", tensor->name, (unsigned long long)i, against);
            return false;
        }
    }
    return true;
}

/* Whether two runs of one device gave the same numbers, wherever numbers are expected at all. */
static bool
same_numbers(struct check_trial *trial, const struct check_tensor *tensor, const unsigned char *a,
             const unsigned char *b, char *why, size_t why_size)
{
    if (tensor->expected == NULL) {
        return same_bits(tensor, a, b, "one token at a time", why, why_size);
    }
    float *values[2];
    for (int i = 0; i < 2; i++) {
        const unsigned char *bytes = i == 0 ? a : b;
        values[i] = check_alloc(trial, tensor->n_values, sizeof *values[i]);
        if (tensor->read != NULL) {
            tensor->read(trial, bytes, values[i]);
        } else {
            memcpy(values[i], bytes, tensor->n_values * sizeof *values[i]);
        }
    }
    for (uint64_t i = 0; i < tensor->n_values; i++) {
        if (!isnan(tensor->expected[i]) && hearth_f32_bits(values[0][i]) != hearth_f32_bits(values[1][i])) {
            snprintf(why, why_size, "%s[%llu]: %.9g in one command, %.9g one token at a time", tensor->name,
                     (unsigned long long)i, (double)values[0][i], (double)values[1][i]);
            return false;
        }
    }
    return true;
}

/* What the trial's outputs must satisfy; with_reference: all bits are the reference's. */
static bool
judge(struct check_trial *trial, unsigned char *const *found, unsigned char *const *cut,
      unsigned char *const *reference, bool all_bits, double *worst, char *why, size_t why_size)
{
    for (size_t i = 0; i < trial->n_tensors; i++) {
        const struct check_tensor *tensor = &trial->tensors[i];
        if (tensor->role == CHECK_IN) {
            continue;
        }
        if (!within_slack(trial, tensor, found[i], worst, why, why_size) ||
            ((all_bits || tensor->same_bits) &&
             !same_bits(tensor, found[i], reference[i], "the reference", why, why_size)) ||
            (cut != NULL && !same_numbers(trial, tensor, found[i], cut[i], why, why_size))) {
            return false;
        }
    }
    const char *verdict = trial->verify == NULL ? NULL : trial->verify(trial, found);
    if (verdict != NULL) {
        snprintf(why, why_size, "%s", verdict);
    }
    return verdict == NULL;
}

static double
bench_seconds(struct rig *rig, struct check_trial *trial)
{
    unsigned char *outputs[CHECK_MAX_TENSORS];
    double best = INFINITY;
    for (int i = 0; i < 5; i++) {
        double seconds;
        if (rig_run(rig, trial, UINT32_MAX, outputs, &seconds)) {
            best = fmin(best, seconds);
        }
    }
    return best;
}

static void
run_trial(struct rig *reference, struct rig *device, bool is_reference, const struct options *options,
          struct check_trial *trial, struct report *report)
{
    unsigned char *expected[CHECK_MAX_TENSORS], *found[CHECK_MAX_TENSORS], *cut[CHECK_MAX_TENSORS];
    char why[sizeof device->why + 32];
    double worst = 0.0, seconds;
    const bool cuts = trial->n != NULL && *trial->n > 1;
    bool ok = false;
    report->n_trials++;
    if (!rig_run(reference, trial, UINT32_MAX, expected, &seconds)) {
        snprintf(why, sizeof why, "reference: %s", reference->why);
    } else if (!rig_run(device, trial, UINT32_MAX, found, &seconds)) {
        snprintf(why, sizeof why, "%s", device->why);
    } else if (cuts && !rig_run(device, trial, 1, cut, &seconds)) {
        snprintf(why, sizeof why, "one token at a time: %s", device->why);
    } else {
        ok = judge(trial, found, cuts ? cut : NULL, expected, is_reference, &worst, why, sizeof why);
    }
    report->n_failed += !ok;
    if (ok) {
        printf("ok %u - %s (%.2f of the slack)\n", report->n_trials, trial->name, worst);
    } else {
        printf("not ok %u - %s\n# %s\n", report->n_trials, trial->name, why);
    }
    if (ok && options->bench && trial->n_products > 0) {
        const double best = bench_seconds(device, trial);
        printf("# %.3f ms, %.3f G multiplications/s\n", 1e3 * best, 1e-9 * trial->n_products / best);
    }
}

static void
run_check(struct rig *reference, struct rig *device, bool is_reference, const struct options *options,
          const struct check *check, struct report *report)
{
    for (uint32_t numerics = HEARTH_EXACT; numerics <= HEARTH_NATIVE; numerics++) {
        if (!rig_supports(device, check->op, numerics)) {
            printf("ok %u - %s %s # SKIP not supported\n", ++report->n_trials, check->name, numerics_names[numerics]);
            report->n_skipped++;
            continue;
        }
        for (uint32_t index = 0; index < check->n_trials; index++) {
            struct check_trial trial = {.random = options->seed + 1000003u * index + 77u * check->op};
            char shape[sizeof trial.name];
            trial.command.op = check->op;
            trial.command.numerics = numerics;
            check->make(&trial, index, numerics);
            snprintf(shape, sizeof shape, "%s", trial.name);
            snprintf(trial.name, sizeof trial.name, "%s %s %.120s", check->name, numerics_names[numerics], shape);
            run_trial(reference, device, is_reference, options, &trial, report);
            check_trial_done(&trial);
        }
    }
}

/* hearth-NAME.so exports hearth_plugin_NAME, '-' written as '_'. */
static const struct hearth_plugin *
load_plugin(const char *path)
{
    char symbol[128];
    const char *slash = strrchr(path, '/');
    const char *file = slash == NULL ? path : slash + 1;
    const char *dot = strrchr(file, '.');
    const char *prefix = "hearth-";
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        fprintf(stderr, "check-kernels: %s\n", dlerror());
        return NULL;
    }
    if (strncmp(file, prefix, strlen(prefix)) != 0 || dot == NULL) {
        fprintf(stderr, "check-kernels: %s: a file named hearth-<name>.so wanted\n", path);
        return NULL;
    }
    snprintf(symbol, sizeof symbol, "hearth_plugin_%.*s", (int)(dot - file) - (int)strlen(prefix),
             file + strlen(prefix));
    for (char *c = symbol; *c != '\0'; c++) {
        *c = *c == '-' ? '_' : *c;
    }
    const struct hearth_plugin *plugin = dlsym(handle, symbol);
    if (plugin == NULL) {
        fprintf(stderr, "check-kernels: %s: no symbol %s\n", path, symbol);
    } else if (plugin->abi >> 16 != HEARTH_PLUGIN_ABI_MAJOR ||
               plugin->struct_size < offsetof(struct hearth_plugin, packed_bytes)) {
        fprintf(stderr, "check-kernels: %s: ABI %u.%u wanted, %u.%u found\n", path, HEARTH_PLUGIN_ABI_MAJOR,
                HEARTH_PLUGIN_ABI_MINOR, plugin->abi >> 16, plugin->abi & 0xFFFFu);
        plugin = NULL;
    }
    return plugin;
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
        } else if (strcmp(argv[i], "--device") == 0 && has_value) {
            options->device = (uint32_t)strtoul(argv[++i], NULL, 10);
        } else {
            fprintf(stderr,
                    "usage: check-kernels [--plugin FILE.so] [--option KEY=VALUE] [--device N] [--op NAME] [--seed N] "
                    "[--bench] [--list]\n");
            return false;
        }
    }
    return true;
}

static int
run_all(const struct options *options, const struct hearth_plugin *plugin)
{
    const bool is_reference = options->plugin == NULL;
    static const char *const one_thread[] = {"threads=1", NULL};
    static const char *const three_threads[] = {"threads=3", NULL};
    const char *const *given = is_reference && options->n_plugin_options == 0 ? three_threads : options->plugin_options;
    struct report report = {0, 0, 0};
    struct rig reference, device;
    bool found = options->op == NULL;
    if (!rig_open(&reference, &hearth_plugin_ref, one_thread, 0)) {
        fprintf(stderr, "check-kernels: reference: %s\n", reference.why);
        return HEARTH_EXIT_DEVICE;
    }
    if (!rig_open(&device, plugin, given, options->device)) {
        fprintf(stderr, "check-kernels: %s\n", device.why);
        rig_close(&reference);
        return HEARTH_EXIT_DEVICE;
    }
    printf("TAP version 13\n# %s %s: %s, seed %llu\n", plugin->name, plugin->version, device.info.name,
           (unsigned long long)options->seed);
    for (size_t i = 0; i < HEARTH_N_OPS; i++) {
        if (options->op == NULL || strcmp(options->op, checks[i]->name) == 0) {
            found = true;
            run_check(&reference, &device, is_reference, options, checks[i], &report);
        }
    }
    printf("1..%u\n# %u failed, %u skipped\n", report.n_trials, report.n_failed, report.n_skipped);
    rig_close(&device);
    rig_close(&reference);
    if (!found) {
        fprintf(stderr, "check-kernels: no operation %s (see --list)\n", options->op);
        return HEARTH_EXIT_USAGE;
    }
    return report.n_failed == 0 ? 0 : 1;
}

int
main(int argc, char **argv)
{
    struct options options;
    const struct hearth_plugin *plugin = &hearth_plugin_ref;
    if (!parse_options(argc, argv, &options)) {
        return HEARTH_EXIT_USAGE;
    }
    if (options.list) {
        for (size_t i = 0; i < HEARTH_N_OPS; i++) {
            printf("%s: %u trials in each numerics\n", checks[i]->name, checks[i]->n_trials);
        }
        return 0;
    }
    if (options.plugin != NULL) {
        plugin = load_plugin(options.plugin);
    }
    return plugin == NULL ? HEARTH_EXIT_DEVICE : run_all(&options, plugin);
}
