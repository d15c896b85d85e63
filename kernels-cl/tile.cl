/* tile.cl - what many.cl and routed_mma.cl share: tiles of WARPS warps, each of which makes 32 rows for TOKENS (a
 * multiple of 8) tokens, whose x is in local memory, one block ahead. */

#define ROWS 32u /* of a warp */
#define TILES_M (ROWS / 16u)
#define PARTS (X_STEPS * 4u) /* of a block of one token, 16 bytes each */
#define STAGE (PARTS * TOKENS)
#define FAR 4u /* what loads of a loop are under way together, and tokens of a warp a multiple of */
#if DTYPE == DTYPE_E4M3
#ifndef WHOLE
#define CODE uchar
#endif
#else
#define CODE ushort
#endif
#ifdef MMA_PTX
#define SELDOM __attribute__((noinline))
#else
#define SELDOM inline
#endif

/* Of x: act_quant's floor is the least code, and no factor with one up to this leaves the contract's limits. */
#define MOST_X_CODE 191u

/* What a work-group multiplies: rows first .. of a matrix whose last row is `last`. */
struct work {
    const global uchar *data, *scales;
    const global uchar *x, *x_codes;
    ulong low;
    uint first, last, n_blocks, n_tokens;
};

/* Local memory of a work-group. */
struct room {
    local uint4 *stages;  /* [2][step][token][t] */
    local uint4 *weights; /* of routed_mma.cl */
    local CODE *codes;    /* [block][token] */
    local uint *rows;     /* [token] of x, as its first block's number */
    local uint *flags;    /* [block]: bit 4 j + step: a token of columns 8 j .. has a low part there;
                             then one more: x is not tame */
    local uint *words;
};

/* A block's x on its way to a stage, of the first `n` tokens and perhaps some more. */
static inline void
start_x(const struct work *work, const struct room *room, uint block, uint n)
{
    const uint part = get_local_id(0) % PARTS, first = get_local_id(0) / PARTS;
    const global uint4 *from = (const global uint4 *)work->x + block * PARTS + part;
    local uint4 *to = room->stages + block % 2u * STAGE + (part / 4u * TOKENS + first) * 4u + part % 4u;
    UNROLL
    for (uint i = 0; i < TOKENS; i += ITEMS / PARTS) {
        if (i < n) {
            copy_start(to + i * 4u, from + (ulong)room->rows[first + i] * PARTS);
        }
    }
}

/* All codes of the tile's tokens; flags of what is rare among them.  A warp takes a token at a time. */
static inline void
load_codes(const struct work *work, const struct room *room)
{
    for (uint i = get_local_id(0); i <= work->n_blocks; i += ITEMS) {
        room->flags[i] = 0u;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint block = warp_lane(); block < work->n_blocks; block += WARP) {
        for (uint first = get_local_id(0) / WARP; first < TOKENS; first += WARPS * FAR) {
            CODE codes[FAR]; /* on their way together */
            UNROLL
            for (uint i = 0; i < FAR; i++) {
                const uint row = room->rows[first + i * WARPS];
                codes[i] = ((const global CODE *)work->x_codes)[(ulong)row + block];
            }
            UNROLL
            for (uint i = 0; i < FAR; i++) {
                const uint token = first + i * WARPS;
                room->codes[block * TOKENS + token] = codes[i];
#ifdef WHOLE
                if (codes[i] >> 8) {
                    atomic_or(&room->flags[block], 1u);
                }
#elif DTYPE == DTYPE_E2M1X2
                if (codes[i] >> 8) {
                    atomic_or(&room->flags[block], (uint)(codes[i] >> 8) << token / COLUMNS * 4u);
                }
                if ((codes[i] & 0xFFu) > MOST_X_CODE) {
                    atomic_or(&room->flags[work->n_blocks], 1u);
                }
#endif
            }
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
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
    const ulong at = ((ulong)row + block) * PARTS + step * 4u + lane % 4u;
    return ((const global uint4 *)(work->x + work->low))[at];
}
#endif
