/* many.cl - tensor.cl's products for many tokens, of e4m3 weights.  A block's weights are loaded in LOADS turns, each
 * while the one before it is multiplied with. */

#define LOADS 2u
#define WORDS 4u /* of a lane, of one of its rows, in one turn */

/* A block on its way to its stage. */
static inline void
start_block(const struct work *work, const struct room *room, uint block)
{
    if (block < work->n_blocks) {
        start_x(work, room, block, TOKENS);
    }
    copy_commit();
}

/* The weights of one turn: of row g + 8 i, words [i][..]. */
static inline void
load_weights(const struct work *work, uint row, uint block, uint turn, uint *weights)
{
    const uint t = warp_lane() % 4u;
    UNROLL
    for (uint i = 0; i < 2u * TILES_M; i++) {
        const ulong at = min(row + 8u * i, work->last);
        const uint4 all =
            load_once((const global uint4 *)work->data + (at * work->n_blocks + block) * 8u + turn * 4u + t);
        weights[i * WORDS] = all.x;
        weights[i * WORDS + 1u] = all.y;
        weights[i * WORDS + 2u] = all.z;
        weights[i * WORDS + 3u] = all.w;
    }
}
/* sums: of the block, a turn's steps added. */
static inline void
add_turn(const struct room *room, const uint *weights, uint block, uint turn, float4 *sums)
{
    UNROLL
    for (uint i = 0; i < LOADS; i++) {
        uint4 a[TILES_M][2];
        UNROLL
        for (uint m = 0; m < TILES_M; m++) {
            UNROLL
            for (uint k = 0; k < 2u; k++) {
                const uint2 u = e4m3_halves(weights[2u * m * WORDS + 2u * i + k]);
                const uint2 v = e4m3_halves(weights[(2u * m + 1u) * WORDS + 2u * i + k]);
                a[m][k] = (uint4)(u.x, v.x, u.y, v.y);
            }
        }
        UNROLL
        for (uint j = 0; j < TILES_N; j++) {
            const uint4 x = step_x(room, block, turn * 2u + i, j);
            UNROLL
            for (uint m = 0; m < TILES_M; m++) {
                const uint at = m * TILES_N + j;
                sums[at] = mma_f16(a[m][0], x.xy, sums[at], room->words);
                sums[at] = mma_f16(a[m][1], x.zw, sums[at], room->words);
            }
        }
    }
}

#ifdef WHOLE

/* sums: a turn's low parts added. */
static SELDOM void
add_turn_low(const struct work *work, const struct room *room, const uint *weights, uint block, uint turn, float4 *sums)
{
    for (uint n = 0; n < 2u * TILES_M * TILES_N; n++) {
        const uint i = n / (TILES_M * TILES_N), m = n / TILES_N % TILES_M, j = n % TILES_N, at = m * TILES_N + j;
        const uint4 x = low_x(work, room, block, turn * 2u + i, j);
        const uint upper = 2u * m * WORDS + 2u * i, lower = upper + WORDS;
        const uint2 u = e4m3_halves(weights[upper]), v = e4m3_halves(weights[lower]);
        const uint2 p = e4m3_halves(weights[upper + 1u]), q = e4m3_halves(weights[lower + 1u]);
        sums[at] = mma_f16((uint4)(u.x, v.x, u.y, v.y), x.xy, sums[at], room->words);
        sums[at] = mma_f16((uint4)(p.x, q.x, p.y, q.y), x.zw, sums[at], room->words);
    }
}

/* The same where there are any, on copies: arrays that a function gets lie in memory. */
static inline void
add_low_turn(const struct work *work, const struct room *room, const uint *weights, uint block, uint turn, float4 *sums)
{
#ifdef MMA_PTX
    if (room->flags[block] == 0u) {
        return;
    }
    const struct work its_work = *work;
    const struct room its_room = *room;
    uint its_weights[2u * TILES_M * WORDS];
    float4 its_sums[TILES_M * TILES_N];
    UNROLL
    for (uint i = 0; i < 2u * TILES_M * WORDS; i++) {
        its_weights[i] = weights[i];
    }
    UNROLL
    for (uint i = 0; i < TILES_M * TILES_N; i++) {
        its_sums[i] = sums[i];
    }
    add_turn_low(&its_work, &its_room, its_weights, block, turn, its_sums);
    UNROLL
    for (uint i = 0; i < TILES_M * TILES_N; i++) {
        sums[i] = its_sums[i];
    }
#else
    add_turn_low(work, room, weights, block, turn, sums);
#endif
}

#endif

