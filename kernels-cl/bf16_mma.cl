/* bf16_mma.cl - y = x W^T by the matrix instructions of mma.cl for bf16 weights whose rows are whole blocks of 128, of
 * several matrices (several.cl).  Weights are the rows of the instruction, tokens its columns.
 *
 * x is f32: a number is the sum of three parts, its first 8 bits, the next 8 and the last 8, each of them a bf16 (what
 * lies below 2^-133 is lost).  So products are exact, and a row of weights meets three of x.  Nearly always it is one:
 * in native numerics most activations are bf16, and where all further parts of a block are 0 they are left out, which
 * changes no sum of finite weights.
 *
 * The order of sums: in a block of 128 columns the last parts, the next ones, then the first, each by columns
 * ascending, in one chain of instructions; then the blocks, ascending, in f32.  (Instructions cut their sums off,
 * always towards 0, so a chain must not be long.)  With FEW and without, it is the same.
 *
 * A step is 32 columns, two instructions.  Lane t of four has the same 8 of them in its weights and in x: 16 bytes as
 * they lie in memory, of which each instruction takes a half.
 *
 * FEW: memory is what it costs.  A work-group of WARPS warps makes a tile of ROWS (8 or 16) rows for TOKENS (8, 16 or
 * 32) tokens, from x as it is; ALIGNED: which can be read in sixteens of bytes.  Warps take blocks in turn, with the
 * next one's loads under way; what they find meets in local memory.
 * With BESIDE only make_products is wanted: the text stands before beside.cl.
 * Else: a work-group makes WARPS x 32 rows for TOKENS (64) tokens.  `split` makes the parts of x, which pass through
 * local memory. */

#define X_BLOCK 128u
#define X_STEPS (X_BLOCK / 32u)
#define N_PARTS 3u
#define COLUMNS 8u
#define TILES_N (TOKENS / COLUMNS)
#define ITEMS (WARPS * WARP)

/* ---- numbers in parts ---- */

static inline float4
first_part(float4 x)
{
    return as_float4(as_uint4(x) & 0xFFFF0000u);
}

/* 0 if first parts are all there is of four numbers. */
static inline uint
low_bits(float4 x)
{
    const uint4 bits = as_uint4(x);
    return (bits.x | bits.y | bits.z | bits.w) & 0xFFFFu;
}

/* Numbers whose first parts are x's of this number: 0, 1 or 2.  Behind the first one an infinity has nothing, and a NaN
 * is one, since its first part may not be. */
static inline float4
part_of(float4 x, uint part)
{
    const float4 rest = select(x - first_part(x), (float4)(0.0f), isinf(x));
    return part == 0u ? x : part == 1u ? rest : rest - first_part(rest);
}

/* The first parts of eight numbers, as they lie in memory. */
static inline uint4
pack_first(float4 x, float4 y)
{
    const uint4 p = as_uint4(x), q = as_uint4(y);
    return (uint4)(select_bytes(p.x, p.y, 0x7632u), select_bytes(p.z, p.w, 0x7632u), select_bytes(q.x, q.y, 0x7632u),
                   select_bytes(q.z, q.w, 0x7632u));
}

static inline float4
load_quad(const global float *from)
{
#ifdef ALIGNED
    return *(const global float4 *)from;
#else
    return vload4(0, from);
#endif
}

/* The same, by an instruction that no compiler takes for the one before it. */
static inline float4
load_again(const global float *from)
{
#ifdef ALIGNED
    return as_float4(load_once((const global uint4 *)from));
#else
    return vload4(0, from);
#endif
}

/* ---- products ---- */

/* c + the products of one of a step's two instructions, of rows g and g + 8 */
static inline float4
add_products(uint4 upper, uint4 lower, uint4 x, uint which, float4 c, local uint *words)
{
    const uint2 u = which == 0u ? upper.xy : upper.zw, v = which == 0u ? lower.xy : lower.zw;
    return mma_bf16((uint4)(u.x, v.x, u.y, v.y), which == 0u ? x.xy : x.zw, c, words);
}

#ifdef FEW

/* ---- few tokens ---- */

#define OUTPUTS (ROWS * TOKENS)
#define OWNED ((OUTPUTS + ITEMS - 1u) / ITEMS)

