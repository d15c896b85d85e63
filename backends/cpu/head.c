/* head.c - the output head in half the bytes, when option `head` says e4m3: one power-of-two scale for each tile of
 * 128 x 128, as the checkpoint's own e4m3 weights have them.  What multiplies it stays as it is: only the weight is
 * rounded to 4 significant bits. */
#include <config.h>

#include <math.h>
#include <stdlib.h>

#include "backends/cpu/cpu.h"

#define TILE 128u

struct reduce {
    const struct host_matrix *from;
    unsigned char *codes, *scales;
    float *rows; /* [threads][TILE][cols] */
};

/* The exponent that the largest magnitude of a tile asks for. */
static uint8_t
scale_of(const float *rows, uint64_t n_rows, uint64_t n_cols, uint64_t stride)
{
    float largest = 0x1p-100f; /* a tile of zeros has a scale as well */
    for (uint64_t r = 0; r < n_rows; r++) {
        for (uint64_t c = 0; c < n_cols; c++) {
            largest = fmaxf(largest, fabsf(rows[r * stride + c]));
        }
    }
    return hearth_scale_code(largest, HEARTH_E4M3_RECIPROCAL);
}

/* item: a row of tiles */
static void
reduce_tiles(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct reduce *work = context;
    const uint64_t cols = work->from->cols;
    const uint64_t n_tiles = (cols + TILE - 1) / TILE;
    float *rows = work->rows + (uint64_t)thread * TILE * cols;
    for (uint64_t band = begin; band < end; band++) {
        const uint64_t first = band * TILE;
        const uint64_t n_rows = work->from->rows - first < TILE ? work->from->rows - first : TILE;
        for (uint64_t r = 0; r < n_rows; r++) {
            host_matrix_row(work->from, first + r, rows + r * cols);
        }
        for (uint64_t tile = 0; tile < n_tiles; tile++) {
            const uint64_t at = tile * TILE;
            const uint64_t n_cols = cols - at < TILE ? cols - at : TILE;
            const uint8_t scale = scale_of(rows + at, n_rows, n_cols, cols);
            const float inverse = 1.0f / hearth_e8m0_to_f32(scale); /* a power of two: exact */
            work->scales[band * n_tiles + tile] = scale;
            for (uint64_t r = 0; r < n_rows; r++) {
                for (uint64_t c = at; c < at + n_cols; c++) {
                    work->codes[(first + r) * cols + c] = hearth_e4m3_from_f32(rows[r * cols + c] * inverse);
                }
            }
        }
    }
}

int
cpu_head_reduce(struct hearth_device *device, struct host_matrix *matrix, void **ret_memory, struct hearth_error *err)
{
    const uint64_t n_bands = (matrix->rows + TILE - 1) / TILE;
    const uint64_t n_scales = n_bands * ((matrix->cols + TILE - 1) / TILE);
    const uint64_t n_codes = matrix->rows * matrix->cols;
    unsigned char *memory = malloc((size_t)(n_codes + n_scales));
    float *rows = calloc((size_t)cpu_pool_threads(device->pool) * TILE, (size_t)matrix->cols * sizeof *rows);
    struct reduce work = {matrix, memory, memory == NULL ? NULL : memory + n_codes, rows};
    if (memory == NULL || rows == NULL) {
        free(memory);
        free(rows);
        return host_error(err, HEARTH_EMEMORY, 0, "no memory to make a head of %llu bytes e4m3",
                          (unsigned long long)n_codes);
    }
    cpu_pool_run(device->pool, n_bands, 1, UINT32_MAX, (struct cpu_work){reduce_tiles, &work});
    free(rows);
    matrix->dtype = HEARTH_E4M3;
    matrix->data = work.codes;
    matrix->scales = work.scales;
    *ret_memory = memory;
    return 0;
}
