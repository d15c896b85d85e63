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
 *                        time while those of AHEAD (even) batches are on their way, and a warp has DEPTH / 4 columns of the sums.  With ONE_CHUNK it ends them too, as attend_finish does; the
 *                        number of heads is then one that need not be padded.
 *
 * Tiles, chunks and the order within them depend on a key's place alone, and an output's chain of additions on nothing
 * else: the bits are those of any other cut of the work.  A listed entry that is -1 reads the oldest row of the window and
 * weighs nothing.
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
    const struct rows rows = {ring,      entries,    listed,  oldest, n_window, n_window + (listed == 0 ? n_visible : top_k),
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

/* Both halves of a factor. */
static inline uint
twice(uint bits)
{
    return bits << 16 | bits;
}

/* Bits of e4m3 put into a bf16 are values times 2^-120.  What undoes this and scales, in two factors: the second is 1
 * but for scales beyond 2^7. */
static inline uint2
factors_of(uint scale)
{
    const uint exponent = min(scale + 120u, 254u);
    return (uint2)(twice(scale == E8M0_NAN ? 0x7FC0u : exponent << 7), twice((scale + 120u - exponent + 127u) << 7));
}

/* Elements 0 and 2 of four codes, and 1 and 3, each pair in a word. */
static inline uint2
pairs_of(uint codes, uint2 factors)
{
    const uint even = (codes << 8 & 0x80008000u) | (codes << 4 & 0x07F007F0u);
    const uint odd = (codes & 0x80008000u) | (codes >> 4 & 0x07F007F0u);
    uint2 pairs = (uint2)(multiply_bf16(even, factors.x), multiply_bf16(odd, factors.x));
    if (factors.y != 0x3F803F80u) {
        pairs = (uint2)(multiply_bf16(pairs.x, factors.y), multiply_bf16(pairs.y, factors.y));
    }
    return pairs;
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
    const uint2 first = factors_of(share->scales[0]), second = factors_of(share->scales[1]);
    keys[0] = pairs_of(share->codes[0].x, first);
    keys[1] = pairs_of(share->codes[0].y, first);
    keys[2] = pairs_of(share->codes[1].x, first);
    keys[3] = pairs_of(share->codes[1].y, first);
    if ((uint)get_local_id(0) / WARP == 3) {
        keys[4] = share->more[0];
        keys[5] = share->more[1];
        keys[6] = share->more[2];
        keys[7] = share->more[3];
    } else {
        keys[4] = pairs_of(share->more[0].x, second);
        keys[5] = pairs_of(share->more[0].y, second);
        keys[6] = pairs_of(share->more[1].x, second);
        keys[7] = pairs_of(share->more[1].y, second);
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
    right =
        (float4)(power_of(right.x, upper), power_of(right.y, upper), power_of(right.z, lower), power_of(right.w, lower));
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
    const uint lane = warp_lane(), g = lane / 4, t = lane % 4, warp = (uint)get_local_id(0) / WARP, own = warp % HEAD_TILES;
    const ulong token = get_group_id(2);
    const uint first_head = (uint)get_group_id(1) * HEADS, range = (uint)get_group_id(0);
    const struct rows rows = ROWS_OF(token);
    const uint n_used = (rows.n_keys + TILE - 1) / TILE;
    const uint begin = range * range_tiles, end = min(begin + range_tiles, n_used);
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
    UNROLL
    for (uint i = 0; i < HEAD_TILES * STEPS; i++) {
        const global float *all = AT_CONST(float, q) + token * n_heads * HEAD_DIM;
        const uint head = first_head + i / STEPS * 16 + g;
        const uint2 upper = load_query(all, head, n_heads, i % STEPS);
        const uint2 lower = load_query(all, head + 8, n_heads, i % STEPS);
        queries[i / STEPS][i % STEPS] = (uint4)(upper.x, lower.x, upper.y, lower.y);
    }
    for (uint tile = begin; tile < end; tile++) {
        local float4 (*parts)[HEAD_TILES * 2 * WARP] = partial[tile % 2];
        const local uint *here = places + (tile - begin) * TILE;
        UNROLL
        for (uint i = 0; i < 2; i++) {
            uint2 keys[STEPS];
            const struct share share = next[i];
            unpack_share(&share, keys);
            next[i] = load_share(&rows, here[(tile + 1 < end ? TILE : 0) + 8 * i + g]);
            UNROLL
            for (uint m = 0; m < HEAD_TILES; m++) {
                float4 sum = (float4)(0.0f);
                UNROLL
                for (uint s = 0; s < STEPS; s++) {
                    sum = mma_bf16(queries[m][s], keys[s], sum, words);
                }
                parts[warp][(2 * m + i) * WARP + lane] = sum;
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        float4 z[2];
        UNROLL
        for (uint i = 0; i < 2; i++) {
            const uint at = (2 * own + i) * WARP + lane;
            const float4 sum = ((parts[0][at] + parts[1][at]) + (parts[2][at] + parts[3][at])) * scale;
            const bool has_low = here[8 * i + 2 * t] != NO_PLACE, has_high = here[8 * i + 2 * t + 1] != NO_PLACE;
            z[i] = (float4)(has_low ? sum.x : -INFINITY, has_high ? sum.y : -INFINITY, has_low ? sum.z : -INFINITY,
                            has_high ? sum.w : -INFINITY);
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
#define SHARE (DEPTH / 8)        /* elements of a row that an item unpacks */
#define STRIDE (DEPTH / 2 + 4)   /* words of an unpacked row: four keep rows off one another's banks */
#define COLUMNS (DEPTH / 4 / 8)  /* of a warp, in eights */
#define SLICES (HEAD_DIM / DEPTH)
#define LANES_A_HEAD (ITEMS / HEADS)

/* SHARE elements of a row: codes, or twice as many bytes of bf16. */
struct share {
    uint2 words[SHARE / 4];
    uint scale;
};

static inline struct share
load_share(const struct rows *rows, uint place, uint first)
{
    const global uchar *row = row_at(rows, place);
    struct share share;
    const bool is_rope = first >= NOPE_DIM;
    const global uint2 *words = (const global uint2 *)(row + (is_rope ? 2 * first - NOPE_DIM : first));
    share.scale = row[SCALES + first / KV_BLOCK]; /* of rotary elements what fills up the row */
    UNROLL
    for (uint i = 0; i < SHARE / 8; i++) {
        share.words[i] = words[i];
    }
    if (is_rope) {
        UNROLL
        for (uint i = SHARE / 8; i < SHARE / 4; i++) {
            share.words[i] = words[i];
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

/* to: SHARE / 2 words */
static inline void
unpack_share(const struct share *share, uint first, local uint4 *to)
{
    if (first >= NOPE_DIM) {
        UNROLL
        for (uint i = 0; i < SHARE / 8; i++) {
            to[i] = (uint4)(interleave(share->words[2 * i]), interleave(share->words[2 * i + 1]));
        }
    } else {
        const uint2 factors = factors_of(share->scale);
        UNROLL
        for (uint i = 0; i < SHARE / 8; i++) {
            to[i] = (uint4)(pairs_of(share->words[i].x, factors), pairs_of(share->words[i].y, factors));
        }
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
                   pair_bf16(right.x * upper, right.y * upper), pair_bf16(right.z * lower, right.w * lower)) & mask;
}

/* The lane's columns 2t, 2t + 1 of what stands in the order of pairs_of: of two rows. */
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
    const uint key = (uint)get_local_id(0) / 8, first = slice * DEPTH + (uint)get_local_id(0) % 8 * SHARE;
    const uint value_at = (key * STRIDE + (uint)get_local_id(0) % 8 * (SHARE / 2)) / 4;
    const ulong heads_before = (token * n_tiles + begin) * padded + first_head;
    const global float4 *powers = AT_CONST(float4, powers) + (heads_before + own * 16) * 4;
    /* the lane's row of the four matrices that are loaded together: keys 0 and 8 of one eight of columns, of the next */
    const uint matrix_at = ((lane / 8 % 2 * 8 + lane % 8) * STRIDE + warp * COLUMNS * 4 + lane / 16 * 4) / 4;
    float4 totals[HEAD_TILES][COLUMNS];
    struct share shares[AHEAD * BATCH];
    struct powers next[AHEAD * BATCH];
    if (n == 0) {
        return;
    }
    find_places(&rows, begin * TILE, n * TILE, places);
    UNROLL
    for (uint i = 0; i < AHEAD * BATCH; i++) {
        const uint tile = min(i, n - 1);
        shares[i] = load_share(&rows, places[tile * TILE + key], first);
        next[i] = load_powers(powers + (ulong)tile * padded * 4);
    }
    find_most(AT_CONST(float, tops) + token * n_ranges * padded + first_head, padded,
              (n_used + range_tiles - 1) / range_tiles, room, most);
    const float weight = find_factors(AT_CONST(float, maxima) + heads_before, AT_CONST(float, sums) + heads_before,
                                      padded, n, most, factors, (local float *)values);
    UNROLL
    for (uint i = 0; i < HEAD_TILES * COLUMNS; i++) {
        totals[i / COLUMNS][i % COLUMNS] = (float4)(0.0f);
    }
    for (uint start = 0; start < n; start += AHEAD * BATCH) {
        UNROLL
        for (uint turn = 0; turn < AHEAD; turn++) { /* tiles that fill up the last turns weigh nothing */
            local uint4 *rows_here = values[turn % 2], *left_here = left[turn % 2];
            UNROLL
            for (uint i = 0; i < BATCH; i++) {
                const uint at = turn * BATCH + i, tile = start + at;
                const uint here = min(tile, n - 1), there = min(tile + AHEAD * BATCH, n - 1);
                unpack_share(&shares[at], first, rows_here + i * (TILE * STRIDE / 4) + value_at);
                left_here[(i * HEAD_TILES + own) * WARP + lane] =
                    weights_of(&next[at], factors[here] + own * 16, tile < n ? 0xFFFFFFFFu : 0u);
                shares[at] = load_share(&rows, places[there * TILE + key], first);
                next[at] = load_powers(powers + (ulong)there * padded * 4);
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            UNROLL
            for (uint i = 0; i < BATCH; i++) {
                uint4 a[HEAD_TILES];
                UNROLL
                for (uint m = 0; m < HEAD_TILES; m++) {
                    a[m] = left_here[(i * HEAD_TILES + m) * WARP + lane];
                }
                UNROLL
                for (uint c = 0; c < COLUMNS; c += 2) {
                    const uint4 b = mma_load_transposed(rows_here + i * (TILE * STRIDE / 4) + matrix_at + c, words);
                    UNROLL
                    for (uint m = 0; m < HEAD_TILES; m++) {
                        totals[m][c] = mma_bf16(a[m], b.xy, totals[m][c], words);
                        totals[m][c + 1] = mma_bf16(a[m], b.zw, totals[m][c + 1], words);
                    }
                }
            }
        }
    }
    const uint depth = slice * DEPTH + warp * COLUMNS * 8 + lane % 4 * 2;
#ifdef ONE_CHUNK
    const bool is_rope = depth >= NOPE_DIM;
    const float sink = AT_CONST(float, sinks)[first_head + (uint)get_local_id(0) % HEADS];
    global float *out = AT(float, o) + (token * padded + first_head) * HEAD_DIM;
    float2 turns[COLUMNS];
    UNROLL
    for (uint i = 0; i < COLUMNS; i++) {
        const uint pair = is_rope ? (depth + i * 8 - NOPE_DIM) / 2 : 0;
        turns[i] = turn_of(convert_float_rte(position + token) * AT_CONST(float, inv_freq)[pair]);
    }
    divisors[(uint)get_local_id(0) % HEADS] = head_divisor(weight, sink, most[(uint)get_local_id(0) % HEADS]); /* by several items alike */
    barrier(CLK_LOCAL_MEM_FENCE);
#else
    const ulong row = (token * n_chunks + chunk) * padded + first_head;
    global float *out = AT(float, parts) + row * HEAD_DIM;
    AT(float, weights)[row + (uint)get_local_id(0) % HEADS] = weight; /* by all slices alike */
    AT(float, largest)[token * padded + first_head + (uint)get_local_id(0) % HEADS] = most[(uint)get_local_id(0) % HEADS];
#endif
    UNROLL
    for (uint i = 0; i < HEAD_TILES * COLUMNS; i++) {
        const uint head = i / COLUMNS * 16 + lane / 4, at = depth + i % COLUMNS * 8;
        float4 total = in_order(totals[i / COLUMNS][i % COLUMNS], words);
#ifdef ONE_CHUNK
        total.xy = finish_pair(total.xy, divisors[head], is_rope, turns[i % COLUMNS]);
        total.zw = finish_pair(total.zw, divisors[head + 8], is_rope, turns[i % COLUMNS]);
#endif
        out[head * HEAD_DIM + at] = total.x;
        out[head * HEAD_DIM + at + 1] = total.y;
        out[(head + 8) * HEAD_DIM + at] = total.z;
        out[(head + 8) * HEAD_DIM + at + 1] = total.w;
    }
}
#endif
