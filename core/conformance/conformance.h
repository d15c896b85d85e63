/* core/conformance/conformance.h - is a plugin right, and how fast?  The suite behind `hearth plugin check` and
 * tests/kernels/check-kernels.
 *
 * For each operation and numerics that the device supports, each trial runs on the device in one command, cut into
 * commands of one token (or as few as its alignment lets begin), and on the reference.  Outputs must lie within their
 * slack of the answer that the check file works out by a formula of its own, agree with the reference where bits are
 * the contract, not depend on the cut, and leave the memory around them alone.  Where the device packs weights ahead,
 * weights that it packed and mapped give the same bits.  The plugin is reached through plugin.h only. */
#ifndef CORE_CONFORMANCE_CONFORMANCE_H
#define CORE_CONFORMANCE_CONFORMANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hearth/plugin.h>

#define CONFORMANCE_NAME_BYTES 160
#define CONFORMANCE_WHY_BYTES 768

enum conformance_verdict {
    CONFORMANCE_RIGHT,
    CONFORMANCE_WRONG,
    CONFORMANCE_REFUSED /* weight_create answered EUNSUPPORTED: a type or shape that is left to the host */
};

struct conformance_trial {
    char name[CONFORMANCE_NAME_BYTES];
    enum conformance_verdict verdict;
    double used;                     /* the largest share of its slack that an element used */
    bool same_bits;                  /* every output has the reference's bits */
    char why[CONFORMANCE_WHY_BYTES]; /* unless right */
    double seconds, n_products;      /* where trials are timed: best of several; multiplications, 0: not counted */
};

/* One operation in one numerics. */
struct conformance_line {
    const char *op;
    uint32_t numerics; /* enum hearth_numerics */
    bool supported;
    uint32_t n_trials, n_wrong, n_refused;
    double used;
    bool same_bits;
    struct conformance_trial first_wrong; /* if n_wrong > 0 */
    /* One token's work at V4-Flash's sizes; 0: not measured. */
    double seconds;
    double bytes; /* weights, state and activations that the work has to read and write */
};

struct conformance_report {
    struct hearth_device_info info;
    uint32_t n_devices;
    struct conformance_line lines[2 * HEARTH_N_OPS];
    size_t n_lines;
    struct hearth_roof roof; /* all 0 where the plugin has no `measure` */
};

struct conformance_request {
    const struct hearth_plugin *plugin;    /* under test; as the loader gives it, NULL where it lacks a call */
    const struct hearth_plugin *reference;
    /* The plugin's options: "key=value", then NULL.  What is not among them is asked of option, which may be NULL. */
    const char *const *options;
    const char *(*option)(void *context, const char *key);
    uint32_t device;
    const char *op;      /* NULL: every operation */
    uint32_t max_trials; /* of an operation in each numerics; 0: all.  The first ones are the smallest. */
    uint64_t seed;
    bool speed;       /* also measure one token's work, and the roof */
    bool time_trials; /* also time each trial that is right */
    /* Called after each trial and before each measurement (trial NULL), unless NULL.  False: stop. */
    bool (*step)(void *context, const struct conformance_line *line, const struct conformance_trial *trial);
    void *context; /* of option and step */
};

/* Whether every operation that the device supports is right: no trial wrong, and not all of them refused. */
bool conformance_is_right(const struct conformance_report *report);
/* Of an operation and numerics. */
bool conformance_line_is_right(const struct conformance_line *line);

/* Names and trials of the suite: the i-th of HEARTH_N_OPS operations. */
const char *conformance_op_name(size_t i);
uint32_t conformance_op_trials(size_t i);

/* Errors: EUSAGE (no operation of that name, no such device), EMEMORY, EINTERRUPTED, and those of start, describe and
 * open.  A wrong plugin is no error.  Thread: main; starts and stops both plugins. */
int conformance_run(const struct conformance_request *request, struct conformance_report *ret_report,
                    struct hearth_error *err);

#endif
