/* joint.c - commands that run together: neighbours in a submission that read the same x and write elsewhere.
 *
 * Threads meet at the end of every list of work, and a layer of a small model is over in the time of a few meetings.
 * So linears of one x share a list, and so do the routed experts and the shared one.  The bits are those of the
 * commands one by one: an output is computed by one thread, in its own order, whatever else is on the list. */
#include "backends/cpu/joint.h"

static bool
same_view(struct hearth_view a, struct hearth_view b)
{
    return a.buffer == b.buffer && a.offset == b.offset;
}

static bool
is_linear(const struct hearth_command *command)
{
    const struct hearth_op_linear *op = &command->args.linear;
    return command->op == HEARTH_OP_LINEAR && op->y.buffer != op->x.buffer;
}

/* Linears at the head of commands, at least one, that may share a list. */
static uint32_t
count_linears(const struct hearth_command *commands, size_t n_commands)
{
    const struct hearth_op_linear *first = &commands[0].args.linear;
    uint32_t n = 1;
    for (; n < n_commands && n < CPU_MAX_JOINT; n++) {
        const struct hearth_op_linear *op = &commands[n].args.linear;
        bool fits = is_linear(&commands[n]) && commands[n].numerics == commands[0].numerics &&
                    same_view(op->x, first->x) && op->n == first->n && op->n_in == first->n_in;
        for (uint32_t i = 0; i < n && fits; i++) {
            fits = op->y.buffer != commands[i].args.linear.y.buffer;
        }
        if (!fits) {
            break;
        }
    }
    return n;
}

/* Whether an expert_ffn and a shared_ffn behind it may share a list. */
static bool
are_experts(const struct hearth_command *commands, size_t n_commands)
{
    const struct hearth_op_expert_ffn *experts = &commands[0].args.expert_ffn;
    if (n_commands < 2 || commands[0].op != HEARTH_OP_EXPERT_FFN || commands[1].op != HEARTH_OP_SHARED_FFN ||
        commands[0].numerics != commands[1].numerics) {
        return false;
    }
    const struct hearth_op_shared_ffn *shared = &commands[1].args.shared_ffn;
    return same_view(experts->x, shared->x) && experts->n == shared->n && experts->dim == shared->dim &&
           experts->inner == shared->inner &&
           experts->y.buffer != shared->y.buffer && experts->y.buffer != experts->x.buffer &&
           shared->y.buffer != experts->x.buffer && experts->routes.buffer != shared->y.buffer;
}

uint32_t
cpu_joint_run(struct host_call *call, const struct hearth_command *commands, size_t n_commands)
{
    const struct hearth_op_linear *ops[CPU_MAX_JOINT];
    if (are_experts(commands, n_commands)) {
        cpu_experts_shared(call, &commands[0].args.expert_ffn, &commands[1].args.shared_ffn);
        return 2;
    }
    if (!is_linear(&commands[0])) {
        return 0;
    }
    const uint32_t n = count_linears(commands, n_commands);
    if (n < 2) {
        return 0;
    }
    call->op = "linear";
    for (uint32_t i = 0; i < n; i++) {
        ops[i] = &commands[i].args.linear;
    }
    cpu_linears(call, ops, n);
    return n;
}
