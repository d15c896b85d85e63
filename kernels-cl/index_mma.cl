/* index_mma.cl - scores of the indexer's keys by matrix instructions (mma.cl): native numerics, packed keys of 128
 * elements, at most 16 * HEAD_TILES heads.  Arguments and what is left are those of index_scores (index.cl).
 *
 * e2m1 times a power of two is a bf16, and so is a query that index_query made: a product of 16 keys and 8 heads is
 * eight instructions in f32, and needs nothing between blocks.  A warp keeps all heads in registers and walks through
 * blocks of 32 keys, which come from memory straight into the operand: the lane with g = lane / 4, t = lane % 4 reads
 * block t of keys g and g + 8, 16 bytes with one scale.  Step s of the product takes from each lane four elements of
 * word s / 2; pairs of elements are those that lie 16 bits apart in a word, so that one shift moves both.
 *
 * A warp without a scale above 2 leaves out the second of a key's two factors.
 *
 * The 64 products of a head's weight are rounded in pairs, and summed by another instruction, whose right side is 1. */

#define WARPS 8
#define ITEMS (WARPS * WARP)
#define STEPS 8
#define COLUMNS (2 * HEAD_TILES) /* heads in eights */
#define WIDTH 128

/* What a lane reads of one key. */
struct codes {
    uint words[4];
    uint scale;
};

static inline struct codes
load_codes(const global uchar *keys, uint key, uint row_bytes)
{
    const global uchar *row = keys + (ulong)key * row_bytes;
    const global uint *words = (const global uint *)row + 4 * (warp_lane() % 4);
    const struct codes codes = {{words[0], words[1], words[2], words[3]}, row[WIDTH / 2 + warp_lane() % 4]};
    return codes;
}

/* Elements `first` and first + 4 of a word, times a factor: e2m1 bits put into a bf16 are values times 2^-126. */
static inline uint
pair_of(uint word, uint first, uint factor)
{
    const uint signs = word << (12 - 4 * first) & 0x80008000u;
    const uint rest = (first < 2 ? word << (6 - 4 * first) : word >> (4 * first - 6)) & 0x01C001C0u;
    return multiply_bf16(signs | rest, factor);
}

/* What undoes the place of the bits and scales, in two factors: the second is 1 but for codes above LOUD. */
#define LOUD 128u
static inline uint2
factors_of(uint scale)
{
    const uint exponent = min(scale + 126u, 254u);
    return (uint2)(twice(scale == E8M0_NAN ? 0x7FC0u : exponent << 7), twice((scale + 126u - exponent + 127u) << 7));
}

/* All heads as right operands, in the order in which lanes read them: [STEPS][COLUMNS][WARP].  Eight elements of a head
 * are the pairs of two steps of one lane. */
static inline void
load_queries(const global float *q, uint n_heads, local uint2 *queries)
{
    UNROLL_LOADS
    for (uint i = (uint)get_local_id(0); i < COLUMNS * 8 * (WIDTH / 8); i += ITEMS) {
        const uint head = i / (WIDTH / 8), eight = i % (WIDTH / 8);
        const global float4 *from = (const global float4 *)(q + (ulong)min(head, n_heads - 1) * WIDTH) + 2 * eight;
        const float4 low = from[0], high = from[1];
        const uint mask = head < n_heads ? 0xFFFFFFFFu : 0u;
        local uint2 *to = queries + (eight % 4 * 2 * COLUMNS + head / 8) * WARP + head % 8 * 4 + eight / 4;
        to[0] = (uint2)(pair_bf16(low.x, high.x), pair_bf16(low.y, high.y)) & mask;
        to[COLUMNS * WARP] = (uint2)(pair_bf16(low.z, high.z), pair_bf16(low.w, high.w)) & mask;
    }
}

/* a_h of heads 8 column + 2 t, 2 t + 1. */
static inline uint
load_weights(const global float *head_weights, uint column, uint n_heads, float scale)
{
    const uint head = column * 8 + warp_lane() % 4 * 2;
    const float low = head < n_heads ? head_weights[head] * scale : 0.0f;
    const float high = head + 1 < n_heads ? head_weights[head + 1] * scale : 0.0f;
    return pair_bf16(low, high);
}

/* relu of two dot products, times their heads' factors.  A NaN counts as 0. */
static inline uint
parts_of(float low, float high, uint weights)
{
    return multiply_bf16(relu_bf16(pair_bf16(low, high)), weights);
}

/* Scores of 16 keys: x of key g, y of key g + 8, in each of the lanes that share them.  All heads' sums grow side by
 * side, so that an instruction need not wait for the one before. */
