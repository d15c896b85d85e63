/* exec.c - walks a list of commands: where each goes, what must be there first, what its operands are.
 * Takes: graph's list, plan, weights, session.  lane.c talks to a device, experts.c splits experts. */
#include "core/exec/exec.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/exec/exec_internal.h"

static bool
is_tensor(const struct graph_operand *operand)
{
    return operand->kind <= OPERAND_TENSOR_INOUT;
}

/* The lanes a command runs on, as bits: several only for experts that live apart. */
static uint32_t
command_lanes(const struct exec *exec, const struct graph_command *command)
{
    return command->command.op == HEARTH_OP_EXPERT_FFN
               ? plan_expert_devices(exec->plan, command->row)
               : UINT32_C(1) << plan_op_device(exec->plan, command->row,
                                               (enum hearth_op)command->command.op);
}

/* Those and the one that may borrow the experts. */
static uint32_t
reached_lanes(const struct exec *exec, const struct graph_command *command)
{
    const uint32_t target = plan_op_device(exec->plan, command->row, HEARTH_OP_MOE_SUM);
    const bool may_borrow = command->command.op == HEARTH_OP_EXPERT_FFN && exec->loans[target][0].experts;
    return command_lanes(exec, command) | (may_borrow ? UINT32_C(1) << target : 0);
}

static uint64_t
tensor_bytes(const struct exec *exec, enum tensor_id tensor, uint32_t n_tokens)
{
    return graph_tensor_rows(tensor, n_tokens) * graph_tensor_row_bytes(exec->shape, tensor);
}

uint64_t
exec_tensor_bytes(const struct exec *exec, enum tensor_id tensor)
{
    return tensor_bytes(exec, tensor, exec->n_tokens);
}

/* ---- making and ending --------------------------------------------------------------------------- */

static int
reserve_tensors(struct exec *exec, const struct graph *graph, struct hearth_error *err)
{
    for (size_t i = 0; i < graph->n_commands; i++) {
        const struct graph_command *command = &graph->commands[i];
        const uint32_t lanes = reached_lanes(exec, command);
        for (uint32_t j = 0; j < command->n_operands * PLAN_MAX_DEVICES; j++) {
            const struct graph_operand *operand = &command->operands[j / PLAN_MAX_DEVICES];
            struct lane *lane = &exec->lanes[j % PLAN_MAX_DEVICES];
            if (!(lanes >> j % PLAN_MAX_DEVICES & 1u) || !is_tensor(operand) ||
                lane->tensors[operand->id]) {
                continue;
            }
            const int status = lane_reserve(lane, (enum tensor_id)operand->id,
                                            tensor_bytes(exec, (enum tensor_id)operand->id, exec->max_tokens), err);
            if (status < 0) {
                return status;
            }
        }
    }
    return HEARTH_OK;
}

/* Memory between devices, for every tensor may have to cross. */
static int
reserve_staging(struct exec *exec, struct hearth_error *err)
{
    uint64_t largest = 0;
    for (int tensor = 0; tensor < N_TENSORS; tensor++) {
        const uint64_t size = tensor_bytes(exec, (enum tensor_id)tensor, exec->max_tokens);
        largest = size > largest ? size : largest;
    }
    exec->staging = malloc(largest);
    exec->routes = malloc(tensor_bytes(exec, TENSOR_ROUTES, exec->max_tokens));
    exec->joined = malloc(tensor_bytes(exec, TENSOR_EXPERT_PARTS, exec->max_tokens));
    return exec->staging && exec->routes && exec->joined
               ? HEARTH_OK
               : error_no_memory(err, "copies between devices");
}

int
exec_new(const struct model_shape *shape, const struct plan *plan,
         struct plugin_device *const *devices, const struct weights *weights, uint32_t max_tokens,
         uint32_t borrow_tokens, uint64_t timeout_ns, const struct graph *graph, const struct graph *head,
         struct exec **ret_exec, struct hearth_error *err)
{
    struct exec *exec = calloc(1, sizeof *exec);
    uint32_t n_lanes = 0;
    if (!exec) {
        return error_no_memory(err, "an executor");
    }
    exec->shape = shape;
    exec->plan = plan;
    exec->weights = weights;
    exec->max_tokens = max_tokens;
    exec->borrow_tokens = borrow_tokens;
    for (uint32_t i = 0; i < PLAN_MAX_DEVICES; i++) {
        if (plan_uses_device(plan, i)) {
            exec->lanes[i].device = devices[i];
            exec->lanes[i].timeout_ns = timeout_ns;
            n_lanes++;
        }
    }
    int status = exec_loans_new(exec, err);
    if (status == HEARTH_OK) {
        status = reserve_tensors(exec, graph, err);
    }
    if (status == HEARTH_OK) {
        status = reserve_tensors(exec, head, err);
    }
    if (status == HEARTH_OK && n_lanes > 1) {
        status = reserve_staging(exec, err);
    }
    if (status < 0) {
        exec_free(exec);
        return status;
    }
    *ret_exec = exec;
    return HEARTH_OK;
}

