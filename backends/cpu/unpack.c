/* unpack.c - experts back to the layout they came in, by all threads: for a device that borrows them.  weight.c
 * undone. */
#include <config.h>

#include <string.h>

#include "backends/cpu/kernels.h"

struct unpack {
    const struct cpu_kernels *kernels;
    const struct host_matrix *from; /* packed */
    unsigned char *data, *scales;
};

/* Columns col .. col + 7 of each row of a panel, two a byte, from their piece. */
static void
unpack_piece(const struct unpack *work, uint64_t panel, uint64_t col, const unsigned char *piece)
{
    const struct host_matrix *from = work->from;
    for (uint64_t r = 0; r < CPU_PANEL_ROWS && panel * CPU_PANEL_ROWS + r < from->rows; r++) {
        unsigned char *row = work->data + (panel * CPU_PANEL_ROWS + r) * (from->cols / 2);
        for (uint64_t i = 0; i < 4 && col + 2 * i < from->cols; i++) {
            const unsigned char *pair = piece + 4 * r + 2 * i % 4;
            const unsigned shift = i < 2 ? 0 : 4;
            row[col / 2 + i] = (unsigned char)((pair[0] >> shift & 15u) | (pair[1] >> shift & 15u) << 4);
        }
    }
}

/* A panel with fewer rows, or columns that do not fill its groups. */
static void
unpack_odd_panel(const struct unpack *work, uint64_t panel, const unsigned char *packed)
{
    const struct host_matrix *from = work->from;
    const uint64_t n_blocks = (from->cols + HOST_E2M1_BLOCK - 1) / HOST_E2M1_BLOCK;
    for (uint64_t block = 0; block < n_blocks; block++) {
        const unsigned char *group = packed + block / 4 * CPU_GROUP_BYTES;
        const unsigned char *scales = group + block % 4 * CPU_PANEL_ROWS;
        const unsigned char *codes = group + 4 * CPU_PANEL_ROWS + block % 4 * (HOST_E2M1_BLOCK / 2 * CPU_PANEL_ROWS);
        for (uint64_t r = 0; r < CPU_PANEL_ROWS && panel * CPU_PANEL_ROWS + r < from->rows; r++) {
            work->scales[(panel * CPU_PANEL_ROWS + r) * n_blocks + block] = scales[r];
        }
        for (unsigned j = 0; j < 4; j++) {
            unpack_piece(work, panel, block * HOST_E2M1_BLOCK + 8 * j, codes + 4 * CPU_PANEL_ROWS * j);
        }
    }
}

/* item: panel */
static void
unpack_panels(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct unpack *work = context;
    const struct host_matrix *from = work->from;
    (void)thread;
    for (uint64_t panel = begin; panel < end; panel++) {
        const unsigned char *packed = from->data + panel * cpu_unit_bytes(from);
        const uint64_t row = panel * CPU_PANEL_ROWS;
        if (from->cols % CPU_GROUP_COLS == 0 && from->rows - row >= CPU_PANEL_ROWS) {
            work->kernels->unpack_panel(packed, from->cols / CPU_GROUP_COLS, work->data + row * (from->cols / 2),
                                        work->scales + row * (from->cols / HOST_E2M1_BLOCK));
        } else {
            unpack_odd_panel(work, panel, packed);
        }
    }
}

/* item: row */
static void
unpack_rows(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct unpack *work = context;
    const struct host_matrix *from = work->from;
    const uint64_t padded_bytes = cpu_unit_bytes(from) / CPU_ROW_UNIT;
    const uint64_t bytes = padded_bytes / cpu_padded(from->cols) * from->cols;
    (void)thread;
    for (uint64_t row = begin; row < end; row++) {
        memcpy(work->data + row * bytes, from->data + row * padded_bytes, (size_t)bytes);
    }
}

/* f32 powers of two back to their exponents. */
static void
unpack_scales(const struct host_matrix *from, unsigned char *scales)
{
    const uint64_t n_padded = cpu_padded(from->cols) / HOST_ACT_BLOCK;
    const uint64_t n_cols = (from->cols + HOST_ACT_BLOCK - 1) / HOST_ACT_BLOCK;
    const uint64_t n_rows = (from->rows + HOST_ACT_BLOCK - 1) / HOST_ACT_BLOCK;
    for (uint64_t i = 0; i < n_rows * n_cols; i++) {
        uint32_t bits;
        memcpy(&bits, from->scales + (i / n_cols * n_padded + i % n_cols) * sizeof bits, sizeof bits);
        scales[i] = (unsigned char)(bits >> 23);
    }
}

int
cpu_weight_read(struct hearth_device *device, const struct hearth_weight *weight, size_t index, void *data,
                void *scales, struct hearth_error *err)
{
    if (index >= weight->n_matrices || weight->n_matrices != 3) {
        return host_error(err, HEARTH_EUNSUPPORTED, 0, "cpu: one of an expert's three matrices wanted, %zu found",
                          index);
    }
    const struct host_matrix *from = &weight->matrices[index];
    struct unpack work = {device->kernels, from, data, scales};
    if (from->packing == CPU_PANELS) {
        cpu_pool_run(device->pool, cpu_row_units(from->rows), 1, cpu_unit_bytes(from),
                     (struct cpu_work){unpack_panels, &work});
        return 0;
    }
    cpu_pool_run(device->pool, from->rows, 1, cpu_unit_bytes(from) / CPU_ROW_UNIT,
                 (struct cpu_work){unpack_rows, &work});
    if (from->dtype == HEARTH_E4M3) {
        unpack_scales(from, scales);
    }
    return 0;
}
