/* pack.c - the layouts of weights on a device.  Every matrix keeps the canonical layout of plugin.h; where the device
 * allocates less at once than a matrix needs, it is cut between tiles of scales. */
#include <config.h>

#include <string.h>

#include "backends/opencl/opencl.h"

struct ocl_layout
ocl_layout_choose(const struct hearth_device *device, enum hearth_weight_role role, const struct hearth_matrix *matrix)
{
    (void)device;
    (void)role;
    return (struct ocl_layout){.packing = 0, .row_step = matrix->dtype == HEARTH_E4M3 ? HOST_ACT_BLOCK : 1};
}

void
ocl_layout_bytes(struct ocl_layout layout, const struct hearth_matrix *matrix, uint64_t n_rows,
                 uint64_t *ret_data_bytes, uint64_t *ret_scales_bytes)
{
    (void)layout;
    *ret_data_bytes = matrix->data_bytes / matrix->rows * n_rows;
    *ret_scales_bytes = 0;
    if (matrix->dtype == HEARTH_E4M3) {
        *ret_scales_bytes =
            (n_rows + HOST_ACT_BLOCK - 1) / HOST_ACT_BLOCK * ((matrix->cols + HOST_ACT_BLOCK - 1) / HOST_ACT_BLOCK);
    } else if (matrix->dtype == HEARTH_E2M1X2) {
        *ret_scales_bytes = n_rows * ((matrix->cols + HOST_E2M1_BLOCK - 1) / HOST_E2M1_BLOCK);
    }
}

bool
ocl_layout_write(struct ocl_layout layout, const struct hearth_matrix *matrix, uint64_t first_row, uint64_t n_rows,
                 unsigned char *data, unsigned char *scales)
{
    (void)layout;
    (void)matrix;
    (void)first_row;
    (void)n_rows;
    (void)data;
    (void)scales;
    return false;
}
