/* panels.h - what kernels of e2m1 panels share (cpu.h, k_panels.c): where scales and codes are, what a code
 * stands for, what a block's exact sum is worth. */
#ifndef BACKENDS_CPU_PANELS_H
#define BACKENDS_CPU_PANELS_H

#include "backends/cpu/kernels_tiered.h"

#define BLOCK 32u
#define PARTS (CPU_PANEL_ROWS / W) /* words that hold a lane for each row of a panel */
#define CHUNK_BLOCKS (HEARTH_EXPERT_CHUNK / BLOCK)
/* How far ahead of a lone token its weights are asked for: into the second cache, and from there into the first. */
#define FAR_BYTES (8u * CPU_GROUP_BYTES)
#define NEAR_BYTES (2u * CPU_GROUP_BYTES)

/* Bytes of a panel, and the scales and codes of its block. */
LANE uint64_t
panel_bytes(const struct host_matrix *weight)
{
    return cpu_padded(weight->cols) / CPU_GROUP_COLS * CPU_GROUP_BYTES;
}

LANE const uint8_t *
block_scales(const unsigned char *panel, uint64_t block)
{
    return panel + block / 4 * CPU_GROUP_BYTES + block % 4 * CPU_PANEL_ROWS;
}

LANE const uint8_t *
block_codes(const unsigned char *panel, uint64_t block)
{
    return panel + block / 4 * CPU_GROUP_BYTES + 4 * CPU_PANEL_ROWS + block % 4 * (BLOCK / 2 * CPU_PANEL_ROWS);
}

/* For each byte, the one of the table's 16 that its low four bits name; the others are 0. */
LANE vi
look_up_in(const int8_t *table, vi codes)
{
    const __m128i entries = _mm_loadu_si128((const void *)table);
#ifdef __AVX512F__
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(entries), codes);
#else
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(entries), codes);
#endif
}

LANE vi
low_halves(vi raw)
{
    return vi_and(raw, vi_set1(0x0F0F0F0F));
}
LANE vi
high_halves(vi raw)
{
    return vi_and(vi_srl(raw, 4), vi_set1(0x0F0F0F0F));
}

LANE vi
look_up(vi codes)
{
    static const int8_t table[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};
    return look_up_in(table, codes);
}

LANE vi
digit_sum(vi sum, unsigned digit)
{
#ifdef __AVX512VNNI__
    return digit == 0 ? sum : (digit == 1 ? vi_sll(sum, DIGIT_BITS) : vi_sll(sum, 2 * DIGIT_BITS));
#else
    return vi_madd16(sum, vi_set1((1 << DIGIT_BITS * digit) * 0x10001));
#endif
}

/* A block's sum from those of its digits. */
LANE vi
join_digits(const vi *exact, const unsigned n_digits, const struct cpu_digits *x)
{
    vi sum = vi_sub(digit_sum(exact[0], 0), vi_set1(x->correction));
    UNROLL
    for (unsigned d = 1; d < n_digits; d++) {
        sum = vi_add(sum, digit_sum(exact[d], d));
    }
    return sum;
}

/* A processor's own prefetch sees too little of the road while so much is computed for each line.  Beyond the weight's
 * end nothing that matters is asked for. */
LANE void
fetch_ahead(const uint8_t *line)
{
    _mm_prefetch((const char *)line + FAR_BYTES, _MM_HINT_T1);
    _mm_prefetch((const char *)line + NEAR_BYTES, _MM_HINT_T0);
}

/* One token: weights are looked up as they come.  The loop stays one: laid out in full, gcc adds the products as a
 * tree, whose leaves no machine has registers for. */
