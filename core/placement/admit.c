/* admit.c - what each device must hold, homes for the experts, and a refusal before anything is loaded.
 *
 * Devices whose memory is the host's share one pool.  Experts fill each device evenly over its own layers, for a
 * token visits every layer; what does not fit goes to a host that lends it to them, or else to the next device that
 * can do expert_ffn and has room.  Which experts of a layer stay is arbitrary here (the lowest ids): heat is not
 * known to this room yet. */
#include "core/placement/plan_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/error.h"

#define GIB 1073741824.0

/* Devices that draw on the same memory. */
static bool
same_pool(const struct plan *plan, uint32_t a, uint32_t b)
{
    return a == b || (plan->devices[a].is_host && plan->devices[b].is_host);
}

static uint64_t
device_bytes(const struct plan *plan, uint32_t device)
{
    uint64_t bytes = 0;
    for (int kind = 0; kind < N_PLAN_BYTES; kind++) {
        bytes += plan->bytes[device][kind];
    }
    return bytes;
}

static uint64_t
pool_bytes(const struct plan *plan, uint32_t device)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < plan->n_devices; i++) {
        bytes += same_pool(plan, i, device) ? device_bytes(plan, i) : 0;
    }
    return bytes;
}

static enum plan_bytes_kind
part_kind(enum part part)
{
    return part == PART_SHARED ? PLAN_SHARED
           : part == PART_EMBED || part == PART_HEAD ? PLAN_EMBEDDING : PLAN_ATTENTION;
}

static void
count_parts(struct plan *plan, const struct model_roles *roles)
{
    const uint32_t n_layers = plan->shape->n_layers;
    for (uint32_t row = 0; row <= n_layers; row++) {
        for (int i = 0; i < N_PARTS; i++) {
            const enum part part = (enum part)i;
            const struct hearth_matrix *matrices = NULL;
            const size_t n = part_matrices(roles, n_layers, row, part, &matrices);
            if (n == 0) {
                continue;
            }
            const uint64_t bytes = matrix_bytes(matrices, n);
            const uint32_t device = plan_op_device(plan, row, part_facts(part)->op);
            plan->bytes[device][part_kind(part)] += bytes;
            /* one token reads one row of the tables that are looked up */
            const bool is_lookup = part == PART_EMBED || part == PART_HASH_TABLE;
            plan->active_bytes[device] += is_lookup ? (double)bytes / (double)matrices[0].rows
                                                    : (double)bytes;
        }
    }
}

static void
count_state(struct plan *plan)
{
    for (uint32_t layer = 0; layer < plan->shape->n_layers; layer++) {
        plan->bytes[plan_state_device(plan, layer)][PLAN_STATE] +=
            state_layer_bytes(plan->shape, layer, &plan->format, plan->context_length);
    }
}

/* Experts of the layer for a device that is to get n of each layer, own: of each of its own; at most those without a
 * home. */
static uint32_t
n_experts_for(const struct plan *plan, uint32_t device, bool own, uint32_t layer, uint32_t n)
{
    const uint32_t n_left = plan->shape->n_experts - plan->n_placed[layer];
    return own && plan->layer_devices[layer] != device ? 0 : n < n_left ? n : n_left;
}

/* The most experts of every such layer that still fit device; all of them if its memory is unknown. */
static uint32_t
expert_quota(const struct plan *plan, uint32_t device, bool own)
{
    const uint64_t memory = plan->devices[device].memory_bytes;
    const uint64_t activations = plan->bytes[device][PLAN_ACTIVATIONS] == 0 ? plan->activation_bytes : 0;
    uint32_t quota = 0;
    uint64_t wanted = 0;
    while (quota < plan->shape->n_experts && (memory == 0 || wanted <= memory)) {
        quota++;
        wanted = pool_bytes(plan, device) + activations;
        for (uint32_t layer = 0; layer < plan->shape->n_layers; layer++) {
            wanted += n_experts_for(plan, device, own, layer, quota) * plan->layer_expert_bytes[layer];
        }
    }
    return memory == 0 || wanted <= memory ? quota : quota - 1;
}

static void
give_experts(struct plan *plan, uint32_t device, bool own, uint32_t quota)
{
    const uint32_t n_experts = plan->shape->n_experts;
    for (uint32_t layer = 0; layer < plan->shape->n_layers; layer++) {
        const uint32_t n = n_experts_for(plan, device, own, layer, quota);
        const uint64_t bytes = n * plan->layer_expert_bytes[layer];
        memset(&plan->expert_devices[(size_t)layer * n_experts + plan->n_placed[layer]], (int)device, n);
        plan->n_placed[layer] += n;
        plan->bytes[device][PLAN_EXPERTS] += bytes;
        plan->active_bytes[device] += (double)bytes * plan->shape->experts_per_token / (double)n_experts;
        if (n > 0) {
            plan->bytes[device][PLAN_ACTIVATIONS] = plan->activation_bytes;
        }
    }
}

static bool
is_lender(const struct plan_device *device)
{
    return device->is_host && device->lends_experts;
}

static bool
has_lender(const struct plan *plan)
{
    bool has = false;
    for (uint32_t i = 0; i < plan->n_devices; i++) {
        has = has || is_lender(&plan->devices[i]);
    }
    return has;
}

/* Room to borrow experts, if the device is to do without some of its own layers' and a long step had better have
 * them. */
