/* routes.cl - the router's choice of experts, and the order in which their routes are worked on.
 *
 *     a_e = sqrt(softplus(logit_e));   weight = a_e / sum of the chosen a * route_scale
 *
 * logits  f32 [n][n_experts], as product.cl made them
 * bias    f32 [n_experts], or a null pointer
 * table   i64 [n_rows][top_k], with TABLE: the experts by token id
 * routes  struct route [n][top_k] */

/* softplus(x) is log(1 + e^x); far below 0 it is e^x to the last bit, and its root is taken in the exponent so that
 * nothing is subnormal. */
static inline float
affinity(float logit)
{
    if (logit < -17.0f) {
        return exp(0.5f * logit);
    }
    return sqrt(logit > 20.0f ? logit : log1p(exp(logit)));
}

/* How many of the scores go before expert e's: the larger ones, and of the same those of lower numbers. */
static inline uint
count_before(const local float *scores, uint n_experts, uint e)
{
    const float mine = scores[e];
    uint n_before = 0;
#pragma unroll 8
    for (uint f = 0; f < n_experts; f++) {
        n_before += scores[f] > mine || (scores[f] == mine && f < e) ? 1u : 0u;
    }
    return n_before;
}

/* Leaves the top_k best experts in chosen[0 .. top_k - 1], ascending.  found: [top_k + 1].  Every expert counts those
 * before it; a NaN counts as the least score, so that there are always top_k. */
