/* soft_tiles.c - see soft_tiles.h. */
#include "tests/kernels/soft_tiles.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct soft_tile soft_tiles[8];

static void
demand(int what, const char *text)
{
    if (!what) {
        fprintf(stderr, "soft_tiles: %s\n", text);
        abort();
    }
}

static struct soft_tile *
shaped(unsigned tile)
{
    demand(tile < 8 && soft_tiles[tile].rows > 0, "a tile without a shape");
    demand(soft_tiles[tile].row_bytes % 4 == 0, "a row that is not of whole words");
    return &soft_tiles[tile];
}

void
soft_tile_loadconfig(const void *config)
{
    const unsigned char *bytes = config;
    static const unsigned char nothing[14];
    soft_tile_release();
    demand(bytes[0] == 1 && bytes[1] == 0, "palette 1 from row 0 wanted");
    demand(memcmp(bytes + 2, nothing, 14) == 0, "reserved bytes");
    for (unsigned tile = 0; tile < 8; tile++) {
        uint16_t row_bytes;
        memcpy(&row_bytes, bytes + 16 + 2 * tile, sizeof row_bytes);
        soft_tiles[tile].row_bytes = row_bytes;
        soft_tiles[tile].rows = bytes[48 + tile];
        demand(row_bytes <= 64 && bytes[48 + tile] <= 16, "a tile of more than 16 rows of 64 bytes");
        demand((row_bytes == 0) == (bytes[48 + tile] == 0), "rows without bytes, or bytes without rows");
    }
}

void
soft_tile_release(void)
{
    memset(soft_tiles, 0, sizeof soft_tiles);
}

void
soft_tile_zero(unsigned tile)
{
    struct soft_tile *to = shaped(tile);
    memset(to->bytes, 0, sizeof to->bytes);
}

void
soft_tile_load(unsigned tile, const void *from, ptrdiff_t stride)
{
    struct soft_tile *to = shaped(tile);
    memset(to->bytes, 0, sizeof to->bytes);
    for (unsigned row = 0; row < to->rows; row++) {
        memcpy(to->bytes[row], (const unsigned char *)from + (ptrdiff_t)row * stride, to->row_bytes);
    }
}

void
soft_tile_store(unsigned tile, void *to, ptrdiff_t stride)
{
    const struct soft_tile *from = shaped(tile);
    for (unsigned row = 0; row < from->rows; row++) {
        memcpy((unsigned char *)to + (ptrdiff_t)row * stride, from->bytes[row], from->row_bytes);
    }
}

static void
fit(unsigned sums, unsigned a, unsigned b)
{
    const struct soft_tile *to = shaped(sums), *left = shaped(a), *right = shaped(b);
    demand(sums != a && sums != b && a != b, "a tile for two operands");
    demand(to->rows == left->rows && to->row_bytes == right->row_bytes && left->row_bytes == 4 * right->rows,
           "shapes that do not fit");
}

void
soft_tile_dpbssd(unsigned sums, unsigned a, unsigned b)
{
    fit(sums, a, b);
    struct soft_tile *to = &soft_tiles[sums];
    const struct soft_tile *left = &soft_tiles[a], *right = &soft_tiles[b];
    for (unsigned m = 0; m < to->rows; m++) {
        for (unsigned n = 0; n < to->row_bytes / 4; n++) {
            int32_t sum;
            memcpy(&sum, to->bytes[m] + 4 * n, 4);
            for (unsigned k = 0; k < 4 * right->rows; k++) {
                sum += (int8_t)left->bytes[m][k] * (int8_t)right->bytes[k / 4][4 * n + k % 4];
            }
            memcpy(to->bytes[m] + 4 * n, &sum, 4);
        }
    }
}

static float
half_word(const unsigned char *bytes)
{
    float value;
    const unsigned char word[4] = {0, 0, bytes[0], bytes[1]};
    memcpy(&value, word, sizeof value);
    return value;
}

/* No number here is subnormal: the instruction would take it for 0. */
void
soft_tile_dpbf16ps(unsigned sums, unsigned a, unsigned b)
{
    fit(sums, a, b);
    struct soft_tile *to = &soft_tiles[sums];
    const struct soft_tile *left = &soft_tiles[a], *right = &soft_tiles[b];
    for (unsigned m = 0; m < to->rows; m++) {
        for (unsigned n = 0; n < to->row_bytes / 4; n++) {
            float parts[2] = {0.0f, 0.0f}, sum;
            for (unsigned k = 0; k < 2 * right->rows; k++) {
                const float x = half_word(left->bytes[m] + 2 * k);
                parts[k % 2] = fmaf(x, half_word(right->bytes[k / 2] + 4 * n + 2 * (k % 2)), parts[k % 2]);
            }
            memcpy(&sum, to->bytes[m] + 4 * n, 4);
            sum += parts[0] + parts[1];
            memcpy(to->bytes[m] + 4 * n, &sum, 4);
        }
    }
}
