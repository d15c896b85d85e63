/* lend.c - one expert_ffn of a long step, all of it on the device that sums.
 *
 * Nearly every expert of a layer has tokens then, and what the device lacks reaches it sooner than the host computes
 * it.  So the host's experts come on loan, a set at a time, into room that the plan has reserved: a set is read and
 * copied while the device computes with the one before, with its own experts, or with what lies between two layers.
 * Nobody waits for the router's choice.  A slot is written by whichever command has its expert, so the result is the
 * same. */
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/exec/exec_internal.h"

#define N_SETS 2u
#define SET_EXPERTS 16u /* at most */

/* The device that does it all. */
static uint32_t
borrower(const struct exec *exec, const struct graph_command *command)
{
    return plan_op_device(exec->plan, command->row, HEARTH_OP_MOE_SUM);
}

uint32_t
exec_loans(const struct model_shape *shape)
{
    return N_SETS * (shape->n_experts < SET_EXPERTS ? shape->n_experts : SET_EXPERTS);
}

int
exec_loans_new(struct exec *exec, struct hearth_error *err)
{
    const uint32_t n_experts = exec->shape->n_experts;
    for (uint32_t i = 0; i < PLAN_MAX_DEVICES; i++) {
        const bool borrows = weights_loans(exec->weights, i) != NULL;
        for (uint32_t set = 0; borrows && set < N_SETS; set++) {
            exec->loans[i][set].experts = calloc(n_experts, sizeof *exec->loans[i][set].experts);
            if (!exec->loans[i][set].experts) {
                return error_no_memory(err, "experts on loan");
            }
        }
    }
    exec->foreign = calloc(n_experts, sizeof *exec->foreign);
    return exec->foreign ? HEARTH_OK : error_no_memory(err, "experts on loan");
}

void
exec_loans_free(struct exec *exec)
{
    for (uint32_t i = 0; i < PLAN_MAX_DEVICES; i++) {
        free(exec->loans[i][0].experts);
        free(exec->loans[i][1].experts);
    }
    free(exec->foreign);
}

bool
exec_can_lend(const struct exec *exec, uint32_t lanes, const struct graph_command *command)
{
    const uint32_t target = borrower(exec, command);
    bool can = command->command.op == HEARTH_OP_EXPERT_FFN && lanes != UINT32_C(1) << target &&
               exec->loans[target][0].experts && exec->borrow_tokens > 0 && exec->n_tokens >= exec->borrow_tokens;
    for (uint32_t i = 0; can && i < PLAN_MAX_DEVICES; i++) {
        can = i == target || !(lanes >> i & 1u) || exec->lanes[i].device->plugin->weight_read;
    }
    return can;
}

/* Loans of a set. */
static uint32_t
set_size(const struct exec *exec, uint32_t target)
{
    return plan_loans(exec->plan, target) / N_SETS;
}

/* An expert and who has it. */
struct lender {
    const struct plugin_device *device;
    const struct hearth_weight *expert;
};

static int
read_expert(void *context, size_t index, void *data, void *scales, struct hearth_error *err)
{
    const struct lender *lender = context;
    return lender->device->plugin->weight_read(lender->device->device, lender->expert, index, data, scales, err);
}

static int
borrow(struct exec *exec, uint32_t target, const struct graph_command *command, uint32_t expert,
       struct hearth_weight *loan, struct hearth_error *err)
{
    struct plugin_device *device = exec->lanes[target].device;
    const uint32_t home = plan_expert_device(exec->plan, command->row, expert);
    struct lender lender = {exec->lanes[home].device, weights_experts(exec->weights, home, command->row)[expert]};
    struct hearth_error reason = {0};
    const int status = device->plugin->weight_refill(device->device, loan, read_expert, &lender, &reason);
    return status < 0 ? plugin_device_failed(device, status, &reason, err) : HEARTH_OK;
}

/* A set of loans for n experts, and the command that computes with them. */
static int
run_set(struct exec *exec, uint32_t target, const struct graph_command *command, const uint32_t *experts, uint32_t n,
        struct hearth_error *err)
{
    const uint32_t which = exec->next_loan;
    struct loan_set *set = &exec->loans[target][which];
    struct lane *lane = &exec->lanes[target];
    struct hearth_weight *const *loans = weights_loans(exec->weights, target) + which * set_size(exec, target);
    exec->next_loan = (which + 1) % N_SETS;
    int status = lane_wait(lane, set->submission, err);
    memset(set->experts, 0, exec->shape->n_experts * sizeof *set->experts);
    for (uint32_t i = 0; status == HEARTH_OK && i < n; i++) {
        status = borrow(exec, target, command, experts[i], loans[i], err);
        set->experts[experts[i]] = loans[i];
    }
    if (status == HEARTH_OK) {
        status = exec_append(exec, target, command, set->experts, err);
    }
    if (status == HEARTH_OK) {
        status = lane_submit(lane, err);
        set->submission = lane->n_submitted;
    }
    return status;
}

/* The layer's experts that the device lacks, in exec->foreign; returns how many. */
static uint32_t
find_foreign(struct exec *exec, uint32_t target, const struct graph_command *command)
{
    uint32_t n = 0;
    for (uint32_t expert = 0; expert < exec->shape->n_experts; expert++) {
        if (plan_expert_device(exec->plan, command->row, expert) != target) {
            exec->foreign[n++] = expert;
        }
    }
    return n;
}

int
exec_lend_experts(struct exec *exec, uint32_t lanes, const struct graph_command *command, struct hearth_error *err)
{
    const uint32_t target = borrower(exec, command);
    const uint32_t n = find_foreign(exec, target, command);
    const uint32_t most = set_size(exec, target), n_sets = (n + most - 1) / most;
    int status = HEARTH_OK;
    if (lanes >> target & 1u) { /* its own, beside which the first set comes */
        status = exec_append(exec, target, command, NULL, err);
        status = status < 0 ? status : lane_submit(&exec->lanes[target], err);
    }
    for (uint32_t i = 0; status == HEARTH_OK && i < n_sets; i++) {
        const uint32_t begin = n * i / n_sets, end = n * (i + 1) / n_sets; /* alike in size */
        status = run_set(exec, target, command, exec->foreign + begin, end - begin, err);
    }
    return status;
}
