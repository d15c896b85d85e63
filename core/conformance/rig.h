/* rig.h - a plugin under test, reached through plugin.h only: runs a trial's command on it with canaries round every
 * tensor. */
#ifndef CORE_CONFORMANCE_RIG_H
#define CORE_CONFORMANCE_RIG_H

#include "core/conformance/check.h"

/* What the plugin is told when it asks for an option. */
struct rig_options {
    const char *const *list;                              /* "key=value", then NULL; NULL: none */
    const char *(*other)(void *context, const char *key); /* asked for the rest; may be NULL */
    void *context;
};

struct rig {
    const struct hearth_plugin *plugin;
    struct hearth_device *device;
    struct hearth_device_info info;
    uint32_t n_devices;
    struct rig_options options;
    struct hearth_host host;
    bool packs;                              /* weights are packed and mapped, where the plugin has the calls */
    bool refused;                            /* the last run ended because weight_create answered EUNSUPPORTED */
    char why[HEARTH_ERROR_TEXT_BYTES + 160]; /* what went wrong last */
};

/* Starts the plugin with its options (which the rig keeps reading; it stays where it is until rig_close) and opens its
 * device `index`.  Errors: EUSAGE (no such device), those of the plugin. */
int rig_open(struct rig *rig, const struct hearth_plugin *plugin, const struct rig_options *options, uint32_t index,
             struct hearth_error *err);
void rig_close(struct rig *rig);
bool rig_supports(const struct rig *rig, uint32_t op, uint32_t numerics);
/* Whether the device packs weights ahead. */
bool rig_can_pack(const struct rig *rig);

/* Runs the trial in commands of at most n_at_once tokens (UINT32_MAX: in one).  outputs: [n_tensors], each size_bytes,
 * filled for tensors that are written.  ret_seconds: of the submissions.  False: why says what failed. */
bool rig_run(struct rig *rig, struct check_trial *trial, uint32_t n_at_once, unsigned char **outputs,
             double *ret_seconds);

/* The fewest tokens that a command of the trial can be cut at so that every view stays aligned as the device asks; 0:
 * it cannot be cut. */
uint32_t rig_cut(const struct rig *rig, const struct check_trial *trial);

/* Memory of the trial, or NULL and why. */
unsigned char *rig_take_memory(struct rig *rig, struct check_trial *trial, uint64_t size);

/* loan.c: experts on loan. */

/* A weight of the same shapes that is all zeros, in memory of the trial. */
bool rig_empty_weight(struct rig *rig, struct check_trial *trial, const struct check_weight *weight,
                      struct check_weight *ret_weight);
/* Gives an expert on the device the contents of `weight`. */
bool rig_refill(struct rig *rig, const struct check_weight *weight, struct hearth_weight *placed);
/* Whether an expert that the plugin reads back is what it was, written where it belongs; true of all else. */
bool rig_check_read(struct rig *rig, struct check_trial *trial, const struct check_weight *weight,
                    const struct hearth_weight *placed);

/* The trial's tensors and weights on the device; members that are NULL are not there.  rig_place sets the views and
 * slots of the trial's command; rig_unplace follows it, whatever it returned. */
struct rig_placed {
    struct hearth_buffer *buffers[CHECK_MAX_TENSORS];
    struct hearth_weight *weights[CHECK_MAX_WEIGHTS];
};

bool rig_place(struct rig *rig, struct check_trial *trial, struct rig_placed *placed);
void rig_unplace(struct rig *rig, const struct check_trial *trial, struct rig_placed *placed);
/* Submits the commands and waits for the last. */
bool rig_submit(struct rig *rig, const struct hearth_command *commands, size_t n_commands);
/* Seconds of a clock that only goes forward. */
double rig_seconds(void);

#endif