struct bf16_share {
    const global uint4 *upper, *lower; /* this lane's weights of rows g and, if there is one, g + 8 */
    const global float *x;             /* its columns of the tile's first token */
    uint cols, n_tokens, n_blocks, warp;
};

/* weights: of the steps of a block, first row g's, then row g + 8's if there is one */
static inline void
load_weights(const struct bf16_share *share, uint block, uint4 *weights)
{
    if (block < share->n_blocks) {
        UNROLL
        for (uint step = 0; step < X_STEPS; step++) {
            weights[step] = load_once(share->upper + (block * X_STEPS + step) * 4u);
#if ROWS > 8
            weights[X_STEPS + step] = load_once(share->lower + (block * X_STEPS + step) * 4u);
#endif
        }
    }
}

/* c + the products of a block's step */
static inline float4
add_step(const uint4 *weights, uint step, uint4 x, float4 c, local uint *words)
{
    const uint4 upper = weights[step];
#if ROWS > 8
    const uint4 lower = weights[X_STEPS + step];
#else
    const uint4 lower = (uint4)(0u);
#endif
    c = add_products(upper, lower, x, 0u, c, words);
    return add_products(upper, lower, x, 1u, c, words);
}

/* The sum of a block, for tokens 8 tile .. + 7.  Further parts are made from x anew: held, it would take registers that
 * decide how many work-groups share a unit. */
static inline float4
block_sum(const struct bf16_share *share, const uint4 *weights, uint block, uint tile, local uint *words)
{
    const uint token = min(tile * COLUMNS + warp_lane() / 4u, share->n_tokens - 1u);
    const global float *from = share->x + (ulong)token * share->cols + block * X_BLOCK;
    uint4 first[X_STEPS];
    float4 c = (float4)(0.0f);
    uint low = 0u;
    UNROLL
    for (uint step = 0; step < X_STEPS; step++) {
        const float4 x = load_quad(from + step * 32u), y = load_quad(from + step * 32u + 4u);
        first[step] = pack_first(x, y);
        low |= low_bits(x) | low_bits(y);
    }
    const bool is_all = warp_all(low == 0u, words);
#ifdef MMA_PTX
    if (!is_all)
#endif
    {
#pragma unroll 1
        for (uint part = N_PARTS - 1u; part > 0u; part--) {
            UNROLL
            for (uint step = 0; step < X_STEPS; step++) {
                const float4 x = load_again(from + step * 32u), y = load_again(from + step * 32u + 4u);
                c = add_step(weights, step, pack_first(part_of(x, part), part_of(y, part)), c, words);
            }
        }
    }
    UNROLL
    for (uint step = 0; step < X_STEPS; step++) {
        c = add_step(weights, step, first[step], c, words);
    }
    return c;
}

/* Leaves a block's sums in sums: [block][token][row]. */
static inline void
store_sum(float4 c, uint tile, uint at, local float *sums)
{
    const uint token = tile * COLUMNS + warp_lane() % 4u * 2u;
    local float *to = sums + (at * TOKENS + token) * ROWS + warp_lane() / 4u;
    to[0] = c.x;
    to[ROWS] = c.y;
#if ROWS > 8
    to[8] = c.z;
    to[ROWS + 8u] = c.w;
#endif
}

/* Leaves the sums of the warp's block, whose weights these are, in sums; and asks for those of its next one. */
static inline void
make_block(const struct bf16_share *share, uint block, uint4 *weights, local float *sums, local uint *words)
{
#ifdef MMA_PTX
    if (block < share->n_blocks)
#endif
    {
        UNROLL
        for (uint tile = 0; tile < TILES_N; tile++) {
            const float4 sum = block_sum(share, weights, min(block, share->n_blocks - 1u), tile, words);
            store_sum(sum, tile, share->warp, sums);
        }
    }
    load_weights(share, block + WARPS, weights);
}

/* totals += the blocks from the first one on, one of each warp, ascending */
static inline void
add_blocks(const struct bf16_share *share, uint first, const local float *sums, float *totals)
{
    UNROLL
    for (uint i = 0; i < OWNED; i++) {
        const uint output = min(i * ITEMS + (uint)get_local_id(0), OUTPUTS - 1u);
        UNROLL
        for (uint b = 0; b < WARPS; b++) {
            const float sum = sums[b * OUTPUTS + output];
            totals[i] += first + b < share->n_blocks ? sum : 0.0f;
        }
    }
}

