/* tuning.h - the sizes of tiles and work-groups, one row for each class of device. */
#ifndef BACKENDS_OPENCL_TUNING_H
#define BACKENDS_OPENCL_TUNING_H

#include "backends/opencl/opencl.h"

/* A tile of product.cl. */
struct ocl_tile {
    uint32_t rows, tokens;
};

/* expert.cl: rows that a sub-group makes at a time, how often, and sub-groups of a work-group. */
struct ocl_few {
    uint32_t rows, steps, warps; /* 0: the tiles of product.cl serve */
};

/* rows * tokens of a tile are at most lanes.  lanes alone decides the order of sums: it is the same for all tiles. */
struct ocl_tuning {
    uint32_t lanes;            /* work items that share a product's tile: a multiple of 32 */
    struct ocl_tile one, many; /* a tile for few tokens (tokens 1), for many */
    uint32_t many_tokens;      /* the smallest n that is many */
    uint32_t many_routes;      /* the smallest number of routes that are worth ordering by expert */
    uint32_t blocks;           /* of 128 elements that a work-group of prepare.cl makes */
    uint32_t items;            /* work items of the element-wise kernels */
    struct ocl_few few;        /* for few routes of e2m1 weights, multiplied as bytes */
    bool subgroups;            /* group.cl makes sums by sub-groups where the device has them */
    bool last_group;           /* the last work-group to finish sees what the others wrote: is_last_group of group.cl */
    bool bytes;                /* e2m1 weights are multiplied as bytes where the device has an instruction for it */
};

/* Borrowed; constant. */
const struct ocl_tuning *ocl_tuning_of(const struct hearth_device *device);

#endif
