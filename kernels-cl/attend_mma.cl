/* attend_mma.cl - attention by matrix instructions (mma.cl): native numerics, packed rows of 512 elements, 64 of them
 * rotary.  What it computes is in attend.cl, whose attend_finish ends it.
 *
 * Queries are bf16, e4m3 times a power of two is a bf16, and so are P: both products are of bf16 with f32 sums.
 *
 *     attend_scores_mma  a work-group: a range of tiles of 16 keys, 16 * HEAD_TILES heads of one token.  Its four warps
 *                        have a quarter of the elements each, and keep the queries' part in registers; rows come from
 *                        memory straight into the operand.  Leaves e^(z - m) of each key, m being the largest z of the
 *                        tile, m, and the tile's sum of powers.
 *     attend_sums_mma    a work-group: a chunk of CHUNK keys, 16 * HEAD_TILES heads, DEPTH elements of one token.
 *                        P = e^(z - m) e^(m - M) is rounded, rows are unpacked into local memory once, BATCH tiles at a
 *                        time while those of AHEAD (even) batches are on their way, and a warp has DEPTH / 4 columns of
 *                        the sums.  With ONE_CHUNK it ends them too, as attend_finish does; the number of heads is then
 *                        one that need not be padded.
 *
 * Tiles, chunks and the order within them depend on a key's place alone, and an output's chain of additions on nothing
 * else: the bits are those of any other cut of the work.  A listed entry that is -1 reads the oldest row of the window
 * and weighs nothing.
 *
 * powers    [tokens][n_tiles][heads / 16][32 lanes][8] f32: as lanes hold the left operand, heads x keys
 * maxima    [tokens][n_tiles][heads]; sums likewise; heads are padded to a multiple of 16 * HEAD_TILES of both kernels
 * tops      [tokens][n_ranges][heads]: the largest z of a range
 * parts     [tokens][n_chunks][heads][512];  weights [tokens][n_chunks][heads];  largest [tokens][heads] */

#define WARPS 4
#define ITEMS (WARPS * WARP)
#define HEAD_DIM 512
#define ROPE_DIM 64
#define NOPE_DIM (HEAD_DIM - ROPE_DIM)
#define SCALES (NOPE_DIM + 2 * ROPE_DIM) /* where a row's scales begin */
#define TILE 16
#define CHUNK_TILES (CHUNK / TILE)
#define HEADS (16 * HEAD_TILES)
#define STEPS 8
#define NO_PLACE 0xFFFFFFFFu

/* The rows that a token sees. */
struct rows {
    const global uchar *ring, *entries;
    const global int *listed; /* of the token; 0: all entries */
    uint oldest, n_window, n_keys, n_visible, ring_slots, row_bytes;
};

/* Arguments of every kernel that reads rows. */
#define ROWS_PLACES                                                                                                    \
    PLACE_CONST(ring), PLACE_CONST(entries), PLACE_CONST(indices), ulong position, uint window, uint ring_slots,       \
        uint ratio, uint top_k, uint row_bytes
#define ROWS_OF(token)                                                                                                 \
    rows_of(ring_mem + ring_at, entries_mem == 0 ? 0 : entries_mem + entries_at,                                       \
            indices_mem == 0 ? 0 : AT_CONST(int, indices) + (token) * top_k, position + (token), window, ring_slots,   \
            ratio, top_k, row_bytes)

static inline struct rows
rows_of(const global uchar *ring, const global uchar *entries, const global int *listed, ulong position, uint window,
        uint ring_slots, uint ratio, uint top_k, uint row_bytes)
{
    const uint n_visible = entries == 0 ? 0u : (uint)((position + 1) / ratio);
    const uint n_window = position + 1 < window ? (uint)position + 1 : window;
    const uint oldest = (uint)((position + 1 - n_window) % ring_slots);
    const struct rows rows = {ring,      entries,    listed,
                              oldest,    n_window,   n_window + (listed == 0 ? n_visible : top_k),
                              n_visible, ring_slots, row_bytes};
    return rows;
}

