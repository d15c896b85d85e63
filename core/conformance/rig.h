/* rig.h - a plugin under test, reached through plugin.h only: runs a trial's command on it with canaries round every
 * tensor. */
#ifndef CORE_CONFORMANCE_RIG_H
#define CORE_CONFORMANCE_RIG_H

#include "core/conformance/check.h"

struct rig {
    const struct hearth_plugin *plugin;
    struct hearth_device *device;
    struct hearth_device_info info;
    const char *const *options; /* "key=value", then NULL */
    struct hearth_host host;
    char why[HEARTH_ERROR_TEXT_BYTES + 160]; /* what went wrong last */
};

/* Starts the plugin with its options (which the rig keeps reading) and opens its device `index`.  False: why says what
 * failed. */
bool rig_open(struct rig *rig, const struct hearth_plugin *plugin, const char *const *options, uint32_t index);
void rig_close(struct rig *rig);
bool rig_supports(const struct rig *rig, uint32_t op, uint32_t numerics);

/* Runs the trial in commands of at most n_at_once tokens (UINT32_MAX: in one).  outputs: [n_tensors], each size_bytes,
 * filled for tensors that are written.  ret_seconds: of the submissions.  False: why says what failed. */
bool rig_run(struct rig *rig, struct check_trial *trial, uint32_t n_at_once, unsigned char **outputs,
             double *ret_seconds);

#endif
