/* index.h - what the files of the indexer's scores share: how dots are rounded and weighed, how a key's are added. */
#ifndef BACKENDS_CPU_INDEX_H
#define BACKENDS_CPU_INDEX_H

#include "backends/cpu/kernels_tiered.h"

/* Keys whose sums stay in registers together. */
#ifdef __AVX512F__
#define KEYS 4u
#else
#define KEYS 2u
#endif

/* Whether the scales of each of n keys, at most CPU_INDEX_TILE, are near each other: then each key's smallest, halved,
 * and by how many doublings the others lie above it, [n padded to 8][width / 32]. */
bool TIERED(k_index_join)(const struct cpu_index *work, uint64_t first, uint32_t n, uint8_t *shifts, float *units);

/* x to the nearest bf16, ties to even, for |x| below 2^100 and not subnormal: what is added leaves x its first 8 bits.
 * Three instructions fewer than vf_round_bf16, and on both kinds of units. */
LANE vf
round_to_8_bits(vf x)
{
    const vf power = vf_from_bits(vi_and(vf_to_bits(x), vi_set1(0x7F800000)));
    return vf_fma(power, vf_set1(-0x1.8p+16f), vf_fma(power, vf_set1(0x1.8p+16f), x));
}

LANE vf
weigh(vf dot, const float *factors)
{
    return round_to_8_bits(vf_mul(round_to_8_bits(dot), vf_load(factors)));
}

/* Each key's lanes are added. */
LANE void
add_lanes(const vf sums[KEYS], float *out)
{
#ifdef __AVX512F__
    const vf ab = vf_add(_mm512_shuffle_f32x4(sums[0], sums[1], 0x44), _mm512_shuffle_f32x4(sums[0], sums[1], 0xEE));
    const vf cd = vf_add(_mm512_shuffle_f32x4(sums[2], sums[3], 0x44), _mm512_shuffle_f32x4(sums[2], sums[3], 0xEE));
    vf all = vf_add(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xDD)); /* a quarter each */
    all = vf_add(all, vf_swap2(all));
    all = vf_add(all, vf_swap1(all));
    _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, all)));
#else
    const vf pairs = _mm256_hadd_ps(sums[0], sums[1]);
    const __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
    _mm_storel_pi((void *)out, _mm_hadd_ps(quarter, quarter));
#endif
}

/* NaN is the worst; -0 is 0, so that equal scores have equal bits. */
LANE void
finish_scores(bool native, const float *sums, uint32_t n, float *scores)
{
    for (uint32_t k = 0; k < n; k += W) {
        const vf score = vf_add(vf_round(vf_load(sums + k), native), vf_zero());
        vf_store_tail(scores + k, vf_max(score, vf_set1(-INFINITY)), n - k); /* NaN: the second operand */
    }
}

#endif
