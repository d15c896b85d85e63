/* tensor.cl - y = x W^T by the matrix instructions of mma.cl, for quantised weights whose rows are whole blocks of 128.
 *
 * Weights are the rows of the instruction, tokens its columns.  Codes become f16 by moving their bits, which gives
 * their value times a power of two (WEIGHT_SHIFT, X_SHIFT); the scale of a block puts it right.
 *
 * A step is 32 elements of K, two instructions; lane t of four has the same 8 of them in its weights and in x: of
 * E2M1X2 a word, of E4M3 half of the 16 bytes that are its share of two steps.  x comes from prepare.cl with HALVES:
 * f16 [row][step][t][8], and for each row and block of 128 a code: the scale, with E2M1X2 two bytes, the upper one a
 * bit for each step of the block that has a low part; those parts, else 0, lie `low` further in x.
 *
 * E4M3: a block's sum is that of its instructions, in one order, times its factor; blocks are added in f32, ascending.
 * `few` and `many` do it alike: their bits are the same.
 * E2M1X2: a block is a step, and the contract's bits are wanted.  prepare.cl splits x so that the sum of either part is
 * exact; their f32 sum is the block's sum, rounded once.  Blocks are added in pieces of 512.
 *
 * few: a work-group of WARPS warps makes 16 rows for TOKENS (a multiple of 8) tokens.  Warps take blocks in turn, with
 * all loads of BLOCKS of them under way; what they find meets in local memory.  With LATE it quantises the one token's
 * row itself, while its first weights are on their way. many, routed: each of WARPS warps makes 32 rows for TOKENS
 * tokens, whose x is in local memory, one block ahead. */

#define X_BLOCK 128u
#define X_STEPS (X_BLOCK / 32u)
#define COLUMNS 8u
#define TILES_N (TOKENS / COLUMNS)
#define ITEMS (WARPS * WARP)
#define X_SHIFT 8
#if DTYPE == DTYPE_E4M3
#define WEIGHT_SHIFT 8
#else
#define WEIGHT_SHIFT 14
#endif
#define SHIFT (WEIGHT_SHIFT + X_SHIFT)

/* ---- codes to f16 ---- */

#if DTYPE == DTYPE_E4M3
/* Codes 0 and 2, and 1 and 3, of a word; times 2^-8. */
static inline uint2
e4m3_halves(uint word)
{
    const uint2 codes = (uint2)(word << 8, word);
    return (codes & 0x80008000u) | (codes >> 1 & 0x3F803F80u);
}
#else
/* Codes i and i + 4 of a word, for i 0 .. 3; times 2^-14. */
static inline uint4
e2m1_halves(uint word)
{
    const uint4 codes = (uint4)(word << 12, word << 8, word << 4, word);
    return (codes & 0x80008000u) | (codes >> 3 & 0x0E000E00u);
}
#endif

static inline float
finished(float value)
{
#ifdef ROUND
    return round_bf16(value);
#else
    return value;
#endif
}

#ifdef FEW

#define ROWS 16u
#define PASS (WARPS * BLOCKS)
#ifdef LATE
#define STORED 1u /* of TOKENS */
#define ADDRESS local
#else
#define STORED TOKENS
#define ADDRESS global
#endif
#define OUTPUTS (ROWS * STORED)
#define OWNED ((OUTPUTS + ITEMS - 1u) / ITEMS)

struct share {
    const global uint4 *upper, *lower; /* this lane's weights of rows g and g + 8 */
#ifdef LATE
    const local uint4 *x; /* the token's elements t */
#else
    const global uint4 *x; /* its elements of token g of the first columns; tokens are x_next further */
#endif
    uint x_next, n, n_blocks, warp, lane;
};

#ifdef LATE

#define LEAST 1e-4f /* act_quant's floor */

static inline float4
input_quad(const global float *x, const global float *up, float limit, uint at)
{
    const float4 value = vload4(0, x + at);
#ifdef SWIGLU
    const float4 other = vload4(0, up + at);
    return (
        float4)(round_bf16(exact_swiglu(value.x, other.x, limit)), round_bf16(exact_swiglu(value.y, other.y, limit)),
                round_bf16(exact_swiglu(value.z, other.z, limit)), round_bf16(exact_swiglu(value.w, other.w, limit)));
#else
    return value;
#endif
}

