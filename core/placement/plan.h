/* core/placement/plan.h - a plan: which device does what, and whether it fits.
 *
 * Pure: same request, same plan; no I/O, calls no plugin.  Every operation of every row (parts.h) has one device, its
 * weights and state live there; every expert of every layer has a home of its own.  The first device of the request is
 * the home of all that it can do.  If it is an accelerator, those behind it that can do as much share the layers with
 * it.  Each has a range of them in proportion to its memory, whole: operations, state, experts; the first layer's
 * also embeds, the last one's makes the logits.  An operation that a layer's device lacks goes to the first device
 * that has it, and experts for which it has no room to a host that lends them, or else to the first that has room. */
#ifndef CORE_PLACEMENT_PLAN_H
#define CORE_PLACEMENT_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include <hearth/command.h>
#include <hearth/status.h>

#include "core/placement/parts.h"
#include "core/placement/state_size.h"
#include "core/topology/topology.h"

#define PLAN_MAX_DEVICES 16u

struct plan;
struct json_object;

struct plan_device {
    const char *plugin, *name;
    uint32_t index;               /* among the plugin's devices */
    bool is_host;                 /* its memory is the host's, shared with every other such device */
    uint64_t memory_bytes;        /* for weights, state and activations; 0: unknown, never refused */
    double read_bytes_per_second; /* 0: unknown */
    bool supports[HEARTH_N_OPS];  /* in the request's numerics */
    bool lends_experts;           /* weight_read */
    bool borrows_experts;         /* weight_refill */
};

struct plan_request {
    const struct model_shape *shape;
    const struct model_roles *roles;
    const struct plan_device *devices; /* [n_devices], the home first */
    uint32_t n_devices;
    uint32_t numerics;                 /* enum hearth_numerics */
    struct state_format format;
    uint64_t context_length;           /* tokens of the session that must fit */
    uint64_t activation_bytes;         /* of one step, on each device in use */
    uint32_t n_loans;                  /* experts that a device shall have room to borrow for a step; 0: none */
};

enum plan_bytes_kind {
    PLAN_EMBEDDING = 0, /* embedding and head */
    PLAN_ATTENTION,     /* attention, compressors, indexer, mHC, norms, router */
    PLAN_SHARED,        /* shared experts */
    PLAN_EXPERTS,       /* routed experts */
    PLAN_LOANS,         /* room for routed experts that live with the host */
    PLAN_STATE,         /* one session */
    PLAN_ACTIVATIONS,
    N_PLAN_BYTES
};

/* Borrows nothing of the request but the devices' names and the shape, which must outlive the plan.
 * Owner: the caller; plan_free.
 * Errors: EPLUGIN (no device has an operation), EMEMORY (the numbers, and the change that would fit). */
int plan_make(const struct plan_request *request, struct plan **ret_plan, struct hearth_error *err);
void plan_free(struct plan *plan); /* NULL allowed */

/* The device in whose range a layer is: of its operations, but for those that the device lacks. */
uint32_t plan_layer_device(const struct plan *plan, uint32_t layer);
/* The device of an operation; row as in parts.h. */
uint32_t plan_op_device(const struct plan *plan, uint32_t row, enum hearth_op op);
uint32_t plan_expert_device(const struct plan *plan, uint32_t layer, uint32_t expert);
/* The devices that hold at least one expert of the layer, as bits. */
uint32_t plan_expert_devices(const struct plan *plan, uint32_t layer);
/* Experts that the device has room to borrow: the request's n_loans or, if it has no cause to or no room, 0.  Any may
 * take the place of any: all of the model have the same types and shapes, or nobody borrows. */
uint32_t plan_loans(const struct plan *plan, uint32_t device);
bool plan_borrows(const struct plan *plan); /* whether some device does */
/* Where the KV state of the layer lives. */
uint32_t plan_state_device(const struct plan *plan, uint32_t layer);
bool plan_uses_device(const struct plan *plan, uint32_t device);
bool plan_layer_uses(const struct plan *plan, uint32_t layer, uint32_t device);
/* Whether experts are left to the host, for want of memory on a device that could do them. */
bool plan_is_short(const struct plan *plan);
uint64_t plan_bytes(const struct plan *plan, uint32_t device, enum plan_bytes_kind kind);
/* All devices together, at the request's context. */
uint64_t plan_state_bytes(const struct plan *plan);

/* Bytes that a token at a context of n_tokens reads on the device: weights, experts by their expected share, and
 * state. */
double plan_read_bytes(const struct plan *plan, uint32_t device, uint64_t n_tokens);

/* Expected tokens per second of decoding at a context of n_tokens: bytes that must be read over the
 * bandwidth of where they lie, one device after the other.  0: a bandwidth is unknown. */
double plan_decode_rate(const struct plan *plan, uint64_t n_tokens);

/* The report behind `hearth plan`: devices with their bytes, layers with what leaves home, the expected
 * rate.  Owner: the caller; json_object_put. */
int plan_report(const struct plan *plan, struct json_object **ret_report, struct hearth_error *err);

#endif
