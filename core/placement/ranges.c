/* ranges.c - which accelerator has which layers.
 *
 * Each has one range of them, in the order of the devices, so that a token's streams cross from one to the next once.
 * Of all ranges those are taken whose fullest memory is least full: as near to shares in proportion to memory as whole
 * layers come, and if any ranges fit, these do.  Embedding and head are weighed with the first and the last layer. */
#include "core/placement/plan_internal.h"

#include <stdlib.h>

#include "core/base/error.h"

#define SHARE_STEPS 50 /* halvings: layers differ by more than the last of them tells apart */

/* A device that takes part. */
struct member {
    uint32_t device;
    uint64_t *layer_bytes; /* [n_layers]: what it holds of a layer that is its own */
    uint64_t embedding_bytes, head_bytes;
    uint32_t end; /* its layers end before this one, and begin where the member's before it end */
};

struct ranges {
    struct member members[PLAN_MAX_DEVICES];
    uint32_t n;
    uint64_t *layer_bytes; /* of all members */
};

/* Whether the device can do everything of a layer that the home can, in memory of its own and of known size. */
static bool
is_member(const struct plan *plan, uint32_t device)
{
    uint32_t ops = 0;
    for (uint32_t layer = 0; layer < plan->shape->n_layers; layer++) {
        ops |= plan_row_ops(plan->shape, layer);
    }
    const struct plan_device *home = &plan->devices[0], *other = &plan->devices[device];
    const bool have_memory = !home->is_host && !other->is_host && home->memory_bytes > 0 && other->memory_bytes > 0;
    return device == 0 || (have_memory && plan_device_has(other, ops & plan_device_ops(home)));
}

/* Bytes of a row's parts that these operations read. */
static uint64_t
parts_bytes(const struct plan *plan, const struct model_roles *roles, uint32_t row, uint32_t ops)
{
    uint64_t bytes = 0;
    for (int i = 0; i < N_PARTS; i++) {
        const enum part part = (enum part)i;
        const struct hearth_matrix *matrices = NULL;
        const size_t n =
            ops >> part_facts(part)->op & 1u ? part_matrices(roles, plan->shape->n_layers, row, part, &matrices) : 0;
        bytes += matrix_bytes(matrices, n);
    }
    return bytes;
}

static void
weigh(const struct plan *plan, const struct model_roles *roles, struct member *member)
{
    const uint32_t n_layers = plan->shape->n_layers;
    const uint32_t ops = plan_device_ops(&plan->devices[member->device]);
    for (uint32_t layer = 0; layer < n_layers; layer++) {
        const uint32_t state_ops = plan_row_ops(plan->shape, layer) & PLAN_STATE_OPS;
        member->layer_bytes[layer] = parts_bytes(plan, roles, layer, ops);
        if (ops & PLAN_OP_BIT(EXPERT_FFN)) {
            member->layer_bytes[layer] += plan->shape->n_experts * plan->layer_expert_bytes[layer];
        }
        if ((ops & state_ops) == state_ops) {
            member->layer_bytes[layer] += state_layer_bytes(plan->shape, layer, &plan->format, plan->context_length);
        }
    }
    member->embedding_bytes = parts_bytes(plan, roles, n_layers, ops & PLAN_OP_BIT(EMBED));
    member->head_bytes = parts_bytes(plan, roles, n_layers, ops & ~PLAN_OP_BIT(EMBED));
}

/* Deals the layers so that no device is fuller than this share of its memory.  False: some are left. */
static bool
deal(const struct plan *plan, struct ranges *ranges, double share)
{
    const uint32_t n_layers = plan->shape->n_layers;
    uint32_t layer = 0;
    for (uint32_t i = 0; i < ranges->n; i++) {
        struct member *member = &ranges->members[i];
        const double most = share * (double)plan->devices[member->device].memory_bytes;
        uint64_t bytes = plan->activation_bytes + (layer == 0 ? member->embedding_bytes : 0);
        for (; layer < n_layers; layer++) {
            bytes += member->layer_bytes[layer] + (layer + 1 == n_layers ? member->head_bytes : 0);
            if ((double)bytes > most) {
                break;
            }
        }
        member->end = layer;
    }
    return layer == n_layers;
}

/* Deals them by the least share that leaves none. */
static void
deal_evenly(const struct plan *plan, struct ranges *ranges)
{
    double too_little = 0, enough = 1;
    while (!deal(plan, ranges, enough)) {
        too_little = enough;
        enough *= 2;
    }
    for (int i = 0; i < SHARE_STEPS; i++) {
        const double middle = (too_little + enough) / 2;
        if (deal(plan, ranges, middle)) {
            enough = middle;
        } else {
            too_little = middle;
        }
    }
    (void)deal(plan, ranges, enough);
}

int
plan_deal_layers(struct plan *plan, const struct model_roles *roles, struct hearth_error *err)
{
    const uint32_t n_layers = plan->shape->n_layers;
    struct ranges ranges = {.n = 0};
    for (uint32_t i = 0; i < plan->n_devices; i++) {
        if (is_member(plan, i)) {
            ranges.members[ranges.n++].device = i;
        }
    }
    if (ranges.n == 1) { /* all are the home's, as they are without this file */
        return HEARTH_OK;
    }
    ranges.layer_bytes = calloc((size_t)ranges.n * n_layers, sizeof *ranges.layer_bytes);
    if (!ranges.layer_bytes) {
        return error_no_memory(err, "a plan");
    }
    for (uint32_t i = 0; i < ranges.n; i++) {
        ranges.members[i].layer_bytes = ranges.layer_bytes + (size_t)i * n_layers;
        weigh(plan, roles, &ranges.members[i]);
    }
    deal_evenly(plan, &ranges);
    for (uint32_t i = 0, layer = 0; i < ranges.n; i++) {
        for (; layer < ranges.members[i].end; layer++) {
            plan->layer_devices[layer] = (uint8_t)ranges.members[i].device;
        }
    }
    free(ranges.layer_bytes);
    return HEARTH_OK;
}
