/* linear.c - y = x W^T.  Native: an e4m3 or e2m1 weight quantises x; an e2m1 weight sums as a routed expert does.
 *
 * Linears of one x that follow each other run as one list of rows (joint.c): x is prepared once, the threads meet
 * once. */
#include "backends/cpu/joint.h"

/* Fetches y and the weight, and adds the form that it wants. */
static void
take_linear(struct host_call *call, const struct hearth_op_linear *op, struct cpu_product *product,
            struct cpu_wanted *wanted)
{
    float *y = host_view_f32(call, "y", op->y, op->n, op->n_out);
    const struct host_matrix *weight = host_weight(call, "weight", op->weight, 0, op->n_out, op->n_in);
    if (call->status < 0) {
        return;
    }
    const struct cpu_wanted one = cpu_input_wanted(call->native, false, weight);
    *product = (struct cpu_product){
        .weight = weight,
        .n_tokens = op->n,
        .y = y,
        .y_stride = op->n_out,
        .form = one.forms,
        .round = call->native && op->round_output,
    };
    wanted->forms |= one.forms; /* each form has one meaning for one x */
    wanted->quantise |= one.quantise;
}

void
cpu_linears(struct host_call *call, const struct hearth_op_linear *const *ops, uint32_t n_ops)
{
    const float *x = host_view_f32(call, "x", ops[0]->x, ops[0]->n, ops[0]->n_in);
    struct cpu_product products[CPU_MAX_JOINT];
    struct cpu_wanted wanted = {0, false};
    struct cpu_input input;
    for (uint32_t i = 0; i < n_ops && call->status == 0; i++) {
        take_linear(call, ops[i], &products[i], &wanted);
        products[i].input = &input;
    }
    if (call->status == 0) {
        cpu_input_prepare(call, x, ops[0]->n, ops[0]->n_in, wanted, &input);
    }
    if (call->status == 0) {
        cpu_products_run(call, products, n_ops);
    }
}

void
cpu_linear(struct host_call *call, const struct hearth_op_linear *op)
{
    cpu_linears(call, &op, 1);
}
