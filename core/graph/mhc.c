/* mhc.c - manifold-constrained hyper-connections: how hc_mult residual streams meet a sublayer.
 *
 *     m = (fn . flatten(h)) * rsqrt(mean(h^2) + rms_norm_eps)      (2 + S) * S numbers per token
 *     pre, post, comb from m, scale, base; comb made doubly stochastic by hc_sinkhorn_iters rounds
 *     x = rmsnorm(sum_s pre[s] * h[s]; norm);   h'[k] = post[k] * f(x) + sum_j comb[j][k] * h[j]
 *
 * The norm behind the collapse (attn_norm, ffn_norm) is part of the operation.  Specification 5.2; keys
 * hc_mult, hc_sinkhorn_iters, hc_eps, rms_norm_eps. */
#include "core/graph/graph_internal.h"

void
graph_mhc_pre(struct graph *graph, const struct graph_step *step, uint32_t layer,
              enum sublayer sublayer)
{
    const struct model_shape *shape = step->shape;
    const bool is_attention = sublayer == SUBLAYER_ATTENTION;
    struct graph_command *command = graph_append(graph, step, layer, HEARTH_OP_MHC_PRE);
    struct hearth_op_mhc_pre *args = &command->command.args.mhc_pre;
    args->n = step->n_tokens;
    args->n_streams = shape->n_streams;
    args->dim = shape->dim;
    args->n_sinkhorn = shape->n_sinkhorn;
    args->norm_eps = shape->norm_eps;
    args->hc_eps = shape->hc_eps;
    OPERAND(command, mhc_pre, streams, TENSOR_IN, TENSOR_STREAMS);
    OPERAND(command, mhc_pre, normed, TENSOR_OUT, TENSOR_NORMED);
    OPERAND(command, mhc_pre, post, TENSOR_OUT, TENSOR_POST);
    OPERAND(command, mhc_pre, comb, TENSOR_OUT, TENSOR_COMB);
    OPERAND(command, mhc_pre, fn, PART, is_attention ? PART_HC_ATTN_FN : PART_HC_FFN_FN);
    OPERAND(command, mhc_pre, base, PART, is_attention ? PART_HC_ATTN_BASE : PART_HC_FFN_BASE);
    OPERAND(command, mhc_pre, scale, PART, is_attention ? PART_HC_ATTN_SCALE : PART_HC_FFN_SCALE);
    OPERAND(command, mhc_pre, norm, PART, is_attention ? PART_ATTN_NORM : PART_FFN_NORM);
}

void
graph_mhc_post(struct graph *graph, const struct graph_step *step, uint32_t layer)
{
    const struct model_shape *shape = step->shape;
    struct graph_command *command = graph_append(graph, step, layer, HEARTH_OP_MHC_POST);
    struct hearth_op_mhc_post *args = &command->command.args.mhc_post;
    args->n = step->n_tokens;
    args->n_streams = shape->n_streams;
    args->dim = shape->dim;
    OPERAND(command, mhc_post, streams, TENSOR_INOUT, TENSOR_STREAMS);
    OPERAND(command, mhc_post, result, TENSOR_IN, TENSOR_SUBLAYER_OUT);
    OPERAND(command, mhc_post, post, TENSOR_IN, TENSOR_POST);
    OPERAND(command, mhc_post, comb, TENSOR_IN, TENSOR_COMB);
}