/* Places of n keys from `first` on: twice the row's number, and 1 more of an entry; NO_PLACE: it weighs nothing. */
static inline void
find_places(const struct rows *rows, uint first, uint n, local uint *places)
{
    for (uint i = (uint)get_local_id(0); i < n; i += ITEMS) {
        const uint key = first + i, slot = rows->oldest + key;
        uint place = 2 * (slot < rows->ring_slots ? slot : slot - rows->ring_slots);
        if (key >= rows->n_window) {
            const uint at = key - rows->n_window;
            const uint entry = key >= rows->n_keys ? NO_PLACE : rows->listed == 0 ? at : (uint)rows->listed[at];
            place = entry < rows->n_visible ? 2 * entry + 1 : NO_PLACE;
        }
        places[i] = place;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

static inline const global uchar *
row_at(const struct rows *rows, uint place)
{
    const global uchar *first = place != NO_PLACE && (place & 1u) ? rows->entries : rows->ring;
    return first + (ulong)(place == NO_PLACE ? rows->oldest : place / 2) * rows->row_bytes;
}

/* e^(z - most), 0 of what weighs nothing.  The instruction errs by less than scores do; elsewhere the built-in function
 * may have other bits in other kernels. */
static inline float
power_of(float z, float most)
{
#ifdef MMA_PTX
    return z == -INFINITY ? 0.0f : native_exp2((z - most) * 0x1.715476p+0f);
#else
    return z == -INFINITY ? 0.0f : exact_exp(z - most);
#endif
}

#ifdef SCORES
/* What a lane reads of a row: 16 codes of each half of the warp's quarter, or of the last one's second half 16 bf16. */
struct share {
    uint2 codes[2], more[4];
    uint scales[2];
};

static inline struct share
load_share(const struct rows *rows, uint place)
{
    const uint quarter = (uint)get_local_id(0) / WARP, t = warp_lane() % 4;
    const global uchar *row = row_at(rows, place);
    const global uint2 *codes = (const global uint2 *)(row + 128 * quarter) + 2 * t;
    struct share share;
    share.codes[0] = codes[0];
    share.codes[1] = codes[1];
    share.scales[0] = row[SCALES + 2 * quarter];
    share.scales[1] = row[SCALES + 2 * quarter + 1]; /* of the last quarter what fills up the row */
    const uint step = quarter == 3 ? 4 * t : 2 * t;
    const global uint2 *more = (const global uint2 *)(row + 128 * quarter + 64) + step;
    share.more[0] = more[0];
    share.more[1] = more[1];
    share.more[2] = more[quarter == 3 ? 2 : 0];
    share.more[3] = more[quarter == 3 ? 3 : 1];
    return share;
}

/* The right operand of each step. */
static inline void
unpack_share(const struct share *share, uint2 *keys)
{
    const bool is_last = get_local_id(0) / WARP == 3;
    const uint2 first = e4m3_factors(share->scales[0]);
    const uint2 second = is_last ? (uint2)(ONES) : e4m3_factors(share->scales[1]);
    keys[0] = e4m3_pairs(share->codes[0].x, first.x);
    keys[1] = e4m3_pairs(share->codes[0].y, first.x);
    keys[2] = e4m3_pairs(share->codes[1].x, first.x);
    keys[3] = e4m3_pairs(share->codes[1].y, first.x);
    if (is_last) {
        keys[4] = share->more[0];
        keys[5] = share->more[1];
        keys[6] = share->more[2];
        keys[7] = share->more[3];
    } else {
        keys[4] = e4m3_pairs(share->more[0].x, second.x);
        keys[5] = e4m3_pairs(share->more[0].y, second.x);
        keys[6] = e4m3_pairs(share->more[1].x, second.x);
        keys[7] = e4m3_pairs(share->more[1].y, second.x);
    }
    if (first.y != ONES || second.y != ONES) {
        UNROLL
        for (uint i = 0; i < STEPS; i++) {
            keys[i] = multiply_pairs(keys[i], i < 4 ? first.y : second.y);
        }
    }
}

/* Elements of one head for a step: x what stands first in the operand, y what comes 8 later. */
static inline uint2
load_query(const global float *q, uint head, uint n_heads, uint step)
{
    const uint quarter = (uint)get_local_id(0) / WARP, t = warp_lane() % 4;
    const global float *row = q + (ulong)min(head, n_heads - 1) * HEAD_DIM;
    const float4 x = *(const global float4 *)(row + 128 * quarter + step / 4 * 64 + 16 * t + step % 4 * 4);
    const bool is_rope = quarter == 3 && step >= 4;
    return (uint2)(pair_bf16(x.x, is_rope ? x.y : x.z), pair_bf16(is_rope ? x.z : x.y, x.w));
}

static inline void
load_queries(const global float *q, uint first_head, uint n_heads, uint4 queries[HEAD_TILES][STEPS])
{
    UNROLL
    for (uint i = 0; i < HEAD_TILES * STEPS; i++) {
        const uint head = first_head + i / STEPS * 16 + warp_lane() / 4;
        const uint2 upper = load_query(q, head, n_heads, i % STEPS);
        const uint2 lower = load_query(q, head + 8, n_heads, i % STEPS);
        queries[i / STEPS][i % STEPS] = (uint4)(upper.x, lower.x, upper.y, lower.y);
    }
}

/* The warp's part of the scores of eight keys.  Heads' sums grow side by side, so that an instruction need not wait for
 * the one before. */
static inline void
multiply_keys(const uint4 queries[HEAD_TILES][STEPS], const uint2 *keys, local float4 *parts, local uint *words)
{
    float4 sums[HEAD_TILES] = {(float4)(0.0f)};
    UNROLL
    for (uint s = 0; s < STEPS; s++) {
        UNROLL
        for (uint m = 0; m < HEAD_TILES; m++) {
            sums[m] = mma_bf16(queries[m][s], keys[s], sums[m], words);
        }
    }
    UNROLL
    for (uint m = 0; m < HEAD_TILES; m++) {
        parts[2 * m * WARP] = sums[m];
    }
}

/* The four warps' parts added: z of two heads and of the two keys whose places these are. */
static inline float4
collect(const local float4 (*parts)[HEAD_TILES * 2 * WARP], uint at, const local uint *places, float scale)
{
    const float4 z = ((parts[0][at] + parts[1][at]) + (parts[2][at] + parts[3][at])) * scale;
    const bool has_low = places[0] != NO_PLACE, has_high = places[1] != NO_PLACE;
    return (float4)(has_low ? z.x : -INFINITY, has_high ? z.y : -INFINITY, has_low ? z.z : -INFINITY,
                    has_high ? z.w : -INFINITY);
}

/* The largest of a value over the four lanes that share g. */
static inline float
most_of(float value, local uint *words)
{
    value = fmax(value, as_float(warp_swap(as_uint(value), 1, words)));
    return fmax(value, as_float(warp_swap(as_uint(value), 2, words)));
}

static inline float
sum_of(float value, local uint *words)
{
    value += as_float(warp_swap(as_uint(value), 1, words));
    return value + as_float(warp_swap(as_uint(value), 2, words));
}

/* The end of a tile, for 16 heads: heads g in xy, g + 8 in zw; `left` are keys 2t, 2t + 1, `right` those 8 further.
 * Returns the two maxima. */
static inline float2
end_tile(float4 left, float4 right, global float4 *powers, global float *maxima, global float *sums, local uint *words)
{
    const uint g = warp_lane() / 4;
    const float upper = most_of(fmax(fmax(left.x, left.y), fmax(right.x, right.y)), words);
    const float lower = most_of(fmax(fmax(left.z, left.w), fmax(right.z, right.w)), words);
    left = (float4)(power_of(left.x, upper), power_of(left.y, upper), power_of(left.z, lower), power_of(left.w, lower));
    right = (float4)(power_of(right.x, upper), power_of(right.y, upper), power_of(right.z, lower),
                     power_of(right.w, lower));
    powers[2 * warp_lane()] = left;
    powers[2 * warp_lane() + 1] = right;
    const float above = sum_of((left.x + left.y) + (right.x + right.y), words);
    const float below = sum_of((left.z + left.w) + (right.z + right.w), words);
    maxima[g] = upper; /* by four lanes alike */
    maxima[g + 8] = lower;
    sums[g] = above;
    sums[g + 8] = below;
    return (float2)(upper, lower);
}

kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
attend_scores_mma(PLACE_CONST(q), ROWS_PLACES, PLACE(powers), PLACE(maxima), PLACE(sums), PLACE(tops), uint n_heads,
                  uint padded, uint n_tiles, uint range_tiles, float scale)
{
    local uint words[MMA_WORDS(WARPS)];
    local float4 partial[2][WARPS][HEAD_TILES * 2 * WARP];
    local uint places[CHUNK];
    const uint lane = warp_lane(), g = lane / 4, t = lane % 4;
    const uint warp = (uint)get_local_id(0) / WARP, own = warp % HEAD_TILES;
    const ulong token = get_group_id(2);
    const uint first_head = (uint)get_group_id(1) * HEADS, range = (uint)get_group_id(0);
    const struct rows rows = ROWS_OF(token);
    const uint begin = range * range_tiles, end = min(begin + range_tiles, (rows.n_keys + TILE - 1) / TILE);
    uint4 queries[HEAD_TILES][STEPS];
    float2 most = (float2)(-INFINITY);
    struct share next[2];
    if (begin >= end) {
        return;
    }
    find_places(&rows, begin * TILE, (end - begin) * TILE, places);
    UNROLL
    for (uint i = 0; i < 2; i++) {
        next[i] = load_share(&rows, places[8 * i + g]);
    }
    load_queries(AT_CONST(float, q) + token * n_heads * HEAD_DIM, first_head, n_heads, queries);
    for (uint tile = begin; tile < end; tile++) {
        local float4 (*parts)[HEAD_TILES * 2 * WARP] = partial[tile % 2];
        const local uint *here = places + (tile - begin) * TILE;
        UNROLL
        for (uint i = 0; i < 2; i++) {
            uint2 keys[STEPS];
            unpack_share(&next[i], keys);
            next[i] = load_share(&rows, here[(tile + 1 < end ? TILE : 0) + 8 * i + g]);
            multiply_keys(queries, keys, parts[warp] + i * WARP + lane, words);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        float4 z[2];
        UNROLL
        for (uint i = 0; i < 2; i++) {
            z[i] = collect(parts, (2 * own + i) * WARP + lane, here + 8 * i + 2 * t, scale);
        }
        const ulong at = (token * n_tiles + tile) * padded + first_head + own * 16; /* heads before */
        const float2 tops_here =
            end_tile(z[0], z[1], AT(float4, powers) + at * 4, AT(float, maxima) + at, AT(float, sums) + at, words);
        most = (float2)(fmax(most.x, tops_here.x), fmax(most.y, tops_here.y));
    }
    global float *top = AT(float, tops) + (token * get_num_groups(0) + range) * padded + first_head + own * 16;
    top[g] = most.x;
    top[g + 8] = most.y;
}
#endif

#ifdef DEPTH
#define BLOCKS (DEPTH / KV_BLOCK) /* of a row, of each of which an item unpacks eight elements */
#define STRIDE (DEPTH / 2 + 4)    /* words of an unpacked row: four keep rows off one another's banks */
#define COLUMNS (DEPTH / 4 / 8)   /* of a warp, in eights */
#define SLICES (HEAD_DIM / DEPTH)
#define LANES_A_HEAD (ITEMS / HEADS)

/* Elements 8 part .. 8 part + 7 of each block: codes, but of the last block of a row bf16, which go on in `more`. */
struct share {
    uint2 words[BLOCKS], more;
    uint scales[BLOCKS];
};

/* first: the first block */
static inline struct share
load_share(const struct rows *rows, uint place, uint first)
{
    const uint part = (uint)get_local_id(0) % 8;
    const global uchar *row = row_at(rows, place);
    struct share share;
    share.more = (uint2)(0);
    UNROLL
    for (uint i = 0; i < BLOCKS; i++) {
        const bool is_rope = (first + i) * KV_BLOCK >= NOPE_DIM;
        const global uint2 *words =
            (const global uint2 *)(row + (first + i) * KV_BLOCK + (is_rope ? 16 * part : 8 * part));
        share.scales[i] = row[SCALES + first + i]; /* of rotary elements what fills up the row */
        share.words[i] = words[0];
        if (is_rope) {
            share.more = words[1];
        }
    }
    return share;
}

/* Four elements in two words: 0 and 2, 1 and 3. */
static inline uint2
interleave(uint2 words)
{
    return (uint2)((words.x & 0xFFFFu) | words.y << 16, words.x >> 16 | (words.y & 0xFFFF0000u));
}

/* to: the item's words of the first block */
static inline void
unpack_share(const struct share *share, uint first, local uint4 *to)
{
    UNROLL
    for (uint i = 0; i < BLOCKS; i++) {
        uint2 low, high;
        if ((first + i) * KV_BLOCK >= NOPE_DIM) {
            low = interleave(share->words[i]);
            high = interleave(share->more);
        } else {
            const uint2 factors = e4m3_factors(share->scales[i]);
            low = e4m3_pairs(share->words[i].x, factors.x);
            high = e4m3_pairs(share->words[i].y, factors.x);
            if (factors.y != ONES) {
                low = multiply_pairs(low, factors.y);
                high = multiply_pairs(high, factors.y);
            }
        }
        to[i * (KV_BLOCK / 8)] = (uint4)(low, high);
    }
}

/* most[h]: the largest z of head first_head + h over all ranges.  room: [ITEMS] */
static inline void
find_most(const global float *tops, uint padded, uint n_ranges, local float *room, local float *most)
{
    const uint item = (uint)get_local_id(0), head = item % HEADS;
    float largest = -INFINITY;
    for (uint i = item / HEADS; i < n_ranges; i += LANES_A_HEAD) {
        largest = fmax(largest, tops[(ulong)i * padded + head]);
    }
    room[item] = largest;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = 0; i < LANES_A_HEAD; i++) {
        largest = fmax(largest, room[i * HEADS + head]);
    }
    most[head] = largest; /* by LANES_A_HEAD items alike */
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* factors[tile][head] = e^(m - M); returns the sum of the chunk's P of head item % HEADS.  maxima, sums: of the chunk;
 * terms: room for as many numbers as factors */
static inline float
find_factors(const global float *maxima, const global float *sums, uint padded, uint n_tiles, const local float *most,
             local float (*factors)[HEADS], local float *terms)
{
    const uint item = (uint)get_local_id(0);
    float total = 0.0f;
    UNROLL_LOADS
    for (uint i = item; i < n_tiles * HEADS; i += ITEMS) {
        const ulong at = (ulong)(i / HEADS) * padded + i % HEADS;
        const float factor = power_of(maxima[at], most[i % HEADS]);
        factors[i / HEADS][i % HEADS] = factor;
        terms[i] = sums[at] * factor;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = 0; i < n_tiles; i++) {
        total += terms[i * HEADS + item % HEADS];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return total;
}

/* The lane's powers of 16 heads and a tile. */
struct powers {
    float4 left, right;
};

static inline struct powers
load_powers(const global float4 *tile)
{
    const struct powers powers = {tile[2 * warp_lane()], tile[2 * warp_lane() + 1]};
    return powers;
}

/* P as a left operand.  mask: 0 for a tile that weighs nothing */
static inline uint4
weights_of(const struct powers *powers, const local float *factors, uint mask)
{
    const float4 left = powers->left, right = powers->right;
    const float upper = factors[warp_lane() / 4], lower = factors[warp_lane() / 4 + 8];
    return (uint4)(pair_bf16(left.x * upper, left.y * upper), pair_bf16(left.z * lower, left.w * lower),
                   pair_bf16(right.x * upper, right.y * upper), pair_bf16(right.z * lower, right.w * lower)) &
           mask;
}

/* The lane's columns 2t, 2t + 1 of what stands in the order of e4m3_pairs: of two rows. */
static inline float4
in_order(float4 values, local uint *words)
{
    const bool is_odd = warp_lane() % 2;
    const float upper = as_float(warp_swap(as_uint(is_odd ? values.x : values.y), 1, words));
    const float lower = as_float(warp_swap(as_uint(is_odd ? values.z : values.w), 1, words));
    return is_odd ? (float4)(upper, values.y, lower, values.w) : (float4)(values.x, upper, values.z, lower);
}

#ifdef ONE_CHUNK
/* What attend_finish makes of one part.  turn: of rotary elements */
static inline float2
finish_pair(float2 sums, float2 divisor, bool is_rope, float2 turn)
{
    const float2 pair = (float2)(round_bf16(divide_head(0.0f + sums.x, divisor)),
                                 round_bf16(divide_head(0.0f + sums.y, divisor)));
    return is_rope ? turn_pair(pair, turn, -1, 1) : pair;
}
#endif

/* The warp's columns from depth on, to rows of HEAD_DIM. */
static inline void
store_sums(const float4 totals[HEAD_TILES][COLUMNS], uint depth, global float *out,
#ifdef ONE_CHUNK
           const local float2 *divisors, const global float *inv_freq, ulong position,
#endif
           local uint *words)
{
    UNROLL
    for (uint c = 0; c < COLUMNS; c++) {
        const uint at = depth + c * 8 + warp_lane() % 4 * 2;
#ifdef ONE_CHUNK
        const bool is_rope = depth >= NOPE_DIM;
        const float2 turn = turn_of(convert_float_rte(position) * inv_freq[is_rope ? (at - NOPE_DIM) / 2 : 0]);
#endif
        UNROLL
        for (uint m = 0; m < HEAD_TILES; m++) {
            const uint head = m * 16 + warp_lane() / 4;
            float4 total = in_order(totals[m][c], words);
#ifdef ONE_CHUNK
            total.xy = finish_pair(total.xy, divisors[head], is_rope, turn);
            total.zw = finish_pair(total.zw, divisors[head + 8], is_rope, turn);
#endif
            out[head * HEAD_DIM + at] = total.x;
            out[head * HEAD_DIM + at + 1] = total.y;
            out[(head + 8) * HEAD_DIM + at] = total.z;
            out[(head + 8) * HEAD_DIM + at + 1] = total.w;
        }
    }
}

/* Asks for the item's shares of the rows of a batch, and for the lane's powers; beyond the last tile for that again. */
static inline void
load_batch(const struct rows *rows, const local uint *places, const global float4 *powers, uint padded, uint tile,
           uint n, uint first, struct share *shares, struct powers *next)
{
    UNROLL
    for (uint i = 0; i < BATCH; i++) {
        const uint there = min(tile + i, n - 1);
        shares[i] = load_share(rows, places[there * TILE], first);
        next[i] = load_powers(powers + (ulong)there * padded * 4);
    }
}

/* Puts what has come into local memory.  Tiles beyond the last one weigh nothing. */
static inline void
fill_batch(const struct share *shares, const struct powers *next, uint tile, uint n, uint first,
           const local float (*factors)[HEADS], uint own, local uint4 *values, local uint4 *left)
{
    UNROLL
    for (uint i = 0; i < BATCH; i++) {
        unpack_share(&shares[i], first, values + i * (TILE * STRIDE / 4));
        left[(i * HEAD_TILES + own) * WARP + warp_lane()] =
            weights_of(&next[i], factors[min(tile + i, n - 1)] + own * 16, tile + i < n ? 0xFFFFFFFFu : 0u);
    }
}

/* totals += P rows of a batch.  left: the lane's P; rows: the lane's row of the first matrices */
static inline void
multiply_batch(const local uint4 *left, const local uint4 *rows, float4 totals[HEAD_TILES][COLUMNS], local uint *words)
{
    UNROLL
    for (uint i = 0; i < BATCH; i++) {
        uint4 a[HEAD_TILES];
        UNROLL
        for (uint m = 0; m < HEAD_TILES; m++) {
            a[m] = left[(i * HEAD_TILES + m) * WARP];
        }
        UNROLL
        for (uint c = 0; c < COLUMNS; c += 2) {
            const uint4 b = mma_load_transposed(rows + i * (TILE * STRIDE / 4) + c, words);
            UNROLL
            for (uint m = 0; m < HEAD_TILES; m++) {
                totals[m][c] = mma_bf16(a[m], b.xy, totals[m][c], words);
                totals[m][c + 1] = mma_bf16(a[m], b.zw, totals[m][c + 1], words);
            }
        }
    }
}

kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
attend_sums_mma(ROWS_PLACES, PLACE_CONST(powers), PLACE_CONST(maxima), PLACE_CONST(sums), PLACE_CONST(tops),
#ifdef ONE_CHUNK
                PLACE_CONST(sinks), PLACE_CONST(inv_freq), PLACE(o),
#else
                PLACE(parts), PLACE(weights), PLACE(largest), uint n_chunks,
#endif
                uint padded, uint n_tiles, uint n_ranges, uint range_tiles)
{
    local uint words[MMA_WORDS(WARPS)];
    local uint4 values[2][BATCH * TILE * STRIDE / 4], left[2][BATCH * HEAD_TILES * WARP];
    local float factors[CHUNK_TILES][HEADS], most[HEADS], room[ITEMS];
#ifdef ONE_CHUNK
    local float2 divisors[HEADS];
#endif
    local uint places[CHUNK];
    const uint lane = warp_lane(), warp = (uint)get_local_id(0) / WARP, own = warp % HEAD_TILES;
    const ulong token = get_group_id(2);
    const uint chunk = (uint)get_group_id(0) / SLICES, slice = (uint)get_group_id(0) % SLICES;
    const uint first_head = (uint)get_group_id(1) * HEADS;
    const struct rows rows = ROWS_OF(token);
    const uint n_used = (rows.n_keys + TILE - 1) / TILE, begin = chunk * CHUNK_TILES;
    const uint n = min((uint)CHUNK_TILES, n_used - min(begin, n_used));
    const uint item = (uint)get_local_id(0), key = item / 8, first = slice * BLOCKS, head_of_item = item % HEADS;
    const uint value_at = key * (STRIDE / 4) + item % 8;
    const ulong heads_before = (token * n_tiles + begin) * padded + first_head;
    const global float4 *powers = AT_CONST(float4, powers) + (heads_before + own * 16) * 4;
    /* the lane's row of the four matrices that are loaded together: keys 0 and 8 of eight columns, of the next */
    const uint matrix_at = ((lane / 8 % 2 * 8 + lane % 8) * STRIDE + warp * COLUMNS * 4 + lane / 16 * 4) / 4;
    float4 totals[HEAD_TILES][COLUMNS] = {{(float4)(0.0f)}};
    struct share shares[AHEAD * BATCH];
    struct powers next[AHEAD * BATCH];
    if (n == 0) {
        return;
    }
    find_places(&rows, begin * TILE, n * TILE, places);
    UNROLL
    for (uint i = 0; i < AHEAD * BATCH; i += BATCH) {
        load_batch(&rows, places + key, powers, padded, i, n, first, &shares[i], &next[i]);
    }
    find_most(AT_CONST(float, tops) + token * n_ranges * padded + first_head, padded,
              (n_used + range_tiles - 1) / range_tiles, room, most);
    const float weight = find_factors(AT_CONST(float, maxima) + heads_before, AT_CONST(float, sums) + heads_before,
                                      padded, n, most, factors, (local float *)values);
    for (uint start = 0; start < n; start += AHEAD * BATCH) {
        UNROLL
        for (uint turn = 0; turn < AHEAD; turn++) {
            local uint4 *rows_here = values[turn % 2], *left_here = left[turn % 2];
            const uint at = turn * BATCH, tile = start + at;
            fill_batch(&shares[at], &next[at], tile, n, first, factors, own, rows_here + value_at, left_here);
            load_batch(&rows, places + key, powers, padded, tile + AHEAD * BATCH, n, first, &shares[at], &next[at]);
            barrier(CLK_LOCAL_MEM_FENCE);
            multiply_batch(left_here + lane, rows_here + matrix_at, totals, words);
        }
    }
    const uint depth = slice * DEPTH + warp * COLUMNS * 8;
#ifdef ONE_CHUNK
    const float sink = AT_CONST(float, sinks)[first_head + head_of_item];
    divisors[head_of_item] = head_divisor(weight, sink, most[head_of_item]); /* by several items alike */
    barrier(CLK_LOCAL_MEM_FENCE);
    store_sums(totals, depth, AT(float, o) + (token * padded + first_head) * HEAD_DIM, divisors,
               AT_CONST(float, inv_freq), position + token, words);
#else
    const ulong row = (token * n_chunks + chunk) * padded + first_head;
    AT(float, weights)[row + head_of_item] = weight; /* by all slices alike */
    AT(float, largest)[token * padded + first_head + head_of_item] = most[head_of_item];
    store_sums(totals, depth, AT(float, parts) + row * HEAD_DIM, words);
#endif
}
#endif
