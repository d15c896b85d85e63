/* lanes512.h - sixteen lanes with AVX-512 F, BW, DQ and VL.  See lanes.h. */
#ifndef BACKENDS_CPU_LANES512_H
#define BACKENDS_CPU_LANES512_H

#define W 16

typedef __m512 vf;
typedef __m512i vi;

LANE vf vf_load(const float *x) { return _mm512_loadu_ps(x); }
LANE void vf_store(float *x, vf v) { _mm512_storeu_ps(x, v); }
LANE vf vf_set1(float x) { return _mm512_set1_ps(x); }
LANE vf vf_zero(void) { return _mm512_setzero_ps(); }
LANE vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
LANE vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
LANE vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
LANE vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
LANE vf vf_sqrt(vf a) { return _mm512_sqrt_ps(a); }
LANE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
LANE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); } /* b if either is NaN */
LANE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
LANE vf vf_from_bits(vi x) { return _mm512_castsi512_ps(x); }
LANE vi vf_to_bits(vf x) { return _mm512_castps_si512(x); }
LANE vi vf_to_int(vf x) { return _mm512_cvtps_epi32(x); }
LANE vf vf_from_int(vi x) { return _mm512_cvtepi32_ps(x); }
LANE vi vi_load(const void *x) { return _mm512_loadu_si512(x); }
LANE void vi_store(void *x, vi v) { _mm512_storeu_si512(x, v); }
LANE vi vi_set1(int x) { return _mm512_set1_epi32(x); }
LANE vi vi_zero(void) { return _mm512_setzero_si512(); }
LANE vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
LANE vi vi_or(vi a, vi b) { return _mm512_or_si512(a, b); }
LANE vi vi_xor(vi a, vi b) { return _mm512_xor_si512(a, b); }
LANE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
LANE vi vi_sub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
/* Products of bytes, u unsigned and s signed, added to sum: with VNNI four a lane of 32 bits, else two a half of it. */
LANE vi
vi_add_dots(vi sum, vi u, vi s)
{
#ifdef __AVX512VNNI__
    return _mm512_dpbusd_epi32(sum, u, s);
#else
    return _mm512_add_epi16(sum, _mm512_maddubs_epi16(u, s));
#endif
}
/* Products of 16 bits, two to a lane. */
LANE vi vi_madd16(vi a, vi b) { return _mm512_madd_epi16(a, b); }
LANE vi vi_max(vi a, vi b) { return _mm512_max_epi32(a, b); }
LANE vi vi_min(vi a, vi b) { return _mm512_min_epi32(a, b); }
/* macros: the counts must be constants even where nothing is inlined */
#define vi_sll(a, n) _mm512_slli_epi32(a, n)
#define vi_srl(a, n) _mm512_srli_epi32(a, n)
LANE vi vi_sra_by(vi a, int n) { return _mm512_sra_epi32(a, _mm_cvtsi32_si128(n)); }
LANE vi vi_srl_by(vi a, int n) { return _mm512_srl_epi32(a, _mm_cvtsi32_si128(n)); }
/* all ones where equal */
LANE vi vi_equal(vi a, vi b) { return _mm512_movm_epi32(_mm512_cmpeq_epi32_mask(a, b)); }
LANE vi vi_greater(vi a, vi b) { return _mm512_movm_epi32(_mm512_cmpgt_epi32_mask(a, b)); }
/* W bytes or words, widened */
LANE vi vi_load_u8(const uint8_t *x) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)x)); }
LANE vi vi_load_u16(const void *x) { return _mm512_cvtepu16_epi32(_mm256_loadu_si256(x)); }

/* value, but what is NaN in x stays a quiet NaN */
LANE vf
vf_keep_nan(vf value, vf x)
{
    const vi quiet = vi_or(vi_and(vf_to_bits(x), vi_set1((int)0xFFFF0000u)), vi_set1(0x400000));
    return _mm512_mask_mov_ps(value, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), vf_from_bits(quiet));
}

/* value where a < b, else 0 */
LANE vf vf_where_less(vf a, vf b, vf value) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), value); }

/* whether any lane of a is greater than the same lane of b; NaN is greater than nothing */
LANE int
vf_any_greater(vf a, vf b)
{
    return (int)_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}

LANE __mmask16 vi_first(unsigned n) { return (__mmask16)((1u << n) - 1u); }
LANE vf vf_load_some(const float *x, unsigned n) { return _mm512_maskz_loadu_ps(vi_first(n), x); }
LANE void vf_store_some(float *x, vf v, unsigned n) { _mm512_mask_storeu_ps(x, vi_first(n), v); }

/* halves, quarters, pairs, the last two: what the compiler's own reduction does is the compiler's choice */
LANE float
vf_sum(vf x)
{
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 part = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    part = _mm_add_ps(part, _mm_movehl_ps(part, part));
    return _mm_cvtss_f32(_mm_add_ss(part, _mm_movehdup_ps(part)));
}

