/* tuning.c - see tuning.h.
 *
 * A GPU hides the latency of memory by lanes and by the rows of a tile, whose loads are under way together; with many
 * tokens the tile is as large as registers allow.  A CPU's lanes are loop turns of one thread: few, and registers
 * for 8 sums; its compiler makes four multiplications of a dot product of bytes (HACKING.md has figures). */
#include <config.h>

#include "backends/opencl/tuning.h"

static const struct ocl_tuning gpu = {
    .lanes = 64,
    .one = {.rows = 4, .tokens = 1},
    .many = {.rows = 4, .tokens = 4},
    .many_tokens = 3,
    .many_routes = 32,
    .blocks = 4,
    .items = 256,
    .subgroups = true,
    .bytes = true,
};

static const struct ocl_tuning nvidia = {
    .lanes = 64,
    .one = {.rows = 4, .tokens = 1},
    .many = {.rows = 4, .tokens = 4},
    .many_tokens = 3,
    .many_routes = 32,
    .blocks = 4,
    .items = 256,
    .few = {.rows = 8, .steps = 2, .warps = 4},
    .subgroups = false,
    .last_group = true,
    .bytes = true,
};

static const struct ocl_tuning cpu = {
    .lanes = 32,
    .one = {.rows = 8, .tokens = 1},
    .many = {.rows = 1, .tokens = 8},
    .many_tokens = 3,
    .many_routes = 32,
    .blocks = 2,
    .items = 64,
    .few = {.rows = 4, .steps = 2, .warps = 1},
    .subgroups = false,
    .last_group = true,
    .bytes = false,
};

const struct ocl_tuning *
ocl_tuning_of(const struct hearth_device *device)
{
    return device->caps.is_cpu ? &cpu : device->caps.is_nvidia ? &nvidia : &gpu;
}
