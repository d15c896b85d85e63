/* output_groups.c - the first half of the output projection: each group of heads has its own matrix (wo_a).
 *
 * The activations are not quantised, whatever the weight's type: an e4m3 weight times its scale is exact in bf16, which
 * is how the reference model holds it.  Sums in double, rounded once. */
#include "backends/ref/ref.h"

void
ref_output_groups(struct host_call *call, const struct hearth_op_output_groups *op)
{
    const uint64_t n_in = (uint64_t)op->n_groups * op->width;
    const uint64_t n_out = (uint64_t)op->n_groups * op->rank;
    const float *o = host_view_f32(call, "o", op->o, op->n, n_in);
    float *y = host_view_f32(call, "y", op->y, op->n, n_out);
    const struct host_matrix *weight = host_weight(call, "weight", op->weight, 0, n_out, op->width);
    struct ref_input input;
    if (call->status < 0) {
        return;
    }
    /* [n * n_groups][width]: row t * n_groups + g is group g of token t */
    ref_input_prepare(call, o, (uint64_t)op->n * op->n_groups, op->width, REF_FORM_EXACT, &input);
    uint32_t *rows = host_scratch_take(call, (uint64_t)op->n, sizeof *rows);
    if (call->status == 0) {
        host_call_check(call, (uint64_t)op->n * op->n_groups <= UINT32_MAX, "n * n_groups: within 32 bits wanted");
    }
    for (uint32_t g = 0; g < op->n_groups && call->status == 0; g++) {
        struct ref_product product = {
            .weight = weight,
            .input = &input,
            .tokens = rows,
            .n_tokens = op->n,
            .y = y,
            .y_stride = n_out,
            .round = call->native,
        };
        for (uint32_t t = 0; t < op->n; t++) {
            rows[t] = t * op->n_groups + g;
        }
        ref_product_run_some(call, &product, (uint64_t)g * op->rank, (uint64_t)(g + 1) * op->rank);
    }
}
