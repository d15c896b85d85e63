/* sum.cl - what ends a sublayer: a token's expert outputs and its shared output become one, by ascending expert, then
 * the shared one; and a result returns to the residual streams (mhc.cl has the whole of it).
 *
 * parts f32 [n * top_k][dim], routes struct route [n][top_k], shared and y f32 [n][dim]
 * streams f32 [n][STREAMS][dim], result f32 [n][dim], post [n][STREAMS], comb [n][STREAMS][STREAMS]
 *
 * A work item is one element of one token, WIDE: four.  Native numerics: the bits of moe_sum are the contract's
 * (docs/numerics.md).  What an item reads is asked for before it uses any of it, but the parts, whose order must be
 * known.  With BETWEEN the text stands before between.cl, which has the kernel. */

#ifdef WIDE
typedef float4 place_t;
#define WIDTH 4u
#else
typedef float place_t;
#define WIDTH 1u
#endif

static inline place_t
rounded(place_t value)
{
#if defined(NATIVE) && defined(WIDE)
    return (float4)(round_bf16(value.x), round_bf16(value.y), round_bf16(value.z), round_bf16(value.w));
#elif defined(NATIVE)
    return round_bf16(value);
#else
    return value;
#endif
}

#ifdef TOP_K
/* What moe_sum adds up. */
struct parts {
    const global float *parts;
    const global struct route *routes; /* of the token */
    uint n_parts, dim;
};