LANE void
dot_raw(const uint8_t *codes, const struct cpu_digits *x, const unsigned n_digits, vi sums[PARTS])
{
    vi exact[PARTS][3];
    UNROLL
    for (unsigned i = 0; i < 3 * PARTS; i++) {
        exact[i / 3][i % 3] = vi_zero();
    }
    ONE_BY_ONE
    for (unsigned j = 0; j < BLOCK / 8; j++) {
        fetch_ahead(codes + 4 * CPU_PANEL_ROWS * j);
        UNROLL
        for (unsigned part = 0; part < PARTS; part++) {
            const vi raw = vi_load(codes + 4 * CPU_PANEL_ROWS * j + part * 4 * W);
            const vi low = look_up(low_halves(raw));
            const vi high = look_up(high_halves(raw));
            UNROLL
            for (unsigned d = 0; d < n_digits; d++) {
                exact[part][d] = vi_add_dots(exact[part][d], low, vi_set4(x->digits[d] + 8 * j));
                exact[part][d] = vi_add_dots(exact[part][d], high, vi_set4(x->digits[d] + 8 * j + 4));
                KEEP(exact[part][d]);
            }
        }
    }
    UNROLL
    for (unsigned part = 0; part < PARTS; part++) {
        sums[part] = join_digits(exact[part], n_digits, x);
    }
}

/* Scales within these codes multiply without meeting a limit of the contract: 150 <= e_x + e_w <= 350. */
#define FREE_LEAST 75u
#define FREE_MOST 175u

/* Whether all scales of a group of four blocks are free. */
LANE int
group_is_free(const uint8_t *scales)
{
    const __m256i least = _mm256_set1_epi8((char)FREE_LEAST);
    const __m256i range = _mm256_set1_epi8((char)(FREE_MOST - FREE_LEAST));
    const __m256i first = _mm256_sub_epi8(_mm256_loadu_si256((const void *)scales), least);
    const __m256i last = _mm256_sub_epi8(_mm256_loadu_si256((const void *)(scales + 32)), least);
    const __m256i most = _mm256_max_epu8(_mm256_max_epu8(first, last), range);
    return _mm256_movemask_epi8(_mm256_cmpeq_epi8(most, range)) == -1;
}

/* What an exact sum of a block is worth: the product of both scales, of 2^-10 and of the digits' shift. */
LANE vf
block_worth(const uint8_t *scales, const struct cpu_digits *x, int is_free)
{
    const vi code = vi_load_u8(scales);
    if (is_free) {
        return vf_mul(vf_from_bits(vi_sll(code, 23)), vf_set1(hearth_f32_from_bits((x->scale + x->shift - 10u) << 23)));
    }
    const vi nan = vi_and(vi_equal(code, vi_set1(HEARTH_E8M0_NAN)), vi_set1(0x7FC00000));
    vi exponent = vi_add(code, vi_set1((int)x->scale - 254));
    exponent = vi_max(vi_set1(HEARTH_SCALE_MIN_EXPONENT), vi_min(vi_set1(HEARTH_SCALE_MAX_EXPONENT), exponent));
    return vf_from_bits(vi_or(vi_sll(vi_add(exponent, vi_set1(127 - 10 + (int)x->shift)), 23), nan));
}

LANE void
put_panel(const struct cpu_product *product, uint64_t i, uint64_t panel, const vf totals[PARTS])
{
    const uint64_t row = panel * CPU_PANEL_ROWS;
    float *y = product->y + cpu_slot_of(product, i) * product->y_stride + row;
    for (unsigned part = 0; part < PARTS && row + part * W < product->weight->rows; part++) {
        const vf value = vf_round(totals[part], product->round);
        vf_store_tail(y + part * W, value, product->weight->rows - row - part * W);
    }
}

LANE const struct cpu_digits *
token_digits(const struct cpu_product *product, uint64_t i)
{
    return product->input->digits + cpu_token_of(product, i) * (product->input->n_padded / BLOCK);
}

LANE unsigned
token_kind(const struct cpu_product *product, uint64_t i)
{
    return product->input->digits_kinds[cpu_token_of(product, i)];
}

/* A token that holds a NaN gets NaN. */
LANE void
put_digits(const struct cpu_product *product, uint64_t i, uint64_t panel, vf totals[PARTS])
{
    if (token_kind(product, i) == CPU_DIGITS_NAN) {
        UNROLL
        for (unsigned part = 0; part < PARTS; part++) {
            totals[part] = vf_set1(hearth_f32_from_bits(0x7FC00000u));
        }
    }
    put_panel(product, i, panel, totals);
}

#endif
