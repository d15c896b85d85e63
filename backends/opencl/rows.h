/* rows.h - what the operations on rows of activations and on stored rows share: sizes of work-groups, checks. */
#ifndef BACKENDS_OPENCL_ROWS_H
#define BACKENDS_OPENCL_ROWS_H

#include "backends/opencl/opencl.h"

/* Far beyond any model; it keeps the sizes of rows within 32 bits. */
#define ROWS_MAX 65536u

/* The largest power of two of work items that is at most `wanted` and that the device takes. */
static inline uint32_t
rows_group(const struct ocl_call *call, uint32_t wanted)
{
    uint32_t group = 1;
    while (2 * group <= wanted && 2 * (uint64_t)group <= call->device->caps.max_group) {
        group *= 2;
    }
    return group;
}

static inline uint64_t
rows_divide_up(uint64_t n, uint64_t by)
{
    return (n + by - 1) / by;
}

/* Fails unless the format is known, fits the numerics, and the row fits where a kernel works on it. */
void rows_check(struct ocl_call *call, uint32_t format, uint32_t width, uint32_t rope_dim);
/* Fails unless n * size bytes fit in local memory beside what kernels take for themselves. */
void rows_check_local(struct ocl_call *call, const char *name, uint64_t n, uint64_t size);

#endif