static inline float2
score_tile(const struct codes *upper, const struct codes *lower, const uint2 queries[STEPS][COLUMNS],
           const uint *weights, bool is_loud, local uint *words)
{
    const uint2 above = factors_of(upper->scale), below = factors_of(lower->scale);
    float4 dots[COLUMNS], sums = (float4)(0.0f);
    UNROLL
    for (uint i = 0; i < COLUMNS; i++) {
        dots[i] = (float4)(0.0f);
    }
    UNROLL
    for (uint s = 0; s < STEPS; s++) {
        uint4 keys;
        keys.x = pair_of(upper->words[s / 2], s % 2 * 2, above.x);
        keys.y = pair_of(lower->words[s / 2], s % 2 * 2, below.x);
        keys.z = pair_of(upper->words[s / 2], s % 2 * 2 + 1, above.x);
        keys.w = pair_of(lower->words[s / 2], s % 2 * 2 + 1, below.x);
        if (is_loud) {
            keys = (uint4)(multiply_bf16(keys.x, above.y), multiply_bf16(keys.y, below.y),
                           multiply_bf16(keys.z, above.y), multiply_bf16(keys.w, below.y));
        }
        UNROLL
        for (uint i = 0; i < COLUMNS; i++) {
            dots[i] = mma_bf16(keys, queries[s][i], dots[i], words);
        }
    }
    UNROLL
    for (uint i = 0; i < COLUMNS; i += 2) {
        const uint4 parts =
            (uint4)(parts_of(dots[i].x, dots[i].y, weights[i]), parts_of(dots[i].z, dots[i].w, weights[i]),
                    parts_of(dots[i + 1].x, dots[i + 1].y, weights[i + 1]),
                    parts_of(dots[i + 1].z, dots[i + 1].w, weights[i + 1]));
        sums = mma_bf16(parts, (uint2)(ONES), sums, words);
    }
    return (float2)(sums.x, sums.z);
}

/* Scores the tile whose codes are there and asks for those of the next one: keys `after` and after + 8. */
static inline float2
take_tile(struct codes *next, const global uchar *keys, uint after, uint n_visible, uint row_bytes,
          const uint2 queries[STEPS][COLUMNS], const uint *weights, local uint *words)
{
    const struct codes upper = next[0], lower = next[1];
    next[0] = load_codes(keys, min(after, n_visible - 1), row_bytes);
    next[1] = load_codes(keys, min(after + 8, n_visible - 1), row_bytes);
#ifdef MMA_PTX
    if (!warp_any(max(upper.scale, lower.scale) > LOUD)) {
        return score_tile(&upper, &lower, queries, weights, false, words);
    }
#endif
    return score_tile(&upper, &lower, queries, weights, true, words);
}

/* The first token is the first of this launch. */
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
index_scores_mma(PLACE_CONST(q), PLACE_CONST(head_weights), PLACE_CONST(keys), PLACE(orders), PLACE(maxima),
                 ulong position, uint n_heads, uint ratio, uint top_k, uint row_bytes, uint max_blocks, float scale)
{
    local uint words[MMA_WORDS(WARPS)];
    local uint2 shared[STEPS * COLUMNS * WARP];
    const ulong token = get_group_id(1);
    const uint lane = warp_lane(), row = lane / 4, stride = (uint)get_num_groups(0) * WARPS;
    const uint n_visible = (uint)((position + token + 1) / ratio);
    const uint n_blocks = (n_visible + SCORE_BLOCK - 1) / SCORE_BLOCK;
    const global uchar *all_keys = AT_CONST(uchar, keys);
    uint2 queries[STEPS][COLUMNS];
    uint weights[COLUMNS];
    struct codes next[4];
    if (n_visible <= top_k) {
        return;
    }
    load_queries(AT_CONST(float, q) + token * n_heads * WIDTH, n_heads, shared);
    barrier(CLK_LOCAL_MEM_FENCE);
    UNROLL
    for (uint i = 0; i < STEPS * COLUMNS; i++) {
        queries[i / COLUMNS][i % COLUMNS] = shared[i * WARP + lane];
    }
    UNROLL
    for (uint i = 0; i < COLUMNS; i++) {
        weights[i] = load_weights(AT_CONST(float, head_weights) + token * n_heads, i, n_heads, scale);
    }
    const uint own = (uint)get_local_id(0) / WARP;
    uint block = min((uint)get_group_id(0) * WARPS + own, n_blocks - 1);
    UNROLL
    for (uint i = 0; i < 4; i++) {
        next[i] = load_codes(all_keys, min(block * SCORE_BLOCK + 8 * i + row, n_visible - 1), row_bytes);
    }
    for (uint first = (uint)get_group_id(0) * WARPS; first < n_blocks; first += stride) {
        const uint next_block = min(first + stride + own, n_blocks - 1); /* a warp too many does the last one again */
        const uint key_after = next_block * SCORE_BLOCK + row;
        const float2 first_scores =
            take_tile(&next[0], all_keys, key_after, n_visible, row_bytes, queries, weights, words);
        const float2 last_scores =
            take_tile(&next[2], all_keys, key_after + 16, n_visible, row_bytes, queries, weights, words);
        /* lane (g, t) keeps key 8 t + g */
        const float2 pair = lane % 4 < 2 ? first_scores : last_scores;
        const uint key = block * SCORE_BLOCK + lane % 4 * 8 + row;
        const uint order = key < n_visible ? order_of(round_bf16(lane % 2 == 0 ? pair.x : pair.y)) : NO_ORDER;
        uint largest = order;
        UNROLL
        for (uint reach = 1; reach < WARP; reach *= 2) {
            largest = max(largest, warp_swap(largest, reach, words));
        }
        AT(order_t, orders)[token * max_blocks * SCORE_BLOCK + key] = (order_t)order;
        AT(order_t, maxima)[token * max_blocks + block] = (order_t)largest;
        block = next_block;
    }
}
