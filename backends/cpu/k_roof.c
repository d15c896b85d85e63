/* k_roof.c - what one core does at best: the dot products of bytes that quantised products use, f32 multiply-adds, and
 * reads, each with enough of them under way that none waits for another. */
#include "backends/cpu/kernels_tiered.h"

#define N_CHAINS 10 /* latency 4 to 5, two a cycle: ten hide it and leave registers for the operands */

/* The word is computed, though nobody reads it. */
#define SPEND(word) __asm__ volatile("" : "+v"(word))

#ifdef __AVX512F__
typedef __m512i bytes;
#define BYTES_SET(x) _mm512_set1_epi8(x)
#ifdef __AVX512VNNI__
#define DOT(sum, a, b) _mm512_dpbusd_epi32(sum, a, b)
#else
#define DOT(sum, a, b) _mm512_add_epi16(sum, _mm512_maddubs_epi16(a, b))
#endif
#define BYTES_LOAD(p) _mm512_load_si512(p)
#define BYTES_OR(a, b) _mm512_or_si512(a, b)
#else
typedef __m256i bytes;
#define BYTES_SET(x) _mm256_set1_epi8(x)
#define DOT(sum, a, b) _mm256_add_epi16(sum, _mm256_maddubs_epi16(a, b))
#define BYTES_LOAD(p) _mm256_load_si256((const __m256i *)(p))
#define BYTES_OR(a, b) _mm256_or_si256(a, b)
#endif

/* An activation is two bytes wide (k_panels.c), so a product takes two of the dot product's; k_pairs.c's bf16, where
 * there are such, do as much with one instruction. */
uint64_t
TIERED(k_roof_dots)(uint64_t n_rounds)
{
    bytes a = BYTES_SET(3), b = BYTES_SET(-2), sums[N_CHAINS];
    UNROLL
    for (int i = 0; i < N_CHAINS; i++) {
        sums[i] = BYTES_SET(0);
    }
    for (uint64_t round = 0; round < n_rounds; round++) {
        UNROLL
        for (int i = 0; i < N_CHAINS; i++) {
            SPEND(a); /* or products of the same operands would be taken once */
            sums[i] = DOT(sums[i], a, b);
            SPEND(sums[i]);
        }
    }
    return n_rounds * N_CHAINS * (sizeof(bytes) / 2u) * 2u;
}

uint64_t
TIERED(k_roof_fmas)(uint64_t n_rounds)
{
    vf a = vf_set1(0.5f), b = vf_set1(0.25f), sums[N_CHAINS];
    UNROLL
    for (int i = 0; i < N_CHAINS; i++) {
        sums[i] = vf_set1(0.0f);
    }
    for (uint64_t round = 0; round < n_rounds; round++) {
        UNROLL
        for (int i = 0; i < N_CHAINS; i++) {
            sums[i] = vf_fma(a, b, sums[i]);
            SPEND(sums[i]);
        }
    }
    return n_rounds * N_CHAINS * W * 2u;
}

void
TIERED(k_roof_read)(const unsigned char *from, uint64_t n)
{
    bytes seen[4] = {BYTES_SET(0), BYTES_SET(0), BYTES_SET(0), BYTES_SET(0)};
    for (uint64_t i = 0; i < n; i += 4 * sizeof(bytes)) {
        UNROLL
        for (int j = 0; j < 4; j++) {
            seen[j] = BYTES_OR(seen[j], BYTES_LOAD(from + i + (uint64_t)j * sizeof(bytes)));
            SPEND(seen[j]);
        }
    }
}
