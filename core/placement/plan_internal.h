/* core/placement/plan_internal.h - the members of a plan, for the files of this room. */
#ifndef CORE_PLACEMENT_PLAN_INTERNAL_H
#define CORE_PLACEMENT_PLAN_INTERNAL_H

#include "core/placement/plan.h"

struct plan {
    const struct model_shape *shape;
    struct plan_device devices[PLAN_MAX_DEVICES];
    uint32_t n_devices;
    uint32_t numerics;
    struct state_format format;
    uint64_t context_length;
    uint64_t activation_bytes;
    uint8_t *op_devices;         /* [n_layers + 1][HEARTH_N_OPS] */
    uint8_t *expert_devices;     /* [n_layers][n_experts] */
    uint64_t *layer_expert_bytes; /* [n_layers], of one expert: the largest */
    uint64_t bytes[PLAN_MAX_DEVICES][N_PLAN_BYTES];
    /* of them, those read for every decoded token; routed experts by their expected share */
    double active_bytes[PLAN_MAX_DEVICES];
};

/* plan.c: the operations of a row, as bits by enum hearth_op. */
uint32_t plan_row_ops(const struct model_shape *shape, uint32_t row);

/* admit.c: fills bytes and active_bytes, gives the experts their homes, and refuses what does not fit.
 * The operations have their devices already. */
int plan_admit(struct plan *plan, const struct model_roles *roles, struct hearth_error *err);

#endif
