/* k_pairs.c - products of e4m3 and bf16 weights by dot products of bf16 pairs, for tiers that have them.
 *
 * An e4m3 value, times its tile's scale, is a bf16 without loss, and so is a quantised activation or one that was
 * rounded to bf16 by the operation before.  The product of two bf16 is exact in f32, and the instruction adds it with
 * one rounding: two products for what one costs in k_rows.c.  A token whose activations are no bf16, and a tile whose
 * scale is far from 1 (the instruction takes subnormals for zeros), go their own way: that hangs on the token and on
 * the weight alone, never on who else is in the command.  The others' products are those of k_pair_rows.c or, with AMX,
 * k_tile_rows.c: the two add in different orders, so that a tier has one of them for all counts of tokens. */
#include "backends/cpu/pairs.h"

#ifdef __AVX512BF16__

/* Exponents of what multiplies here: no product, no sum of 2^20 of them comes near the ends of f32. */
#define X_LEAST (127u - 50u)
#define X_MOST (127u + 50u)
#define SCALE_LEAST (127u - 40u)
#define SCALE_MOST (127u + 40u)

#define TILE_STEP (CPU_TILE_TOKENS * CPU_TILE_COLS) /* from a tile to the next */

/* Quarters of a word, `step` elements apart. */
LANE void
store_to_tiles(uint16_t *out, unsigned step, vi word)
{
    _mm_storeu_si128((void *)out, _mm512_castsi512_si128(word));
    _mm_storeu_si128((void *)(out + step), _mm512_extracti32x4_epi32(word, 1));
    _mm_storeu_si128((void *)(out + 2 * (size_t)step), _mm512_extracti32x4_epi32(word, 2));
    _mm_storeu_si128((void *)(out + 3 * (size_t)step), _mm512_extracti32x4_epi32(word, 3));
}

/* 64 elements, of four words of 16, into the place of the first of them. */
LANE void
store_pairs(uint16_t *out, uint64_t k, uint32_t dtype, const vi bits[4])
{
    const vi first = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(vi_srl(bits[0], 16))),
                                        _mm512_cvtepi32_epi16(vi_srl(bits[1], 16)), 1);
    const vi second = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(vi_srl(bits[2], 16))),
                                         _mm512_cvtepi32_epi16(vi_srl(bits[3], 16)), 1);
#ifdef CPU_TILES
    if (dtype == HEARTH_BF16) { /* a pair of each word for each tile */
        const vi order = _mm512_setr_epi32(0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27);
        uint16_t *at = out + k % PAIRS_BLOCK / 8;
        store_to_tiles(at, TILE_STEP, _mm512_permutex2var_epi32(first, order, second));
        store_to_tiles(at + 4 * TILE_STEP, TILE_STEP,
                       _mm512_permutex2var_epi32(first, vi_add(order, vi_set1(4)), second));
        return;
    }
    /* of four neighbours the even ones, then the odd; then those of both halves in turn: 16 bytes for each tile */
    const vi order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
    const vi a = _mm512_shuffle_epi8(first, order), b = _mm512_shuffle_epi8(second, order);
    const vi even = _mm512_unpacklo_epi32(a, b), odd = _mm512_unpackhi_epi32(a, b);
    store_to_tiles(out + k % PAIRS_BLOCK / 8, 2 * TILE_STEP, even);
    store_to_tiles(out + k % PAIRS_BLOCK / 8 + TILE_STEP, 2 * TILE_STEP, odd);
#else
    const vi even = _mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13), odd = _mm512_add_epi64(even, _mm512_set1_epi64(2));
    const bool as_it_comes = dtype == HEARTH_BF16;
    uint16_t *to = out + k % PAIRS_BLOCK;
    vi_store(to, as_it_comes ? first : _mm512_permutex2var_epi64(first, even, second));
    vi_store(to + 32, as_it_comes ? second : _mm512_permutex2var_epi64(first, odd, second));
#endif
}

bool
TIERED(k_pairs)(const float *x, uint64_t n, uint64_t n_padded, uint32_t dtype, uint16_t *pairs, uint64_t token,
                uint64_t n_tokens)
{
    const vi exponents = vi_set1(0x7F800000);
    __mmask16 found = 0;
    for (uint64_t k = 0; k < cpu_pairs_padded(n_padded); k += PAIRS_STEP) {
        vi bits[4];
        UNROLL
        for (unsigned i = 0; i < 4; i++) {
            const uint64_t at = k + i * W;
            bits[i] = at < n ? vf_to_bits(vf_load_tail(x + at, n - at)) : vi_zero();
            const __mmask16 is_number = _mm512_test_epi32_mask(bits[i], vi_set1(0x7FFFFFFF));
            const vi above = vi_sub(vi_and(bits[i], exponents), vi_set1((int)(X_LEAST << 23)));
            found |= _mm512_test_epi32_mask(bits[i], vi_set1(0xFFFF));
            found |= _mm512_mask_cmpgt_epu32_mask(is_number, above, vi_set1((int)((X_MOST - X_LEAST) << 23)));
        }
        store_pairs(pairs + pairs_at(n_padded, n_tokens, token, k - k % PAIRS_BLOCK), k, dtype, bits);
    }
    return found == 0;
}

