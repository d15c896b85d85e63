/* tiles.h - what the kernels for AMX share: the tiles by name, their shapes, and a token's way into one. */
#ifndef BACKENDS_CPU_TILES_H
#define BACKENDS_CPU_TILES_H

#include "backends/cpu/pairs.h"

#define TILE CPU_TILE_TOKENS /* rows of a tile, and words of 32 bits in one */
#define TILE_ROW_BYTES 64u
#define TILE_BYTES (TILE * TILE_ROW_BYTES)

/* Tiles by name: two whose rows are tokens or heads, two whose words are weights' rows or keys, and what they add to.
 */
#define SUMS_00 0
#define SUMS_01 1
#define SUMS_10 2
#define SUMS_11 3
#define LEFT_0 4
#define LEFT_1 5
#define RIGHT_0 6
#define RIGHT_1 7

struct tile_shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

/* A compiler need not know what the tiles' instructions read. */
#define TILES_WRITTEN() __asm__ volatile("" ::: "memory")

LANE void
shape_tiles(uint64_t n_tokens)
{
    const uint8_t n = (uint8_t)(n_tokens < TILE ? n_tokens : TILE);
    const struct tile_shapes shapes = {
        .palette = 1,
        .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
        .rows = {n, n, n, n, n, n, TILE, TILE},
    };
    TILES_WRITTEN();
    _tile_loadconfig(&shapes);
}

/* Copies a token's n columns into row `place` of tiles. */
LANE void
gather_token(const struct cpu_product *product, uint64_t i, uint64_t begin, uint64_t n,
             uint16_t (*tiles)[TILE][CPU_TILE_COLS], uint64_t place)
{
    const uint16_t *from = token_pairs(product, cpu_token_of(product, i), begin);
    for (uint64_t tile = 0; tile < n / CPU_TILE_COLS; tile++) {
        memcpy(tiles[tile][place], from + tile * TILE * CPU_TILE_COLS, sizeof tiles[tile][place]);
    }
}

#endif