void
exec_free(struct exec *exec)
{
    if (!exec) {
        return;
    }
    for (uint32_t i = 0; i < PLAN_MAX_DEVICES; i++) {
        struct lane *lane = &exec->lanes[i];
        if (!lane->device) {
            continue;
        }
        lane_drop(lane);
        for (int tensor = 0; tensor < N_TENSORS; tensor++) {
            lane->device->plugin->buffer_free(lane->device->device, lane->tensors[tensor]);
        }
        free(lane->pending);
        free(lane->events);
    }
    exec_loans_free(exec);
    free(exec->staging);
    free(exec->routes);
    free(exec->joined);
    free(exec);
}

/* ---- one command --------------------------------------------------------------------------------- */

int
exec_bring(struct exec *exec, uint32_t lane, enum tensor_id tensor, struct hearth_error *err)
{
    const uint32_t holders = exec->holders[tensor];
    if (holders >> lane & 1u) {
        return HEARTH_OK;
    }
    assert(holders != 0 && exec->staging);
    struct lane *source = &exec->lanes[__builtin_ctz(holders)];
    struct lane *target = &exec->lanes[lane];
    const uint64_t size = exec_tensor_bytes(exec, tensor);
    unsigned char *from = NULL, *to = NULL;
    int status = lane_host(target, tensor, &to, err);
    if (status == HEARTH_OK && !to) {
        status = lane_host(source, tensor, &from, err);
    }
    if (status == HEARTH_OK && !from) {
        from = to ? to : exec->staging;
        status = lane_read(source, from, tensor, size, err);
    }
    if (status == HEARTH_OK && from != to) {
        status = lane_write(target, tensor, 0, from, size, err);
    }
    if (status == HEARTH_OK) {
        exec->holders[tensor] |= UINT32_C(1) << lane;
    }
    return status;
}

/* Writes an operand's view or handle into the command. */
static void
resolve(const struct exec *exec, uint32_t lane, const struct graph_command *command,
        const struct graph_operand *operand, const struct hearth_weight *const *experts,
        struct hearth_command *resolved)
{
    unsigned char *place = (unsigned char *)&resolved->args + operand->offset;
    struct hearth_view view = {NULL, 0};
    const void *handle = NULL;
    switch ((enum operand_kind)operand->kind) {
    case OPERAND_TENSOR_IN:
    case OPERAND_TENSOR_OUT:
    case OPERAND_TENSOR_INOUT:
        view.buffer = exec->lanes[lane].tensors[operand->id];
        view.offset = operand->first *
                      graph_tensor_row_bytes(exec->shape, (enum tensor_id)operand->id);
        memcpy(place, &view, sizeof view);
        return;
    case OPERAND_STATE:
        view = session_state(exec->session, command->row, (enum state_kind)operand->id);
        memcpy(place, &view, sizeof view);
        return;
    case OPERAND_PART:
        handle = weights_part(exec->weights, command->row, (enum part)operand->id);
        break;
    case OPERAND_ROPE:
        handle = weights_rope(exec->weights, lane, (enum rope_table)operand->id);
        break;
    case OPERAND_EXPERTS:
        handle = experts ? experts : weights_experts(exec->weights, lane, command->row);
        break;
    }
    memcpy(place, &handle, sizeof handle);
}

