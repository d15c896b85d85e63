/* routed_mma.cl - tensor.cl's products of experts for many routes: e2m1 weights, bit for bit the contract's.
 *
 * A block's weights pass through local memory too, so that many are under way, and none of them in registers. */

#define PIECE_BLOCKS 4u

/* Codes within these keep every factor inside the contract's limits: a row's first of the weights. */
#define LEAST_CODE 64u
#define MOST_CODE 127u

#ifdef MMA_PTX
#define UNROLL_FAR _Pragma("unroll 8")
#else
#define UNROLL_FAR
#endif

#define WEIGHTS (WARPS * ROWS * X_STEPS)

/* Where a row's weights of a step are: shuffled so that no bank of local memory has two of the words that a warp reads
 * together, of eight rows and one step. */
static inline uint
weight_place(uint row, uint step)
{
    return row * X_STEPS + (step ^ (row / 2u % X_STEPS));
}

static inline void
start_weights(const struct work *work, const struct room *room, uint block)
{
    const uint step = get_local_id(0) % X_STEPS;
    local uint4 *stage = room->weights + block % 2u * WEIGHTS;
    UNROLL
    for (uint i = 0; i < WEIGHTS / ITEMS; i++) {
        const uint row = get_local_id(0) / X_STEPS + i * (ITEMS / X_STEPS);
        const ulong at = ((ulong)min(work->first + row, work->last) * work->n_blocks + block) * X_STEPS + step;
        copy_start_ahead(stage + weight_place(row, step), (const global uint4 *)work->data + at);
    }
}

/* A block on its way to its stages. */
static inline void
start_block(const struct work *work, const struct room *room, uint block)
{
    start_x(work, room, block, work->n_tokens);
    start_weights(work, room, block);
    copy_commit();
}

