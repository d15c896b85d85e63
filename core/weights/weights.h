/* core/weights/weights.h - a plan made true: every part and every expert as a handle of its device. */
#ifndef CORE_WEIGHTS_WEIGHTS_H
#define CORE_WEIGHTS_WEIGHTS_H

#include <hearth/engine.h>

#include "core/model/model.h"
#include "core/placement/plan.h"
#include "core/plugin/plugin_set.h"

struct weights;

/* devices: those of the plan's request, in its order; those the plan uses are open.  Plan, model and
 * devices must outlive the weights: some devices keep reading the mapped files.
 * folder: where packed weights are kept from one start to the next; NULL: they are not.  Nor are those of a synthetic
 * model.
 * Owner: the caller; weights_free.
 * Errors: EFORMAT (a scale that is NaN), EINTERRUPTED, what weight_create returns. */
int weights_load(const struct plan *plan, const struct model *model, struct plugin_device *const *devices,
                 const char *folder, const struct hearth_progress *progress, struct weights **ret_weights,
                 struct hearth_error *err);
void weights_free(struct weights *weights); /* NULL allowed */

/* How it went. */
const struct hearth_load *weights_facts(const struct weights *weights);

/* The part of a row, on the device the plan gives it; NULL: the row has none. */
const struct hearth_weight *weights_part(const struct weights *weights, uint32_t row,
                                         enum part part);
/* The rotation frequencies on a device; NULL: the plan has no use for them there. */
const struct hearth_weight *weights_rope(const struct weights *weights, uint32_t device,
                                         enum rope_table table);
/* [plan_loans] experts of the device that have no contents of their own, for weight_refill; NULL: none. */
struct hearth_weight *const *weights_loans(const struct weights *weights, uint32_t device);
/* [n_experts] handles of a layer on a device, NULL where an expert lives elsewhere.  Unchanged while the
 * weights live. */
const struct hearth_weight *const *weights_experts(const struct weights *weights, uint32_t device,
                                                   uint32_t layer);

#endif
