/* sum.cl - a token's expert outputs and its shared output become one: by ascending expert, then the shared one.
 *
 * parts f32 [n * top_k][dim], routes struct route [n][top_k], shared and y f32 [n][dim]
 *
 * A work item is one element of one token.  Native numerics: the bits are the contract's (docs/numerics.md). */

/* order: 4 bytes for each of top_k.  A route that names no part adds nothing. */
kernel void
moe_sum(PLACE_CONST(parts), PLACE_CONST(routes), PLACE_CONST(shared), PLACE(y), uint n, uint top_k, uint dim,
        local uint *order)
{
    const uint t = get_group_id(1), d = get_global_id(0);
    const global struct route *mine = AT_CONST(struct route, routes) + (ulong)t * top_k;
    for (uint k = get_local_id(0); k < top_k; k += get_local_size(0)) {
        uint at = 0; /* how many go before; routes of one expert keep their order */
        for (uint j = 0; j < top_k; j++) {
            at += mine[j].expert < mine[k].expert || (mine[j].expert == mine[k].expert && j < k) ? 1u : 0u;
        }
        order[at] = mine[k].slot;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (d >= dim) {
        return;
    }
    float sum = 0.0f;
    for (uint k = 0; k < top_k; k++) {
        if (order[k] < n * top_k) {
            sum += AT_CONST(float, parts)[(ulong)order[k] * dim + d];
        }
    }
    sum += AT_CONST(float, shared)[(ulong)t * dim + d];
#ifdef NATIVE
    sum = round_bf16(sum);
#endif
    AT(float, y)[(ulong)t * dim + d] = sum;
}
