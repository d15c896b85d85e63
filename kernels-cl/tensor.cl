/* tensor.cl - what few.cl and many.cl share: y = x W^T by the matrix instructions of mma.cl, for quantised weights
 * whose rows are whole blocks of 128.
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
 * WHOLE: x is not quantised but the sum of two f16, the second one `low` further; a block's code has a flag above it
 * where that is not 0.  Its products join the sum of their two steps.
 */

#define X_BLOCK 128u
#define X_STEPS (X_BLOCK / 32u)
#define COLUMNS 8u
#define TILES_N (TOKENS / COLUMNS)
#define ITEMS (WARPS * WARP)
#ifdef WHOLE
#define X_SHIFT 0
#define CODE ushort
#else
#define X_SHIFT 8
#endif
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