int
exec_append(struct exec *exec, uint32_t lane, const struct graph_command *command,
            const struct hearth_weight *const *experts, struct hearth_error *err)
{
    struct hearth_command resolved = command->command;
    int status = HEARTH_OK;
    if (lane != exec->current && exec->lanes[exec->current].device) {
        /* let the other device begin while this one is prepared */
        status = lane_submit(&exec->lanes[exec->current], err);
    }
    exec->current = lane;
    for (uint32_t i = 0; status == HEARTH_OK && i < command->n_operands; i++) {
        const struct graph_operand *operand = &command->operands[i];
        if (operand->kind == OPERAND_TENSOR_IN || operand->kind == OPERAND_TENSOR_INOUT) {
            status = exec_bring(exec, lane, (enum tensor_id)operand->id, err);
        }
        resolve(exec, lane, command, operand, experts, &resolved);
    }
    if (status == HEARTH_OK) {
        status = lane_append(&exec->lanes[lane], &resolved, err);
    }
    for (uint32_t i = 0; i < command->n_operands; i++) {
        const struct graph_operand *operand = &command->operands[i];
        if (operand->kind == OPERAND_TENSOR_OUT || operand->kind == OPERAND_TENSOR_INOUT) {
            exec->holders[operand->id] = UINT32_C(1) << lane;
        }
    }
    return status;
}

/* ---- a list -------------------------------------------------------------------------------------- */

static int
run_command(struct exec *exec, const struct graph_command *command, struct hearth_error *err)
{
    const uint32_t lanes = command_lanes(exec, command);
    if (exec_can_lend(exec, lanes, command)) {
        return exec_lend_experts(exec, lanes, command, err);
    }
    return (lanes & (lanes - 1)) != 0 ? exec_split_experts(exec, lanes, command, err)
                                      : exec_append(exec, (uint32_t)__builtin_ctz(lanes), command, NULL, err);
}

static int
run_commands(struct exec *exec, const struct graph *graph, struct hearth_error *err)
{
    int status = HEARTH_OK;
    for (size_t i = 0; status == HEARTH_OK && i < graph->n_commands; i++) {
        status = run_command(exec, &graph->commands[i], err);
    }
    return status;
}

int
exec_run(struct exec *exec, const struct graph *graph, const struct session *session,
         struct hearth_error *err)
{
    assert(graph->n_tokens <= exec->max_tokens);
    exec->session = session;
    exec->n_tokens = graph->n_tokens;
    int status = run_commands(exec, graph, err);
    for (uint32_t i = 0; i < PLAN_MAX_DEVICES; i++) {
        struct lane *lane = &exec->lanes[i];
        if (!lane->device) {
            continue;
        }
        if (status == HEARTH_OK) {
            status = lane_submit(lane, err);
        }
        if (status == HEARTH_OK) {
            status = lane_finish(lane, err);
        }
        if (status < 0) {
            lane_drop(lane);
        }
    }
    return status;
}

int
exec_write_ids(struct exec *exec, const int32_t *ids, uint32_t n, struct hearth_error *err)
{
    const uint32_t lane = plan_op_device(exec->plan, exec->shape->n_layers, HEARTH_OP_EMBED);
    const int status = lane_write(&exec->lanes[lane], TENSOR_IDS, 0, ids, n * sizeof *ids, err);
    exec->holders[TENSOR_IDS] = UINT32_C(1) << lane;
    return status;
}

uint32_t
exec_head_step(const struct exec *exec)
{
    const uint32_t lane = plan_op_device(exec->plan, exec->shape->n_layers, HEARTH_OP_MHC_HEAD);
    const uint64_t align = exec->lanes[lane].device->info.align_bytes;
    const uint64_t row_bytes = graph_tensor_row_bytes(exec->shape, TENSOR_STREAMS);
    uint32_t step = 1;
    while (align > 0 && step < GRAPH_HEAD_TOKENS && step * row_bytes % align != 0) {
        step *= 2;
    }
    return step;
}

int
exec_read_logits(struct exec *exec, float *logits, uint32_t first, uint32_t n,
                 struct hearth_error *err)
{
    const uint64_t row_bytes = graph_tensor_row_bytes(exec->shape, TENSOR_LOGITS);
    struct lane *lane = &exec->lanes[__builtin_ctz(exec->holders[TENSOR_LOGITS])];
    if (first == 0) {
        return lane_read(lane, logits, TENSOR_LOGITS, n * row_bytes, err);
    }
    /* rows before the first were computed for alignment's sake only: exec_head_step */
    float *rows = malloc((first + n) * row_bytes);
    if (!rows) {
        return error_no_memory(err, "logits");
    }
    const int status = lane_read(lane, rows, TENSOR_LOGITS, (first + n) * row_bytes, err);
    if (status == HEARTH_OK) {
        memcpy(logits, rows + first * (row_bytes / sizeof(float)), n * row_bytes);
    }
    free(rows);
    return status;
}
