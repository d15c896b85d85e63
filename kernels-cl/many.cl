/* many.cl - tensor.cl's products for many tokens, and of experts for many routes.
 *
 * Each of WARPS warps makes 32 rows for TOKENS (a multiple of 8) tokens, whose x is in local memory, one block ahead.
 */

#define ROWS 32u /* of a warp */
#define TILES_M (ROWS / 16u)
#define PARTS (X_STEPS * 4u) /* of a block of one token, 16 bytes each */
#define STAGE (PARTS * TOKENS)
#define PIECE_BLOCKS 4u
#if DTYPE == DTYPE_E4M3
#ifndef WHOLE
#define CODE uchar
#endif
#define LOADS 2u /* of a block: its weights are loaded in so many turns */
#else
#define CODE ushort
#define LOADS 1u
#endif
#ifdef MMA_PTX
#define SELDOM __attribute__((noinline))
#else
#define SELDOM inline
#endif
#define WORDS 4u /* of a lane, of one of its rows, in one turn */

/* Codes within these keep every factor inside the contract's limits: a row's first of the weights; of x, whose least is
 * act_quant's floor. */
#define LEAST_CODE 64u
#define MOST_CODE 127u
#define MOST_X_CODE 191u

/* What a work-group multiplies: rows first .. of a matrix whose last row is `last`, with rows[i] of x. */
struct work {
    const global uchar *data, *scales;
    const global uchar *x, *x_codes;
    ulong low;
    uint first, last, n_blocks, n_tokens;
};

/* Local memory of a work-group. */
struct room {
    local uint4 *stages; /* [2][step][token][t] */
    local CODE *codes;   /* [block][token] */
    local uint *rows;    /* [token] of x */
    local uint
        *flags; /* [block]: bit 4 j + step: a token of columns 8 j .. has a low part there; then: x is not tame */
    local uint *words;
};

/* x of a block on its way to a stage. */
static inline void
start_block(const struct work *work, const struct room *room, uint block)
{
    const uint part = get_local_id(0) % PARTS;
    local uint4 *stage = room->stages + block % 2u * STAGE;
    for (uint token = get_local_id(0) / PARTS; token < TOKENS && block < work->n_blocks; token += ITEMS / PARTS) {
        const ulong at = ((ulong)room->rows[token] * work->n_blocks + block) * PARTS + part;
        copy_start(stage + (part / 4u * TOKENS + token) * 4u + part % 4u, (const global uint4 *)work->x + at);
    }
    copy_commit();
}

