/* tensor.c - products by matrix instructions: which kernel of tensor.cl, and its tiles. */
#include <config.h>

#include <stdio.h>

#include "backends/opencl/product.h"

#define WARP 32u
#define MAX_BLOCKS 64u /* of 128 columns, for which the kernels have local memory */

/* few: the loads of FEW_DEPTH / tokens blocks hide memory's latency. */
#define FEW_ROWS 16u
#define FEW_WARPS 8u
#define FEW_DEPTH 32u
#define FEW_MOST 32u /* tokens; with more of them the products cost more than the weights */

/* many and routed: as large as registers allow.  Experts meet fewer tokens. */
#define MANY_ROWS 32u /* of a warp */
#define MANY_WARPS 4u
#define MANY_TOKENS 64u
#define ROUTED_TOKENS 32u
#define DEFINES_BYTES 192

bool
ocl_tensor_fits(const struct ocl_call *call, uint64_t cols)
{
    return call->device->uses_mma && cols % HOST_ACT_BLOCK == 0 && cols / HOST_ACT_BLOCK <= MAX_BLOCKS;
}

bool
ocl_tensor_prepares(const struct ocl_prepare *prepare)
{
    return prepare->form == OCL_HALVES && prepare->dtype == HEARTH_E4M3 && prepare->n == 1;
}

bool
ocl_tensor_is_few(const struct ocl_input *input, uint32_t n)
{
    return input->form == OCL_HALVES && n <= FEW_MOST;
}

static struct ocl_kernel *
few_kernel(struct ocl_call *call, const struct ocl_dense *dense, uint32_t n_rows, size_t groups[3], size_t local[3])
{
    const uint32_t warps = FEW_WARPS, tokens = dense->n <= 8 ? 8 : dense->n <= 16 ? 16 : 32;
    char defines[DEFINES_BYTES];
    const bool is_pair = dense->pair_y.mem != NULL;
    const uint64_t most_rows = is_pair && dense->second->rows > n_rows ? dense->second->rows : n_rows;
    groups[0] = (size_t)((most_rows + FEW_ROWS - 1) / FEW_ROWS);
    groups[1] = (dense->n + tokens - 1) / tokens;
    local[0] = (size_t)warps * WARP;
    snprintf(defines, sizeof defines, "-DDTYPE=3 -DFEW -DWARPS=%u -DBLOCKS=%u -DTOKENS=%u -DMAX_BLOCKS=%u%s%s%s", warps,
             FEW_DEPTH / tokens, tokens, MAX_BLOCKS, dense->round ? " -DROUND" : "", is_pair ? " -DPAIR" : "",
             !dense->input.is_late             ? ""
             : dense->input.scales.mem != NULL ? " -DLATE -DSWIGLU"
                                               : " -DLATE");
    return ocl_kernel(call, "tensor", defines, "few");
}

static struct ocl_kernel *
many_kernel(struct ocl_call *call, const struct ocl_dense *dense, uint32_t n_rows, size_t groups[3], size_t local[3])
{
    const uint32_t warps = MANY_WARPS, tokens = MANY_TOKENS;
    char defines[DEFINES_BYTES];
    groups[0] = (n_rows + MANY_ROWS * warps - 1) / (MANY_ROWS * warps);
    groups[1] = (dense->n + tokens - 1) / tokens;
    local[0] = (size_t)warps * WARP;
    snprintf(defines, sizeof defines, "-DDTYPE=3 -DWARPS=%u -DTOKENS=%u -DMAX_BLOCKS=%u%s", warps, tokens, MAX_BLOCKS,
             dense->round ? " -DROUND" : "");
    return ocl_kernel(call, "tensor", defines, "many");
}

struct ocl_kernel *
ocl_tensor_dense(struct ocl_call *call, const struct ocl_dense *dense, uint32_t n_rows, size_t groups[3],
                 size_t local[3])
{
    groups[2] = dense->groups;
    local[1] = local[2] = 1;
    return ocl_tensor_is_few(&dense->input, dense->n) ? few_kernel(call, dense, n_rows, groups, local)
                                                      : many_kernel(call, dense, n_rows, groups, local);
}

struct ocl_tile
ocl_tensor_tile(void)
{
    return (struct ocl_tile){.rows = MANY_ROWS * MANY_WARPS, .tokens = ROUTED_TOKENS};
}

uint32_t
ocl_tensor_items(void)
{
    return ocl_tensor_tile().rows / MANY_ROWS * WARP;
}

struct ocl_kernel *
ocl_tensor_routed(struct ocl_call *call, const char *more)
{
    const struct ocl_tile tile = ocl_tensor_tile();
    char defines[DEFINES_BYTES];
    snprintf(defines, sizeof defines, "-DDTYPE=5 -DROUTED -DWARPS=%u -DTOKENS=%u -DMAX_BLOCKS=%u%s",
             tile.rows / MANY_ROWS, tile.tokens, MAX_BLOCKS, more);
    return ocl_kernel(call, "tensor", defines, "routed");
}
