/* k_input.c - activations made ready for products, and the rounding of rows to stored formats.  One object for each
 * tier.
 *
 * A block's scale is the smallest power of two s with max|x| / s within the format (kernel.py act_quant,
 * fp4_act_quant).  A block that holds a NaN or an infinity gets the scale code HEARTH_E8M0_NAN: everything computed
 * from it is NaN. */
#include "backends/cpu/panels.h"

/* kernel.py: the floor of max|x|; for e2m1 6 * 2^-126 */
#define E4M3_FLOOR 1e-4f
#define E2M1_FLOOR 0x1.8p-124f

void
TIERED(k_plain)(const float *x, uint64_t n, uint64_t n_padded, float *out)
{
    memcpy(out, x, (size_t)n * sizeof *x);
    memset(out + n, 0, (size_t)(n_padded - n) * sizeof *out);
}

/* 4 W elements: the even ones, then the odd.  x is full where it can be, else a copy with zeros behind n. */
void
TIERED(k_split)(const float *x, uint64_t n, uint64_t n_padded, float *out)
{
    for (uint64_t k = 0; k < n_padded; k += 4 * W) {
        vf part[4];
        for (unsigned i = 0; i < 4; i++) {
            const uint64_t at = k + i * W;
            part[i] = at < n ? vf_load_tail(x + at, n - at) : vf_zero();
        }
        vf_arrange_e4m3(part);
        for (unsigned i = 0; i < 4; i++) {
            vf_store(out + k + i * W, vf_mul(part[i], vf_set1(E4M3_LIFT)));
        }
    }
}

/* max|x| as bits; a NaN is more than an infinity */
LANE uint32_t
greatest_bits(const float *x, uint64_t n)
{
    vi most = vi_zero();
    for (uint64_t i = 0; i < n; i += W) {
        most = vi_max(most, vi_and(vf_to_bits(vf_load_tail(x + i, n - i)), vi_set1(0x7FFFFFFF)));
    }
    return (uint32_t)vi_greatest(most);
}

LANE uint8_t
block_scale(const float *x, uint64_t n, float floor, float reciprocal)
{
    const uint32_t bits = greatest_bits(x, n);
    const float most = hearth_f32_from_bits(bits);
    if (bits >= 0x7F800000u) {
        return HEARTH_E8M0_NAN;
    }
    return hearth_scale_code(most > floor ? most : floor, reciprocal);
}

/* 1 / s, exactly; the codes of scales are below 254 or NaN */
LANE float
reciprocal_scale(uint8_t code)
{
    return code == HEARTH_E8M0_NAN ? 0.0f : hearth_e8m0_to_f32((uint8_t)(254u - code));
}

void
TIERED(k_quantise)(const float *x, uint64_t n, uint64_t n_padded, float *values, uint8_t *scales)
{
    for (uint64_t begin = 0; begin < n_padded; begin += HOST_ACT_BLOCK) {
        const uint64_t length = n - begin < HOST_ACT_BLOCK ? n - begin : HOST_ACT_BLOCK;
        const uint8_t scale = block_scale(x + begin, length, E4M3_FLOOR, HEARTH_E4M3_RECIPROCAL);
        const vf reciprocal = vf_set1(reciprocal_scale(scale));
        scales[begin / HOST_ACT_BLOCK] = scale;
        for (uint64_t i = 0; i < HOST_ACT_BLOCK; i += W) {
            const vf part = i < length ? vf_load_tail(x + begin + i, length - i) : vf_zero();
            vf_store(values + begin + i,
                     scale == HEARTH_E8M0_NAN ? vf_zero() : vf_round_e4m3(vf_mul(part, reciprocal)));
        }
    }
}

void
TIERED(k_dequantise)(float *values, const uint8_t *scales, uint64_t n_padded)
{
    for (uint64_t k = 0; k < n_padded; k += W) {
        const vf scale = vf_set1(hearth_e8m0_to_f32(scales[k / HOST_ACT_BLOCK]));
        vf_store(values + k, vf_mul(vf_load(values + k), scale));
    }
}

static enum cpu_digits_kind
scale_kind(unsigned scale)
{
    if (scale == HEARTH_E8M0_NAN) {
        return CPU_DIGITS_NAN;
    }
    return scale >= FREE_LEAST && scale <= FREE_MOST ? CPU_DIGITS_FREE : CPU_DIGITS_LIMITED;
}

