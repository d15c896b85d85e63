/* k_panels.c - products with e2m1 weights kept as panels of 16 rows (cpu.h): one row is one lane.
 *
 * The contract (docs/numerics.md): a block of 32 is summed exactly, in units of 2^-10; the sum is rounded once to f32
 * and multiplied by the product of both scales; blocks ascend within a chunk of 512 columns, chunks ascend.
 *
 * The exact sum.  A weight's half h is read as u = h + 12, a byte from 0 to 24, by one table look-up on its four bits.
 * An activation is an integer of 18 bits; over a block it is x = 2^shift * (d0 + d1 b + d2 b^2) with balanced digits to
 * a base b, and as a rule two digits are enough.  sum h x = sum u x - 12 sum x, and sum u d is what the machine's dot
 * product of unsigned and signed bytes gives: with VNNI four products a lane in 32 bits (b = 256), without it pairs in
 * 16 bits, where 16 * 24 * 64 < 2^15 (b = 128). */
#include "backends/cpu/kernels_tiered.h"

#define BLOCK 32u
#define PARTS (CPU_PANEL_ROWS / W) /* words that hold a lane for each row */
#define TOKENS 4u

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

#ifdef __AVX512F__

LANE vi
look_up(vi codes)
{
    const vi table = _mm512_broadcast_i32x4(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
    return _mm512_shuffle_epi8(table, codes);
}

LANE vi
low_halves(vi raw)
{
    return _mm512_and_si512(raw, _mm512_set1_epi8(15));
}
LANE vi
high_halves(vi raw)
{
    return _mm512_and_si512(_mm512_srli_epi16(raw, 4), _mm512_set1_epi8(15));
}

#ifdef __AVX512VNNI__
LANE vi
add_products(vi sum, vi u, vi digits)
{
    return _mm512_dpbusd_epi32(sum, u, digits);
}
LANE vi
digit_sum(vi sum, unsigned digit)
{
    return digit == 0 ? sum : (digit == 1 ? vi_sll(sum, DIGIT_BITS) : vi_sll(sum, 2 * DIGIT_BITS));
}
#else
LANE vi
add_products(vi sum, vi u, vi digits)
{
    return _mm512_add_epi16(sum, _mm512_maddubs_epi16(u, digits));
}

LANE vi
digit_sum(vi sum, unsigned digit)
{
    return _mm512_madd_epi16(sum, _mm512_set1_epi16((short)(1 << DIGIT_BITS * digit)));
}
#endif

#else

LANE vi
look_up(vi codes)
{
    const vi table = _mm256_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0, 12, 13, 14, 15, 16, 18,
                                      20, 24, 12, 11, 10, 9, 8, 6, 4, 0);
    return _mm256_shuffle_epi8(table, codes);
}

LANE vi
low_halves(vi raw)
{
    return _mm256_and_si256(raw, _mm256_set1_epi8(15));
}
LANE vi
high_halves(vi raw)
{
    return _mm256_and_si256(_mm256_srli_epi16(raw, 4), _mm256_set1_epi8(15));
}

LANE vi
add_products(vi sum, vi u, vi digits)
{
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(u, digits));
}

LANE vi
digit_sum(vi sum, unsigned digit)
{
    return _mm256_madd_epi16(sum, _mm256_set1_epi16((short)(1 << DIGIT_BITS * digit)));
}

#endif

/* Four digits, in every lane. */
LANE vi
four_digits(const int8_t *digits)
{
    int32_t word;
    memcpy(&word, digits, sizeof word);
    return vi_set1(word);
}

