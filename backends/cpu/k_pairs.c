/* k_pairs.c - products of e4m3 weights by dot products of bf16 pairs, for tiers that have them.
 *
 * An e4m3 value, times its tile's scale, is a bf16 without loss, and so is a quantised activation or one that was
 * rounded to bf16 by the operation before.  The product of two bf16 is exact in f32, and the instruction adds it with
 * one rounding: two products for what one costs in k_rows.c.  A token whose activations are no bf16, and a tile whose
 * scale is far from 1 (the instruction takes subnormals for zeros), go their own way: that hangs on the token and on
 * the weight alone, never on who else is in the command.
 *
 * One output is one running word of 16 sums along k; then its lanes are added. */
#include "backends/cpu/kernels_tiered.h"

#ifdef __AVX512BF16__

#define ROWS 4u
#define TOKENS 6u
#define NEAR_BYTES 512u
#define LEAST_STRIDE 4096u
#define PAIRS_STEP 64u /* elements that are decoded at once: two words of pairs */

/* Exponents of what multiplies here: no product, no sum of 2^20 of them comes near the ends of f32. */
#define X_LEAST (127u - 50u)
#define X_MOST (127u + 50u)
#define SCALE_LEAST (127u - 40u)
#define SCALE_MOST (127u + 40u)

/* 64 elements as two words, in the order of decode. */
LANE void
store_pairs(uint16_t *out, const vi bits[4])
{
    const vi first = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(vi_srl(bits[0], 16))),
                                        _mm512_cvtepi32_epi16(vi_srl(bits[1], 16)), 1);
    const vi second = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(vi_srl(bits[2], 16))),
                                         _mm512_cvtepi32_epi16(vi_srl(bits[3], 16)), 1);
    const vi even = _mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13);
    vi_store(out, _mm512_permutex2var_epi64(first, even, second));
    vi_store(out + 32, _mm512_permutex2var_epi64(first, _mm512_add_epi64(even, _mm512_set1_epi64(2)), second));
}

bool
TIERED(k_pairs)(const float *x, uint64_t n, uint64_t n_padded, uint16_t *pairs, uint64_t token, uint64_t n_tokens)
{
    const vi exponents = vi_set1(0x7F800000);
    __mmask16 found = 0;
    for (uint64_t k = 0; k < n_padded; k += PAIRS_STEP) {
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
        store_pairs(pairs + cpu_pairs_at(n_padded, n_tokens, token, k), bits);
    }
    return found == 0;
}

