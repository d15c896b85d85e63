/* experts.c - one expert_ffn over several devices.
 *
 * The router's list goes to every device that owns a chosen expert; each computes its own and leaves the other slots
 * alone.  What a device needs is copied before any of them begins, for a copy waits for all that its device was
 * given: so they compute at the same time.  Then the device that sums the slots is given those that it did not
 * compute itself.  The sum runs by ascending expert (moe_sum), so the result does not depend on who had which expert,
 * or who was first. */
#include <string.h>

#include "core/exec/exec_internal.h"

/* The lane that computes a route of the command. */
static uint32_t
route_lane(const struct exec *exec, const struct graph_command *command, uint32_t route)
{
    return plan_expert_device(exec->plan, command->row, exec->routes[route].expert);
}

/* The lanes that have at least one route, as bits. */
static uint32_t
wanted_lanes(const struct exec *exec, const struct graph_command *command)
{
    uint32_t lanes = 0;
    for (uint32_t i = 0; i < command->command.args.expert_ffn.n_routes; i++) {
        lanes |= UINT32_C(1) << route_lane(exec, command, i);
    }
    return lanes;
}

static int
read_routes(struct exec *exec, struct hearth_error *err)
{
    struct lane *lane = &exec->lanes[__builtin_ctz(exec->holders[TENSOR_ROUTES])];
    return lane_read(lane, exec->routes, TENSOR_ROUTES, exec_tensor_bytes(exec, TENSOR_ROUTES), err);
}

/* What read_routes has read, to the lanes of the bits that lack it. */
static int
write_routes(struct exec *exec, uint32_t lanes, struct hearth_error *err)
{
    int status = HEARTH_OK;
    for (uint32_t i = 0; status == HEARTH_OK && i < PLAN_MAX_DEVICES; i++) {
        if ((lanes & ~exec->holders[TENSOR_ROUTES]) >> i & 1u) {
            status = lane_write(&exec->lanes[i], TENSOR_ROUTES, 0, exec->routes,
                                exec_tensor_bytes(exec, TENSOR_ROUTES), err);
            exec->holders[TENSOR_ROUTES] |= UINT32_C(1) << i;
        }
    }
    return status;
}

/* Every tensor that the command reads, to every lane of the bits. */
static int
bring_inputs(struct exec *exec, uint32_t lanes, const struct graph_command *command, struct hearth_error *err)
{
    int status = write_routes(exec, lanes, err);
    for (uint32_t i = 0; i < command->n_operands; i++) {
        const struct graph_operand *operand = &command->operands[i];
        for (uint32_t lane = 0; lane < PLAN_MAX_DEVICES && operand->kind == OPERAND_TENSOR_IN; lane++) {
            if (status == HEARTH_OK && (lanes >> lane & 1u)) {
                status = exec_bring(exec, lane, (enum tensor_id)operand->id, err);
            }
        }
    }
    return status;
}

static int
start_lanes(struct exec *exec, uint32_t lanes, bool is_async, const struct graph_command *command,
            struct hearth_error *err)
{
    int status = HEARTH_OK;
    for (uint32_t i = 0; status == HEARTH_OK && i < PLAN_MAX_DEVICES; i++) {
        struct lane *lane = &exec->lanes[i];
        if (!(lanes >> i & 1u) ||
            ((lane->device->info.flags & HEARTH_DEVICE_ASYNC) != 0) != is_async) {
            continue;
        }
        status = exec_append(exec, i, command, NULL, err);
        if (status == HEARTH_OK) {
            status = lane_submit(lane, err);
        }
    }
    return status;
}

/* Whether each slot begins where the lane lets a view begin. */
static bool
slots_are_views(const struct exec *exec, uint32_t lane)
{
    const uint64_t align = exec->lanes[lane].device->info.align_bytes;
    return align == 0 || exec->shape->dim * sizeof(float) % align == 0;
}

/* All slots of the lane, in this process's memory: its own or staging. */
static int
read_slots(struct exec *exec, uint32_t lane, unsigned char **ret_slots, struct hearth_error *err)
{
    const int status = lane_host(&exec->lanes[lane], TENSOR_EXPERT_PARTS, ret_slots, err);
    if (status < 0 || *ret_slots) {
        return status;
    }
    *ret_slots = exec->staging;
    return lane_read(&exec->lanes[lane], exec->staging, TENSOR_EXPERT_PARTS,
                     exec_tensor_bytes(exec, TENSOR_EXPERT_PARTS), err);
}

/* Copies the slots that one lane computed, those that lie side by side at once: into slots or, if that is NULL, to the
 * target lane.  The router gives route i slot i. */
static int
deliver_from(struct exec *exec, uint32_t lane, const struct graph_command *command, unsigned char *slots,
             uint32_t target, struct hearth_error *err)
{
    const uint32_t n = command->command.args.expert_ffn.n_routes;
    const uint64_t slot_bytes = exec->shape->dim * sizeof(float);
    unsigned char *from = NULL;
    int status = read_slots(exec, lane, &from, err);
    for (uint32_t begin = 0, end; status == HEARTH_OK && begin < n; begin = end) {
        const bool is_here = route_lane(exec, command, begin) == lane;
        for (end = begin + 1; end < n && (route_lane(exec, command, end) == lane) == is_here; end++) {
        }
        const uint64_t offset = begin * slot_bytes, size = (end - begin) * slot_bytes;
        if (is_here && slots) {
            memcpy(slots + offset, from + offset, size);
        } else if (is_here) {
            status = lane_write(&exec->lanes[target], TENSOR_EXPERT_PARTS, offset, from + offset, size, err);
        }
    }
    return status;
}

/* Every slot to the lane that sums them, from the other lanes of the bits. */
static int
deliver(struct exec *exec, uint32_t lanes, uint32_t target, const struct graph_command *command,
        struct hearth_error *err)
{
    const uint64_t size = exec_tensor_bytes(exec, TENSOR_EXPERT_PARTS);
    unsigned char *whole = slots_are_views(exec, target) ? NULL : exec->joined;
    int status = HEARTH_OK;
    if (whole && (lanes >> target & 1u)) {
        status = lane_read(&exec->lanes[target], whole, TENSOR_EXPERT_PARTS, size, err);
    }
    for (uint32_t i = 0; status == HEARTH_OK && i < PLAN_MAX_DEVICES; i++) {
        if (i != target && (lanes >> i & 1u)) {
            status = deliver_from(exec, i, command, whole, target, err);
        }
    }
    if (status == HEARTH_OK && whole) {
        status = lane_write(&exec->lanes[target], TENSOR_EXPERT_PARTS, 0, whole, size, err);
    }
    exec->holders[TENSOR_EXPERT_PARTS] = UINT32_C(1) << target;
    return status;
}

int
exec_split_experts(struct exec *exec, uint32_t lanes, const struct graph_command *command,
                   struct hearth_error *err)
{
    const uint32_t target = plan_op_device(exec->plan, command->row, HEARTH_OP_MOE_SUM);
    int status = read_routes(exec, err);
    if (status < 0) {
        return status;
    }
    const uint32_t wanted = lanes & wanted_lanes(exec, command);
    status = bring_inputs(exec, wanted, command, err);
    /* devices that return at once go first: they work while the others do */
    if (status == HEARTH_OK) {
        status = start_lanes(exec, wanted, true, command, err);
    }
    if (status == HEARTH_OK) {
        status = start_lanes(exec, wanted, false, command, err);
    }
    if (status < 0 || (wanted & (wanted - 1)) == 0) { /* one lane did it all: nothing to join */
        return status;
    }
    return deliver(exec, wanted, target, command, err);
}
