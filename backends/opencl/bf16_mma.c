/* bf16_mma.c - products with bf16 weights by matrix instructions (kernels-cl/bf16_mma.cl): for what weights, and tiles.
 *
 * Whether it is they or product.cl's, the weight and the device say, never the number of tokens, whose rows must have
 * the same bits however many there are. */
#include <config.h>

#include <stdio.h>

#include "backends/opencl/product.h"

#define WARP 32u
#define N_PARTS 3u /* of a number, each a bf16 */

#define FEW_TOKENS 32u /* of a work-group, at most */
#define FEW_MOST 128u  /* tokens; of more of them tiles for many are quicker */

#define MANY_ROWS 32u /* of a warp */
#define MANY_WARPS 4u
#define MANY_TOKENS 64u

#define DEFINES_BYTES 96

/* Rows that fit have at most 64 blocks: the kernels' flags are bits of a ulong. */
bool
ocl_bf16_fits(const struct ocl_call *call, const struct hearth_weight *weight)
{
    const struct ocl_matrix *matrix = &weight->matrices[0];
    return matrix->dtype == HEARTH_BF16 && matrix->n_parts == 1 && weight->role != HEARTH_WEIGHT_HEAD &&
           ocl_tensor_fits(call, matrix->cols);
}

static const char *
aligned(const struct ocl_span x)
{
    return x.offset % 16 == 0 ? " -DALIGNED" : "";
}

/* What a work-group makes.  No bit depends on it. */
struct cut {
    uint32_t rows, tokens, warps;
};

static const struct cut many = {.rows = MANY_ROWS * MANY_WARPS, .tokens = MANY_TOKENS, .warps = MANY_WARPS};

static size_t
count_groups(const struct ocl_several *several, const struct cut *cut)
{
    return (several->n + cut->tokens - 1) / cut->tokens;
}

/* Few tokens: what leaves units without a tile is cut finer. */
static struct cut
cut_few(const struct ocl_call *call, const struct ocl_several *several)
{
    const uint32_t tokens = several->n <= 8 ? 8 : several->n <= 16 ? 16 : FEW_TOKENS;
    const struct cut large = {.rows = 16, .tokens = tokens, .warps = 8}, small = {8, tokens, 16};
    const struct ocl_caps *caps = &call->device->caps;
    const size_t n_tiles = ocl_several_tiles(several, large.rows) * count_groups(several, &large);
    return n_tiles < caps->n_units && small.warps * WARP <= caps->max_group ? small : large;
}

static struct ocl_kernel *
few_kernel(struct ocl_call *call, const struct cut *cut, struct ocl_span x)
{
    char defines[DEFINES_BYTES];
    snprintf(defines, sizeof defines, "-DFEW -DROWS=%u -DTOKENS=%u -DWARPS=%u%s", cut->rows, cut->tokens, cut->warps,
             aligned(x));
    return ocl_kernel(call, "bf16_mma", defines, "products");
}

static struct ocl_kernel *
many_kernel(struct ocl_call *call, const char *name, struct ocl_span x)
{
    char defines[DEFINES_BYTES];
    snprintf(defines, sizeof defines, "-DTOKENS=%u -DWARPS=%u%s", many.tokens, many.warps, aligned(x));
    return ocl_kernel(call, "bf16_mma", defines, name);
}

/* The parts of all rows of x, and which rows have more than one. */
static void
split(struct ocl_call *call, const struct ocl_several *several, struct ocl_span *ret_parts, struct ocl_span *ret_flags)
{
    const uint32_t cols = (uint32_t)several->weights[0]->cols;
    const struct ocl_span x = several->input.values;
    struct ocl_kernel *kernel = many_kernel(call, "split", x);
    *ret_parts = ocl_scratch(call, (uint64_t)several->n * cols, N_PARTS * sizeof(uint16_t));
    *ret_flags = ocl_scratch(call, several->n, sizeof(uint64_t));
    ocl_arg_span(call, kernel, x);
    ocl_arg_span(call, kernel, *ret_parts);
    ocl_arg_span(call, kernel, *ret_flags);
    ocl_arg_u32(call, kernel, cols);
    ocl_launch_1d(call, kernel, several->n, (uint64_t)many.warps * WARP);
}

void
ocl_bf16_several(struct ocl_call *call, const struct ocl_several *several)
{
    const bool is_few = several->n <= FEW_MOST;
    const struct cut cut = is_few ? cut_few(call, several) : many;
    const size_t local[2] = {(size_t)cut.warps * WARP, 1};
    const size_t groups[2] = {ocl_several_tiles(several, cut.rows), count_groups(several, &cut)};
    struct ocl_span x = several->input.values, flags = {NULL, 0};
    if (!is_few) {
        split(call, several, &x, &flags);
    }
    struct ocl_kernel *kernel = is_few ? few_kernel(call, &cut, x) : many_kernel(call, "products", x);
    ocl_arg_span(call, kernel, x);
    ocl_arg_span(call, kernel, flags);
    ocl_several_args(call, several, kernel);
    ocl_launch(call, kernel, 2, groups, local);
}