/* A tile's products with n_tokens tokens from x on.  cols and one->n_rows 0: nothing.  sums: [WARPS * OUTPUTS] */
static inline void
make_products(const struct one_of_several *one, const global float *x, global float *y, uint n_tokens, uint cols,
              bool is_rounded, local float *sums, local uint *words)
{
    const uint g = warp_lane() / 4u, t = warp_lane() % 4u, row = one->tile * ROWS + g;
    const global uint4 *rows = (const global uint4 *)one->data + t;
    const struct bf16_share share = {.upper = rows + (ulong)min(row, one->n_rows - 1u) * (cols / 8u),
                                     .lower = rows + (ulong)min(row + 8u, one->n_rows - 1u) * (cols / 8u),
                                     .x = x + t * 8u,
                                     .cols = cols,
                                     .n_tokens = n_tokens,
                                     .n_blocks = cols / X_BLOCK,
                                     .warp = get_local_id(0) / WARP};
    uint4 weights[ROWS / 8u * X_STEPS];
    float totals[OWNED];
    load_weights(&share, share.warp, weights);
    UNROLL
    for (uint i = 0; i < OWNED; i++) {
        totals[i] = 0.0f;
    }
    for (uint first = 0; first < share.n_blocks; first += WARPS) {
        make_block(&share, first + share.warp, weights, sums, words);
        barrier(CLK_LOCAL_MEM_FENCE);
        add_blocks(&share, first, sums, totals);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    UNROLL
    for (uint i = 0; i < OWNED; i++) {
        const uint output = i * ITEMS + (uint)get_local_id(0), token = output / ROWS,
                   to = one->tile * ROWS + output % ROWS;
        if (token < n_tokens && to < one->n_rows) {
            y[(ulong)token * one->n_rows + to] = is_rounded ? round_bf16(totals[i]) : totals[i];
        }
    }
}

#ifndef BESIDE
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
products(PLACE_CONST(x), PLACE_CONST(flags), SEVERAL)
{
    local uint words[MMA_WORDS(WARPS)];
    local float sums[WARPS * OUTPUTS];
    const uint first_token = get_group_id(1) * TOKENS;
    FIND_TILE(one, ROWS, get_group_id(0))
    make_products(&one, AT_CONST(float, x) + (ulong)first_token * cols, one.y + (ulong)first_token * one.n_rows,
                  min(n - first_token, (uint)TOKENS), cols, rounded >> one.which & 1u, sums, words);
}
#endif

#else

/* ---- many tokens ---- */

#define ROWS 32u /* of a warp */
#define TILES_M (ROWS / 16u)
#define SIDES 2u /* of a block, columns 0 .. 63 and the others; a stage holds one */
#define STAGE_STEPS (X_STEPS / SIDES)
#define STAGE_PLACES (STAGE_STEPS * 4u) /* of one token, 16 bytes each */
#define STAGE (STAGE_PLACES * TOKENS)
#define STAGES 4u /* a power of two */
#define AHEAD 2u  /* steps whose weights are under way: more of them do not fit the registers */

/* x, f32 [][cols], in parts: bf16 [part][][cols], all of the first and of blocks that have any the others; flags, ulong
 * a row: bit b: block b has.  A work-group makes one row of get_num_groups(0). */
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
split(PLACE_CONST(x), PLACE(parts), PLACE(flags), uint cols)
{
    local uint seen[2];
    const uint row = get_group_id(0), item = get_local_id(0), n_places = cols / 8u;
    const ulong part_step = (ulong)get_num_groups(0) * n_places;
    const global float *from = AT_CONST(float, x) + (ulong)row * cols;
    global uint4 *to = AT(uint4, parts) + (ulong)row * n_places;
    if (item < 2u) {
        seen[item] = 0u;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = item; i < n_places; i += ITEMS) {
        const float4 x = load_quad(from + i * 8u), y = load_quad(from + i * 8u + 4u);
        const uint block = i / (X_BLOCK / 8u);
        to[i] = pack_first(x, y);
        if (low_bits(x) | low_bits(y)) {
            atomic_or(&seen[block / 32u], 1u << block % 32u);
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = item; i < n_places; i += ITEMS) {
        const uint block = i / (X_BLOCK / 8u);
        if (seen[block / 32u] >> block % 32u & 1u) {
            const float4 x = load_quad(from + i * 8u), y = load_quad(from + i * 8u + 4u);
            to[part_step + i] = pack_first(part_of(x, 1u), part_of(y, 1u));
            to[2u * part_step + i] = pack_first(part_of(x, 2u), part_of(y, 2u));
        }
    }
    if (item == 0u) {
        AT(ulong, flags)[row] = (ulong)seen[1] << 32 | seen[0];
    }
}

/* What a work-group multiplies. */
struct work {
    const global uint4 *x;                  /* of its first token */
    const global uint4 *rows[2u * TILES_M]; /* this lane's weights of rows g + 8 i of the warp */
    ulong part_step;                        /* from a part of x to the next */
    ulong seen;                             /* bit b: some token has further parts in block b */
    uint n_tokens, n_blocks;
};

/* Local memory of a work-group. */
struct room {
    local uint4 *stages; /* [STAGES][step][token][t], in odd steps with each two tokens changed: no bank is met twice */
    const local ulong *flags; /* [token] */
    local uint *words;
};

/* A stage's contents. */
struct piece {
    uint block, part, side;
};

/* Parts of x that meet a block's weights.  Emulated instructions cannot be left out. */
static inline uint
count_parts(const struct work *work, uint block)
{
#ifdef MMA_PTX
    return work->seen >> block & 1u ? N_PARTS : 1u;
#else
    return N_PARTS;
#endif
}

/* A piece of x on its way to a stage, if there is one; then the next is the piece. */
static inline void
start_piece(const struct work *work, const struct room *room, struct piece *piece, uint stage)
{
    const uint place = get_local_id(0) % STAGE_PLACES, first = get_local_id(0) / STAGE_PLACES, step = place / 4u;
    const uint row_places = work->n_blocks * (X_BLOCK / 8u);
    const global uint4 *from =
        work->x + piece->part * work->part_step + (piece->block * SIDES + piece->side) * STAGE_PLACES + place;
    local uint4 *to = room->stages + stage * STAGE + (step * TOKENS + (first ^ (step & 1u))) * 4u + place % 4u;
    if (piece->block < work->n_blocks) {
        UNROLL
        for (uint i = 0; i < TOKENS; i += ITEMS / STAGE_PLACES) { /* an even number */
            const bool is_there = piece->part == 0u || (room->flags[first + i] >> piece->block & 1u);
            copy_start_or_zero(to + i * 4u, from + (ulong)min(first + i, work->n_tokens - 1u) * row_places, is_there);
        }
        piece->side++;
        if (piece->side == SIDES) {
            piece->side = 0u;
            piece->block += piece->part == 0u ? 1u : 0u;
            piece->part = (piece->part == 0u ? count_parts(work, piece->block) : piece->part) - 1u;
        }
    }
    copy_commit();
}

/* weights: of a step, of each row */
static inline void
load_step(const struct work *work, uint block, uint step, uint4 *weights)
{
    UNROLL
    for (uint i = 0; i < 2u * TILES_M; i++) {
        weights[i] = load_once(work->rows[i] + (block * X_STEPS + step) * 4u);
    }
}

/* sums: a step's products added.  Each four instructions are of four sums. */
static inline void
add_step(const struct room *room, uint stage, uint step, const uint4 *weights, float4 *sums)
{
    const local uint4 *from = room->stages + stage * STAGE + step * TOKENS * 4u + (warp_lane() ^ (step & 1u) * 4u);
    UNROLL
    for (uint j = 0; j < TILES_N; j += 2u) {
        const uint4 x[2] = {from[j * COLUMNS * 4u], from[(j + 1u) * COLUMNS * 4u]};
        UNROLL
        for (uint i = 0; i < 4u * TILES_M; i++) {
            const uint which = i / (2u * TILES_M), m = i / 2u % TILES_M, at = m * TILES_N + j + i % 2u;
            sums[at] = add_products(weights[2u * m], weights[2u * m + 1u], x[i % 2u], which, sums[at], room->words);
        }
    }
}

/* totals[m * TILES_N + j]: those of rows 16 m .. + 15 of the warp, tokens 8 j .. + 7, as mma.cl has them. */
static inline void
tile_totals(const struct work *work, const struct room *room, float4 *totals)
{
    struct piece next = {0u, count_parts(work, 0u) - 1u, 0u};
    uint4 weights[AHEAD][2u * TILES_M];
    float4 sums[TILES_M * TILES_N];
    uint stage = STAGES - 1u; /* the one before the first */
    UNROLL
    for (uint i = 0; i < TILES_M * TILES_N; i++) {
        totals[i] = sums[i] = (float4)(0.0f);
    }
    UNROLL
    for (uint i = 0; i < STAGES - 1u; i++) {
        start_piece(work, room, &next, i);
    }
    UNROLL
    for (uint step = 0; step < AHEAD; step++) {
        load_step(work, 0u, step, weights[step]);
    }
    for (uint block = 0; block < work->n_blocks; block++) {
        for (uint left = count_parts(work, block); left > 0u; left--) {
            const uint after = left > 1u ? block : min(block + 1u, work->n_blocks - 1u);
            UNROLL
            for (uint step = 0; step < X_STEPS; step++) {
                if (step % STAGE_STEPS == 0u) {
                    stage = (stage + 1u) % STAGES;
                    copy_wait(2); /* STAGES - 2 */
                    barrier(CLK_LOCAL_MEM_FENCE);
                    start_piece(work, room, &next, (stage + STAGES - 1u) % STAGES);
                }
                add_step(room, stage, step % STAGE_STEPS, weights[step % AHEAD], sums);
                load_step(work, step + AHEAD < X_STEPS ? block : after, (step + AHEAD) % X_STEPS,
                          weights[step % AHEAD]);
            }
        }
        UNROLL
        for (uint i = 0; i < TILES_M * TILES_N; i++) {
            totals[i] += sums[i];
            sums[i] = (float4)(0.0f);
        }
    }
}

/* The flags of the work-group's tokens, [TOKENS]; returns all of theirs. */
static inline ulong
load_flags(const global ulong *from, uint n_tokens, local ulong *flags, local uint *seen)
{
    const uint item = get_local_id(0);
    if (item < 2u) {
        seen[item] = 0u;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = item; i < TOKENS; i += ITEMS) {
        flags[i] = from[min(i, n_tokens - 1u)];
        atomic_or(&seen[0], (uint)flags[i]);
        atomic_or(&seen[1], (uint)(flags[i] >> 32));
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return (ulong)seen[1] << 32 | seen[0];
}

kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
products(PLACE_CONST(x), PLACE_CONST(flags), SEVERAL)
{
    local uint words[MMA_WORDS(WARPS)], seen[2];
    local uint4 stages[STAGES * STAGE];
    local ulong token_flags[TOKENS];
    const uint first_token = get_group_id(1) * TOKENS, row_places = cols / 8u;
    const uint g = warp_lane() / 4u, t = warp_lane() % 4u;
    FIND_TILE(one, (WARPS * ROWS), get_group_id(0))
    const uint first_row = (one.tile * WARPS + get_local_id(0) / WARP) * ROWS + g;
    const struct room room = {stages, token_flags, words};
    float4 totals[TILES_M * TILES_N];
    struct work work = {.x = AT_CONST(uint4, x) + (ulong)first_token * row_places,
                        .part_step = (ulong)n * row_places,
                        .n_tokens = min(n - first_token, (uint)TOKENS),
                        .n_blocks = cols / X_BLOCK};
    work.seen = load_flags(AT_CONST(ulong, flags) + first_token, work.n_tokens, token_flags, seen);
    UNROLL
    for (uint i = 0; i < 2u * TILES_M; i++) {
        const uint row = min(first_row + 8u * i, one.n_rows - 1u);
        work.rows[i] = (const global uint4 *)one.data + (ulong)row * row_places + t;
    }
    tile_totals(&work, &room, totals);
    UNROLL
    for (uint i = 0; i < TILES_M * TILES_N * 4u; i++) {
        const uint at = i / 4u, token = at % TILES_N * COLUMNS + t * 2u + i % 2u;
        const uint row = first_row + at / TILES_N * 16u + i % 4u / 2u * 8u;
        const float total = tile_sum(totals[at], i % 4u);
        if (token < work.n_tokens && row < one.n_rows) {
            one.y[(ulong)(first_token + token) * one.n_rows + row] =
                rounded >> one.which & 1u ? round_bf16(total) : total;
        }
    }
}

#endif
