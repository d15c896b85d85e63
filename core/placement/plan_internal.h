/* core/placement/plan_internal.h - the members of a plan, for the files of this room. */
#ifndef CORE_PLACEMENT_PLAN_INTERNAL_H
#define CORE_PLACEMENT_PLAN_INTERNAL_H

#include "core/placement/plan.h"

#define PLAN_OP_BIT(name) (UINT32_C(1) << HEARTH_OP_##name)

/* These read and write the KV state of their layer, and state has one home: they move together. */
#define PLAN_STATE_OPS                                                                                                 \
    (PLAN_OP_BIT(KV_APPEND) | PLAN_OP_BIT(COMPRESS) | PLAN_OP_BIT(INDEX_TOPK) | PLAN_OP_BIT(ATTENTION))

struct plan {
    const struct model_shape *shape;
    struct plan_device devices[PLAN_MAX_DEVICES];
    uint32_t n_devices;
    uint32_t numerics;
    struct state_format format;
    uint64_t context_length;
    uint64_t activation_bytes;
    uint32_t n_loans;
    uint8_t *layer_devices;       /* [n_layers], whose range the layer is in */
    uint8_t *op_devices;          /* [n_layers + 1][HEARTH_N_OPS] */
    uint8_t *expert_devices;      /* [n_layers][n_experts] */
    uint32_t *n_placed;           /* [n_layers], experts that have a home: the lowest ids */
    uint64_t *layer_expert_bytes; /* [n_layers], of one expert: the largest */
    uint64_t bytes[PLAN_MAX_DEVICES][N_PLAN_BYTES];
    /* of them, those read for every decoded token; routed experts by their expected share */
    double active_bytes[PLAN_MAX_DEVICES];
};

/* plan.c: operations as bits by enum hearth_op: those of a row, and those that a device has. */
uint32_t plan_row_ops(const struct model_shape *shape, uint32_t row);
uint32_t plan_device_ops(const struct plan_device *device);
bool plan_device_has(const struct plan_device *device, uint32_t ops);

/* plan.c: a plan that may not fit. */
int plan_build(const struct plan_request *request, struct plan **ret_plan, struct hearth_error *err);

/* ranges.c: gives each layer its device.  The bytes of experts are known already. */
int plan_deal_layers(struct plan *plan, const struct model_roles *roles, struct hearth_error *err);

/* admit.c: fills bytes and active_bytes, and gives the experts their homes.  The operations have theirs already. */
void plan_count(struct plan *plan, const struct model_roles *roles);
/* admit.c: refuses a plan that does not fit, and says what would. */
int plan_admit(const struct plan *plan, const struct plan_request *request, struct hearth_error *err);

#endif
