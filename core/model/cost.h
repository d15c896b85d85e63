/* core/model/cost.h - what a step of the model reads and computes, as arithmetic: the work that figures are put beside.
 *
 * Bytes are those needed at least: weights as the checkpoint stores them, state as the session does.  A backend that
 * keeps a weight in more bits, or reads something twice, is measured against the same number.  The head is the one that
 * a backend may keep in fewer. */
#ifndef CORE_MODEL_COST_H
#define CORE_MODEL_COST_H

#include <hearth/engine.h>

#include "core/model/roles.h"

/* n_tokens fed at position, with the logits of the last one. */
struct cost_step {
    const struct model_shape *shape;
    enum hearth_dtype expert_dtype;
    uint32_t numerics, kv_format; /* enum hearth_numerics, enum hearth_kv_format */
    uint64_t position, n_tokens;
    uint64_t head_bytes; /* as the device keeps it; 0 or more than the checkpoint's: those */
};

void cost_of_step(const struct cost_step *step, struct hearth_costs *ret_costs);

#endif
