/* pairs.h - what the files of products by pairs of bf16 share: k_pairs.c, and k_pair_rows.c or k_tile_rows.c. */
#ifndef BACKENDS_CPU_PAIRS_H
#define BACKENDS_CPU_PAIRS_H

#include "backends/cpu/kernels_tiered.h"

#define PAIRS_STEP 64u /* elements that are decoded at once: two words of pairs */
#define PAIRS_BLOCK CPU_PAIRS_BLOCK

/* Columns that lie together, and tokens that near_rows takes at most: those whose running sums the second cache keeps.
 */
#ifdef CPU_TILES
#define PAIRS_COLS CPU_TILED_COLS
#define PAIRS_BATCH 512u
#else
#define PAIRS_COLS 1024u
#define PAIRS_BATCH 96u
#endif

/* Where an element of a block lies, for weights of this type.  For tiles see k_tile_rows.c; else as `decode` has them,
 * and bf16 as it comes. */
LANE unsigned
place_in_block(uint32_t dtype, unsigned k)
{
#ifdef CPU_TILES
    if (dtype == HEARTH_BF16) {
        return k % 16 / 2 * 32 + k / 16 * 2 + k % 2;
    }
    return k % 32 / 4 * 32 + k / 64 * 8 + k % 2 * 4 + k / 32 % 2 * 2 + k % 4 / 2;
#else
    return dtype == HEARTH_BF16 ? k : k / 64 * 64 + k % 16 / 8 * 32 + k % 64 / 16 * 8 + k % 8;
#endif
}

LANE const float *
row_scales(const struct host_matrix *weight, uint64_t row)
{
    return (const float *)(const void *)weight->scales +
           row / HOST_ACT_BLOCK * (cpu_padded(weight->cols) / HOST_ACT_BLOCK);
}

/* Where a token's block of columns begins, and how far an element is from there that has this place in it. */
LANE uint64_t
pairs_at(uint64_t n_padded, uint64_t n_tokens, uint64_t token, uint64_t k)
{
#ifdef CPU_TILES
    return cpu_tiled_at(n_padded, n_tokens, token, k);
#else
    return cpu_pairs_at(PAIRS_COLS, n_padded, n_tokens, token, k);
#endif
}

LANE unsigned
pair_from(unsigned place)
{
#ifdef CPU_TILES
    return place / CPU_TILE_COLS * CPU_TILE_COLS * CPU_TILE_TOKENS + place % CPU_TILE_COLS;
#else
    return place;
#endif
}

LANE const uint16_t *
token_pairs(const struct cpu_product *product, uint64_t token, uint64_t k)
{
    const struct cpu_input *input = product->input;
    const uint16_t *pairs = product->weight->dtype == HEARTH_BF16    ? input->plain_pairs
                            : product->weight->packing == CPU_PANELS ? input->blocks.pairs
                                                                     : input->pairs;
    return pairs + pairs_at(input->n_padded, input->n, token, k);
}

#ifdef __AVX512BF16__

/* The bf16 of an e4m3 code without its sign, times 2^odd. */
#define NORMAL(e, m, odd) (((e) + 120 + (odd)) << 7 | (m) << 4)
#define EIGHT(part, e, odd)                                                                                            \
    part(NORMAL(e, 0, odd)), part(NORMAL(e, 1, odd)), part(NORMAL(e, 2, odd)), part(NORMAL(e, 3, odd)),                \
        part(NORMAL(e, 4, odd)), part(NORMAL(e, 5, odd)), part(NORMAL(e, 6, odd)), part(NORMAL(e, 7, odd))
#define SUBNORMALS(part, odd)                                                                                          \
    0, part(NORMAL(-2, 0, odd)), part(NORMAL(-1, 0, odd)), part(NORMAL(-1, 4, odd)), part(NORMAL(0, 0, odd)),          \
        part(NORMAL(0, 2, odd)), part(NORMAL(0, 4, odd)), part(NORMAL(0, 6, odd))
#define ALL(part, odd)                                                                                                 \
    SUBNORMALS(part, odd), EIGHT(part, 1, odd), EIGHT(part, 2, odd), EIGHT(part, 3, odd), EIGHT(part, 4, odd),         \
        EIGHT(part, 5, odd), EIGHT(part, 6, odd), EIGHT(part, 7, odd), EIGHT(part, 8, odd), EIGHT(part, 9, odd),       \
        EIGHT(part, 10, odd), EIGHT(part, 11, odd), EIGHT(part, 12, odd), EIGHT(part, 13, odd), EIGHT(part, 14, odd),  \
        EIGHT(part, 15, odd)
#define HIGH_BYTE(x) ((x) >> 8)
#define LOW_BYTE(x) ((x)&255)

static const _Alignas(64) uint8_t high_bytes[2][128] = {{ALL(HIGH_BYTE, 0)}, {ALL(HIGH_BYTE, 1)}};
static const _Alignas(64) uint8_t low_bytes[2][128] = {{ALL(LOW_BYTE, 0)}, {ALL(LOW_BYTE, 1)}};

/* Codes become both bytes of a bf16 by look-up; the scale, a power of two, is in the tables. */
struct tables {
    vi high[2], low[2];
};

LANE struct tables
tables_of(float scale)
{
    const int exponent = (int)(hearth_f32_bits(scale) >> 23) - 127;
    const unsigned odd = (unsigned)exponent & 1u;
    const vi half = _mm512_set1_epi8((char)((exponent - (int)odd) / 2));
    struct tables tables;
    for (unsigned i = 0; i < 2; i++) {
        const vi high = vi_load(high_bytes[odd] + 64 * i);
        tables.high[i] = _mm512_mask_add_epi8(high, i == 0 ? ~1ull : ~0ull, high, half); /* 0 stays 0 */
        tables.low[i] = vi_load(low_bytes[odd] + 64 * i);
    }
    return tables;
}

/* 64 codes: words of elements 0 .. 7, 16 .. 23, 32 .. 39, 48 .. 55 and of the others. */
LANE void
decode(vi raw, const struct tables *tables, vi out[2])
{
    const vi low = _mm512_permutex2var_epi8(tables->low[0], raw, tables->low[1]); /* 7 bits of a code choose */
    const vi magnitude = _mm512_permutex2var_epi8(tables->high[0], raw, tables->high[1]);
    const vi high = _mm512_ternarylogic_epi32(magnitude, raw, _mm512_set1_epi8((char)0x80), 0xF8); /* m | (raw & 80) */
    out[0] = _mm512_unpacklo_epi8(low, high);
    out[1] = _mm512_unpackhi_epi8(low, high);
}

LANE vf
add_pairs(vf sum, vi a, vi b)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

#endif
#endif
