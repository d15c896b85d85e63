/* between.cl - what lies between two sublayers of few tokens, in one launch: a result returns to the streams (sum.cl),
 * and the next sublayer's input is collapsed from them (mhc.cl, collapse.cl; the texts of all stand before).  With TOP_K
 * the result is a sum of experts, which is made first.
 *
 * dots [n][N_MIX + 1][PIECES] f32 as mhc.cl has its parts; counters [n], as is_last_group of group.cl wants them
 *
 * A work-group makes a piece of the new streams, in local memory, and multiplies it by ROWS_A_GROUP rows of fn,
 * DOT_ITEMS items a row; row N_MIX is the streams themselves.  Several work-groups make the same piece of the same old
 * streams, so the new ones are not written before all have read them: a token's last work-group to finish makes them
 * once more, writes them, and collapses them.  What is read again is 20 KB a work-group where streams are four, and 24
 * more where six experts are summed; it comes from the second cache, all at once.
 *
 * Every sum is made in the order of the kernels that do one thing each: the bits are theirs. */

#define N_MIX ((2u + STREAMS) * STREAMS)
#define N_STEPS (PIECE / (4u * DOT_ITEMS))

/* A token's streams, and what makes new ones of them. */
struct token {
    global float *x, *result;
    const global float *posts, *combs;
#ifdef TOP_K
    struct parts parts; /* of which the result is made */
    const local uint *order;
    const global float *shared;
#endif
};

static inline float4
result_at(const struct token *token, uint d)
{
#ifdef TOP_K
    return add_parts(&token->parts, token->order, *(const global float4 *)(token->shared + d), d);
#else
    return *(const global float4 *)(token->result + d);
#endif
}

/* Elements at .. at + 3 of all new streams, which are one's; 0 for those beyond them.  keeps_result: what was made of
 * parts goes where it belongs, too */
static inline float4
new_four(const struct token *token, uint at, bool keeps_result)
{
    const uint inside = min(at, COLS - 4u), d = inside % DIM;
    float4 old[STREAMS];
    load_streams(token->x + d, DIM, true, old);
    const struct shares shares = shares_of(token->posts, token->combs, inside / DIM);
    const float4 result = result_at(token, d);
    ask_first();
#ifdef TOP_K
    if (keeps_result && at < DIM) {
        *(global float4 *)(token->result + d) = result;
    }
#endif
    return at < COLS ? returned(old, &shares, result) : (float4)(0.0f);
}

/* The item's weights of a row and a piece. */
static inline void
load_weights(const global FN_TYPE *fn, uint first, float4 *weights)
{
#pragma unroll
    for (uint i = 0; i < N_STEPS; i++) {
        const uint at = first + 4u * (i * DOT_ITEMS + (uint)get_local_id(0) % DOT_ITEMS);
        weights[i] = COLS % PIECE == 0u || at < COLS ? FN_FOUR(fn, at) : (float4)(0.0f);
    }
}

/* A piece times a row's weights, or times itself: as mhc_dots adds it up.  parts: [GROUP] */
static inline float
team_dot(const local float4 *piece, const float4 *weights, bool is_squares, local float *parts)
{
    const uint lane = (uint)get_local_id(0) % DOT_ITEMS;
    float sum = 0.0f;
#pragma unroll
    for (uint i = 0; i < N_STEPS; i++) {
        const float4 values = piece[i * DOT_ITEMS + lane];
        sum = add_four(is_squares ? values : weights[i], values, sum);
    }
#ifdef TEAM
    group_sums(&sum, 1u, parts);
    return group_sum_of(parts + (uint)get_local_id(0) / DOT_ITEMS * (DOT_ITEMS / TEAM), 1u, DOT_ITEMS, 0u);
#else
    return team_sum(sum, parts, DOT_ITEMS);
#endif
}

/* An item's fours of all streams and of what returns to them. */
struct fours {
    float4 streams[FOURS][STREAMS], result[FOURS];
    struct shares shares[STREAMS];
};

/* n: DIM, or 0: nothing */
static inline void
load_fours(const struct token *token, uint n, struct fours *fours)
{
#pragma unroll
    for (uint i = 0; i < FOURS; i++) {
        const uint at = 4u * (uint)get_local_id(0) + i * STEP;
        load_streams(token->x + at, DIM, at < n, fours->streams[i]);
        fours->result[i] = at < n ? *(const global float4 *)(token->result + at) : (float4)(0.0f);
    }
#pragma unroll
    for (uint s = 0; s < STREAMS && n > 0; s++) {
        fours->shares[s] = shares_of(token->posts, token->combs, s);
    }
}