/* Whether all scales of a row's tiles are near 1. */
LANE bool
scales_are_near(const struct host_matrix *weight, uint64_t row)
{
    bool near = true;
    if (weight->dtype != HEARTH_E4M3) {
        return true;
    }
    const float *scales = row_scales(weight, row);
    for (uint64_t b = 0; b < cpu_padded(weight->cols) / HOST_ACT_BLOCK; b++) {
        near &= (hearth_f32_bits(scales[b]) >> 23) - SCALE_LEAST <= SCALE_MOST - SCALE_LEAST;
    }
    return near;
}

/* A row whose scales are far from 1, which no checkpoint has: element by element. */
static void
far_row(const struct cpu_product *product, uint64_t i, uint64_t row)
{
    const struct host_matrix *weight = product->weight;
    const uint64_t n = cpu_padded(weight->cols);
    double total = 0.0;
    for (uint64_t k = 0; k < n; k += PAIRS_BLOCK) {
        const uint16_t *x = token_pairs(product, cpu_token_of(product, i), k);
        for (uint64_t col = k; col < n && col < k + PAIRS_BLOCK; col++) {
            const float scale = row_scales(weight, row)[col / HOST_ACT_BLOCK];
            total += (double)hearth_e4m3_to_f32(weight->data[row * n + col]) * (double)scale *
                     (double)hearth_bf16_to_f32(x[pair_from(place_in_block(HEARTH_E4M3, (unsigned)(col - k)))]);
        }
    }
    const float y = (float)total;
    product->y[cpu_slot_of(product, i) * product->y_stride + row] = product->round ? hearth_round_bf16(y) : y;
}

/* All tokens have pairs, at most PAIRS_BATCH. */
static void
rows_by_pairs(const struct cpu_product *product, uint64_t begin, uint64_t end)
{
    uint64_t n_rows;
    for (uint64_t row = begin; row < end; row += n_rows) {
        const uint64_t band = (row / HOST_ACT_BLOCK + 1) * HOST_ACT_BLOCK; /* rows up to here have the same scales */
        n_rows = (band < end ? band : end) - row;
        if (scales_are_near(product->weight, row)) {
            TIERED(k_near_rows)(product, row, n_rows);
            continue;
        }
        for (uint64_t i = 0; i < n_rows * product->n_tokens; i++) {
            far_row(product, i % product->n_tokens, row + i / product->n_tokens);
        }
    }
}

/* Tokens of one kind, with their slots. */
struct picked {
    uint32_t tokens[PAIRS_BATCH], slots[PAIRS_BATCH];
    uint64_t n;
};

static void
run_picked(const struct cpu_product *product, struct picked *picked, bool are_pairs, uint64_t begin, uint64_t end)
{
    struct cpu_product part = *product;
    part.tokens = picked->tokens;
    part.slots = picked->slots;
    part.n_tokens = picked->n;
    if (picked->n > 0 && are_pairs) {
        rows_by_pairs(&part, begin, end);
    } else if (picked->n > 0) {
        TIERED(k_rows)(&part, begin, end);
    }
    picked->n = 0;
}

void
TIERED(k_rows_pairs)(const struct cpu_product *product, uint64_t begin, uint64_t end)
{
    struct picked picked[2] = {{.n = 0}, {.n = 0}}; /* without pairs, with pairs */
    const struct cpu_input *input = product->input;
    const bool *has_pairs = product->weight->dtype == HEARTH_E4M3   ? input->has_pairs
                            : product->weight->dtype == HEARTH_BF16 ? input->has_plain_pairs
                                                                    : NULL;
    if (has_pairs == NULL) {
        TIERED(k_rows)(product, begin, end);
        return;
    }
    for (uint64_t i = 0; i < product->n_tokens; i++) {
        const uint64_t token = cpu_token_of(product, i);
        const bool are_pairs = has_pairs[token];
        struct picked *to = &picked[are_pairs];
        to->tokens[to->n] = (uint32_t)token;
        to->slots[to->n++] = (uint32_t)cpu_slot_of(product, i);
        if (to->n == PAIRS_BATCH) {
            run_picked(product, to, are_pairs, begin, end);
        }
    }
    run_picked(product, &picked[0], false, begin, end);
    run_picked(product, &picked[1], true, begin, end);
}

#endif
