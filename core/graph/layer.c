/* layer.c - one layer: two sublayers, each between the collapse and the return of the streams.
 *
 *     (x, post, comb) = mhc_pre(h; attn);   h = mhc_post(attention(x), h, post, comb)
 *     (x, post, comb) = mhc_pre(h; ffn);    h = mhc_post(moe(x), h, post, comb)
 *
 * Specification 5.1.  Takes: mhc.c, attn.c, moe.c.  Gives: commands to step.c. */
#include "core/graph/graph_internal.h"

void
graph_layer(struct graph *graph, const struct graph_step *step, uint32_t layer)
{
    graph_mhc_pre(graph, step, layer, SUBLAYER_ATTENTION);
    graph_attention(graph, step, layer);
    graph_mhc_post(graph, step, layer);
    graph_mhc_pre(graph, step, layer, SUBLAYER_FFN);
    graph_moe(graph, step, layer);
    graph_mhc_post(graph, step, layer);
}
