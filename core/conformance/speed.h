/* speed.h - how fast a device does one token's work at V4-Flash's sizes, and what it could reach at best. */
#ifndef CORE_CONFORMANCE_SPEED_H
#define CORE_CONFORMANCE_SPEED_H

#include "core/conformance/rig.h"

/* The median of several rounds over copies of the work that no cache holds together, waited for at the end of each
 * round.  bytes: what the work has to read and write.  seconds 0: the device refuses these types or shapes.  Errors:
 * EMEMORY, EDEVICE (it did the trials and fails here). */
int speed_measure(struct rig *rig, uint32_t op, uint32_t numerics, double *ret_seconds, double *ret_bytes,
                  struct hearth_error *err);
/* Asks the plugin's `measure`; all 0 if it has none.  Errors: those of measure. */
int speed_roof(struct rig *rig, struct hearth_roof *ret_roof, struct hearth_error *err);

/* speed_work.c: one token's work of the operation, its tensors and weights filled.  bytes: as above. */
void speed_work_make(struct check_trial *trial, uint32_t op, uint32_t numerics, double *ret_bytes);

#endif
