/* plan.c - which device does which operation.  ranges.c deals the layers to several accelerators, admit.c says
 * whether it fits, report.c tells people. */
#include "core/placement/plan_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"

static const char *const op_names[HEARTH_N_OPS] = {
#define HEARTH_OP(NAME, name) [HEARTH_OP_##NAME] = #name,
#include <hearth/ops.def>
#undef HEARTH_OP
};

uint32_t
plan_row_ops(const struct model_shape *shape, uint32_t row)
{
    if (row == shape->n_layers) {
        return PLAN_OP_BIT(EMBED) | PLAN_OP_BIT(MHC_HEAD) | PLAN_OP_BIT(LINEAR);
    }
    uint32_t ops = PLAN_OP_BIT(MHC_PRE) | PLAN_OP_BIT(MHC_POST) | PLAN_OP_BIT(RMSNORM) | PLAN_OP_BIT(LINEAR) |
                   PLAN_OP_BIT(QUERY_ROPE) | PLAN_OP_BIT(KV_APPEND) | PLAN_OP_BIT(ATTENTION) |
                   PLAN_OP_BIT(OUTPUT_GROUPS) | PLAN_OP_BIT(ROUTER) | PLAN_OP_BIT(EXPERT_FFN) |
                   PLAN_OP_BIT(SHARED_FFN) | PLAN_OP_BIT(MOE_SUM);
    const enum layer_kind kind = shape_layer_kind(shape, row);
    if (kind != LAYER_SWA) {
        ops |= PLAN_OP_BIT(COMPRESS);
    }
    if (kind == LAYER_CSA) {
        ops |= PLAN_OP_BIT(INDEX_QUERY) | PLAN_OP_BIT(INDEX_TOPK);
    }
    return ops;
}

uint32_t
plan_device_ops(const struct plan_device *device)
{
    uint32_t ops = 0;
    for (uint32_t op = 0; op < HEARTH_N_OPS; op++) {
        ops |= (uint32_t)device->supports[op] << op;
    }
    return ops;
}

bool
plan_device_has(const struct plan_device *device, uint32_t ops)
{
    return (ops & ~plan_device_ops(device)) == 0;
}

/* The device whose business the operation is: the layer's; the first layer's embeds, the last one's makes logits. */
static uint32_t
op_owner(const struct plan *plan, uint32_t row, uint32_t op)
{
    const uint32_t last = plan->shape->n_layers - 1;
    return plan->layer_devices[row <= last ? row : op == HEARTH_OP_EMBED ? 0 : last];
}

/* The owner if it has all of ops, else the first device that has; -1: none. */
static int
find_device(const struct plan *plan, uint32_t owner, uint32_t ops)
{
    if (plan_device_has(&plan->devices[owner], ops)) {
        return (int)owner;
    }
    for (uint32_t i = 0; i < plan->n_devices; i++) {
        if (plan_device_has(&plan->devices[i], ops)) {
            return (int)i;
        }
    }
    return -1;
}

static int
refuse_ops(const struct plan *plan, uint32_t ops, struct hearth_error *err)
{
    const struct plan_device *home = &plan->devices[0];
    const char *missing = "";
    for (uint32_t op = 0; op < HEARTH_N_OPS; op++) {
        if ((ops >> op & 1u) && !home->supports[op]) {
            missing = op_names[op];
            break;
        }
    }
    return error_set(err, HEARTH_EPLUGIN,
                     "operation %s in %s numerics wanted: device %s of plugin %s lacks it and no host "
                     "plugin that has it is loaded (plugins.load)",
                     missing, plan->numerics == HEARTH_EXACT ? "exact" : "native", home->name,
                     home->plugin);
}

static int
assign_row(struct plan *plan, uint32_t row, struct hearth_error *err)
{
    uint8_t *op_devices = &plan->op_devices[(size_t)row * HEARTH_N_OPS];
    const uint32_t ops = plan_row_ops(plan->shape, row);
    const uint32_t state_ops = ops & PLAN_STATE_OPS;
    for (uint32_t op = 0; op < HEARTH_N_OPS; op++) {
        if (!(ops >> op & 1u)) {
            continue;
        }
        const uint32_t bit = UINT32_C(1) << op;
        const uint32_t together = (state_ops & bit) ? state_ops : bit;
        const int device = find_device(plan, op_owner(plan, row, op), together);
        if (device < 0) {
            return refuse_ops(plan, together, err);
        }
        op_devices[op] = (uint8_t)device;
    }
    return HEARTH_OK;
}

static int
plan_alloc(struct plan *plan, struct hearth_error *err)
{
    const size_t n_layers = plan->shape->n_layers;
    plan->layer_devices = calloc(n_layers, sizeof *plan->layer_devices);
    plan->op_devices = calloc(n_layers + 1, HEARTH_N_OPS);
    plan->expert_devices = calloc(n_layers, plan->shape->n_experts);
    plan->n_placed = calloc(n_layers, sizeof *plan->n_placed);
    plan->layer_expert_bytes = calloc(n_layers, sizeof *plan->layer_expert_bytes);
    if (!plan->layer_devices || !plan->op_devices || !plan->expert_devices || !plan->n_placed ||
        !plan->layer_expert_bytes) {
        return error_no_memory(err, "a plan");
    }
    return HEARTH_OK;
}

static bool
are_alike(const struct expert_roles *a, const struct expert_roles *b)
{
    bool alike = true;
    for (int i = 0; i < 3; i++) {
        alike = alike && a->w[i].dtype == b->w[i].dtype && a->w[i].rows == b->w[i].rows && a->w[i].cols == b->w[i].cols;
    }
    return alike;
}