/* sums += block's sum * scales; x: a block of each of n_tokens tokens, the most digits of which is n_digits */
LANE void
add_block(const uint8_t *codes, const uint8_t *scales, const struct cpu_digits *const *x, uint64_t block,
          const unsigned n_tokens, const unsigned n_digits, vf sums[][PARTS])
{
    UNROLL
    for (unsigned part = 0; part < PARTS; part++) {
        vi exact[TOKENS][3];
        UNROLL
        for (unsigned t = 0; t < n_tokens; t++) {
            UNROLL
            for (unsigned d = 0; d < n_digits; d++) {
                exact[t][d] = vi_zero();
            }
        }
        UNROLL
        for (unsigned j = 0; j < BLOCK / 8; j++) {
            const vi raw = vi_load(codes + 4 * CPU_PANEL_ROWS * j + part * 4 * W);
            const vi low = look_up(low_halves(raw));
            const vi high = look_up(high_halves(raw));
            UNROLL
            for (unsigned t = 0; t < n_tokens; t++) {
                UNROLL
                for (unsigned d = 0; d < n_digits; d++) {
                    const int8_t *digits = x[t][block].digits[d] + 8 * j;
                    exact[t][d] = add_products(exact[t][d], low, four_digits(digits));
                    exact[t][d] = add_products(exact[t][d], high, four_digits(digits + 4));
                }
            }
        }
        const vi code = vi_load_u8(scales + part * W);
        const vi nan = vi_and(vi_equal(code, vi_set1(HEARTH_E8M0_NAN)), vi_set1(0x7FC00000));
        UNROLL
        for (unsigned t = 0; t < n_tokens; t++) {
            const struct cpu_digits *digits = &x[t][block];
            vi exponent = vi_add(code, vi_set1((int)digits->scale - 254));
            exponent = vi_max(vi_set1(HEARTH_SCALE_MIN_EXPONENT), vi_min(vi_set1(HEARTH_SCALE_MAX_EXPONENT), exponent));
            exponent = vi_sll(vi_add(exponent, vi_set1(127 - 10 + (int)digits->shift)), 23);
            vi sum = vi_sub(digit_sum(exact[t][0], 0), vi_set1(digits->correction));
            UNROLL
            for (unsigned d = 1; d < n_digits; d++) {
                sum = vi_add(sum, digit_sum(exact[t][d], d));
            }
            /* the product is exact, so that adding it with one rounding is adding it */
            sums[t][part] = vf_fma(vf_from_int(sum), vf_from_bits(vi_or(exponent, nan)), sums[t][part]);
        }
    }
}

/* One panel for n_tokens tokens; totals: [n_tokens][PARTS] */
LANE void
sum_panel(const unsigned char *panel, uint64_t n_blocks, const struct cpu_digits *const *x, const unsigned n_tokens,
          vf totals[][PARTS])
{
    vf sums[TOKENS][PARTS];
    UNROLL
    for (unsigned i = 0; i < n_tokens * PARTS; i++) {
        sums[i / PARTS][i % PARTS] = totals[i / PARTS][i % PARTS] = vf_zero();
    }
    for (uint64_t block = 0; block < n_blocks; block++) {
        unsigned n_digits = 1;
        UNROLL
        for (unsigned t = 0; t < n_tokens; t++) {
            n_digits = x[t][block].n > n_digits ? x[t][block].n : n_digits;
        }
        const uint8_t *codes = block_codes(panel, block);
        const uint8_t *scales = block_scales(panel, block);
        if (n_digits == 2) {
            add_block(codes, scales, x, block, n_tokens, 2, sums);
        } else if (n_digits == 1) {
            add_block(codes, scales, x, block, n_tokens, 1, sums);
        } else {
            add_block(codes, scales, x, block, n_tokens, 3, sums);
        }
        if ((block + 1) % (HEARTH_EXPERT_CHUNK / BLOCK) != 0 && block + 1 < n_blocks) {
            continue;
        }
        UNROLL
        for (unsigned i = 0; i < n_tokens * PARTS; i++) {
            totals[i / PARTS][i % PARTS] = vf_add(totals[i / PARTS][i % PARTS], sums[i / PARTS][i % PARTS]);
            sums[i / PARTS][i % PARTS] = vf_zero();
        }
    }
}

