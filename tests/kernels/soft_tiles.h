/* soft_tiles.h - the tile instructions of AMX in C: included before a kernel file, it takes the place of the
 * compiler's.
 *
 * They do what Intel's manual defines, for one thread.  What a processor would refuse ends the program: shapes that do
 * not fit together, tiles that have none, a tile for two operands. */
#ifndef TESTS_KERNELS_SOFT_TILES_H
#define TESTS_KERNELS_SOFT_TILES_H

#include <immintrin.h>
#include <stddef.h>

struct soft_tile {
    unsigned rows, row_bytes; /* 0: the tile has no shape */
    unsigned char bytes[16][64];
};

extern struct soft_tile soft_tiles[8];

void soft_tile_loadconfig(const void *config);
void soft_tile_release(void);
void soft_tile_load(unsigned tile, const void *from, ptrdiff_t stride);
void soft_tile_store(unsigned tile, void *to, ptrdiff_t stride);
void soft_tile_zero(unsigned tile);
/* sums += a times b, bytes with signs by fours */
void soft_tile_dpbssd(unsigned sums, unsigned a, unsigned b);
/* sums += a times b, bf16 by twos: even ones and odd ones apart, then both, each step rounded to f32 */
void soft_tile_dpbf16ps(unsigned sums, unsigned a, unsigned b);

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbssd
#undef _tile_dpbf16ps
#define _tile_loadconfig soft_tile_loadconfig
#define _tile_release soft_tile_release
#define _tile_loadd soft_tile_load
#define _tile_stored soft_tile_store
#define _tile_zero soft_tile_zero
#define _tile_dpbssd soft_tile_dpbssd
#define _tile_dpbf16ps soft_tile_dpbf16ps

#endif