/* The new streams in place of the old ones, here and in memory. */
static inline void
renew_fours(const struct token *token, uint n, struct fours *fours)
{
#pragma unroll
    for (uint i = 0; i < FOURS; i++) {
        const uint at = 4u * (uint)get_local_id(0) + i * STEP;
        float4 fresh[STREAMS];
#pragma unroll
        for (uint s = 0; s < STREAMS; s++) {
            fresh[s] = at < n ? returned(fours->streams[i], &fours->shares[s], fours->result[i]) : (float4)(0.0f);
        }
#pragma unroll
        for (uint s = 0; s < STREAMS; s++) {
            store_four(token->x + (ulong)s * DIM, at, n, fresh[s]);
            fours->streams[i][s] = fresh[s];
        }
    }
}

/* What a token's last work-group does; its last items make post and comb, which takes longest, while the others wait for
 * memory.  n: DIM, or 0: nothing; space: [2 * COMB], pre: [STREAMS], parts: [GROUP] */
static inline void
collapse_token(const struct token *token, const struct mixes *mixes, const global float *norm, global float *normed,
               global float *post, global float *comb, uint n, uint n_iterations, local float *space, local float *pre,
               local float *parts)
{
    const uint is_comb = n > 0 && get_local_id(0) >= GROUP - LANES;
    struct fours fours;
    load_fours(token, n, &fours);
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE); /* post and comb may lie where the old ones did */
    make_comb(mixes, post, comb, is_comb ? STREAMS : 0u, n > 0 ? n_iterations : 0u, space);
    renew_fours(token, n, &fours);
    make_normed(mixes, token->x, fours.streams, norm, normed, n, pre, parts);
}

/* Work-groups: pieces, groups of rows, tokens.  n: tokens */
kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) WITH_SUBGROUPS void
post_and_pre(PLACE(streams), PLACE(result), PLACE(old_post), PLACE(old_comb), PLACE(fn), PLACE(dots), PLACE(counters),
             PLACE_CONST(base), PLACE_CONST(scale), PLACE(norm), PLACE(normed), PLACE(post), PLACE(comb),
             uint n_iterations, float norm_eps, float hc_eps
#ifdef TOP_K
             ,
             PLACE_CONST(parts), PLACE_CONST(routes), PLACE(shared), uint n
#endif
)
{
    local float4 piece[PIECE / 4u];
    local float space[2u * COMB], pre[STREAMS], sums[GROUP];
    local uint flag;
    const uint team = (uint)get_local_id(0) / DOT_ITEMS, t = (uint)get_group_id(2);
    const uint row = (uint)get_group_id(1) * ROWS_A_GROUP + team, first = (uint)get_group_id(0) * PIECE;
    const uint n_groups = (uint)(get_num_groups(0) * get_num_groups(1));
    global float *own_dots = AT(float, dots) + (ulong)t * (N_MIX + 1u) * PIECES;
    struct token token = {.x = AT(float, streams) + (ulong)t * COLS,
                          .result = AT(float, result) + (ulong)t * DIM,
                          .posts = AT(float, old_post) + (ulong)t * STREAMS,
                          .combs = AT(float, old_comb) + (ulong)t * COMB};
    const struct mixes mixes = {own_dots, AT_CONST(float, base), AT_CONST(float, scale), N_MIX, norm_eps, hc_eps};
    float4 weights[N_STEPS];
    load_weights(AT_CONST(FN_TYPE, fn) + (ulong)min(row, N_MIX - 1u) * COLS, first, weights);
#ifdef TOP_K
    local uint order[TOP_K + 1u];
    token.parts = (struct parts){AT_CONST(float, parts), AT_CONST(struct route, routes) + (ulong)t * TOP_K, n * TOP_K,
                                 DIM};
    token.order = order;
    token.shared = AT_CONST(float, shared) + (ulong)t * DIM;
    order_parts(&token.parts, order);
#endif
    for (uint i = (uint)get_local_id(0); i < PIECE / 4u; i += GROUP) {
        piece[i] = new_four(&token, first + 4u * i, get_group_id(1) == 0u);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    const float dot = team_dot(piece, weights, row == N_MIX, sums);
    if (get_local_id(0) % DOT_ITEMS == 0u && team < ROWS_A_GROUP && row <= N_MIX) {
        own_dots[row * PIECES + (uint)get_group_id(0)] = dot;
    }
    const uint is_last = is_last_group(true, AT(uint, counters) + t, n_groups, &flag);
#ifndef OCL_CPU
    if (is_last)
#endif
    {
        collapse_token(&token, &mixes, AT_CONST(float, norm), AT(float, normed) + (ulong)t * DIM,
                       AT(float, post) + (ulong)t * STREAMS, AT(float, comb) + (ulong)t * COMB, is_last ? DIM : 0u,
                       n_iterations, space, pre, sums);
    }
}
