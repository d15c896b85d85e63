/* lanes256.h - eight lanes with AVX2, FMA, BMI2 and F16C.  See lanes.h. */
#ifndef BACKENDS_CPU_LANES256_H
#define BACKENDS_CPU_LANES256_H

#define W 8

typedef __m256 vf;
typedef __m256i vi;

LANE vf vf_load(const float *x) { return _mm256_loadu_ps(x); }
LANE void vf_store(float *x, vf v) { _mm256_storeu_ps(x, v); }
LANE vf vf_set1(float x) { return _mm256_set1_ps(x); }
LANE vf vf_zero(void) { return _mm256_setzero_ps(); }
LANE vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
LANE vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
LANE vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
LANE vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
LANE vf vf_sqrt(vf a) { return _mm256_sqrt_ps(a); }
LANE vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
LANE vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); } /* b if either is NaN */
LANE vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
LANE vf vf_from_bits(vi x) { return _mm256_castsi256_ps(x); }
LANE vi vf_to_bits(vf x) { return _mm256_castps_si256(x); }
LANE vi vf_to_int(vf x) { return _mm256_cvtps_epi32(x); }
LANE vf vf_from_int(vi x) { return _mm256_cvtepi32_ps(x); }
LANE vi vi_load(const void *x) { return _mm256_loadu_si256(x); }
LANE void vi_store(void *x, vi v) { _mm256_storeu_si256(x, v); }
LANE vi vi_set1(int x) { return _mm256_set1_epi32(x); }
LANE vi vi_zero(void) { return _mm256_setzero_si256(); }
LANE vi vi_and(vi a, vi b) { return _mm256_and_si256(a, b); }
LANE vi vi_or(vi a, vi b) { return _mm256_or_si256(a, b); }
LANE vi vi_xor(vi a, vi b) { return _mm256_xor_si256(a, b); }
LANE vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
LANE vi vi_sub(vi a, vi b) { return _mm256_sub_epi32(a, b); }
/* Products of bytes, u unsigned and s signed, added to sum: two in 16 bits. */
LANE vi vi_add_dots(vi sum, vi u, vi s) { return _mm256_add_epi16(sum, _mm256_maddubs_epi16(u, s)); }
/* Products of 16 bits, two to a lane. */
LANE vi vi_madd16(vi a, vi b) { return _mm256_madd_epi16(a, b); }
LANE vi vi_max(vi a, vi b) { return _mm256_max_epi32(a, b); }
LANE vi vi_min(vi a, vi b) { return _mm256_min_epi32(a, b); }
/* macros: the counts must be constants even where nothing is inlined */
#define vi_sll(a, n) _mm256_slli_epi32(a, n)
#define vi_srl(a, n) _mm256_srli_epi32(a, n)
LANE vi vi_sra_by(vi a, int n) { return _mm256_sra_epi32(a, _mm_cvtsi32_si128(n)); }
LANE vi vi_srl_by(vi a, int n) { return _mm256_srl_epi32(a, _mm_cvtsi32_si128(n)); }
/* all ones where equal */
LANE vi vi_equal(vi a, vi b) { return _mm256_cmpeq_epi32(a, b); }
LANE vi vi_greater(vi a, vi b) { return _mm256_cmpgt_epi32(a, b); }
/* W bytes or words, widened */
LANE vi vi_load_u8(const uint8_t *x) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)x)); }
LANE vi vi_load_u16(const void *x) { return _mm256_cvtepu16_epi32(_mm_loadu_si128(x)); }

/* value, but what is NaN in x stays a quiet NaN */
LANE vf
vf_keep_nan(vf value, vf x)
{
    const vf quiet =
        _mm256_or_ps(_mm256_and_ps(x, vf_from_bits(vi_set1((int)0xFFFF0000u))), vf_from_bits(vi_set1(0x400000)));
    return _mm256_blendv_ps(value, quiet, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

/* value where a < b, else 0 */
LANE vf vf_where_less(vf a, vf b, vf value) { return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ), value); }

/* whether any lane of a is greater than the same lane of b; NaN is greater than nothing */
LANE int
vf_any_greater(vf a, vf b)
{
    return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ));
}