/* The bf16 of an e4m3 code without its sign, times 2^odd. */
#define NORMAL(e, m, odd) (((e) + 120 + (odd)) << 7 | (m) << 4)
#define EIGHT(part, e, odd)                                                                                            \
    part(NORMAL(e, 0, odd)), part(NORMAL(e, 1, odd)), part(NORMAL(e, 2, odd)), part(NORMAL(e, 3, odd)),               \
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
#define LOW_BYTE(x) ((x) & 255)

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
decode(const uint8_t *codes, const struct tables *tables, vi out[2])
{
    const vi raw = vi_load(codes);
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

LANE const float *
row_scales(const struct host_matrix *weight, uint64_t row)
{
    return (const float *)(const void *)weight->scales +
           row / HOST_ACT_BLOCK * (cpu_padded(weight->cols) / HOST_ACT_BLOCK);
}

/* Whether all scales of a row's tiles are near 1. */
LANE bool
scales_are_near(const struct host_matrix *weight, uint64_t row)
{
    const float *scales = row_scales(weight, row);
    bool near = true;
    for (uint64_t b = 0; b < cpu_padded(weight->cols) / HOST_ACT_BLOCK; b++) {
        near &= (hearth_f32_bits(scales[b]) >> 23) - SCALE_LEAST <= SCALE_MOST - SCALE_LEAST;
    }
    return near;
}

LANE const uint16_t *
token_pairs(const struct cpu_input *input, uint64_t token, uint64_t k)
{
    return input->pairs + cpu_pairs_at(input->n_padded, input->n, token, k);
}

/* Four rows, of one band of tiles, for one token; what is beyond n_rows repeats the last. */
LANE void
one_token(const struct cpu_product *product, uint64_t i, uint64_t row, uint64_t n_rows)
{
    const struct host_matrix *weight = product->weight;
    const uint64_t n = cpu_padded(weight->cols);
    const uint64_t token = cpu_token_of(product, i);
    const uint64_t to_next = (n < LEAST_STRIDE ? LEAST_STRIDE / n : 1) * ROWS * n;
    const float *scales = row_scales(weight, row);
    const uint8_t *rows[ROWS];
    vf sums[ROWS];
    UNROLL
    for (unsigned r = 0; r < ROWS; r++) {
        rows[r] = weight->data + (row + (r < n_rows ? r : n_rows - 1)) * n;
        sums[r] = vf_zero();
    }
    for (uint64_t k = 0; k < n; k += HOST_ACT_BLOCK) {
        const struct tables tables = tables_of(scales[k / HOST_ACT_BLOCK]);
        const uint16_t *x = token_pairs(product->input, token, k);
        UNROLL
        for (unsigned r = 0; r < ROWS; r++) {
            for (uint64_t line = k; line < k + HOST_ACT_BLOCK; line += 64) { /* as k_rows.c */
                _mm_prefetch((const char *)rows[r] + to_next + line, _MM_HINT_T1);
                _mm_prefetch((const char *)rows[r] + NEAR_BYTES + line, _MM_HINT_T0);
            }
        }
        UNROLL
        for (unsigned step = 0; step < HOST_ACT_BLOCK; step += PAIRS_STEP) {
            UNROLL
            for (unsigned r = 0; r < ROWS; r++) {
                vi words[2];
                decode(rows[r] + k + step, &tables, words);
                sums[r] = add_pairs(sums[r], words[0], vi_load(x + step));
                sums[r] = add_pairs(sums[r], words[1], vi_load(x + step + 32));
            }
        }
    }
    float *y = product->y + cpu_slot_of(product, i) * product->y_stride + row;
    for (unsigned r = 0; r < n_rows; r++) {
        y[r] = product->round ? hearth_round_bf16(vf_sum(sums[r])) : vf_sum(sums[r]);
    }
}

/* A row whose scales are far from 1: by f32, a block at a time, as k_rows.c. */
static void
far_row(const struct cpu_product *product, uint64_t i, uint64_t row)
{
    const struct host_matrix *weight = product->weight;
    const uint64_t n = cpu_padded(weight->cols);
    const vi high_half = vi_set1((int)0xFFFF0000u);
    const struct tables tables = tables_of(1.0f);
    vf total = vf_zero();
    for (uint64_t k = 0; k < n; k += HOST_ACT_BLOCK) {
        const uint16_t *x = token_pairs(product->input, cpu_token_of(product, i), k);
        vf sum = vf_zero();
        for (unsigned step = 0; step < HOST_ACT_BLOCK; step += PAIRS_STEP) {
            vi words[2];
            decode(weight->data + row * n + k + step, &tables, words);
            for (unsigned j = 0; j < 2; j++) {
                const vi a = words[j], b = vi_load(x + step + 32 * j);
                sum = vf_fma(vf_from_bits(vi_and(a, high_half)), vf_from_bits(vi_and(b, high_half)), sum);
                sum = vf_fma(vf_from_bits(vi_sll(a, 16)), vf_from_bits(vi_sll(b, 16)), sum);
            }
        }
        total = vf_fma(sum, vf_set1(row_scales(weight, row)[k / HOST_ACT_BLOCK]), total);
    }
    const float y = vf_sum(total);
    product->y[cpu_slot_of(product, i) * product->y_stride + row] = product->round ? hearth_round_bf16(y) : y;
}

/* Several tokens: see k_rows.c. */
#define TILE_ROWS 16u
#define TILE_COLS CPU_PAIRS_COLS
#define BATCH 48u

struct tile {
    _Alignas(64) uint16_t values[TILE_ROWS][TILE_COLS];
};

/* The rows are of one band; those beyond n_rows repeat the last. */
static void
decode_tile(const struct host_matrix *weight, uint64_t row, uint64_t n_rows, uint64_t begin, uint64_t n,
            struct tile *tile)
{
    const uint64_t n_padded = cpu_padded(weight->cols);
    const float *scales = row_scales(weight, row) + begin / HOST_ACT_BLOCK;
    const uint64_t n_decoded = (n_rows + ROWS - 1) / ROWS * ROWS;
    for (uint64_t k = 0; k < n; k += HOST_ACT_BLOCK) {
        const struct tables tables = tables_of(scales[k / HOST_ACT_BLOCK]);
        for (uint64_t r = 0; r < n_decoded; r++) {
            const uint8_t *codes = weight->data + (row + (r < n_rows ? r : n_rows - 1)) * n_padded + begin + k;
            UNROLL
            for (unsigned step = 0; step < HOST_ACT_BLOCK; step += PAIRS_STEP) {
                vi words[2];
                decode(codes + step, &tables, words);
                vi_store(tile->values[r] + k + step, words[0]);
                vi_store(tile->values[r] + k + step + 32, words[1]);
            }
        }
    }
}

/* w: four rows of a tile; totals: [n_tokens][TILE_ROWS] words from the first of them */
LANE void
meet(const uint16_t *w, const uint16_t *const *x, const unsigned n_tokens, uint64_t n, float *totals)
{
    vf sums[TOKENS][ROWS];
    UNROLL
    for (unsigned t = 0; t < n_tokens; t++) {
        UNROLL
        for (unsigned r = 0; r < ROWS; r++) {
            sums[t][r] = vf_load(totals + (t * TILE_ROWS + r) * W);
        }
    }
    ONE_BY_ONE
    for (uint64_t k = 0; k < n; k += 32) {
        vi words[ROWS];
        UNROLL
        for (unsigned r = 0; r < ROWS; r++) {
            words[r] = vi_load(w + r * TILE_COLS + k);
        }
        UNROLL
        for (unsigned t = 0; t < n_tokens; t++) {
            const vi part = vi_load(x[t] + k);
            UNROLL
            for (unsigned r = 0; r < ROWS; r++) {
                sums[t][r] = add_pairs(sums[t][r], words[r], part);
                KEEP(sums[t][r]);
            }
        }
    }
    UNROLL
    for (unsigned t = 0; t < n_tokens; t++) {
        UNROLL
        for (unsigned r = 0; r < ROWS; r++) {
            vf_store(totals + (t * TILE_ROWS + r) * W, sums[t][r]);
        }
    }
}

static NOT_INLINED void
meet_six(const uint16_t *w, const uint16_t *const *x, uint64_t n, float *totals)
{
    meet(w, x, TOKENS, n, totals);
}

static NOT_INLINED void
meet_two(const uint16_t *w, const uint16_t *const *x, uint64_t n, float *totals)
{
    meet(w, x, 2, n, totals);
}

/* next: rows of what is decoded next, stride bytes apart, asked for while the first tokens are met */
LANE void
meet_tile(const struct tile *tile, uint64_t n_rows, const uint16_t *const *x, uint64_t n_tokens, uint64_t n,
          const unsigned char *next, uint64_t stride, float *totals)
{
    uint64_t t = 0;
    while (t < n_tokens) {
        const bool is_full = t + TOKENS <= n_tokens;
        for (uint64_t r = 0; r < n_rows; r += ROWS) {
            for (uint64_t i = 0; i < ROWS * TILE_COLS && t == 0; i += 64) {
                _mm_prefetch((const char *)next + (r + i / TILE_COLS) * stride + i % TILE_COLS, _MM_HINT_T0);
            }
            (is_full ? meet_six : meet_two)(tile->values[r], x + t, n, totals + (t * TILE_ROWS + r) * W);
        }
        t += is_full ? TOKENS : 2;
    }
}

/* At most TILE_ROWS rows for at most BATCH tokens. */
static void
many_tokens(const struct cpu_product *product, uint64_t row, uint64_t n_rows)
{
    const uint64_t n = cpu_padded(product->weight->cols), n_tokens = product->n_tokens;
    _Alignas(64) float totals[(BATCH + 1) * TILE_ROWS * W];
    struct tile tile;
    memset(totals, 0, (size_t)(n_tokens + 1) * TILE_ROWS * W * sizeof *totals);
    for (uint64_t begin = 0; begin < n; begin += TILE_COLS) {
        const uint64_t length = n - begin < TILE_COLS ? n - begin : TILE_COLS;
        const uint16_t *x[BATCH + 1];
        for (uint64_t t = 0; t <= n_tokens; t++) { /* one more than there are: an odd one has a partner */
            x[t] = token_pairs(product->input, cpu_token_of(product, t < n_tokens ? t : n_tokens - 1), begin);
        }
        const unsigned char *next = begin + length < n ? product->weight->data + row * n + begin + length
                                                       : product->weight->data + (row + TILE_ROWS) * n;
        decode_tile(product->weight, row, n_rows, begin, length, &tile);
        meet_tile(&tile, n_rows, x, n_tokens, length, next, n, totals);
    }
    for (uint64_t t = 0; t < n_tokens; t++) {
        float *y = product->y + cpu_slot_of(product, t) * product->y_stride + row;
        vf_store_tail(y, vf_round(vf_sum_words(totals + t * TILE_ROWS * W), product->round), n_rows);
    }
}

/* All tokens have pairs, at most BATCH. */
static void
rows_by_pairs(const struct cpu_product *product, uint64_t begin, uint64_t end)
{
    const uint64_t most = product->n_tokens == 1 ? ROWS : TILE_ROWS;
    uint64_t n_rows;
    for (uint64_t row = begin; row < end; row += n_rows) {
        const uint64_t band = (row / HOST_ACT_BLOCK + 1) * HOST_ACT_BLOCK; /* rows up to here have the same scales */
        const uint64_t left = (band < end ? band : end) - row;
        n_rows = left < most ? left : most;
        if (!scales_are_near(product->weight, row)) {
            for (uint64_t i = 0; i < n_rows * product->n_tokens; i++) {
                far_row(product, i % product->n_tokens, row + i / product->n_tokens);
            }
        } else if (product->n_tokens == 1) {
            one_token(product, 0, row, n_rows);
        } else {
            many_tokens(product, row, n_rows);
        }
    }
}

/* Tokens of one kind, with their slots. */
struct picked {
    uint32_t tokens[BATCH], slots[BATCH];
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
    if (product->weight->dtype != HEARTH_E4M3) {
        TIERED(k_rows)(product, begin, end);
        return;
    }
    for (uint64_t i = 0; i < product->n_tokens; i++) {
        const uint64_t token = cpu_token_of(product, i);
        const bool are_pairs = product->input->has_pairs[token];
        struct picked *to = &picked[are_pairs];
        to->tokens[to->n] = (uint32_t)token;
        to->slots[to->n++] = (uint32_t)cpu_slot_of(product, i);
        if (to->n == BATCH) {
            run_picked(product, to, are_pairs, begin, end);
        }
    }
    run_picked(product, &picked[0], false, begin, end);
    run_picked(product, &picked[1], true, begin, end);
}

#endif