static void
choose_best(const global float *logits, const global float *bias, uint n_experts, uint top_k, local float *scores,
            local uint *found, local uint *chosen)
{
    const uint lane = get_local_id(0), n_lanes = get_local_size(0);
    local uint *n_found = found + top_k;
    for (uint e = lane; e < n_experts; e += n_lanes) {
        const float score = affinity(logits[e]) + (bias == 0 ? 0.0f : bias[e]);
        scores[e] = score == score ? score : -INFINITY;
    }
    if (lane == 0u) {
        *n_found = 0u;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint e = lane; e < n_experts; e += n_lanes) {
        if (count_before(scores, n_experts, e) < top_k) {
            found[atomic_inc(n_found)] = e;
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint k = lane; k < top_k; k += n_lanes) {
        uint at = 0;
        for (uint j = 0; j < top_k; j++) {
            at += found[j] < found[k] ? 1u : 0u;
        }
        chosen[at] = found[k];
    }
}

/* Where a token's routes come from, and what they are to be. */
struct choice {
    const global float *logits, *bias; /* bias 0: none */
    const global long *table;
    int id; /* of the token, for the table */
    uint n_experts, top_k;
    ulong n_rows;
    float route_scale;
};

/* The routes of token t.  n_experts and top_k 0: nothing.  words: 4 bytes for each of n_experts + 2 * top_k + 1.  An id
 * or an expert out of range gives the token NaN weights. */
static inline void
choose_routes(const struct choice *choice, uint t, global struct route *routes, local uint *words)
{
    const uint lane = get_local_id(0), n_experts = choice->n_experts, top_k = choice->top_k;
    local uint *chosen = words + n_experts;
    bool is_valid = true;
#ifdef TABLE
    is_valid = choice->id >= 0 && (ulong)choice->id < choice->n_rows;
    for (uint k = lane; k < top_k; k += get_local_size(0)) {
        const long expert = is_valid ? choice->table[(ulong)choice->id * top_k + k] : 0;
        chosen[k] = expert >= 0 && expert < (long)n_experts ? (uint)expert : n_experts;
    }
#else
    choose_best(choice->logits, choice->bias, n_experts, top_k, (local float *)words, chosen + top_k, chosen);
#endif
    barrier(CLK_LOCAL_MEM_FENCE);
    local float *affinities = (local float *)(chosen + top_k);
    for (uint k = lane; k < top_k; k += get_local_size(0)) {
        affinities[k] = affinity(choice->logits[min(chosen[k], n_experts - 1u)]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    float sum = 0.0f;
    for (uint k = 0; k < top_k; k++) {
        is_valid = is_valid && chosen[k] < n_experts;
        sum += affinities[k];
    }
    for (uint k = lane; k < top_k; k += get_local_size(0)) {
        const uint expert = min(chosen[k], n_experts - 1u), at = t * top_k + k;
        struct route route = {t, at, expert, affinities[k] / sum * choice->route_scale};
        route.weight = is_valid ? route.weight : NAN;
        routes[at] = route;
    }
}

/* A kernel's arguments for the choice, and what they say of token t. */
#define CHOICE                                                                                                         \
    PLACE_CONST(logits), PLACE_CONST(bias), PLACE_CONST(table), PLACE_CONST(ids), PLACE(routes), uint n_experts,       \
        uint top_k, ulong n_rows, float route_scale, local uint *words
#ifdef TABLE
#define TOKEN_ID(t) AT_CONST(int, ids)[t]
#else
#define TOKEN_ID(t) 0
#endif
#define FIND_CHOICE(choice, t)                                                                                         \
    struct choice choice = {AT_CONST(float, logits) + (ulong)(t) * n_experts,                                          \
                            bias_mem == 0 ? 0 : AT_CONST(float, bias),                                                 \
                            AT_CONST(long, table),                                                                     \
                            TOKEN_ID(t),                                                                               \
                            n_experts,                                                                                 \
                            top_k,                                                                                     \
                            n_rows,                                                                                    \
                            route_scale};

#ifndef BESIDE
/* A work-group is a token. */
kernel void choose(CHOICE)
{
    FIND_CHOICE(choice, get_group_id(0))
    choose_routes(&choice, get_group_id(0), AT(struct route, routes), words);
}

static inline bool
is_here(const global struct route *route, const global struct expert *experts, uint n_experts)
{
    return route->expert < n_experts && experts[route->expert].dtypes[0] != 0u;
}

/* Cuts the routes into tiles of one expert, at most `tokens` each: order [n_routes], tiles [n_tiles], the last ones
 * empty.  One work-group.  words: 4 bytes for each of 3 * (n_experts + 1). */
kernel void
group(PLACE_CONST(routes), PLACE_CONST(experts), PLACE(order), PLACE(tiles), uint n_routes, uint n_experts, uint tokens,
      uint n_tiles, local uint *words)
{
    const uint lane = get_local_id(0), n_lanes = get_local_size(0);
    const global struct route *all = AT_CONST(struct route, routes);
    local uint *cursors = words, *starts = words + n_experts + 1u, *first_tiles = starts + n_experts + 1u;
    for (uint e = lane; e < n_experts; e += n_lanes) {
        cursors[e] = 0u;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = lane; i < n_routes; i += n_lanes) {
        if (is_here(all + i, AT_CONST(struct expert, experts), n_experts)) {
            atomic_inc(&cursors[all[i].expert]);
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lane == 0u) {
        uint at = 0u, tile = 0u;
        for (uint e = 0; e < n_experts; e++) {
            starts[e] = at;
            first_tiles[e] = tile;
            at += cursors[e];
            tile += (cursors[e] + tokens - 1u) / tokens;
            cursors[e] = starts[e];
        }
        starts[n_experts] = at;
        first_tiles[n_experts] = tile;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = lane; i < n_routes; i += n_lanes) {
        if (is_here(all + i, AT_CONST(struct expert, experts), n_experts)) {
            AT(uint, order)[atomic_inc(&cursors[all[i].expert])] = i;
        }
    }
    for (uint e = lane; e < n_experts; e += n_lanes) {
        for (uint tile = first_tiles[e]; tile < first_tiles[e + 1u]; tile++) {
            const uint first = starts[e] + (tile - first_tiles[e]) * tokens;
            global struct tile *made = AT(struct tile, tiles) + tile; /* a struct of its own would lie in memory */
            made->expert = e;
            made->first = first;
            made->n = min(tokens, starts[e + 1u] - first);
        }
    }
    for (uint tile = first_tiles[n_experts] + lane; tile < n_tiles; tile += n_lanes) {
        AT(struct tile, tiles)[tile].n = 0u;
    }
}
#endif