/* Lane i: vf_sum of word i of 16, the same bits. */
LANE vf
vf_sum_words(const float *words)
{
    vf x[W];
    UNROLL
    for (unsigned i = 0; i < 8; i++) {
        const vf a = vf_load(words + 2 * i * W), b = vf_load(words + (2 * i + 1) * W);
        x[i] = vf_add(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
    }
    UNROLL
    for (unsigned i = 0; i < 4; i++) {
        const vf a = x[2 * i], b = x[2 * i + 1];
        x[i] = vf_add(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
    }
    UNROLL
    for (unsigned i = 0; i < 2; i++) {
        const __m512d a = _mm512_castps_pd(x[2 * i]), b = _mm512_castps_pd(x[2 * i + 1]);
        x[i] = vf_add(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    }
    const vf sums = vf_add(_mm512_shuffle_ps(x[0], x[1], 0x88), _mm512_shuffle_ps(x[0], x[1], 0xDD));
    return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), sums);
}

LANE float vf_greatest(vf x) { return _mm512_reduce_max_ps(x); }
LANE int vi_greatest(vi x) { return _mm512_reduce_max_epi32(x); }
LANE int vi_all_bits(vi x) { return _mm512_reduce_or_epi32(x); } /* or of all lanes */
LANE int vi_total(vi x) { return _mm512_reduce_add_epi32(x); }

/* the low byte of each lane, in order */
LANE void vi_store_bytes(void *x, vi v) { _mm_storeu_si128(x, _mm512_cvtepi32_epi8(v)); }

/* neighbours change places */
LANE vf vf_swap1(vf x) { return _mm512_permute_ps(x, 0xB1); }
LANE vf vf_swap2(vf x) { return _mm512_permute_ps(x, 0x4E); }
LANE vf vf_swap4(vf x) { return _mm512_shuffle_f32x4(x, x, 0xB1); }
LANE vf vf_even(vf x) { return _mm512_moveldup_ps(x); }
LANE vf vf_odd(vf x) { return _mm512_movehdup_ps(x); }
/* b in the lanes whose number has the bit, a in the others */
LANE vf vf_mix1(vf a, vf b) { return _mm512_mask_mov_ps(a, 0xAAAA, b); }
LANE vf vf_mix2(vf a, vf b) { return _mm512_mask_mov_ps(a, 0xCCCC, b); }
LANE vf vf_mix4(vf a, vf b) { return _mm512_mask_mov_ps(a, 0xF0F0, b); }

/* even: elements 0, 2 .. of a then b; odd: 1, 3 .. */
LANE void
vf_split(vf a, vf b, vf *even, vf *odd)
{
    const vi e = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    *even = _mm512_permutex2var_ps(a, e, b);
    *odd = _mm512_permutex2var_ps(a, vi_add(e, vi_set1(1)), b);
}

/* 4 W e4m3 codes: bytes 0, 2 .. 2W-2, then 2W, 2W+2 .., then the odd ones, times 2^-8.  A code is moved into the bits
 * of an f16 with the same exponent bias but 15 for 7, and the conversion does the subnormals. */
LANE void
vf_load_e4m3(const uint8_t *codes, vf out[4])
{
    const vi words = vi_load(codes);
    const vi mask = _mm512_set1_epi16((short)0xBF80);
    const vi even = _mm512_and_si512(_mm512_srai_epi16(_mm512_slli_epi16(words, 8), 1), mask);
    const vi odd = _mm512_and_si512(_mm512_srai_epi16(words, 1), mask);
    out[0] = _mm512_cvtph_ps(_mm512_castsi512_si256(even));
    out[1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(even, 1));
    out[2] = _mm512_cvtph_ps(_mm512_castsi512_si256(odd));
    out[3] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(odd, 1));
}

#define E4M3_LIFT 1.0f
#define E4M3_BACK 256.0f

/* 4 W elements in their order become those of vf_load_e4m3's. */
LANE void
vf_arrange_e4m3(vf part[4])
{
    vf even[2], odd[2];
    vf_split(part[0], part[1], &even[0], &odd[0]);
    vf_split(part[2], part[3], &even[1], &odd[1]);
    part[0] = even[0];
    part[1] = even[1];
    part[2] = odd[0];
    part[3] = odd[1];
}

/* twice the e2m1 value of the low four bits of each lane */
LANE vf
vf_twice_e2m1(vi code)
{
    return _mm512_permutexvar_ps(
        code, _mm512_setr_ps(0, 1, 2, 3, 4, 6, 8, 12, -0.0f, -1, -2, -3, -4, -6, -8, -12));
}

/* the exact sum of products of pairs of lanes, in double; a, b: f32 of few bits */
LANE double
vf_dot_double(vf a, vf b)
{
    const __m512d low =
        _mm512_mul_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(a)), _mm512_cvtps_pd(_mm512_castps512_ps256(b)));
    return _mm512_reduce_add_pd(_mm512_fmadd_pd(_mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)),
                                                _mm512_cvtps_pd(_mm512_extractf32x8_ps(b, 1)), low));
}

#endif