/* totals += the block's sums times their factors */
static inline void
add_block(const struct room *room, uint w_code, uint block, float4 *sums, float4 *totals)
{
    UNROLL
    for (uint j = 0; j < TILES_N; j++) {
        const local CODE *codes = room->codes + block * TOKENS + j * COLUMNS + warp_lane() % 4u * 2u;
        const float p = scale_product(codes[0] & 0xFFu, w_code, SHIFT),
                    q = scale_product(codes[1] & 0xFFu, w_code, SHIFT);
        UNROLL
        for (uint m = 0; m < TILES_M; m++) {
            const uint at = m * TILES_N + j;
            totals[at] = fma(sums[at], (float4)(p, q, p, q), totals[at]);
            sums[at] = (float4)(0.0f);
        }
    }
}

/* totals[m * TILES_N + j]: those of rows 16 m .. + 15 of the warp, tokens 8 j .. + 7, as mma.cl has them. */
static inline void
tile_totals(const struct work *work, const struct room *room, float4 *totals)
{
    const uint row = work->first + get_local_id(0) / WARP * ROWS + warp_lane() / 4u;
    float4 sums[TILES_M * TILES_N];
    uint weights[2u * TILES_M * WORDS], next[2u * TILES_M * WORDS];
    UNROLL
    for (uint i = 0; i < TILES_M * TILES_N; i++) {
        totals[i] = sums[i] = (float4)(0.0f);
    }
    load_codes(work, room);
    start_block(work, room, 0);
    load_weights(work, row, 0, 0, next);
    for (uint block = 0; block < work->n_blocks; block++) {
        const uint w_code = work->scales[(ulong)(work->first / X_BLOCK) * work->n_blocks + block];
        start_block(work, room, block + 1u);
        copy_wait(1);
        barrier(CLK_LOCAL_MEM_FENCE);
        UNROLL
        for (uint turn = 0; turn < LOADS; turn++) {
            const uint after = min(block + (turn + 1u) / LOADS, work->n_blocks - 1u);
            UNROLL
            for (uint i = 0; i < 2u * TILES_M * WORDS; i++) {
                weights[i] = next[i];
            }
            load_weights(work, row, after, (turn + 1u) % LOADS, next);
            add_turn(room, weights, block, turn, sums);
#ifdef WHOLE
            add_low_turn(work, room, weights, block, turn, sums);
#endif
        }
        add_block(room, w_code, block, sums, totals);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}

/* As `few`. */
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
many(PLACE_CONST(x), PLACE_CONST(x_scales), PLACE_CONST(data), PLACE_CONST(scales), PLACE(y), uint n, uint cols,
     uint n_rows, uint row_step, ulong data_step, ulong scales_step, uint x_step, uint x_next, uint y_stride,
     uint y_step, float limit, ulong low)
{
    local uint mma_words[MMA_WORDS(WARPS)];
    local uint4 stages[2u * STAGE];
    local CODE codes[MAX_BLOCKS * TOKENS];
    local uint rows[TOKENS], flags[MAX_BLOCKS + 1u];
    const struct room room = {stages, 0, codes, rows, flags, mma_words};
    const uint group = get_group_id(2), first = get_group_id(0) * WARPS * ROWS, first_token = get_group_id(1) * TOKENS;
    const uint warp = get_local_id(0) / WARP, lane = warp_lane();
    float4 totals[TILES_M * TILES_N];
    const struct work work = {AT_CONST(uchar, data) + group * data_step,
                              AT_CONST(uchar, scales) + group * scales_step,
                              AT_CONST(uchar, x),
                              AT_CONST(uchar, x_scales),
                              low,
                              group * row_step + first,
                              group * row_step + n_rows - 1u,
                              cols / X_BLOCK,
                              min(n - first_token, (uint)TOKENS)};
    for (uint i = get_local_id(0); i < TOKENS; i += ITEMS) {
        rows[i] = (min(first_token + i, n - 1u) * x_step + group * x_next) * work.n_blocks;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    tile_totals(&work, &room, totals);
    UNROLL
    for (uint i = 0; i < TILES_M * TILES_N * 4u; i++) {
        const uint at = i / 4u, token = at % TILES_N * COLUMNS + lane % 4u * 2u + i % 2u;
        const uint row = first + warp * ROWS + at / TILES_N * 16u + lane / 4u + i % 4u / 2u * 8u;
        if (token < work.n_tokens && row < n_rows) {
            AT(float, y)
            [(ulong)(first_token + token) * y_stride + group * y_step + row] = finished(tile_sum(totals[at], i % 4u));
        }
    }
}