static void
reserve_loans(struct plan *plan, uint32_t device)
{
    const uint64_t memory = plan->devices[device].memory_bytes;
    const bool borrows = plan->devices[device].borrows_experts && has_lender(plan);
    uint64_t largest = 0;
    for (uint32_t layer = 0; borrows && layer < plan->shape->n_layers; layer++) {
        const bool is_own = plan->layer_devices[layer] == device;
        largest = is_own && plan->layer_expert_bytes[layer] > largest ? plan->layer_expert_bytes[layer] : largest;
    }
    if (largest > 0 && expert_quota(plan, device, true) < plan->shape->n_experts) {
        plan->bytes[device][PLAN_LOANS] = plan->n_loans * largest;
        if (pool_bytes(plan, device) > memory) {
            plan->bytes[device][PLAN_LOANS] = 0;
        }
    }
}

/* Where experts look for a home: with their layer's device, with a host that lends them to it, anywhere. */
enum home { HOME_OWN, HOME_LENDER, HOME_ANY, N_HOMES };

static bool
may_take(const struct plan *plan, uint32_t device, enum home home)
{
    const struct plan_device *facts = &plan->devices[device];
    return facts->supports[HEARTH_OP_EXPERT_FFN] && (home != HOME_LENDER || (plan_borrows(plan) && is_lender(facts)));
}

static void
place_experts(struct plan *plan)
{
    uint32_t last = 0;
    for (int home = 0; home < N_HOMES; home++) {
        const bool own = home == HOME_OWN;
        for (uint32_t i = 0; i < plan->n_devices; i++) {
            if (!may_take(plan, i, (enum home)home)) {
                continue;
            }
            if (own) {
                reserve_loans(plan, i);
            }
            give_experts(plan, i, own, expert_quota(plan, i, own));
            last = i;
        }
    }
    /* what fits nowhere is counted on the last one, which is then refused with the true sum */
    give_experts(plan, last, false, plan->shape->n_experts);
}

/* The first device that is to hold more than it can; -1: none. */
static int
find_full(const struct plan *plan)
{
    for (uint32_t i = 0; i < plan->n_devices; i++) {
        const uint64_t memory = plan->devices[i].memory_bytes;
        if (memory > 0 && plan_uses_device(plan, i) && pool_bytes(plan, i) > memory) {
            return (int)i;
        }
    }
    return -1;
}

static bool
fits(const struct plan_request *request, uint64_t context_length)
{
    struct plan_request other = *request;
    struct plan *plan = NULL;
    other.context_length = context_length;
    const bool yes = plan_build(&other, &plan, NULL) == HEARTH_OK && find_full(plan) < 0;
    plan_free(plan);
    return yes;
}

/* A context that fits, found by planning for it, since layers may move with it.  In steps of 1024 tokens, or of one
 * if not even 1024 fit; 0: none fits. */
static uint64_t
fitting_context(const struct plan_request *request)
{
    for (uint64_t step = 1024; step > 0; step /= 1024) {
        uint64_t found = 0, beyond = (request->context_length + step - 1) / step;
        while (beyond - found > 1) {
            const uint64_t middle = found + (beyond - found) / 2;
            if (fits(request, middle * step)) {
                found = middle;
            } else {
                beyond = middle;
            }
        }
        if (found > 0) {
            return found * step;
        }
    }
    return 0;
}

static int
refuse_memory(const struct plan *plan, const struct plan_request *request, uint32_t device, struct hearth_error *err)
{
    uint64_t sums[N_PLAN_BYTES] = {0};
    for (uint32_t i = 0; i < plan->n_devices; i++) {
        for (int kind = 0; same_pool(plan, i, device) && kind < N_PLAN_BYTES; kind++) {
            sums[kind] += plan->bytes[i][kind];
        }
    }
    const uint64_t wanted = pool_bytes(plan, device);
    const uint64_t memory = plan->devices[device].memory_bytes;
    const uint64_t context = fitting_context(request);
    char change[96];
    if (context > 0) {
        snprintf(change, sizeof change, "context.length %" PRIu64 " would fit", context);
    } else {
        snprintf(change, sizeof change, "%.2f GiB more would fit", (double)(wanted - memory) / GIB);
    }
    return error_set(err, HEARTH_EMEMORY,
                     "device %s: %.2f GiB wanted (weights %.2f, a context of %" PRIu64
                     " tokens %.2f, activations %.2f), %.2f GiB there; %s",
                     plan->devices[device].name, (double)wanted / GIB,
                     (double)(sums[PLAN_EMBEDDING] + sums[PLAN_ATTENTION] + sums[PLAN_SHARED] +
                              sums[PLAN_EXPERTS]) / GIB,
                     plan->context_length, (double)sums[PLAN_STATE] / GIB,
                     (double)sums[PLAN_ACTIVATIONS] / GIB, (double)memory / GIB, change);
}

static void
count_activations(struct plan *plan)
{
    for (uint32_t i = 0; i < plan->n_devices; i++) {
        if (device_bytes(plan, i) > 0) {
            plan->bytes[i][PLAN_ACTIVATIONS] = plan->activation_bytes;
        }
    }
    /* operations without weights or state of their own need room for activations too */
    for (uint32_t row = 0; row <= plan->shape->n_layers; row++) {
        const uint32_t ops = plan_row_ops(plan->shape, row);
        for (uint32_t op = 0; op < HEARTH_N_OPS; op++) {
            if ((ops >> op & 1u) && op != HEARTH_OP_EXPERT_FFN) {
                plan->bytes[plan_op_device(plan, row, (enum hearth_op)op)][PLAN_ACTIVATIONS] = plan->activation_bytes;
            }
        }
    }
}

void
plan_count(struct plan *plan, const struct model_roles *roles)
{
    count_parts(plan, roles);
    count_state(plan);
    count_activations(plan);
    place_experts(plan);
}

int
plan_admit(const struct plan *plan, const struct plan_request *request, struct hearth_error *err)
{
    const int full = find_full(plan);
    return full < 0 ? HEARTH_OK : refuse_memory(plan, request, (uint32_t)full, err);
}
