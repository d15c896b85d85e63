/* experts.c - one expert_ffn over several devices.
 *
 * The router's list goes to every device that owns a chosen expert; each computes its own and leaves the
 * other slots alone.  Then the slots are joined and handed to the device that sums them.  The sum runs by
 * ascending expert (moe_sum), so the result does not depend on who had which expert, or who was first. */
#include <string.h>

#include "core/exec/exec_internal.h"

/* The lanes that have at least one route, as bits. */
static uint32_t
wanted_lanes(const struct exec *exec, const struct graph_command *command)
{
    uint32_t lanes = 0;
    for (uint32_t i = 0; i < command->command.args.expert_ffn.n_routes; i++) {
        lanes |= UINT32_C(1) << plan_expert_device(exec->plan, command->row, exec->routes[i].expert);
    }
    return lanes;
}

static int
read_routes(struct exec *exec, struct hearth_error *err)
{
    struct lane *lane = &exec->lanes[__builtin_ctz(exec->holders[TENSOR_ROUTES])];
    return lane_read(lane, exec->routes, TENSOR_ROUTES, exec_tensor_bytes(exec, TENSOR_ROUTES), err);
}

/* Takes the slots that one lane computed into the joined result. */
static int
join_lane(struct exec *exec, uint32_t lane, const struct graph_command *command,
          struct hearth_error *err)
{
    const uint32_t dim = exec->shape->dim;
    const float *parts = (const float *)(const void *)exec->staging;
    const int status = lane_read(&exec->lanes[lane], exec->staging, TENSOR_EXPERT_PARTS,
                                 exec_tensor_bytes(exec, TENSOR_EXPERT_PARTS), err);
    if (status < 0) {
        return status;
    }
    for (uint32_t i = 0; i < command->command.args.expert_ffn.n_routes; i++) {
        const struct hearth_route *route = &exec->routes[i];
        if (plan_expert_device(exec->plan, command->row, route->expert) == lane) {
            memcpy(exec->joined + (size_t)route->slot * dim, parts + (size_t)route->slot * dim,
                   dim * sizeof(float));
        }
    }
    return HEARTH_OK;
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
        status = exec_append(exec, i, command, err);
        if (status == HEARTH_OK) {
            status = lane_submit(lane, err);
        }
    }
    return status;
}

int
exec_split_experts(struct exec *exec, uint32_t lanes, const struct graph_command *command,
                   struct hearth_error *err)
{
    int status = read_routes(exec, err);
    if (status < 0) {
        return status;
    }
    const uint32_t wanted = lanes & wanted_lanes(exec, command);
    /* devices that return at once go first: they work while the others do */
    status = start_lanes(exec, wanted, true, command, err);
    if (status == HEARTH_OK) {
        status = start_lanes(exec, wanted, false, command, err);
    }
    if (status < 0 || (wanted & (wanted - 1)) == 0) { /* one lane did it all: nothing to join */
        return status;
    }
    for (uint32_t i = 0; status == HEARTH_OK && i < PLAN_MAX_DEVICES; i++) {
        if (wanted >> i & 1u) {
            status = join_lane(exec, i, command, err);
        }
    }
    const uint32_t target = plan_op_device(exec->plan, command->row, HEARTH_OP_MOE_SUM);
    if (status == HEARTH_OK) {
        status = lane_write(&exec->lanes[target], TENSOR_EXPERT_PARTS, exec->joined,
                            exec_tensor_bytes(exec, TENSOR_EXPERT_PARTS), err);
    }
    exec->holders[TENSOR_EXPERT_PARTS] = UINT32_C(1) << target;
    return status;
}