LANE vi
vi_first(unsigned n)
{
    return _mm256_cmpgt_epi32(vi_set1((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

LANE vf vf_load_some(const float *x, unsigned n) { return _mm256_maskload_ps(x, vi_first(n)); }
LANE void vf_store_some(float *x, vf v, unsigned n) { _mm256_maskstore_ps(x, vi_first(n), v); }

LANE float
vf_sum(vf x)
{
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

/* Lane i: vf_sum of word i of 8, the same bits. */
LANE vf
vf_sum_words(const float *words)
{
    vf x[W];
    UNROLL
    for (unsigned i = 0; i < 4; i++) {
        const vf a = vf_load(words + 2 * i * W), b = vf_load(words + (2 * i + 1) * W);
        x[i] = vf_add(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
    }
    UNROLL
    for (unsigned i = 0; i < 2; i++) {
        const __m256d a = _mm256_castps_pd(x[2 * i]), b = _mm256_castps_pd(x[2 * i + 1]);
        x[i] = vf_add(_mm256_castpd_ps(_mm256_unpacklo_pd(a, b)), _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)));
    }
    const vf sums = vf_add(_mm256_shuffle_ps(x[0], x[1], 0x88), _mm256_shuffle_ps(x[0], x[1], 0xDD));
    return _mm256_permutevar8x32_ps(sums, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

LANE float
vf_greatest(vf x)
{
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}

LANE int
vi_greatest(vi x)
{
    __m128i half = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0x4E));
    return _mm_cvtsi128_si32(_mm_max_epi32(half, _mm_shuffle_epi32(half, 0xB1)));
}

LANE int
vi_all_bits(vi x) /* or of all lanes */
{
    __m128i half = _mm_or_si128(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    half = _mm_or_si128(half, _mm_shuffle_epi32(half, 0x4E));
    return _mm_cvtsi128_si32(_mm_or_si128(half, _mm_shuffle_epi32(half, 0xB1)));
}

LANE int
vi_total(vi x)
{
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xB1)));
}

/* the low byte of each lane, in order */
LANE void
vi_store_bytes(void *x, vi v)
{
    const vi packed =
        _mm256_shuffle_epi8(v, _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8,
                                                12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1));
    const __m128i both = _mm_unpacklo_epi32(_mm256_castsi256_si128(packed), _mm256_extracti128_si256(packed, 1));
    _mm_storel_epi64(x, both);
}

/* neighbours change places */
LANE vf vf_swap1(vf x) { return _mm256_permute_ps(x, 0xB1); }
LANE vf vf_swap2(vf x) { return _mm256_permute_ps(x, 0x4E); }
LANE vf vf_swap4(vf x) { return _mm256_permute2f128_ps(x, x, 1); }
LANE vf vf_even(vf x) { return _mm256_moveldup_ps(x); }
LANE vf vf_odd(vf x) { return _mm256_movehdup_ps(x); }
/* b in the lanes whose number has the bit, a in the others */
LANE vf vf_mix1(vf a, vf b) { return _mm256_blend_ps(a, b, 0xAA); }
LANE vf vf_mix2(vf a, vf b) { return _mm256_blend_ps(a, b, 0xCC); }
LANE vf vf_mix4(vf a, vf b) { return _mm256_blend_ps(a, b, 0xF0); }

/* even: elements 0, 2 .. of a then b; odd: 1, 3 .. */
LANE void
vf_split(vf a, vf b, vf *even, vf *odd)
{
    const vf e = _mm256_shuffle_ps(a, b, 0x88);
    const vf o = _mm256_shuffle_ps(a, b, 0xDD);
    *even = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(e), 0xD8));
    *odd = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(o), 0xD8));
}

/* 4 W e4m3 codes: bytes 0, 4 .., then 1, 5 .., 2, 6 .., 3, 7 .., times 2^-120.  A code is moved into the bits of an f32
 * with the same exponent bias but 127 for 7, so subnormals stay subnormal: f16 conversions would take twice the time.
 */
LANE void
vf_load_e4m3(const uint8_t *codes, vf out[4])
{
    const vi words = vi_load(codes);
    const vi mask = vi_set1((int)0x87F00000u);
    out[0] = vf_from_bits(vi_and(_mm256_srai_epi32(vi_sll(words, 24), 4), mask));
    out[1] = vf_from_bits(vi_and(_mm256_srai_epi32(vi_sll(words, 16), 4), mask));
    out[2] = vf_from_bits(vi_and(_mm256_srai_epi32(vi_sll(words, 8), 4), mask));
    out[3] = vf_from_bits(vi_and(_mm256_srai_epi32(words, 4), mask));
}

/* What meets such codes is lifted, so that no product is near the end of f32's range; the sum of products is brought
 * back.  Both are powers of two: no bit of a sum depends on them. */
#define E4M3_LIFT 0x1p64f
#define E4M3_BACK 0x1p56f

/* 4 W elements in their order become those of vf_load_e4m3's. */
LANE void
vf_arrange_e4m3(vf part[4])
{
    vf even[2], odd[2];
    vf_split(part[0], part[1], &even[0], &odd[0]);
    vf_split(part[2], part[3], &even[1], &odd[1]);
    vf_split(even[0], even[1], &part[0], &part[2]);
    vf_split(odd[0], odd[1], &part[1], &part[3]);
}

/* twice the e2m1 value of the low four bits of each lane */
LANE vf
vf_twice_e2m1(vi code)
{
    const vf magnitude = _mm256_permutevar8x32_ps(_mm256_setr_ps(0, 1, 2, 3, 4, 6, 8, 12), code);
    return vf_from_bits(vi_or(vf_to_bits(magnitude), vi_and(vi_sll(code, 28), vi_set1((int)0x80000000u))));
}

/* the exact sum of products of pairs of lanes, in double; a, b: f32 of few bits */
LANE double
vf_dot_double(vf a, vf b)
{
    const __m256d low =
        _mm256_mul_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(a)), _mm256_cvtps_pd(_mm256_castps256_ps128(b)));
    const __m256d all = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)),
                                        _mm256_cvtps_pd(_mm256_extractf128_ps(b, 1)), low);
    const __m128d half = _mm_add_pd(_mm256_castpd256_pd128(all), _mm256_extractf128_pd(all, 1));
    return _mm_cvtsd_f64(_mm_add_sd(half, _mm_unpackhi_pd(half, half)));
}

#endif
