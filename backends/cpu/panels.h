/* panels.h - how kernels find their way in panels of e2m1 weights (cpu.h, k_panels.c). */
#ifndef BACKENDS_CPU_PANELS_H
#define BACKENDS_CPU_PANELS_H

#include "backends/cpu/kernels_tiered.h"

#define BLOCK 32u
#define PARTS (CPU_PANEL_ROWS / W) /* words that hold a lane for each row of a panel */

/* Bytes of a panel, and the scales and codes of its block. */
LANE uint64_t
panel_bytes(const struct host_matrix *weight)
{
    return cpu_padded(weight->cols) / CPU_GROUP_COLS * CPU_GROUP_BYTES;
}

LANE const uint8_t *
block_scales(const unsigned char *panel, uint64_t block)
{
    return panel + block / 4 * CPU_GROUP_BYTES + block % 4 * CPU_PANEL_ROWS;
}

LANE const uint8_t *
block_codes(const unsigned char *panel, uint64_t block)
{
    return panel + block / 4 * CPU_GROUP_BYTES + 4 * CPU_PANEL_ROWS + block % 4 * (BLOCK / 2 * CPU_PANEL_ROWS);
}

LANE void
put_panel(const struct cpu_product *product, uint64_t i, uint64_t panel, const vf totals[PARTS])
{
    const uint64_t row = panel * CPU_PANEL_ROWS;
    float *y = product->y + cpu_slot_of(product, i) * product->y_stride + row;
    for (unsigned part = 0; part < PARTS && row + part * W < product->weight->rows; part++) {
        const vf value = vf_round(totals[part], product->round);
        vf_store_tail(y + part * W, value, product->weight->rows - row - part * W);
    }
}

#endif