LANE int
any_nan(const struct cpu_digits *x, uint64_t n_blocks)
{
    int found = 0;
    for (uint64_t block = 0; block < n_blocks; block += HOST_ACT_BLOCK / BLOCK) {
        found |= x[block].is_nan;
    }
    return found;
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

/* Tokens first .. first + n_tokens - 1 through one panel; what a group of four lacks repeats its last token. */
LANE void
panel_tokens(const struct cpu_product *product, uint64_t panel, uint64_t first, uint64_t n_tokens, const unsigned width)
{
    const struct cpu_input *input = product->input;
    const uint64_t n_blocks = input->n_padded / BLOCK;
    const unsigned char *codes = product->weight->data + panel * panel_bytes(product->weight);
    const struct cpu_digits *x[TOKENS];
    vf totals[TOKENS][PARTS];
    for (unsigned t = 0; t < width; t++) {
        const uint64_t at = first + (t < n_tokens ? t : n_tokens - 1);
        x[t] = input->digits + cpu_token_of(product, at) * n_blocks;
    }
    sum_panel(codes, n_blocks, x, width, totals);
    for (unsigned t = 0; t < n_tokens; t++) {
        for (unsigned part = 0; any_nan(x[t], n_blocks) && part < PARTS; part++) {
            totals[t][part] = vf_set1(hearth_f32_from_bits(0x7FC00000u));
        }
        put_panel(product, first + t, panel, totals[t]);
    }
}

void
TIERED(k_panels)(const struct cpu_product *product, uint64_t begin, uint64_t end)
{
    for (uint64_t panel = begin / CPU_PANEL_ROWS; panel * CPU_PANEL_ROWS < end; panel++) {
        for (uint64_t t = 0; t < product->n_tokens; t += TOKENS) {
            const uint64_t left = product->n_tokens - t;
            if (left == 1) {
                panel_tokens(product, panel, t, 1, 1);
            } else {
                panel_tokens(product, panel, t, left < TOKENS ? left : TOKENS, TOKENS);
            }
        }
    }
}

/* f32 activations: a weight's exact value times x, summed in f32.  x: [n_padded] */
LANE void
sum_panel_exact(const unsigned char *panel, uint64_t n_blocks, const float *x, vf totals[PARTS])
{
    for (unsigned part = 0; part < PARTS; part++) {
        totals[part] = vf_zero();
        for (uint64_t block = 0; block < n_blocks; block++) {
            const uint8_t *codes = block_codes(panel, block) + part * 4 * W;
            const vi code = vi_load_u8(block_scales(panel, block) + part * W);
            /* half of a scale: e8m0 code 0 is 2^-127, its half and that of 2^-126 are subnormal */
            const vf scale =
                vf_mul(vf_from_bits(vi_or(vi_sll(code, 23), vi_and(vi_equal(code, vi_zero()), vi_set1(0x400000)))),
                       vf_set1(0.5f));
            const vi nan = vi_and(vi_equal(code, vi_set1(HEARTH_E8M0_NAN)), vi_set1(0x7FC00000));
            vf sum = vf_zero();
            for (unsigned j = 0; j < BLOCK / 8; j++) {
                vi raw = vi_load(codes + 4 * CPU_PANEL_ROWS * j);
                const float *values = x + block * BLOCK + 8 * j;
                for (unsigned b = 0; b < 4; b++) {
                    sum = vf_fma(vf_twice_e2m1(raw), vf_set1(values[b]), sum);
                    sum = vf_fma(vf_twice_e2m1(vi_srl(raw, 4)), vf_set1(values[4 + b]), sum);
                    raw = vi_srl(raw, 8);
                }
            }
            totals[part] = vf_fma(sum, vf_from_bits(vi_or(vf_to_bits(scale), nan)), totals[part]);
        }
    }
}

void
TIERED(k_panels_exact)(const struct cpu_product *product, uint64_t begin, uint64_t end)
{
    const struct cpu_input *input = product->input;
    for (uint64_t panel = begin / CPU_PANEL_ROWS; panel * CPU_PANEL_ROWS < end; panel++) {
        const unsigned char *codes = product->weight->data + panel * panel_bytes(product->weight);
        for (uint64_t i = 0; i < product->n_tokens; i++) {
            vf totals[PARTS];
            sum_panel_exact(codes, input->n_padded / BLOCK, input->plain + cpu_token_of(product, i) * input->n_padded,
                            totals);
            put_panel(product, i, panel, totals);
        }
    }
}

/* gates: the activation replaces the gate (hearth_swiglu, the same operations).  Exact numerics: not rounded. */
void
TIERED(k_swiglu)(float *gates, const float *ups, uint64_t n, float limit, const float *weight, bool native)
{
    const vf one = vf_set1(1.0f);
    const vf most = vf_set1(limit);
    for (uint64_t i = 0; i < n; i += W) {
        const vf g = vf_min(most, vf_load_tail(gates + i, n - i));
        const vf u = vf_max(vf_set1(-limit), vf_min(most, vf_load_tail(ups + i, n - i)));
        const vf sigmoid = vf_div(one, vf_add(one, vf_exp(vf_negative(g))));
        vf value = vf_mul(vf_mul(g, sigmoid), u);
        value = weight == NULL ? value : vf_mul(value, vf_set1(*weight));
        vf_store_tail(gates + i, vf_round(value, native), n - i);
    }
}