/* All codes of the tile's tokens; flags of what is rare among them. */
static inline void
load_codes(const struct work *work, const struct room *room)
{
    for (uint i = get_local_id(0); i <= work->n_blocks; i += ITEMS) {
        room->flags[i] = 0u;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = get_local_id(0); i < work->n_blocks * TOKENS; i += ITEMS) {
        const uint token = i / work->n_blocks, block = i % work->n_blocks;
        const CODE code = ((const global CODE *)work->x_codes)[(ulong)room->rows[token] * work->n_blocks + block];
        room->codes[block * TOKENS + token] = code;
#ifdef WHOLE
        if (code >> 8) {
            atomic_or(&room->flags[block], 1u);
        }
#elif DTYPE == DTYPE_E2M1X2
        if (code >> 8) {
            atomic_or(&room->flags[block], (uint)(code >> 8) << token / COLUMNS * 4u);
        }
        if ((code & 0xFFu) > MOST_X_CODE) {
            atomic_or(&room->flags[work->n_blocks], 1u);
        }
#endif
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* The weights of one turn: of row g + 8 i, words [i][..]. */
static inline void
load_weights(const struct work *work, uint row, uint block, uint turn, uint *weights)
{
    const uint t = warp_lane() % 4u;
    UNROLL
    for (uint i = 0; i < 2u * TILES_M; i++) {
        const ulong at = min(row + 8u * i, work->last);
#if DTYPE == DTYPE_E4M3
        const uint4 all =
            load_once((const global uint4 *)work->data + (at * work->n_blocks + block) * 8u + turn * 4u + t);
        weights[i * WORDS] = all.x;
        weights[i * WORDS + 1u] = all.y;
        weights[i * WORDS + 2u] = all.z;
        weights[i * WORDS + 3u] = all.w;
#else
        const global uint *from = (const global uint *)work->data + (at * work->n_blocks + block) * 16u + t;
        UNROLL
        for (uint j = 0; j < WORDS; j++) {
            weights[i * WORDS + j] = from[j * 4u];
        }
#endif
    }
}

/* This lane's part of x of a step. */
static inline uint4
step_x(const struct room *room, uint block, uint step, uint tile)
{
    return room->stages[block % 2u * STAGE + (step * TOKENS + tile * COLUMNS) * 4u + warp_lane()];
}

#if DTYPE == DTYPE_E2M1X2 || defined(WHOLE)
/* The low parts of a step. */
static inline uint4
low_x(const struct work *work, const struct room *room, uint block, uint step, uint tile)
{
    const uint lane = warp_lane(), row = room->rows[tile * COLUMNS + lane / 4u];
    const ulong at = ((ulong)row * work->n_blocks + block) * PARTS + step * 4u + lane % 4u;
    return ((const global uint4 *)(work->x + work->low))[at];
}
#endif

#if DTYPE == DTYPE_E4M3

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

#else

/* The four codes of each of the lane's rows. */
static inline void
load_scales(const struct work *work, uint row, uint block, uint *scales)
{
    UNROLL
    for (uint i = 0; i < 2u * TILES_M; i++) {
        scales[i] = ((const global uint *)work->scales)[(ulong)min(row + 8u * i, work->last) * work->n_blocks + block];
    }
}

/* The unit of a row's sums: a power of two, so that they are the contract's but for their exponent.  Of a row whose
 * codes lie within SPAN of its first one, that code's worth; then the rest of a step's scale goes into its weights.
 * Else 1. shift: what is added to a step's code to have the exponent, as f16 writes it, that its weights are multiplied
 * with. */
struct unit {
    float worth, inverse;
    uint shift;
};

#define SPAN 8u
#define WEIGHT_BIAS 7u /* weights keep so many powers of two less than their value */

/* Whether all rows of the warp and all tokens are tame, then with the rows' units. */
static inline bool
find_units(const struct work *work, const struct room *room, uint row, struct unit *units)
{
    const uint first_row = work->first + get_local_id(0) / WARP * ROWS, lane = warp_lane();
    bool tame = room->flags[work->n_blocks] == 0u;
    for (uint r = 0; r < ROWS; r++) {
        const global uchar *codes = work->scales + (ulong)min(first_row + r, work->last) * work->n_blocks * X_STEPS;
        const uint base = codes[0];
        tame = tame && base >= LEAST_CODE && base <= MOST_CODE;
        for (uint i = lane; i < work->n_blocks * X_STEPS; i += WARP) {
            tame = tame && codes[i] - base + SPAN <= 2u * SPAN;
        }
    }
    tame = warp_all(tame, room->words);
    UNROLL
    for (uint i = 0; i < 2u * TILES_M; i++) {
        const uint base = work->scales[(ulong)min(row + 8u * i, work->last) * work->n_blocks * X_STEPS];
        const uint exponent = base + WEIGHT_BIAS + X_SHIFT;
        units[i].worth = tame ? as_float(exponent << 23) : 1.0f;
        units[i].inverse = tame ? as_float((254u - exponent) << 23) : 1.0f;
        units[i].shift = WEIGHT_SHIFT - WEIGHT_BIAS + 15u - base;
    }
    return tame;
}

/* Instructions' operands of a step's weights, each row's times 2^(code + shift - 15). */
static inline void
step_weights(const uint *weights, const uint *scales, const struct unit *units, uint step, uint4 (*a)[2])
{
    UNROLL
    for (uint m = 0; m < TILES_M; m++) {
        uint4 halves[2];
        UNROLL
        for (uint i = 0; i < 2u; i++) {
            const uint at = 2u * m + i;
            const uint by = ((scales[at] >> step * 8u & 0xFFu) + units[at].shift) * 0x04000400u;
            const uint4 all = e2m1_halves(weights[at * WORDS + step]);
            halves[i] = (uint4)(multiply_f16(all.x, by), multiply_f16(all.y, by), multiply_f16(all.z, by),
                                multiply_f16(all.w, by));
        }
        a[m][0] = (uint4)(halves[0].x, halves[1].x, halves[0].y, halves[1].y);
        a[m][1] = (uint4)(halves[0].z, halves[1].z, halves[0].w, halves[1].w);
    }
}

/* sums += the four steps of a block, whose scales are tame and which has no low parts */
static inline void
add_steps(const struct room *room, const uint *weights, const uint *scales, const struct unit *units, uint block,
          float4 *sums)
{
    float2 factors[TILES_N];
    UNROLL
    for (uint j = 0; j < TILES_N; j++) {
        const local CODE *codes = room->codes + block * TOKENS + j * COLUMNS + warp_lane() % 4u * 2u;
        factors[j] = as_float2((uint2)(codes[0], codes[1]) << 23); /* no flags */
    }
    UNROLL
    for (uint step = 0; step < X_STEPS; step++) {
        uint4 a[TILES_M][2];
        step_weights(weights, scales, units, step, a);
        UNROLL
        for (uint j = 0; j < TILES_N; j++) {
            const uint4 x = step_x(room, block, step, j);
            UNROLL
            for (uint m = 0; m < TILES_M; m++) {
                const float4 half_sum = mma_f16(a[m][0], x.xy, (float4)(0.0f), room->words);
                const float4 other = mma_f16(a[m][1], x.zw, (float4)(0.0f), room->words);
                sums[m * TILES_N + j] = fma(half_sum + other, factors[j].xyxy, sums[m * TILES_N + j]);
            }
        }
    }
}

/* The same for any block: whatever the scales, and with low parts. */
static SELDOM void
add_any_steps(const struct work *work, const struct room *room, const uint *weights, const uint *scales,
              const struct unit *units, uint block, float4 *sums)
{
    for (uint i = 0; i < X_STEPS * TILES_M * TILES_N; i++) {
        const uint step = i / (TILES_M * TILES_N), m = i / TILES_N % TILES_M, j = i % TILES_N;
        const uint4 u = e2m1_halves(weights[2u * m * WORDS + step]);
        const uint4 v = e2m1_halves(weights[(2u * m + 1u) * WORDS + step]);
        const uint4 a = (uint4)(u.x, v.x, u.y, v.y), b = (uint4)(u.z, v.z, u.w, v.w);
        const uint4 x = step_x(room, block, step, j), low = low_x(work, room, block, step, j);
        const local CODE *codes = room->codes + block * TOKENS + j * COLUMNS + warp_lane() % 4u * 2u;
        const float4 half_sum = mma_f16(a, x.xy, (float4)(0.0f), room->words);
        const float4 other = mma_f16(b, x.zw, (float4)(0.0f), room->words);
        const float4 low_sum = mma_f16(b, low.zw, mma_f16(a, low.xy, (float4)(0.0f), room->words), room->words);
        const uint p = codes[0] & 0xFFu, q = codes[1] & 0xFFu;
        const uint k = scales[2u * m] >> step * 8u & 0xFFu, l = scales[2u * m + 1u] >> step * 8u & 0xFFu;
        const float4 factors = (float4)(scale_product(p, k, SHIFT), scale_product(q, k, SHIFT),
                                        scale_product(p, l, SHIFT), scale_product(q, l, SHIFT)) *
                               (float4)((float2)(units[2u * m].inverse), (float2)(units[2u * m + 1u].inverse));
        sums[m * TILES_N + j] = fma(half_sum + other + low_sum, factors, sums[m * TILES_N + j]);
    }
}

/* sums += the block.  Either way is the whole warp's, that there is no branch around a product; the rare one is a
 * function of its own, on copies, for which nothing is kept out of registers. */
static inline void
add_block_steps(const struct work *work, const struct room *room, const uint *weights, const uint *scales,
                const struct unit *units, bool tame, uint block, float4 *sums)
{
#ifdef MMA_PTX
    if (tame && room->flags[block] == 0u) {
        add_steps(room, weights, scales, units, block, sums);
        return;
    }
    const struct work its_work = *work;
    const struct room its_room = *room;
    uint its_weights[2u * TILES_M * WORDS], its_scales[2u * TILES_M];
    struct unit its_units[2u * TILES_M];
    float4 its_sums[TILES_M * TILES_N];
    UNROLL
    for (uint i = 0; i < 2u * TILES_M * WORDS; i++) {
        its_weights[i] = weights[i];
        its_scales[i / WORDS] = scales[i / WORDS];
        its_units[i / WORDS] = units[i / WORDS];
    }
    UNROLL
    for (uint i = 0; i < TILES_M * TILES_N; i++) {
        its_sums[i] = sums[i];
    }
    add_any_steps(&its_work, &its_room, its_weights, its_scales, its_units, block, its_sums);
    UNROLL
    for (uint i = 0; i < TILES_M * TILES_N; i++) {
        sums[i] = its_sums[i];
    }
#else
    float4 fast[TILES_M * TILES_N];
    for (uint i = 0; i < TILES_M * TILES_N; i++) {
        fast[i] = sums[i];
    }
    add_steps(room, weights, scales, units, block, fast);
    add_any_steps(work, room, weights, scales, units, block, sums);
    for (uint i = 0; i < TILES_M * TILES_N; i++) {
        sums[i] = tame && room->flags[block] == 0u ? fast[i] : sums[i];
    }
#endif
}

static inline void
add_piece(float4 *sums, float4 *totals)
{
    UNROLL
    for (uint i = 0; i < TILES_M * TILES_N; i++) {
        totals[i] += sums[i];
        sums[i] = (float4)(0.0f);
    }
}

/* What find_units took out of the scales of each row. */
static inline void
give_worth(const struct unit *units, float4 *totals)
{
    UNROLL
    for (uint i = 0; i < TILES_M * TILES_N; i++) {
        const uint m = i / TILES_N;
        totals[i] *= (float4)((float2)(units[2u * m].worth), (float2)(units[2u * m + 1u].worth));
    }
}

#endif

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
#if DTYPE == DTYPE_E2M1X2
    uint scales[2u * TILES_M], next_scales[2u * TILES_M];
    struct unit units[2u * TILES_M];
    const bool tame = find_units(work, room, row, units);
    load_scales(work, row, 0, next_scales);
#endif
    for (uint block = 0; block < work->n_blocks; block++) {
        start_block(work, room, block + 1u);
#if DTYPE == DTYPE_E4M3
        const uint w_code = work->scales[(ulong)(work->first / X_BLOCK) * work->n_blocks + block];
#endif
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
#if DTYPE == DTYPE_E4M3
            add_turn(room, weights, block, turn, sums);
#ifdef WHOLE
            add_low_turn(work, room, weights, block, turn, sums);
#endif
#else
            UNROLL
            for (uint i = 0; i < 2u * TILES_M; i++) {
                scales[i] = next_scales[i];
            }
            load_scales(work, row, after, next_scales);
            add_block_steps(work, room, weights, scales, units, tame, block, sums);
#endif
        }
#if DTYPE == DTYPE_E4M3
        add_block(room, w_code, block, sums, totals);
#else
        if (block % PIECE_BLOCKS == PIECE_BLOCKS - 1u || block == work->n_blocks - 1u) {
            add_piece(sums, totals);
        }
#endif
        barrier(CLK_LOCAL_MEM_FENCE);
    }
#if DTYPE == DTYPE_E2M1X2
    give_worth(units, totals);
#endif
}

