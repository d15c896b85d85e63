/* few.cl - tensor.cl's products for few tokens, with E4M3 weights: memory is what they cost.
 *
 * A work-group of WARPS warps makes tiles of 16 rows for TOKENS (a multiple of 8) tokens, one after the other.  Warps
 * take blocks in turn, with all loads of BLOCKS of them under way while those before are worked on; what they find
 * meets in local memory.  With LATE it quantises the one token's row itself, TURNS blocks of a warp at a time, while
 * its first weights are on their way.
 *
 * With BESIDE, which is LATE too, only make_late is wanted: the text stands before beside.cl. */

#ifndef WHOLE
#define CODE uchar
#endif
#define FEW_ROWS 16u
#define PASS (WARPS * BLOCKS)
#ifdef LATE
#define STORED 1u /* of TOKENS */
#define ADDRESS local
#else
#define STORED TOKENS
#define ADDRESS global
#endif
#define FEW_OUTPUTS (FEW_ROWS * STORED)
#define FEW_OWNED ((FEW_OUTPUTS + ITEMS - 1u) / ITEMS)

struct share {
    const global uint4 *upper, *lower; /* this lane's weights of rows g and g + 8 */
#ifdef LATE
    const local uint4 *x, *low; /* the token's elements t */
#else
    const global uint4 *x, *low; /* its elements of token g of the first columns; tokens are x_next further */
#endif
    const ADDRESS CODE *codes; /* of the first token; the next ones are code_step further */
    uint code_step;
    const global uchar *w_codes;
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

/* Where the parts of the one token's row go. */
struct row {
    local uint2 *halves, *low;
    local CODE *codes;
    local uint *words;
};

/* What prepare.cl does with a quad of a block that the warp has. */
static inline void
quantise_quad(float4 value, uint block, const struct row *row)
{
    const uint lane = warp_lane();
    const uint4 bits = as_uint4(fabs(value));
    uint largest = max(max(max(bits.x, bits.y), max(bits.z, bits.w)), as_uint(LEAST));
    UNROLL
    for (uint mask = WARP / 2u; mask > 0u; mask /= 2u) {
        largest = max(largest, warp_swap(largest, mask, row->words));
    }
    const uint step = lane / 16u * 2u + lane / 2u % 2u, place = lane % 16u / 4u;
    const uint at = ((block * X_STEPS + step) * 4u + place) * 2u + lane % 2u;
#ifdef WHOLE
    const uint code = whole_code(largest);
    const float4 scaled = whole_scaled(value, code), first = whole_first(scaled), rest = scaled - first;
    const uint flag = warp_all(all(rest == 0.0f), row->words) ? 0u : 0x100u;
    row->halves[at] = (uint2)(pair_f16(first.x, first.z), pair_f16(first.y, first.w));
    row->low[at] = (uint2)(pair_f16(rest.x, rest.z), pair_f16(rest.y, rest.w));
    row->codes[block] = (CODE)(code | flag);
#else
    const uint code = block_code(largest, E4M3_RECIPROCAL);
    const float reciprocal = code == E8M0_NAN ? 0.0f : as_float((254u - code) << 23);
    const uint4 codes = (uint4)(e4m3_from_f32(value.x * reciprocal), e4m3_from_f32(value.y * reciprocal),
                                e4m3_from_f32(value.z * reciprocal), e4m3_from_f32(value.w * reciprocal));
    const uint2 pair = (uint2)(e4m3_to_half(codes.x) | e4m3_to_half(codes.z) << 16,
                               e4m3_to_half(codes.y) | e4m3_to_half(codes.w) << 16);
    row->halves[at] = code == E8M0_NAN ? (uint2)(0u) : pair;
    row->codes[block] = (CODE)code;
#endif
}

/* The one token's row in local memory. */
static inline void
quantise_row(const global float *x, const global float *up, float limit, const struct share *share,
             const struct row *row)
{
    for (uint turn = 0; turn < share->n_blocks; turn += WARPS * TURNS) {
        float4 values[TURNS];
        UNROLL
        for (uint i = 0; i < TURNS; i++) {
            const uint block = min(turn + i * WARPS + share->warp, share->n_blocks - 1u);
            values[i] = input_quad(x, up, limit, block * X_BLOCK + share->lane * 4u);
        }
        UNROLL
        for (uint i = 0; i < TURNS; i++) {
            quantise_quad(values[i], min(turn + i * WARPS + share->warp, share->n_blocks - 1u), row);
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

#endif

static inline void
load_pass(const struct share *share, uint pass, uint4 (*weights)[4], uint *w_codes)
{
    UNROLL
    for (uint i = 0; i < BLOCKS; i++) {
        const uint block = pass + i * WARPS + share->warp;
        if (block < share->n_blocks) {
            weights[i][0] = load_once(share->upper + block * 8u);
            weights[i][1] = load_once(share->upper + block * 8u + 4u);
            weights[i][2] = load_once(share->lower + block * 8u);
            weights[i][3] = load_once(share->lower + block * 8u + 4u);
            w_codes[i] = share->w_codes[block];
        }
    }
}

/* What this lane has of x of a step, for columns 8 j ..; of one token, all columns are that one. */
static inline uint4
share_x(const struct share *share, const ADDRESS uint4 *from, uint j, uint step)
{
#ifdef LATE
    return from[step * 4u];
#else
    return j * COLUMNS + share->lane / 4u < share->n ? from[(ulong)j * COLUMNS * share->x_next + step * 4u]
                                                     : (uint4)(0u);
#endif
}

/* c[j] += two steps' products with columns 8 j ..  weights: of rows g and g + 8 */
static inline void
add_steps(const struct share *share, const ADDRESS uint4 *from, uint4 upper, uint4 lower, uint step, float4 *c,
          local uint *words)
{
    UNROLL
    for (uint i = 0; i < 2u; i++) {
        const uint2 u = e4m3_halves(i ? upper.z : upper.x), v = e4m3_halves(i ? lower.z : lower.x);
        const uint2 p = e4m3_halves(i ? upper.w : upper.y), q = e4m3_halves(i ? lower.w : lower.y);
        UNROLL
        for (uint j = 0; j < TILES_N; j++) {
            const uint4 x = share_x(share, from, j, step + i);
            c[j] = mma_f16((uint4)(u.x, v.x, u.y, v.y), x.xy, c[j], words);
            c[j] = mma_f16((uint4)(p.x, q.x, p.y, q.y), x.zw, c[j], words);
        }
    }
}

#ifdef WHOLE
/* Whether a token has low parts in the block. */
static inline bool
has_low(const struct share *share, uint block, local uint *words)
{
    bool none = true;
    for (uint token = share->lane / 4u; token < TOKENS; token += COLUMNS) {
        none = none && share->codes[(ulong)min(token, share->n - 1u) * share->code_step + block] >> 8 == 0u;
    }
    return !warp_all(none, words);
}
#endif

/* The sums of one block: c[j] those of columns 8 j .. 8 j + 7. */
static inline void
block_sums(const struct share *share, const uint4 *weights, uint block, float4 *c, local uint *words)
{
    UNROLL
    for (uint j = 0; j < TILES_N; j++) {
        c[j] = (float4)(0.0f);
    }
#ifdef WHOLE
    const bool low = has_low(share, block, words);
#endif
    UNROLL
    for (uint i = 0; i < 2u; i++) {
        const uint step = block * X_STEPS + 2u * i;
        add_steps(share, share->x, weights[i], weights[2u + i], step, c, words);
#ifdef WHOLE
#ifdef MMA_PTX
        if (low)
#endif
            add_steps(share, share->low, weights[i], weights[2u + i], step, c, words);
#endif
    }
}

/* Leaves a block's sums, times their factors, in sums: [block][token][row]. */
static inline void
store_sums(const struct share *share, const float4 *c, uint at, uint w_code, uint block, local float *sums)
{
    UNROLL
    for (uint i = 0; i < TILES_N * 2u; i++) {
        const float4 all = c[i / 2u];
        const uint token = i / 2u * COLUMNS + share->lane % 4u * 2u + i % 2u;
        local float *to = sums + (at * STORED + token) * FEW_ROWS + share->lane / 4u;
        if (token < share->n) {
            const uint code = share->codes[(ulong)token * share->code_step + block] & 0xFFu;
            const float factor = scale_product(code, w_code, SHIFT);
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
    for (uint i = 0; i < FEW_OWNED; i++) {
        const uint output = min(i * ITEMS + (uint)get_local_id(0), FEW_OUTPUTS - 1u);
        UNROLL
        for (uint b = 0; b < PASS; b++) {
            const float sum = sums[b * FEW_OUTPUTS + output];
            totals[i] += pass + b < share->n_blocks ? sum : 0.0f;
        }
    }
}

/* The matrix of a group: rows first .. last. */
struct source {
    const global uchar *data, *scales;
    uint first, last;
};

/* Points a lane at its rows of a tile. */
static inline void
aim(const struct source *source, uint tile, struct share *share)
{
    const uint row = source->first + tile * FEW_ROWS, g = share->lane / 4u, t = share->lane % 4u;
    const ulong row_parts = (ulong)share->n_blocks * 8u;
    const global uint4 *parts = (const global uint4 *)source->data + t;
    share->upper = parts + min(row + g, source->last) * row_parts;
    share->lower = parts + min(row + g + 8u, source->last) * row_parts;
    share->w_codes = source->scales + (ulong)(min(row, source->last) / X_BLOCK) * share->n_blocks;
}

/* sums: of the pass whose weights these are */
static inline void
make_pass(const struct share *share, uint pass, uint4 (*weights)[4], const uint *w_codes, local float *sums,
          local uint *words)
{
    UNROLL
    for (uint i = 0; i < BLOCKS; i++) {
        const uint block = pass + i * WARPS + share->warp, held = min(block, share->n_blocks - 1u);
        float4 c[TILES_N];
#ifdef MMA_PTX
        if (block < share->n_blocks)
#endif
        {
            block_sums(share, weights[i], held, c, words);
            store_sums(share, c, i * WARPS + share->warp, w_codes[i], held, sums);
        }
    }
}

/* Tiles first, first + step ..  y: of token 0, its row 0; the next token's y_stride further. */
static inline void
make_tiles(const struct source *source, struct share *share, uint first, uint step, uint4 (*weights)[4], uint *w_codes,
           global float *y, uint y_stride, local float *sums, local uint *words)
{
    const uint n_rows = source->last - source->first + 1u, n_tiles = (n_rows + FEW_ROWS - 1u) / FEW_ROWS;
    uint next = first, next_pass = 0u; /* what is loaded next */
    for (uint tile = first; tile < n_tiles; tile += step) {
        float totals[FEW_OWNED];
        UNROLL
        for (uint i = 0; i < FEW_OWNED; i++) {
            totals[i] = 0.0f;
        }
        for (uint pass = 0; pass < share->n_blocks; pass += PASS) {
            make_pass(share, pass, weights, w_codes, sums, words);
            next_pass += PASS;
            if (next_pass >= share->n_blocks) {
                next_pass = 0u;
                next += step;
                aim(source, next, share);
            }
            if (next < n_tiles) {
                load_pass(share, next_pass, weights, w_codes);
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            add_pass(share, pass, sums, totals);
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        UNROLL
        for (uint i = 0; i < FEW_OWNED; i++) {
            const uint output = i * ITEMS + (uint)get_local_id(0), token = output / FEW_ROWS,
                       r = tile * FEW_ROWS + output % FEW_ROWS;
            if (token < share->n && r < n_rows) {
                y[(ulong)token * y_stride + r] = finished(totals[i]);
            }
        }
    }
}

#ifdef LATE
/* Local memory of a work-group. */
struct late_room {
    local uint4 *halves, *lows; /* [MAX_BLOCKS * X_STEPS * 4] */
    local CODE *codes;          /* [MAX_BLOCKS] */
    local float *sums;          /* [PASS * FEW_OUTPUTS] */
    local uint *words;
};

/* Tiles first, first + step .. of the one token's products.  x: its row, up: its partner with SWIGLU; n_blocks 0, and
 * source without rows: nothing */
static inline void
make_late(const struct source *source, const global float *x, const global float *up, float limit, uint n_blocks,
          uint first, uint step, global float *y, const struct late_room *room)
{
    const uint lane = warp_lane();
    struct share share = {.x = room->halves + lane % 4u,
                          .low = room->lows + lane % 4u,
                          .codes = room->codes,
                          .code_step = n_blocks,
                          .x_next = n_blocks * (X_STEPS * 4u),
                          .n = 1u,
                          .n_blocks = n_blocks,
                          .warp = get_local_id(0) / WARP,
                          .lane = lane};
    const struct row made = {(local uint2 *)room->halves, (local uint2 *)room->lows, room->codes, room->words};
    uint4 weights[BLOCKS][4];
    uint w_codes[BLOCKS];
    aim(source, first, &share);
    load_pass(&share, 0, weights, w_codes);
    quantise_row(x, up, limit, &share, &made);
    make_tiles(source, &share, first, step, weights, w_codes, y, 0u, room->sums, room->words);
}
#endif

#ifndef BESIDE
/* Group g of get_num_groups(2) makes rows g * row_step .. + n_rows - 1 of the matrix at data + g * data_step,
 * scales + g * scales_step, from rows t * x_step + g * x_next of x.  y[t * y_stride + g * y_step + row].
 * With LATE there is one token, x is f32 as it came and quantised here; with SWIGLU its partner is at x_scales.
 * With PAIR group 1's matrix has pair_rows rows, and its own y, [n][pair_rows]. */
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
few(PLACE_CONST(x), PLACE_CONST(x_scales), PLACE_CONST(data), PLACE_CONST(scales), PLACE(y), uint n, uint cols,
    uint n_rows, uint row_step, ulong data_step, ulong scales_step, uint x_step, uint x_next, uint y_stride,
    uint y_step, float limit, ulong low
#ifdef PAIR
    ,
    PLACE(pair_y), uint pair_rows
#endif
)
{
    local uint words[MMA_WORDS(WARPS)];
    local float sums[PASS * FEW_OUTPUTS];
    const uint group = get_group_id(2), first_token = get_group_id(1) * TOKENS, n_blocks = cols / X_BLOCK;
    const ulong x_row = (ulong)first_token * x_step + group * x_next;
#ifdef PAIR
    const uint own_rows = group == 0u ? n_rows : pair_rows;
    global float *out = group == 0u ? AT(float, y) : AT(float, pair_y);
    if (get_group_id(0) * FEW_ROWS >= own_rows) {
        return;
    }
#else
    const uint own_rows = n_rows;
    global float *out = AT(float, y) + group * y_step;
#endif
    const struct source source = {AT_CONST(uchar, data) + group * data_step,
                                  AT_CONST(uchar, scales) + group * scales_step, group * row_step,
                                  group * row_step + own_rows - 1u};
#ifdef LATE
    local uint4 halves[MAX_BLOCKS * X_STEPS * 4u];
    local CODE codes[MAX_BLOCKS];
#ifdef WHOLE
    local uint4 lows[MAX_BLOCKS * X_STEPS * 4u];
#else
    local uint4 *lows = halves;
#endif
    const struct late_room room = {halves, lows, codes, sums, words};
    make_late(&source, AT_CONST(float, x) + x_row * cols, AT_CONST(float, x_scales) + x_row * cols, limit, n_blocks,
              get_group_id(0), get_num_groups(0), out, &room);
#else
#ifdef PAIR
    const uint own_stride = group == 0u ? y_stride : pair_rows;
#else
    const uint own_stride = y_stride;
#endif
    const uint lane = warp_lane(), t = lane % 4u;
    const ulong first_x = (x_row + (ulong)(lane / 4u) * x_step) * n_blocks * (X_STEPS * 4u);
    struct share share = {.x = AT_CONST(uint4, x) + first_x + t,
                          .low = (const global uint4 *)(AT_CONST(uchar, x) + low) + first_x + t,
                          .codes = AT_CONST(CODE, x_scales) + x_row * n_blocks,
                          .code_step = x_step * n_blocks,
                          .x_next = x_step * n_blocks * (X_STEPS * 4u),
                          .n = min(n - first_token, (uint)STORED),
                          .n_blocks = n_blocks,
                          .warp = get_local_id(0) / WARP,
                          .lane = lane};
    uint4 weights[BLOCKS][4];
    uint w_codes[BLOCKS];
    aim(&source, get_group_id(0), &share);
    load_pass(&share, 0, weights, w_codes);
    make_tiles(&source, &share, get_group_id(0), get_num_groups(0), weights, w_codes,
               out + (ulong)first_token * own_stride, own_stride, sums, words);
#endif
}
#endif
