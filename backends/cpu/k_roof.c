/* k_roof.c - what one core does at best: the dot products that quantised products use, f32 multiply-adds, and reads,
 * each with enough of them under way that none waits for another. */
#include "backends/cpu/kernels_tiered.h"
#ifdef CPU_TILES
#include "backends/cpu/tiles.h"
#endif

#define N_CHAINS 10 /* latency 4 to 5, two a cycle: ten hide it and leave registers for the operands */

/* The word is computed, though nobody reads it. */
#define SPEND(word) __asm__ volatile("" : "+v"(word))

#ifdef CPU_TILES

/* What several tokens' products take; a lone token's wait for memory. */
uint64_t
TIERED(k_roof_dots)(uint64_t n_rounds)
{
    _Alignas(64) uint16_t ones[TILE][CPU_TILE_COLS];
    for (unsigned i = 0; i < TILE * CPU_TILE_COLS; i++) {
        ones[i / CPU_TILE_COLS][i % CPU_TILE_COLS] = 0x3F80;
    }
    shape_tiles(TILE);
    _tile_zero(SUMS_00);
    _tile_zero(SUMS_01);
    _tile_zero(SUMS_10);
    _tile_zero(SUMS_11);
    _tile_loadd(LEFT_0, ones, TILE_ROW_BYTES);
    _tile_loadd(RIGHT_0, ones, TILE_ROW_BYTES);
    for (uint64_t round = 0; round < n_rounds; round++) {
        _tile_dpbf16ps(SUMS_00, LEFT_0, RIGHT_0);
        _tile_dpbf16ps(SUMS_01, LEFT_0, RIGHT_0);
        _tile_dpbf16ps(SUMS_10, LEFT_0, RIGHT_0);
        _tile_dpbf16ps(SUMS_11, LEFT_0, RIGHT_0);
    }
    _tile_release();
    return n_rounds * 4 * TILE * TILE * CPU_TILE_COLS * 2u;
}

#else

/* An activation is two bytes wide (k_panels.c), so a product takes two of the dot product's; k_pairs.c's bf16, where
 * there are such, do as much with one instruction. */
uint64_t
TIERED(k_roof_dots)(uint64_t n_rounds)
{
    vi a = vi_set1(0x03030303), b = vi_set1((int)0xFEFEFEFEu), sums[N_CHAINS];
    UNROLL
    for (int i = 0; i < N_CHAINS; i++) {
        sums[i] = vi_zero();
    }
    for (uint64_t round = 0; round < n_rounds; round++) {
        UNROLL
        for (int i = 0; i < N_CHAINS; i++) {
            SPEND(a); /* or products of the same operands would be taken once */
            sums[i] = vi_add_dots(sums[i], a, b);
            SPEND(sums[i]);
        }
    }
    return n_rounds * N_CHAINS * (sizeof(vi) / 2u) * 2u;
}

#endif

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
    vi seen[4] = {vi_zero(), vi_zero(), vi_zero(), vi_zero()};
    for (uint64_t i = 0; i < n; i += 4 * sizeof(vi)) {
        UNROLL
        for (int j = 0; j < 4; j++) {
            seen[j] = vi_or(seen[j], vi_load(from + i + (uint64_t)j * sizeof(vi)));
            SPEND(seen[j]);
        }
    }
}