/* Digits are balanced: -base/2 .. base/2 - 1, so that they are signed bytes and the last one takes the sign. */
enum cpu_digits_kind
TIERED(k_digits)(const float *values, const uint8_t *scales, uint64_t n_padded, struct cpu_digits *out)
{
    enum cpu_digits_kind kind = CPU_DIGITS_FREE;
    const int bits = DIGIT_BITS;
    const vi half = vi_set1(1 << (bits - 1));
    const vi mask = vi_set1((1 << bits) - 1);
    for (uint64_t begin = 0; begin < n_padded; begin += 32, out++) {
        vi whole[32 / W], all = vi_zero(), sum = vi_zero();
        for (unsigned i = 0; i < 32 / W; i++) {
            whole[i] = vf_to_int(vf_mul(vf_load(values + begin + i * W), vf_set1(512.0f)));
            all = vi_or(all, whole[i]);
        }
        const uint32_t any = (uint32_t)vi_all_bits(all);
        const int shift = any == 0 ? 0 : __builtin_ctz(any);
        memset(out, 0, sizeof *out);
        out->scale = scales[begin / HOST_ACT_BLOCK];
        const enum cpu_digits_kind own = scale_kind(out->scale);
        kind = own > kind ? own : kind;
        out->shift = (uint8_t)shift;
        out->worth = ((int32_t)out->scale - 127 - 10 + shift) * (1 << 23);
        for (unsigned i = 0; i < 32 / W; i++) {
            whole[i] = vi_sra_by(whole[i], shift);
            sum = vi_add(sum, whole[i]);
        }
        out->correction = 12 * vi_total(sum);
        for (uint32_t left = any; left != 0 && out->n < 3; out->n++) {
            all = vi_zero();
            for (unsigned i = 0; i < 32 / W; i++) {
                const vi digit = vi_sub(vi_and(vi_add(whole[i], half), mask), half);
                vi_store_bytes(&out->digits[out->n][i * W], digit);
                whole[i] = vi_sra_by(vi_sub(whole[i], digit), bits);
                all = vi_or(all, whole[i]);
            }
            left = (uint32_t)vi_all_bits(all);
        }
    }
    return kind;
}

/* The code of an e4m3 value. */
LANE vi
e4m3_code(vf value)
{
    const vi bits = vf_to_bits(value);
    const vf magnitude = vf_abs(value);
    const vi normal = vi_sub(vi_srl(vf_to_bits(magnitude), 20), vi_set1(120 << 3));
    const vi subnormal = vf_to_int(vf_mul(magnitude, vf_set1(512.0f)));
    const vi is_normal = vi_greater(vf_to_bits(magnitude), vi_set1((121 << 23) - 1));
    const vi code = vi_or(vi_and(is_normal, normal), vi_and(vi_xor(is_normal, vi_set1(-1)), subnormal));
    return vi_or(code, vi_and(vi_srl(bits, 24), vi_set1(0x80)));
}

LANE void
store_codes(uint8_t *codes, vi code, uint64_t n)
{
    uint8_t bytes[W];
    vi_store_bytes(bytes, code);
    memcpy(codes, bytes, n < W ? (size_t)n : W);
}

void
TIERED(k_round_e4m3)(float *x, uint32_t n, uint8_t *codes, uint8_t *scales)
{
    for (uint64_t begin = 0; begin < n; begin += HOST_KV_BLOCK) {
        const uint64_t length = n - begin < HOST_KV_BLOCK ? n - begin : HOST_KV_BLOCK;
        const uint8_t scale = block_scale(x + begin, length, E4M3_FLOOR, HEARTH_E4M3_RECIPROCAL);
        const vf reciprocal = vf_set1(reciprocal_scale(scale));
        if (scales != NULL) {
            scales[begin / HOST_KV_BLOCK] = scale;
        }
        for (uint64_t i = 0; i < length; i += W) {
            const vf part = vf_load_tail(x + begin + i, length - i);
            const vf value = scale == HEARTH_E8M0_NAN ? vf_zero() : vf_round_e4m3(vf_mul(part, reciprocal));
            if (codes != NULL) {
                store_codes(codes + begin + i, e4m3_code(value), length - i);
            }
            vf_store_tail(x + begin + i, vf_mul(value, vf_set1(hearth_e8m0_to_f32(scale))), length - i);
        }
    }
}

