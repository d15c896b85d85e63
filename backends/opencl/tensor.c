/* tensor.c - products by matrix instructions: which kernel of few.cl, many.cl or routed_mma.cl, and its tiles. */
#include <config.h>

#include <stdio.h>

#include "backends/opencl/internal.h"
#include "backends/opencl/product.h"

#define WARP 32u
#define MAX_BLOCKS 64u /* of 128 columns, for which the kernels have local memory */

/* few: the loads of FEW_BLOCKS blocks of a warp are under way together, where there are so many and few tokens. */
#define FEW_ROWS 16u
#define FEW_WARPS 8u
#define FEW_GROUPS 2u /* work-groups of a unit: they fill its registers */
#define FEW_BLOCKS 2u
#define FEW_MOST 32u /* tokens; with more of them the products cost more than the weights */

/* many and routed: as large as registers allow.  Experts meet fewer tokens. */
#define MANY_ROWS 32u /* of a warp */
#define MANY_WARPS 4u
#define MANY_TOKENS 64u
#define ROUTED_TOKENS 48u
#define DEFINES_BYTES 192

#define PROBES 256u /* of 128 sums each */

bool
ocl_tensor_fits(const struct ocl_call *call, uint64_t cols)
{
    return call->device->uses_mma && cols % HOST_ACT_BLOCK == 0 && cols / HOST_ACT_BLOCK <= MAX_BLOCKS;
}

bool
ocl_tensor_prepares(const struct ocl_prepare *prepare)
{
    return prepare->form == OCL_HALVES && prepare->dtype == HEARTH_E4M3 &&
           (prepare->n_tokens > 0 ? prepare->n_tokens : prepare->n) == 1;
}

bool
ocl_tensor_is_few(const struct ocl_input *input, uint32_t n)
{
    return input->form == OCL_HALVES && n <= FEW_MOST;
}

/* As many work-groups as the device has room for, but no more than there are tiles. */
static struct ocl_kernel *
few_kernel(struct ocl_call *call, const struct ocl_dense *dense, uint32_t n_rows, size_t groups[3], size_t local[3])
{
    const uint32_t n_blocks = (uint32_t)(dense->weight->cols / HOST_ACT_BLOCK);
    const uint32_t turns = (n_blocks + FEW_WARPS - 1) / FEW_WARPS;
    const uint32_t blocks = turns < 2 || dense->n > 16 ? 1 : FEW_BLOCKS;
    const uint32_t tokens = dense->n <= 8 ? 8 : dense->n <= 16 ? 16 : 32;
    const bool is_pair = dense->pair_y.mem != NULL;
    const uint64_t most_rows = is_pair && dense->second->rows > n_rows ? dense->second->rows : n_rows;
    const size_t n_tiles = (size_t)((most_rows + FEW_ROWS - 1) / FEW_ROWS);
    const char *late = !dense->input.is_late ? "" : dense->input.scales.mem != NULL ? " -DLATE -DSWIGLU" : " -DLATE";
    char defines[DEFINES_BYTES];
    groups[1] = (dense->n + tokens - 1) / tokens;
    const size_t room = (size_t)call->device->caps.n_units * FEW_GROUPS / (groups[1] * dense->groups) + 1;
    const size_t n_rounds = (n_tiles + room - 1) / room;
    groups[0] = (n_tiles + n_rounds - 1) / n_rounds;
    local[0] = (size_t)FEW_WARPS * WARP;
    snprintf(defines, sizeof defines, "-DDTYPE=3 -DWARPS=%u -DBLOCKS=%u -DTOKENS=%u -DTURNS=%u -DMAX_BLOCKS=%u%s%s%s%s",
             FEW_WARPS, blocks, tokens, turns < 4 ? turns : 4, MAX_BLOCKS, dense->round ? " -DROUND" : "",
             dense->input.is_whole ? " -DWHOLE" : "", is_pair ? " -DPAIR" : "", late);
    return ocl_kernel(call, "few", defines, "few");
}

static struct ocl_kernel *
many_kernel(struct ocl_call *call, const struct ocl_dense *dense, uint32_t n_rows, size_t groups[3], size_t local[3])
{
    const uint32_t warps = MANY_WARPS, tokens = MANY_TOKENS;
    char defines[DEFINES_BYTES];
    groups[0] = (n_rows + MANY_ROWS * warps - 1) / (MANY_ROWS * warps);
    groups[1] = (dense->n + tokens - 1) / tokens;
    local[0] = (size_t)warps * WARP;
    snprintf(defines, sizeof defines, "-DDTYPE=3 -DWARPS=%u -DTOKENS=%u -DMAX_BLOCKS=%u%s%s", warps, tokens, MAX_BLOCKS,
             dense->round ? " -DROUND" : "", dense->input.is_whole ? " -DWHOLE" : "");
    return ocl_kernel(call, "many", defines, "many");
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

bool
ocl_tensor_exact(struct ocl_call *call)
{
    struct hearth_device *device = call->device;
    uint32_t n_wrong = 1;
    if (device->mma_sums != OCL_UNPROVEN || call->status < 0) {
        return device->mma_sums == OCL_EXACT;
    }
    const struct ocl_span span = ocl_scratch(call, 1, sizeof n_wrong);
    struct ocl_kernel *kernel = ocl_kernel(call, "probe", "-DDTYPE=5 -DWARPS=1 -DTOKENS=8", "probe");
    ocl_fill(call, span, 0, sizeof n_wrong);
    ocl_arg_span(call, kernel, span);
    ocl_launch_1d(call, kernel, PROBES, WARP);
    ocl_download(call, &n_wrong, span, sizeof n_wrong);
    if (call->status == 0) {
        device->mma_sums = n_wrong == 0 ? OCL_EXACT : OCL_INEXACT;
        if (n_wrong > 0) {
            ocl_log(HEARTH_LOG_WARNING,
                    "%s: matrix instructions round %u of %u sums that should be exact; not used for experts",
                    device->name, n_wrong, PROBES * 128u);
        }
    }
    return device->mma_sums == OCL_EXACT;
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
    snprintf(defines, sizeof defines, "-DDTYPE=5 -DWARPS=%u -DTOKENS=%u -DMAX_BLOCKS=%u%s", tile.rows / MANY_ROWS,
             tile.tokens, MAX_BLOCKS, more);
    return ocl_kernel(call, "routed_mma", defines, "routed");
}