/* What prepare.cl does: the one token's row in local memory.  A warp makes a block at a time. */
static inline void
quantise_row(const global float *x, const global float *up, float limit, const struct share *share, local uint2 *halves,
             local uchar *codes, local uint *words)
{
    const uint lane = share->lane;
    for (uint turn = 0; turn < share->n_blocks; turn += WARPS) {
        const uint block = min(turn + share->warp, share->n_blocks - 1u);
        const float4 value = input_quad(x, up, limit, block * X_BLOCK + lane * 4u);
        const uint4 bits = as_uint4(fabs(value));
        uint largest = max(max(max(bits.x, bits.y), max(bits.z, bits.w)), as_uint(LEAST));
        for (uint mask = WARP / 2u; mask > 0u; mask /= 2u) {
            largest = max(largest, warp_swap(largest, mask, words));
        }
        const uint code = block_code(largest, E4M3_RECIPROCAL);
        const float reciprocal = code == E8M0_NAN ? 0.0f : as_float((254u - code) << 23);
        const uint4 all = (uint4)(e4m3_from_f32(value.x * reciprocal), e4m3_from_f32(value.y * reciprocal),
                                  e4m3_from_f32(value.z * reciprocal), e4m3_from_f32(value.w * reciprocal));
        const uint step = lane / 16u * 2u + lane / 2u % 2u, place = lane % 16u / 4u;
        const uint2 pair =
            (uint2)(e4m3_to_half(all.x) | e4m3_to_half(all.z) << 16, e4m3_to_half(all.y) | e4m3_to_half(all.w) << 16);
        halves[((block * X_STEPS + step) * 4u + place) * 2u + lane % 2u] = code == E8M0_NAN ? (uint2)(0u) : pair;
        codes[block] = (uchar)code;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

#endif

static inline void
load_pass(const struct share *share, uint pass, uint4 (*weights)[4])
{
    UNROLL
    for (uint i = 0; i < BLOCKS; i++) {
        const uint block = pass + i * WARPS + share->warp;
        if (block < share->n_blocks) {
            weights[i][0] = load_once(share->upper + block * 8u);
            weights[i][1] = load_once(share->upper + block * 8u + 4u);
            weights[i][2] = load_once(share->lower + block * 8u);
            weights[i][3] = load_once(share->lower + block * 8u + 4u);
        }
    }
}

/* What this lane has of x of a step, for columns 8 j ..; of one token, all columns are that one. */
static inline uint4
share_x(const struct share *share, uint j, uint step)
{
#ifdef LATE
    return share->x[step * 4u];
#else
    return j * COLUMNS + share->lane / 4u < share->n ? share->x[(ulong)j * COLUMNS * share->x_next + step * 4u]
                                                     : (uint4)(0u);
#endif
}

/* The sums of one block: c[j] those of columns 8 j .. 8 j + 7. */
static inline void
block_sums(const struct share *share, const uint4 *weights, uint block, float4 *c, local uint *words)
{
    UNROLL
    for (uint j = 0; j < TILES_N; j++) {
        c[j] = (float4)(0.0f);
    }
    UNROLL
    for (uint step = 0; step < X_STEPS; step++) {
        const uint4 upper = weights[step / 2u], lower = weights[2u + step / 2u];
        const uint2 u = e4m3_halves(step % 2u ? upper.z : upper.x), v = e4m3_halves(step % 2u ? lower.z : lower.x);
        const uint2 p = e4m3_halves(step % 2u ? upper.w : upper.y), q = e4m3_halves(step % 2u ? lower.w : lower.y);
        UNROLL
        for (uint j = 0; j < TILES_N; j++) {
            const uint4 x = share_x(share, j, block * X_STEPS + step);
            c[j] = mma_f16((uint4)(u.x, v.x, u.y, v.y), x.xy, c[j], words);
            c[j] = mma_f16((uint4)(p.x, q.x, p.y, q.y), x.zw, c[j], words);
        }
    }
}

/* Leaves a block's sums, times their factors, in sums: [block][token][row].  codes: of token 0; those of the next one
 * code_step further. */
static inline void
store_sums(const struct share *share, const float4 *c, uint at, uint w_code, const ADDRESS uchar *codes, uint code_step,
           local float *sums)
{
    UNROLL
    for (uint i = 0; i < TILES_N * 2u; i++) {
        const float4 all = c[i / 2u];
        const uint token = i / 2u * COLUMNS + share->lane % 4u * 2u + i % 2u;
        local float *to = sums + (at * STORED + token) * ROWS + share->lane / 4u;
        if (token < share->n) {
            const float factor = scale_product(codes[(ulong)token * code_step], w_code, SHIFT);
            to[0] = (i % 2u ? all.y : all.x) * factor;
            to[8] = (i % 2u ? all.w : all.z) * factor;
        }
    }
}

/* totals += the pass's blocks, ascending.  A block beyond the last adds 0 to what is never -0. */
static inline void
add_pass(const struct share *share, uint pass, const local float *sums, float *totals)
{
    UNROLL
    for (uint i = 0; i < OWNED; i++) {
        const uint output = min(i * ITEMS + (uint)get_local_id(0), OUTPUTS - 1u);
        UNROLL
        for (uint b = 0; b < PASS; b++) {
            const float sum = sums[b * OUTPUTS + output];
            totals[i] += pass + b < share->n_blocks ? sum : 0.0f;
        }
    }
}

/* Group g of get_num_groups(2) makes rows g * row_step .. + n_rows - 1 of the matrix at data + g * data_step,
 * scales + g * scales_step, from rows t * x_step + g * x_next of x.  y[t * y_stride + g * y_step + row].
 * With LATE there is one token, x is f32 as it came and quantised here; with SWIGLU its partner is at x_scales.
 * With PAIR group 1's matrix has pair_rows rows, and its own y, [n][pair_rows]. */
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
few(PLACE_CONST(x), PLACE_CONST(x_scales), PLACE_CONST(data), PLACE_CONST(scales), PLACE(y), uint n, uint cols,
    uint n_rows, uint row_step, ulong data_step, ulong scales_step, uint x_step, uint x_next, uint y_stride,
    uint y_step, float limit
#ifdef PAIR
    ,
    PLACE(pair_y), uint pair_rows
#endif
)
{
    local uint words[MMA_WORDS(WARPS)];
    local float sums[PASS * OUTPUTS];
    const uint item = get_local_id(0), g = item % WARP / 4u, t = item % 4u;
    const uint group = get_group_id(2), first = get_group_id(0) * ROWS, first_token = get_group_id(1) * TOKENS;
#ifdef PAIR
    const uint own_rows = group == 0u ? n_rows : pair_rows, own_stride = group == 0u ? y_stride : pair_rows;
    global float *out = group == 0u ? AT(float, y) : AT(float, pair_y);
    if (first >= own_rows) {
        return;
    }
#else
    const uint own_rows = n_rows, own_stride = y_stride;
    global float *out = AT(float, y) + group * y_step;
#endif
    const uint n_blocks = cols / X_BLOCK, row = group * row_step + first, last = group * row_step + own_rows - 1u;
    const ulong x_row = (ulong)first_token * x_step + group * x_next;
    const global uchar *from = AT_CONST(uchar, data) + group * data_step;
    const global uchar *w_codes = AT_CONST(uchar, scales) + group * scales_step + (ulong)(row / X_BLOCK) * n_blocks;
#ifdef LATE
    local uint4 halves[MAX_BLOCKS * X_STEPS * 4u];
    local uchar codes[MAX_BLOCKS];
#else
    const global uint4 *halves = AT_CONST(uint4, x) + (x_row + (ulong)g * x_step) * n_blocks * (X_STEPS * 4u);
    const global uchar *codes = AT_CONST(uchar, x_scales) + x_row * n_blocks;
#endif
    const struct share share = {(const global uint4 *)(from + (ulong)min(row + g, last) * cols) + t,
                                (const global uint4 *)(from + (ulong)min(row + g + 8u, last) * cols) + t,
                                halves + t,
                                x_step * n_blocks * (X_STEPS * 4u),
                                min(n - first_token, (uint)STORED),
                                n_blocks,
                                item / WARP,
                                item % WARP};
    uint4 weights[BLOCKS][4];
    float totals[OWNED];
    UNROLL
    for (uint i = 0; i < OWNED; i++) {
        totals[i] = 0.0f;
    }
    load_pass(&share, 0, weights);
#ifdef LATE
    quantise_row(AT_CONST(float, x) + x_row * cols, AT_CONST(float, x_scales) + x_row * cols, limit, &share,
                 (local uint2 *)halves, codes, words);
#endif
    for (uint pass = 0; pass < n_blocks; pass += PASS) {
        UNROLL
        for (uint i = 0; i < BLOCKS; i++) {
            const uint block = pass + i * WARPS + share.warp, held = min(block, n_blocks - 1u);
            float4 c[TILES_N];
#ifdef MMA_PTX
            if (block < n_blocks)
#endif
            {
                block_sums(&share, weights[i], held, c, words);
                store_sums(&share, c, i * WARPS + share.warp, w_codes[held], codes + held, x_step * n_blocks, sums);
            }
        }
        load_pass(&share, pass + PASS, weights);
        barrier(CLK_LOCAL_MEM_FENCE);
        add_pass(&share, pass, sums, totals);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    UNROLL
    for (uint i = 0; i < OWNED; i++) {
        const uint output = i * ITEMS + item, token = output / ROWS, r = first + output % ROWS;
        if (token < share.n && r < own_rows) {
            out[(ulong)(first_token + token) * own_stride + r] = finished(totals[i]);
        }
    }
}

#else

#define ROWS 32u /* of a warp */
#define TILES_M (ROWS / 16u)
#define PARTS (X_STEPS * 4u) /* of a block of one token, 16 bytes each */
#define STAGE (PARTS * TOKENS)
#define PIECE_BLOCKS 4u
#if DTYPE == DTYPE_E4M3
#define CODE uchar
#define LOADS 2u /* of a block: its weights are loaded in so many turns */
#else
#define CODE ushort
#define LOADS 1u
#endif
#define WORDS 4u /* of a lane, of one of its rows, in one turn */

/* Scales within these keep every factor inside the contract's limits: of weights 64 .. 127, which two bits tell, four
 * codes at once; of x, whose least is act_quant's floor, up to 191. */
#define TAME_BITS 0xC0C0C0C0u
#define TAME_CODES 0x40404040u
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
#if DTYPE == DTYPE_E2M1X2
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

/* totals += the block's sums times their factors */
static inline void
add_block(const struct work *work, const struct room *room, uint block, float4 *sums, float4 *totals)
{
    const uint w_code = work->scales[(ulong)(work->first / X_BLOCK) * work->n_blocks + block];
    UNROLL
    for (uint j = 0; j < TILES_N; j++) {
        const local CODE *codes = room->codes + block * TOKENS + j * COLUMNS + warp_lane() % 4u * 2u;
        const float p = scale_product(codes[0], w_code, SHIFT), q = scale_product(codes[1], w_code, SHIFT);
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

/* sums += the step's exact sums, rounded, times their factors.  w, x: codes of two rows and two tokens */
static inline float4
add_step(float4 exact, uint2 w, uint2 x, bool tame, float4 sum)
{
    if (tame) { /* both factors and their product with the sum are exact */
        const float2 rows = as_float2((w + SHIFT) << 23), tokens = as_float2(x << 23);
        return fma(exact * rows.xxyy, tokens.xyxy, sum);
    }
    const float4 factors = (float4)(scale_product(x.x, w.x, SHIFT), scale_product(x.y, w.x, SHIFT),
                                    scale_product(x.x, w.y, SHIFT), scale_product(x.y, w.y, SHIFT));
    return fma(exact, factors, sum);
}

/* exact += the low parts of a step.  volatile: this is rare, and nothing of it is worth registers ahead of time */
static inline void
add_low(const struct work *work, const struct room *room, uint block, uint step, uint tile, uint4 (*a)[2],
        float4 *exact)
{
    const uint lane = warp_lane(), row = *(const volatile local uint *)&room->rows[tile * COLUMNS + lane / 4u];
    const ulong at = ((ulong)row * work->n_blocks + block) * PARTS + step * 4u + lane % 4u;
    const uint4 x = ((const global uint4 *)(work->x + work->low))[at];
    UNROLL
    for (uint m = 0; m < TILES_M; m++) {
        const float4 sums = mma_f16(a[m][0], x.xy, (float4)(0.0f), room->words);
        exact[m] += mma_f16(a[m][1], x.zw, sums, room->words);
    }
}

/* sums += the four steps of a block */
static inline void
add_steps(const struct work *work, const struct room *room, const uint *weights, const uint *scales, uint block,
          bool tame, float4 *sums)
{
    const uint flags = room->flags[block];
    uint2 x_codes[TILES_N];
    UNROLL
    for (uint j = 0; j < TILES_N; j++) {
        const local CODE *codes = room->codes + block * TOKENS + j * COLUMNS + warp_lane() % 4u * 2u;
        x_codes[j] = (uint2)(codes[0] & 0xFFu, codes[1] & 0xFFu);
    }
    UNROLL
    for (uint step = 0; step < X_STEPS; step++) {
        uint4 a[TILES_M][2];
        uint2 w_codes[TILES_M];
        UNROLL
        for (uint m = 0; m < TILES_M; m++) {
            const uint4 u = e2m1_halves(weights[2u * m * WORDS + step]);
            const uint4 v = e2m1_halves(weights[(2u * m + 1u) * WORDS + step]);
            a[m][0] = (uint4)(u.x, v.x, u.y, v.y);
            a[m][1] = (uint4)(u.z, v.z, u.w, v.w);
            w_codes[m] = (uint2)(scales[2u * m], scales[2u * m + 1u]) >> step * 8u & 0xFFu;
        }
        UNROLL
        for (uint j = 0; j < TILES_N; j++) {
            const uint4 x = step_x(room, block, step, j);
            float4 exact[TILES_M];
            UNROLL
            for (uint m = 0; m < TILES_M; m++) {
                exact[m] = mma_f16(a[m][0], x.xy, (float4)(0.0f), room->words);
                exact[m] = mma_f16(a[m][1], x.zw, exact[m], room->words);
            }
#ifdef MMA_PTX
            if (flags >> (j * 4u + step) & 1u)
#endif
                add_low(work, room, block, step, j, a, exact);
            UNROLL
            for (uint m = 0; m < TILES_M; m++) {
                const uint at = m * TILES_N + j;
                sums[at] = add_step(exact[m], w_codes[m], x_codes[j], tame, sums[at]);
            }
        }
    }
}

#ifdef MMA_PTX
/* The same for scales that are not tame: rare, so it is a function of its own, on copies, for which the caller holds no
 * registers. */
static __attribute__((noinline)) void
add_wild_steps(const struct work *work, const struct room *room, const uint *weights, const uint *scales, uint block,
               float4 *sums)
{
    add_steps(work, room, weights, scales, block, false, sums);
}
#endif

/* As add_steps: all of a warp go one way, that there is no branch around a product. */
static inline void
add_tamed_steps(const struct work *work, const struct room *room, const uint *weights, const uint *scales, uint block,
                float4 *sums)
{
    uint wild = 0u;
    UNROLL
    for (uint i = 0; i < 2u * TILES_M; i++) {
        wild |= (scales[i] ^ TAME_CODES) & TAME_BITS;
    }
    const bool tame = wild == 0u && room->flags[work->n_blocks] == 0u;
#ifdef MMA_PTX
    if (warp_all(tame)) {
        add_steps(work, room, weights, scales, block, true, sums);
    } else {
        const struct work its_work = *work;
        const struct room its_room = *room;
        uint its_weights[2u * TILES_M * WORDS], its_scales[2u * TILES_M];
        float4 its_sums[TILES_M * TILES_N];
        UNROLL
        for (uint i = 0; i < 2u * TILES_M * WORDS; i++) {
            its_weights[i] = weights[i];
            its_scales[i / WORDS] = scales[i / WORDS];
        }
        UNROLL
        for (uint i = 0; i < TILES_M * TILES_N; i++) {
            its_sums[i] = sums[i];
        }
        add_wild_steps(&its_work, &its_room, its_weights, its_scales, block, its_sums);
        UNROLL
        for (uint i = 0; i < TILES_M * TILES_N; i++) {
            sums[i] = its_sums[i];
        }
    }
#else
    add_steps(work, room, weights, scales, block, tame, sums);
#endif
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
    load_scales(work, row, 0, next_scales);
#endif
    for (uint block = 0; block < work->n_blocks; block++) {
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
#if DTYPE == DTYPE_E4M3
            add_turn(room, weights, block, turn, sums);
#else
            UNROLL
            for (uint i = 0; i < 2u * TILES_M; i++) {
                scales[i] = next_scales[i];
            }
            load_scales(work, row, after, next_scales);
            add_tamed_steps(work, room, weights, scales, block, sums);
#endif
        }
#if DTYPE == DTYPE_E4M3
        add_block(work, room, block, sums, totals);
#else
        if (block % PIECE_BLOCKS == PIECE_BLOCKS - 1u || block == work->n_blocks - 1u) {
            UNROLL
            for (uint i = 0; i < TILES_M * TILES_N; i++) {
                totals[i] += sums[i];
                sums[i] = (float4)(0.0f);
            }
        }
#endif
        barrier(CLK_LOCAL_MEM_FENCE);
    }
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
     uint y_step, float limit)
{
    ROOM;
    const uint group = get_group_id(2), first = get_group_id(0) * WARPS * ROWS, first_token = get_group_id(1) * TOKENS;
    const uint warp = get_local_id(0) / WARP, lane = warp_lane();
    float4 totals[TILES_M * TILES_N];
    const struct work work = {AT_CONST(uchar, data) + group * data_step,
                              AT_CONST(uchar, scales) + group * scales_step,
                              AT_CONST(uchar, x),
                              AT_CONST(uchar, x_scales),
                              0,
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
#endif