/* Sums 0 .. 3 of a tile: rows g, g, g + 8, g + 8, tokens 2t, 2t + 1, 2t, 2t + 1. */
static inline float
sum_of(float4 sums, uint i)
{
    return i < 2u ? (i == 0u ? sums.x : sums.y) : (i == 2u ? sums.z : sums.w);
}

#define ROOM                                                                                                           \
    local uint mma_words[MMA_WORDS(WARPS)];                                                                            \
    local uint4 stages[2u * STAGE];                                                                                    \
    local CODE codes[MAX_BLOCKS * TOKENS];                                                                             \
    local uint chosen_rows[TOKENS], flags[MAX_BLOCKS + 1u];                                                            \
    const struct room room = {stages, codes, chosen_rows, flags, mma_words}

#ifdef ROUTED

/* As `routed` of product.cl with TILES. */
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
routed(PLACE_CONST(x), PLACE_CONST(x_scales), PLACE_CONST(data), PLACE_CONST(experts), PLACE_CONST(routes),
       PLACE_CONST(order), PLACE_CONST(tiles), PLACE(y), uint slab, uint first_matrix, uint cols, uint n_rows, uint n,
       uint n_slots, uint n_experts, ulong y_step, ulong low)
{
    ROOM;
    const struct tile tile = AT_CONST(struct tile, tiles)[get_group_id(1)];
    const global struct route *all_routes = AT_CONST(struct route, routes);
    const global uint *chosen = AT_CONST(uint, order) + tile.first;
    const uint which = first_matrix + get_group_id(2), warp = get_local_id(0) / WARP, lane = warp_lane();
    float4 totals[TILES_M * TILES_N];
    if (tile.n == 0u || tile.expert >= n_experts) {
        return;
    }
    const global struct expert *expert = AT_CONST(struct expert, experts) + tile.expert;
    if (expert->dtypes[which] != DTYPE || expert->slab != slab) {
        return;
    }
    const struct work work = {AT_CONST(uchar, data) + expert->data[which],
                              AT_CONST(uchar, data) + expert->scales[which],
                              AT_CONST(uchar, x),
                              AT_CONST(uchar, x_scales),
                              low,
                              get_group_id(0) * WARPS * ROWS,
                              n_rows - 1u,
                              cols / X_BLOCK,
                              tile.n};
    for (uint i = get_local_id(0); i < TOKENS; i += ITEMS) {
        const uint route = chosen[min(i, tile.n - 1u)];
#ifdef X_TOKENS
        chosen_rows[i] = min(all_routes[route].token, n - 1u);
#else
        chosen_rows[i] = route;
#endif
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    tile_totals(&work, &room, totals);
    UNROLL
    for (uint i = 0; i < TILES_M * TILES_N * 4u; i++) {
        const uint at = i / 4u, token = at % TILES_N * COLUMNS + lane % 4u * 2u + i % 2u;
        const uint row = work.first + warp * ROWS + at / TILES_N * 16u + lane / 4u + i % 4u / 2u * 8u;
        if (token < tile.n && row < n_rows) {
#ifdef Y_SLOTS
            const uint to = all_routes[chosen[token]].slot, n_to = n_slots;
#else
            const uint to = chosen[token], n_to = to + 1u;
#endif
            if (to < n_to) {
                AT(float, y)
                [get_group_id(2) * y_step + (ulong)to * n_rows + row] = finished(sum_of(totals[at], i % 4u));
            }
        }
    }
}

#else

/* As `few`. */
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
many(PLACE_CONST(x), PLACE_CONST(x_scales), PLACE_CONST(data), PLACE_CONST(scales), PLACE(y), uint n, uint cols,
     uint n_rows, uint row_step, ulong data_step, ulong scales_step, uint x_step, uint x_next, uint y_stride,
     uint y_step, float limit, ulong low)
{
    ROOM;
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
        chosen_rows[i] = min(first_token + i, n - 1u) * x_step + group * x_next;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    tile_totals(&work, &room, totals);
    UNROLL
    for (uint i = 0; i < TILES_M * TILES_N * 4u; i++) {
        const uint at = i / 4u, token = at % TILES_N * COLUMNS + lane % 4u * 2u + i % 2u;
        const uint row = first + warp * ROWS + at / TILES_N * 16u + lane / 4u + i % 4u / 2u * 8u;
        if (token < work.n_tokens && row < n_rows) {
            AT(float, y)
            [(ulong)(first_token + token) * y_stride + group * y_step + row] = finished(sum_of(totals[at], i % 4u));
        }
    }
}

#endif