static void
measure_experts(struct plan *plan, const struct model_roles *roles)
{
    for (uint32_t layer = 0; layer < plan->shape->n_layers; layer++) {
        for (uint32_t i = 0; i < plan->shape->n_experts; i++) {
            const struct expert_roles *expert = &roles->layers[layer].experts[i];
            const uint64_t bytes = matrix_bytes(expert->w, 3);
            if (bytes > plan->layer_expert_bytes[layer]) {
                plan->layer_expert_bytes[layer] = bytes;
            }
            if (!are_alike(expert, &roles->layers[0].experts[0])) {
                plan->n_loans = 0;
            }
        }
    }
}

int
plan_build(const struct plan_request *request, struct plan **ret_plan, struct hearth_error *err)
{
    assert(request->n_devices > 0 && request->n_devices <= PLAN_MAX_DEVICES);
    struct plan *plan = calloc(1, sizeof *plan);
    if (!plan) {
        return error_no_memory(err, "a plan");
    }
    plan->shape = request->shape;
    plan->n_devices = request->n_devices;
    plan->numerics = request->numerics;
    plan->format = request->format;
    plan->context_length = request->context_length;
    plan->activation_bytes = request->activation_bytes;
    plan->n_loans = request->n_loans;
    memcpy(plan->devices, request->devices, request->n_devices * sizeof *request->devices);

    int status = plan_alloc(plan, err);
    if (status == HEARTH_OK) {
        measure_experts(plan, request->roles);
        status = plan_deal_layers(plan, request->roles, err);
    }
    for (uint32_t row = 0; status == HEARTH_OK && row <= plan->shape->n_layers; row++) {
        status = assign_row(plan, row, err);
    }
    if (status < 0) {
        plan_free(plan);
        return status;
    }
    plan_count(plan, request->roles);
    *ret_plan = plan;
    return HEARTH_OK;
}

int
plan_make(const struct plan_request *request, struct plan **ret_plan, struct hearth_error *err)
{
    struct plan *plan = NULL;
    int status = plan_build(request, &plan, err);
    status = status < 0 ? status : plan_admit(plan, request, err);
    if (status < 0) {
        plan_free(plan);
        return status;
    }
    *ret_plan = plan;
    return HEARTH_OK;
}

void
plan_free(struct plan *plan)
{
    if (!plan) {
        return;
    }
    free(plan->layer_devices);
    free(plan->op_devices);
    free(plan->expert_devices);
    free(plan->n_placed);
    free(plan->layer_expert_bytes);
    free(plan);
}

uint32_t
plan_layer_device(const struct plan *plan, uint32_t layer)
{
    assert(layer < plan->shape->n_layers);
    return plan->layer_devices[layer];
}

uint32_t
plan_op_device(const struct plan *plan, uint32_t row, enum hearth_op op)
{
    assert(row <= plan->shape->n_layers);
    return plan->op_devices[(size_t)row * HEARTH_N_OPS + op];
}

uint32_t
plan_expert_device(const struct plan *plan, uint32_t layer, uint32_t expert)
{
    assert(layer < plan->shape->n_layers && expert < plan->shape->n_experts);
    return plan->expert_devices[(size_t)layer * plan->shape->n_experts + expert];
}

uint32_t
plan_expert_devices(const struct plan *plan, uint32_t layer)
{
    uint32_t devices = 0;
    for (uint32_t expert = 0; expert < plan->shape->n_experts; expert++) {
        devices |= UINT32_C(1) << plan_expert_device(plan, layer, expert);
    }
    return devices;
}

uint32_t
plan_loans(const struct plan *plan, uint32_t device)
{
    return plan->bytes[device][PLAN_LOANS] > 0 ? plan->n_loans : 0;
}

bool
plan_borrows(const struct plan *plan)
{
    bool borrows = false;
    for (uint32_t i = 0; i < plan->n_devices; i++) {
        borrows = borrows || plan_loans(plan, i) > 0;
    }
    return borrows;
}

uint32_t
plan_state_device(const struct plan *plan, uint32_t layer)
{
    return plan_op_device(plan, layer, HEARTH_OP_KV_APPEND);
}

bool
plan_uses_device(const struct plan *plan, uint32_t device)
{
    return device < plan->n_devices && plan->bytes[device][PLAN_ACTIVATIONS] > 0;
}

bool
plan_layer_uses(const struct plan *plan, uint32_t layer, uint32_t device)
{
    const uint32_t ops = plan_row_ops(plan->shape, layer) & ~PLAN_OP_BIT(EXPERT_FFN);
    bool uses = plan_expert_devices(plan, layer) >> device & 1u;
    for (uint32_t op = 0; op < HEARTH_N_OPS; op++) {
        uses = uses || ((ops >> op & 1u) && plan_op_device(plan, layer, (enum hearth_op)op) == device);
    }
    return uses;
}

bool
plan_is_short(const struct plan *plan)
{
    for (uint32_t layer = 0; layer < plan->shape->n_layers; layer++) {
        const struct plan_device *owner = &plan->devices[plan->layer_devices[layer]];
        for (uint32_t expert = 0; owner->supports[HEARTH_OP_EXPERT_FFN] && expert < plan->shape->n_experts; expert++) {
            const struct plan_device *device = &plan->devices[plan_expert_device(plan, layer, expert)];
            if (device != owner && device->is_host) {
                return true;
            }
        }
    }
    return false;
}

uint64_t
plan_bytes(const struct plan *plan, uint32_t device, enum plan_bytes_kind kind)
{
    assert(device < plan->n_devices);
    return plan->bytes[device][kind];
}

uint64_t
plan_state_bytes(const struct plan *plan)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < plan->n_devices; i++) {
        bytes += plan->bytes[i][PLAN_STATE];
    }
    return bytes;
}
