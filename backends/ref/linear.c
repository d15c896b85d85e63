/* linear.c - y = x W^T.
 *
 * Native, E4M3 weight: x is quantised in blocks of 128; acc += P(block) * (s_x s_w), blocks ascending, in f32.  Native,
 * E2M1X2 weight: as a routed expert sums, in pieces of 512.  Every other weight, and exact numerics: double inside,
 * rounded once. */
#include "backends/ref/ref.h"

/* Elements per partial sum: an e4m3 linear has one partial sum. */
static uint64_t
chunk_of(const struct host_matrix *weight)
{
    const uint64_t whole = (weight->cols + HOST_ACT_BLOCK - 1) / HOST_ACT_BLOCK * HOST_ACT_BLOCK;
    return weight->dtype == HEARTH_E2M1X2 ? HEARTH_EXPERT_CHUNK : whole;
}

void
ref_linear(struct host_call *call, const struct hearth_op_linear *op)
{
    const float *x = host_view_f32(call, "x", op->x, op->n, op->n_in);
    float *y = host_view_f32(call, "y", op->y, op->n, op->n_out);
    const struct host_matrix *weight = host_weight(call, "weight", op->weight, 0, op->n_out, op->n_in);
    struct ref_input input;
    if (call->status < 0) {
        return;
    }
    const uint32_t form = ref_form_for(call, weight->dtype);
    ref_input_prepare(call, x, op->n, op->n_in, form, &input);
    if (call->status < 0) {
        return;
    }
    ref_product_run(call, &(struct ref_product){
                              .weight = weight,
                              .input = &input,
                              .n_tokens = op->n,
                              .y = y,
                              .y_stride = op->n_out,
                              .chunk = chunk_of(weight),
                              .quantised = form == REF_FORM_QUANTISED,
                              .round = call->native && op->round_output,
                          });
}
