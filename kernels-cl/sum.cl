/* sum.cl - what ends a sublayer: a token's expert outputs and its shared output become one, by ascending expert, then the
 * shared one; and a result returns to the residual streams (mhc.cl has the whole of it).
 *
 * parts f32 [n * top_k][dim], routes struct route [n][top_k], shared and y f32 [n][dim]
 * streams f32 [n][STREAMS][dim], result f32 [n][dim], post [n][STREAMS], comb [n][STREAMS][STREAMS]
 *
 * A work item is one element of one token.  Native numerics: the bits of moe_sum are the contract's (docs/numerics.md). */

/* What moe_sum adds up. */
struct parts {
    const global float *parts, *shared;
    const global struct route *routes; /* of the token */
    uint n_parts, top_k, dim;
};

/* order[k]: the part to be added as the k-th one.  All items come here. */
static inline void
order_parts(const struct parts *parts, local uint *order)
{
    const global struct route *mine = parts->routes;
    for (uint k = get_local_id(0); k < parts->top_k; k += get_local_size(0)) {
        uint at = 0; /* how many go before; routes of one expert keep their order */
        for (uint j = 0; j < parts->top_k; j++) {
            at += mine[j].expert < mine[k].expert || (mine[j].expert == mine[k].expert && j < k) ? 1u : 0u;
        }
        order[at] = mine[k].slot;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* Element d of token t.  A route that names no part adds nothing. */
static inline float
add_parts(const struct parts *parts, const local uint *order, uint t, uint d)
{
    float sum = 0.0f;
#pragma unroll 2
    for (uint k = 0; k < parts->top_k; k++) {
        if (order[k] < parts->n_parts) {
            sum += parts->parts[(ulong)order[k] * parts->dim + d];
        }
    }
    sum += parts->shared[(ulong)t * parts->dim + d];
#ifdef NATIVE
    sum = round_bf16(sum);
#endif
    return sum;
}

/* order: 4 bytes for each of top_k */
kernel void
moe_sum(PLACE_CONST(parts), PLACE_CONST(routes), PLACE_CONST(shared), PLACE(y), uint n, uint top_k, uint dim,
        local uint *order)
{
    const uint t = get_group_id(1), d = get_global_id(0);
    const struct parts all = {AT_CONST(float, parts), AT_CONST(float, shared),
                              AT_CONST(struct route, routes) + (ulong)t * top_k, n * top_k, top_k, dim};
    order_parts(&all, order);
    if (d < dim) {
        AT(float, y)[(ulong)t * dim + d] = add_parts(&all, order, t, d);
    }
}

#ifdef STREAMS
/* Place d of token t: X'_k = post[k] result + sum_j comb[j][k] X_j */
static inline void
give_back(global float *streams, const global float *post, const global float *comb, float result, uint t, uint d,
          uint dim)
{
    global float *x = streams + (ulong)t * STREAMS * dim + d;
    const global float *posts = post + (ulong)t * STREAMS;
    const global float *combs = comb + (ulong)t * STREAMS * STREAMS;
    float old[STREAMS];
    for (uint j = 0; j < STREAMS; j++) {
        old[j] = x[(ulong)j * dim];
    }
    for (uint k = 0; k < STREAMS; k++) {
        float sum = posts[k] * result;
        for (uint j = 0; j < STREAMS; j++) {
            sum = fma(combs[j * STREAMS + k], old[j], sum);
        }
#ifdef NATIVE
        sum = round_bf16(sum);
#endif
        x[(ulong)k * dim] = sum;
    }
}

kernel void
mhc_post(PLACE(streams), PLACE_CONST(result), PLACE_CONST(post), PLACE_CONST(comb), uint dim)
{
    const uint t = get_group_id(1), d = get_global_id(0);
    if (d < dim) {
        give_back(AT(float, streams), AT_CONST(float, post), AT_CONST(float, comb),
                  AT_CONST(float, result)[(ulong)t * dim + d], t, d, dim);
    }
}

/* moe_sum, then mhc_post of what it made. */
kernel void
moe_sum_post(PLACE_CONST(parts), PLACE_CONST(routes), PLACE_CONST(shared), PLACE(y), PLACE(streams), PLACE_CONST(post),
             PLACE_CONST(comb), uint n, uint top_k, uint dim, local uint *order)
{
    const uint t = get_group_id(1), d = get_global_id(0);
    const struct parts all = {AT_CONST(float, parts), AT_CONST(float, shared),
                              AT_CONST(struct route, routes) + (ulong)t * top_k, n * top_k, top_k, dim};
    order_parts(&all, order);
    if (d < dim) {
        const float result = add_parts(&all, order, t, d);
        AT(float, y)[(ulong)t * dim + d] = result;
        give_back(AT(float, streams), AT_CONST(float, post), AT_CONST(float, comb), result, t, d, dim);
    }
}
#endif
