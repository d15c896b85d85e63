/* linear.c - y = x W^T.  Native: an e4m3 or e2m1 weight quantises x; an e2m1 weight sums as a routed expert does. */
#include "backends/cpu/cpu.h"

void
cpu_linear(struct host_call *call, const struct hearth_op_linear *op)
{
    const float *x = host_view_f32(call, "x", op->x, op->n, op->n_in);
    float *y = host_view_f32(call, "y", op->y, op->n, op->n_out);
    const struct host_matrix *weight = host_weight(call, "weight", op->weight, 0, op->n_out, op->n_in);
    struct cpu_input input;
    if (call->status < 0) {
        return;
    }
    const struct cpu_wanted wanted = cpu_input_wanted(call->native, false, weight);
    cpu_input_prepare(call, x, op->n, op->n_in, wanted, &input);
    if (call->status < 0) {
        return;
    }
    const struct cpu_product product = {
        .weight = weight,
        .input = &input,
        .n_tokens = op->n,
        .y = y,
        .y_stride = op->n_out,
        .form = wanted.forms,
        .round = call->native && op->round_output,
    };
    cpu_product_run(call, &product, 0, op->n_out);
}