/* The code of the e2m1 value nearest to x, ties to even, held to 6: one for each threshold passed.  Between 0.25
 * and 1.75 the thresholds alternate between "more than" and "at least", as hearth_e2m1_from_f32 has them. */
LANE vi
e2m1_code(vf x)
{
    static const float more[4] = {0.25f, 1.25f, 2.5f, 5.0f};
    static const float at_least[3] = {0.75f, 1.75f, 3.5f};
    const vi magnitude = vf_to_bits(vf_abs(x)); /* the bits of positive numbers have their order */
    vi code = vi_zero();
    for (unsigned i = 0; i < 4; i++) {
        code = vi_sub(code, vi_greater(magnitude, vf_to_bits(vf_set1(more[i]))));
    }
    for (unsigned i = 0; i < 3; i++) {
        code = vi_sub(code, vi_greater(magnitude, vi_sub(vf_to_bits(vf_set1(at_least[i])), vi_set1(1))));
    }
    return vi_or(code, vi_and(vi_srl(vf_to_bits(x), 28), vi_set1(8)));
}

void
TIERED(k_round_e2m1)(float *x, uint32_t n, uint8_t *codes, uint8_t *scales)
{
    for (uint64_t begin = 0; begin < n; begin += HOST_INDEX_BLOCK) {
        const uint64_t length = n - begin < HOST_INDEX_BLOCK ? n - begin : HOST_INDEX_BLOCK;
        const uint8_t scale = block_scale(x + begin, length, E2M1_FLOOR, HEARTH_E2M1_RECIPROCAL);
        const vf reciprocal = vf_set1(reciprocal_scale(scale));
        const vf half_scale = vf_set1(0.5f * hearth_e8m0_to_f32(scale));
        if (scales != NULL) {
            scales[begin / HOST_INDEX_BLOCK] = scale;
        }
        for (uint64_t i = 0; i < length; i += W) {
            const vf part = vf_load_tail(x + begin + i, length - i);
            const vi code = scale == HEARTH_E8M0_NAN ? vi_zero() : e2m1_code(vf_mul(part, reciprocal));
            if (codes != NULL) {
                store_codes(codes + begin + i, code, length - i);
            }
            vf_store_tail(x + begin + i, vf_mul(vf_twice_e2m1(code), half_scale), length - i);
        }
    }
}

/* Three rounds of sums and differences, over neighbours, pairs and fours. */
LANE vf
hadamard_word(vf x)
{
    vf other = vf_swap1(x);
    x = vf_mix1(vf_add(x, other), vf_sub(other, x));
    other = vf_swap2(x);
    x = vf_mix2(vf_add(x, other), vf_sub(other, x));
    other = vf_swap4(x);
    return vf_mix4(vf_add(x, other), vf_sub(other, x));
}

/* width: a multiple of 8 */
LANE void
hadamard_rounds(float *x, uint32_t width)
{
    for (uint32_t i = 0; i < width; i += W) {
        vf_store_tail(x + i, hadamard_word(vf_load_tail(x + i, width - i)), width - i);
    }
    for (uint32_t half = 8; half < width; half *= 2) {
        for (uint32_t i = 0; i < width; i += 8) {
            if ((i & half) == 0) {
                const __m256 a = _mm256_loadu_ps(x + i);
                const __m256 b = _mm256_loadu_ps(x + i + half);
                _mm256_storeu_ps(x + i, _mm256_add_ps(a, b));
                _mm256_storeu_ps(x + i + half, _mm256_sub_ps(a, b));
            }
        }
    }
}

/* y_i = width^-1/2 * sum_j (-1)^popcount(i & j) x_j, by the fast transform: log2(width) rounds of sums and differences.
 */
void
TIERED(k_hadamard)(float *x, uint32_t width)
{
    const vf factor = vf_set1((float)(1.0 / sqrt((double)width)));
    if (width >= 8) {
        hadamard_rounds(x, width);
    }
    for (uint32_t half = 1; width < 8 && half < width; half *= 2) {
        for (uint32_t i = 0; i < width; i++) {
            if ((i & half) == 0) {
                const float a = x[i];
                const float b = x[i + half];
                x[i] = a + b;
                x[i + half] = a - b;
            }
        }
    }
    for (uint32_t i = 0; i < width; i += W) {
        vf_store_tail(x + i, vf_round_bf16(vf_mul(vf_load_tail(x + i, width - i), factor)), width - i);
    }
}