/* order[k]: the part to be added as the k-th one; order[TOP_K]: 0.  All items come here. */
static inline void
order_parts(const struct parts *parts, local uint *order)
{
    const global struct route *mine = parts->routes;
    for (uint k = get_local_id(0); k < TOP_K; k += get_local_size(0)) {
        uint at = 0; /* how many go before; routes of one expert keep their order */
        for (uint j = 0; j < TOP_K; j++) {
            at += mine[j].expert < mine[k].expert || (mine[j].expert == mine[k].expert && j < k) ? 1u : 0u;
        }
        order[at] = mine[k].slot;
    }
    if (get_local_id(0) == 0) {
        order[TOP_K] = 0;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* Parts that an item asks for together. */
#define BATCH 8u

/* Place d of a token whose shared output is given.  A route that names no part adds 0.  All items come here. */
static inline place_t
add_parts(const struct parts *parts, const local uint *order, place_t shared, uint d)
{
    place_t sum = 0.0f;
#pragma unroll
    for (uint first = 0; first < TOP_K; first += BATCH) {
        place_t values[BATCH];
#pragma unroll
        for (uint i = 0; i < BATCH; i++) {
            const uint k = min(first + i, TOP_K - 1u);
            values[i] = 0.0f;
            if (first + i < TOP_K && order[k] < parts->n_parts) {
                values[i] = *(const global place_t *)(parts->parts + (ulong)order[k] * parts->dim + d);
            }
        }
        ask_first();
        /* which is known when all is asked for; the sum is never -0, so that adding 0 changes nothing */
        sum += as_float(order[TOP_K]);
#pragma unroll
        for (uint i = 0; i < BATCH; i++) {
            sum += values[i];
        }
    }
    return rounded(sum + shared);
}

#ifndef BETWEEN
/* order: [TOP_K + 1] */
kernel void
moe_sum(PLACE_CONST(parts), PLACE_CONST(routes), PLACE(shared), PLACE(y), uint n, uint dim, local uint *order)
{
    const uint t = get_group_id(1), d = (uint)get_global_id(0) * WIDTH, held = min(d, dim - WIDTH);
    const ulong at = (ulong)t * dim + held;
    const struct parts all = {AT_CONST(float, parts), AT_CONST(struct route, routes) + (ulong)t * TOP_K, n * TOP_K,
                              dim};
    const place_t shared = *(const global place_t *)(AT_CONST(float, shared) + at);
    order_parts(&all, order);
    const place_t sum = add_parts(&all, order, shared, held);
    if (d < dim) {
        *(global place_t *)(AT(float, y) + at) = sum;
    }
}
#endif
#endif

#ifdef STREAMS
/* What a stream is made of: shares of the result and of all streams. */
struct shares {
    float result, old[STREAMS];
};

static inline struct shares
shares_of(const global float *posts, const global float *combs, uint k)
{
    struct shares shares = {.result = posts[k]};
#pragma unroll
    for (uint j = 0; j < STREAMS; j++) {
        shares.old[j] = combs[j * STREAMS + k];
    }
    return shares;
}

/* A place of X'_k = post[k] result + sum_j comb[j][k] X_j.  old: of all streams */
static inline place_t
returned(const place_t *old, const struct shares *shares, place_t result)
{
    place_t sum = shares->result * result;
#pragma unroll
    for (uint j = 0; j < STREAMS; j++) {
        sum = fma((place_t)(shares->old[j]), old[j], sum);
    }
    return rounded(sum);
}

/* The place of all streams.  x: [STREAMS][dim] from it on; old: what is there */
static inline void
give_back(global float *x, const place_t *old, const global float *posts, const global float *combs, place_t result,
          uint dim)
{
#pragma unroll
    for (uint k = 0; k < STREAMS; k++) {
        const struct shares shares = shares_of(posts, combs, k);
        *(global place_t *)(x + (ulong)k * dim) = returned(old, &shares, result);
    }
}

/* is_own: not a place beyond the row, held at its last one, which another item writes */
static inline void
load_streams(const global float *x, uint dim, bool is_own, place_t *ret_old)
{
#pragma unroll
    for (uint j = 0; j < STREAMS; j++) {
        ret_old[j] = 0.0f;
        if (is_own) {
            ret_old[j] = *(const global place_t *)(x + (ulong)j * dim);
        }
    }
}

#ifndef BETWEEN
kernel void
mhc_post(PLACE(streams), PLACE(result), PLACE_CONST(post), PLACE_CONST(comb), uint dim)
{
    const uint t = get_group_id(1), d = (uint)get_global_id(0) * WIDTH, held = min(d, dim - WIDTH);
    global float *x = AT(float, streams) + (ulong)t * STREAMS * dim + held;
    const place_t result = *(const global place_t *)(AT_CONST(float, result) + (ulong)t * dim + held);
    place_t old[STREAMS];
    load_streams(x, dim, d < dim, old);
    ask_first();
    if (d < dim) {
        give_back(x, old, AT_CONST(float, post) + (ulong)t * STREAMS,
                  AT_CONST(float, comb) + (ulong)t * STREAMS * STREAMS, result, dim);
    }
}

#ifdef TOP_K
/* moe_sum, then mhc_post of what it made. */
kernel void
moe_sum_post(PLACE_CONST(parts), PLACE_CONST(routes), PLACE(shared), PLACE(y), PLACE(streams), PLACE_CONST(post),
             PLACE_CONST(comb), uint n, uint dim, local uint *order)
{
    const uint t = get_group_id(1), d = (uint)get_global_id(0) * WIDTH, held = min(d, dim - WIDTH);
    const ulong at = (ulong)t * dim + held;
    const struct parts all = {AT_CONST(float, parts), AT_CONST(struct route, routes) + (ulong)t * TOP_K, n * TOP_K,
                              dim};
    const place_t shared = *(const global place_t *)(AT_CONST(float, shared) + at);
    global float *x = AT(float, streams) + (ulong)t * STREAMS * dim + held;
    place_t old[STREAMS];
    load_streams(x, dim, d < dim, old);
    ask_first();
    order_parts(&all, order);
    const place_t result = add_parts(&all, order, shared, held);
    if (d < dim) {
        *(global place_t *)(AT(float, y) + at) = result;
        give_back(x, old, AT_CONST(float, post) + (ulong)t * STREAMS,
                  AT_CONST(float, comb) + (ulong)t * STREAMS * STREAMS, result, dim);
    }
}
#endif
#endif
#endif