/* Block `block` is there, and nobody needs the one before it any more: the next one may take its place. */
static inline void
meet_block(const struct work *work, const struct room *room, uint block)
{
    copy_wait(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (block + 1u < work->n_blocks) {
        start_block(work, room, block + 1u);
    }
}

/* This lane's weights of a step and of the warp's row g + 8 i. */
static inline uint
step_word(const struct room *room, uint block, uint step, uint i)
{
    const uint row = get_local_id(0) / WARP * ROWS + warp_lane() / 4u + 8u * i;
    return ((const local uint *)(room->weights + block % 2u * WEIGHTS + weight_place(row, step)))[warp_lane() % 4u];
}

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
 * Else 1.  low, high: upper bytes of the f16 that the codes 0 .. 3 and 4 .. 7 are with a scale of code 0. */
struct unit {
    float worth, inverse;
    uint low, high;
};

#define SPAN 8u
#define WEIGHT_BIAS 5u        /* weights keep so many powers of two less than their value */
#define LOW_BYTES 0x3E3C3800u /* 0, 0.5, 1, 1.5 */
#define HIGH_BYTES 0x46444240u
#define LOW_POWER 0x04040400u /* times two, all but 0 */
#define HIGH_POWER 0x04040404u

/* Whether all rows of the warp and all tokens are tame, then with the rows' units. */
static inline bool
find_units(const struct work *work, const struct room *room, uint row, struct unit *units)
{
    const uint first_row = work->first + get_local_id(0) / WARP * ROWS;
    uint is_wild = room->flags[work->n_blocks];
    for (uint first = 0; first < work->n_blocks; first += WARP) {
        const uint block = min(first + warp_lane(), work->n_blocks - 1u);
        UNROLL_FAR /* no branches: the loads are under way together */
            for (uint r = 0; r < ROWS; r++)
        {
            const global uint *codes =
                (const global uint *)work->scales + (ulong)min(first_row + r, work->last) * work->n_blocks;
            const uint all = codes[block], base = codes[0] & 0xFFu;
            const uint4 each = ((uint4)(all) >> (uint4)(0u, 8u, 16u, 24u) & 0xFFu) - base + SPAN;
            is_wild |= base - LEAST_CODE > MOST_CODE - LEAST_CODE ? 1u : 0u;
            is_wild |= max(max(each.x, each.y), max(each.z, each.w)) > 2u * SPAN ? 1u : 0u;
        }
    }
    const bool tame = warp_all(is_wild == 0u, room->words);
    UNROLL
    for (uint i = 0; i < 2u * TILES_M; i++) {
        const uint base = work->scales[(ulong)min(row + 8u * i, work->last) * work->n_blocks * X_STEPS];
        const uint exponent = base + WEIGHT_BIAS + X_SHIFT;
        units[i].worth = tame ? as_float(exponent << 23) : 1.0f;
        units[i].inverse = tame ? as_float((254u - exponent) << 23) : 1.0f;
        units[i].low = LOW_BYTES - (base + WEIGHT_BIAS) * LOW_POWER;
        units[i].high = HIGH_BYTES - (base + WEIGHT_BIAS) * HIGH_POWER;
    }
    return tame;
}

/* Codes i and i + 4 of a word, for i 0 .. 3, by the bytes of a scale. */
static inline uint4
scaled_halves(uint word, uint low, uint high)
{
    const uint codes = word & 0x77777777u;
    const uint lower = select_bytes(low, high, codes), upper = select_bytes(low, high, codes >> 16);
    const uint4 magnitudes = (uint4)(select_bytes(lower, upper, 0x4808u), select_bytes(lower, upper, 0x5919u),
                                     select_bytes(lower, upper, 0x6A2Au), select_bytes(lower, upper, 0x7B3Bu));
    return magnitudes | ((uint4)(word << 12, word << 8, word << 4, word) & 0x80008000u);
}

/* Instructions' operands of a step's weights, each row's times 2^(code - the row's first code - WEIGHT_BIAS). */
static inline void
step_weights(const struct room *room, const uint *scales, const struct unit *units, uint block, uint step,
             uint4 (*a)[2])
{
    UNROLL
    for (uint m = 0; m < TILES_M; m++) {
        uint4 halves[2];
        UNROLL
        for (uint i = 0; i < 2u; i++) {
            const uint at = 2u * m + i, code = scales[at] >> step * 8u & 0xFFu;
            halves[i] = scaled_halves(step_word(room, block, step, at), units[at].low + code * LOW_POWER,
                                      units[at].high + code * HIGH_POWER);
        }
        a[m][0] = (uint4)(halves[0].x, halves[1].x, halves[0].y, halves[1].y);
        a[m][1] = (uint4)(halves[0].z, halves[1].z, halves[0].w, halves[1].w);
    }
}

/* sums of the first n_columns * COLUMNS tokens += the four steps of a block, whose scales are tame and which has no low
 * parts */
static inline void
add_steps(const struct room *room, const uint *scales, const struct unit *units, uint block, uint n_columns,
          float4 *sums)
{
    float2 factors[TILES_N];
    UNROLL
    for (uint j = 0; j < n_columns; j++) {
        const local CODE *codes = room->codes + block * TOKENS + j * COLUMNS + warp_lane() % 4u * 2u;
        factors[j] = as_float2((uint2)(codes[0], codes[1]) << 23); /* no flags */
    }
    UNROLL
    for (uint step = 0; step < X_STEPS; step++) {
        uint4 a[TILES_M][2];
        step_weights(room, scales, units, block, step, a);
        UNROLL
        for (uint j = 0; j < n_columns; j++) {
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
add_any_steps(const struct work *work, const struct room *room, const uint *scales, const struct unit *units,
              uint block, float4 *sums)
{
    for (uint i = 0; i < X_STEPS * TILES_M * TILES_N; i++) {
        const uint step = i / (TILES_M * TILES_N), m = i / TILES_N % TILES_M, j = i % TILES_N;
        const uint4 u = e2m1_halves(step_word(room, block, step, 2u * m));
        const uint4 v = e2m1_halves(step_word(room, block, step, 2u * m + 1u));
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
add_block_steps(const struct work *work, const struct room *room, const uint *scales, const struct unit *units,
                bool tame, uint block, float4 *sums)
{
#ifdef MMA_PTX
    if (tame && room->flags[block] == 0u) {
        if (work->n_tokens <= TOKENS / 3u) {
            add_steps(room, scales, units, block, TILES_N / 3u, sums);
        } else if (work->n_tokens <= TOKENS * 2u / 3u) {
            add_steps(room, scales, units, block, TILES_N * 2u / 3u, sums);
        } else {
            add_steps(room, scales, units, block, TILES_N, sums);
        }
        return;
    }
    const struct work its_work = *work;
    const struct room its_room = *room;
    uint its_scales[2u * TILES_M];
    struct unit its_units[2u * TILES_M];
    float4 its_sums[TILES_M * TILES_N];
    UNROLL
    for (uint i = 0; i < 2u * TILES_M; i++) {
        its_scales[i] = scales[i];
        its_units[i] = units[i];
    }
    UNROLL
    for (uint i = 0; i < TILES_M * TILES_N; i++) {
        its_sums[i] = sums[i];
    }
    add_any_steps(&its_work, &its_room, its_scales, its_units, block, its_sums);
    UNROLL
    for (uint i = 0; i < TILES_M * TILES_N; i++) {
        sums[i] = its_sums[i];
    }
#else
    float4 fast[TILES_M * TILES_N];
    for (uint i = 0; i < TILES_M * TILES_N; i++) {
        fast[i] = sums[i];
    }
    add_steps(room, scales, units, block, TILES_N, fast);
    add_any_steps(work, room, scales, units, block, sums);
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

/* totals[m * TILES_N + j]: those of rows 16 m .. + 15 of the warp, tokens 8 j .. + 7, as mma.cl has them. */
static inline void
tile_totals(const struct work *work, const struct room *room, float4 *totals)
{
    const uint row = work->first + get_local_id(0) / WARP * ROWS + warp_lane() / 4u;
    float4 sums[TILES_M * TILES_N];
    uint scales[2u * TILES_M], next_scales[2u * TILES_M];
    struct unit units[2u * TILES_M];
    UNROLL
    for (uint i = 0; i < TILES_M * TILES_N; i++) {
        totals[i] = sums[i] = (float4)(0.0f);
    }
    start_block(work, room, 0);
    load_codes(work, room);
    const bool tame = find_units(work, room, row, units);
    load_scales(work, row, 0, next_scales);
    for (uint block = 0; block < work->n_blocks; block++) {
        meet_block(work, room, block);
        UNROLL
        for (uint i = 0; i < 2u * TILES_M; i++) {
            scales[i] = next_scales[i];
        }
        load_scales(work, row, min(block + 1u, work->n_blocks - 1u), next_scales);
        add_block_steps(work, room, scales, units, tame, block, sums);
        if (block % PIECE_BLOCKS == PIECE_BLOCKS - 1u || block == work->n_blocks - 1u) {
            add_piece(sums, totals);
        }
    }
    give_worth(units, totals);
}

#define NOWHERE 0xFFFFFFFFu

/* As `routed` of product.cl with TILES, but of four slabs. */
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
routed(PLACE_CONST(x), PLACE_CONST(x_scales), SLABS, PLACE_CONST(experts), PLACE_CONST(routes), PLACE_CONST(order),
       PLACE_CONST(tiles), PLACE(y), uint first_slab, uint first_matrix, uint cols, uint n_rows, uint n, uint n_slots,
       uint n_experts, ulong y_step, ulong low)
{
    local uint mma_words[MMA_WORDS(WARPS)];
    local uint4 stages[2u * STAGE], weights[2u * WEIGHTS];
    local CODE codes[MAX_BLOCKS * TOKENS];
    local uint rows[TOKENS], flags[MAX_BLOCKS + 1u];
    const struct room room = {stages, weights, codes, rows, flags, mma_words};
    local uint places[TOKENS]; /* of its sums, among the rows of y */
    const struct tile tile = AT_CONST(struct tile, tiles)[get_group_id(1)];
    const global struct route *all_routes = AT_CONST(struct route, routes);
    const global uint *chosen = AT_CONST(uint, order) + tile.first;
    const uint which = first_matrix + get_group_id(2), warp = get_local_id(0) / WARP, lane = warp_lane();
    float4 totals[TILES_M * TILES_N];
    if (tile.n == 0u || tile.expert >= n_experts) {
        return;
    }
    const global struct expert *expert = AT_CONST(struct expert, experts) + tile.expert;
    const global uchar *data = SLAB(expert->slab - first_slab);
    if (expert->dtypes[which] != DTYPE || data == 0) {
        return;
    }
    const struct work work = {data + expert->data[which],
                              data + expert->scales[which],
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
        rows[i] = min(all_routes[route].token, n - 1u) * work.n_blocks;
#else
        rows[i] = route * work.n_blocks;
#endif
#ifdef Y_SLOTS
        places[i] = i < tile.n && all_routes[route].slot < n_slots ? all_routes[route].slot : NOWHERE;
#else
        places[i] = i < tile.n ? route : NOWHERE;
#endif
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    tile_totals(&work, &room, totals);
    UNROLL
    for (uint i = 0; i < TILES_M * TILES_N * 4u; i++) {
        const uint at = i / 4u, token = at % TILES_N * COLUMNS + lane % 4u * 2u + i % 2u;
        const uint row = work.first + warp * ROWS + at / TILES_N * 16u + lane / 4u + i % 4u / 2u * 8u;
        if (places[token] != NOWHERE && row < n_rows) {
            AT(float, y)
            [get_group_id(2) * y_step + (ulong)places[token] * n_rows + row] = finished(tile_sum(totals[at], i % 4u));
        }
    }
}
