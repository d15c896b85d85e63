/* product.c - see product.h. */
#include <config.h>

#include <stdio.h>

#include "backends/opencl/product.h"

#define DEFINES_BYTES 256

static uint32_t
unit_elements(uint32_t dtype)
{
    switch (dtype) {
    case HEARTH_F32:
        return 4;
    case HEARTH_BF16:
        return 8;
    case HEARTH_E4M3:
        return 16;
    default:
        return 32;
    }
}

bool
ocl_rows_aligned(uint32_t dtype, uint64_t cols)
{
    return cols % unit_elements(dtype) == 0;
}

enum ocl_form
ocl_form_for(const struct ocl_call *call, uint32_t dtype, uint64_t cols, bool same_bits)
{
    if (!call->native || (dtype != HEARTH_E4M3 && dtype != HEARTH_E2M1X2)) {
        return OCL_PLAIN;
    }
    if (dtype == HEARTH_E2M1X2) {
        return call->device->uses_bytes ? OCL_DIGITS : OCL_BLOCKS;
    }
    if (same_bits) {
        return OCL_BLOCKS;
    }
    return ocl_tensor_fits(call, cols) ? OCL_HALVES : OCL_QUADS;
}

bool
ocl_product_can(struct ocl_call *call, const char *name, uint32_t dtype)
{
    const bool can = dtype == HEARTH_F32 || dtype == HEARTH_BF16 || dtype == HEARTH_E4M3 || dtype == HEARTH_E2M1X2;
    if (call->status == 0 && !can) {
        ocl_call_fail(call, HEARTH_EUNSUPPORTED, "%s: a weight of f32, bf16, e4m3 or e2m1 wanted, type %u found", name,
                      dtype);
    }
    return call->status == 0;
}

static void
prepare_defines(const struct ocl_call *call, const struct ocl_prepare *prepare, char *defines, size_t size)
{
    static const char *const forms[] = {
        [OCL_BLOCKS] = " -DBLOCK_SUMS", [OCL_DIGITS] = " -DDIGITS", [OCL_QUADS] = "", [OCL_HALVES] = " -DHALVES"};
    char unit[48] = "";
    if (prepare->form != OCL_PLAIN) {
        snprintf(unit, sizeof unit, " -DUNIT=%u%s", unit_elements(prepare->dtype), forms[prepare->form]);
    }
    snprintf(defines, size, "-DDTYPE=%u -DBLOCKS=%u%s%s%s%s%s", prepare->dtype, ocl_tuning_of(call->device)->blocks,
             unit, prepare->up.mem != NULL ? " -DSWIGLU" : "", prepare->routes.mem != NULL ? " -DROUTES" : "",
             call->native ? " -DNATIVE" : "", prepare->is_whole ? " -DWHOLE" : "");
}

void
ocl_prepare(struct ocl_call *call, const struct ocl_prepare *prepare, struct ocl_input *ret_input)
{
    const uint64_t n_blocks = ((uint64_t)prepare->cols + HOST_ACT_BLOCK - 1) / HOST_ACT_BLOCK;
    const uint32_t per_group = ocl_tuning_of(call->device)->blocks;
    const size_t groups[2] = {(size_t)((n_blocks + per_group - 1) / per_group), prepare->n};
    const size_t local[2] = {HOST_ACT_BLOCK / 4, per_group};
    struct ocl_input input = {.form = prepare->form, .values = prepare->x, .is_whole = prepare->is_whole};
    char defines[DEFINES_BYTES];
    if (prepare->form == OCL_PARTS || (prepare->form == OCL_PLAIN && prepare->up.mem == NULL)) {
        *ret_input = input;
        return;
    }
    if (ocl_tensor_prepares(prepare)) {
        input.scales = prepare->up;
        input.limit = prepare->limit;
        input.is_late = true;
        *ret_input = input;
        return;
    }
    input.values = ocl_scratch(call, prepare->n * n_blocks * HOST_ACT_BLOCK, sizeof(float));
    input.scales = ocl_scratch(call, prepare->n * n_blocks, 2);
    input.low = prepare->n * n_blocks * HOST_ACT_BLOCK * 2;
    prepare_defines(call, prepare, defines, sizeof defines);
    struct ocl_kernel *kernel = ocl_kernel(call, "prepare", defines, "prepare");
    ocl_arg_span(call, kernel, prepare->x);
    ocl_arg_span(call, kernel, prepare->up);
    ocl_arg_span(call, kernel, prepare->routes);
    ocl_arg_span(call, kernel, prepare->experts);
    ocl_arg_span(call, kernel, input.values);
    ocl_arg_span(call, kernel, input.scales);
    ocl_arg_u32(call, kernel, prepare->cols);
    ocl_arg_u32(call, kernel, prepare->n_experts);
    ocl_arg_f32(call, kernel, prepare->limit);
    ocl_launch(call, kernel, 2, groups, local);
    *ret_input = input;
}

struct ocl_kernel *
ocl_product_kernel(struct ocl_call *call, const char *family, const char *name, uint32_t dtype, enum ocl_form form,
                   const struct ocl_tile *tile, bool aligned, const char *more)
{
    static const char *const forms[] = {
        [OCL_PLAIN] = "",
        [OCL_QUADS] = " -DX_QUADS",
        [OCL_BLOCKS] = " -DX_QUADS -DBLOCKS",
        [OCL_DIGITS] = " -DX_QUADS -DBLOCKS -DDIGITS",
    };
    char defines[DEFINES_BYTES];
    snprintf(defines, sizeof defines, "-DDTYPE=%u -DROWS=%u -DTOKENS=%u -DLANES=%u%s%s%s%s", dtype, tile->rows,
             tile->tokens, ocl_tuning_of(call->device)->lanes, forms[form], aligned ? " -DALIGNED" : "",
             call->device->caps.denormals ? " -DDENORMALS" : "", more);
    return ocl_kernel(call, family, defines, name);
}

/* Whether 16 bytes can be read at once of the part's data and of x. */
static bool
part_aligned(const struct ocl_dense *dense, const struct ocl_part *part)
{
    return ocl_rows_aligned(dense->weight->dtype, dense->weight->cols) && part->data.offset % 16 == 0 &&
           (dense->input.form != OCL_PLAIN || dense->input.values.offset % 16 == 0) &&
           (dense->second == NULL || dense->second->parts[0].data.offset % 16 == 0);
}

/* Tiles that keep a device busy: so many for each of its units. */
#define TILES_PER_UNIT 8u

/* The tile for n rows of x and so many rows of weights: a small matrix is cut finer. */
static struct ocl_tile
choose_tile(const struct ocl_call *call, uint32_t n, uint64_t n_rows)
{
    const struct ocl_tuning *tuning = ocl_tuning_of(call->device);
    if (n >= tuning->many_tokens) {
        return tuning->many;
    }
    struct ocl_tile tile = tuning->one;
    while (tile.rows > 1 && n_rows / tile.rows < (uint64_t)call->device->caps.n_units * TILES_PER_UNIT) {
        tile.rows /= 2;
    }
    return tile;
}

/* The kernel of product.cl, and its work-groups. */
static struct ocl_kernel *
tile_dense(struct ocl_call *call, const struct ocl_dense *dense, const struct ocl_part *part, uint32_t n_rows,
           size_t groups[3], size_t local[3])
{
    const struct ocl_tuning *tuning = ocl_tuning_of(call->device);
    const struct ocl_tile tile = choose_tile(call, dense->n, (uint64_t)n_rows * dense->groups);
    groups[0] = (n_rows + tile.rows - 1) / tile.rows;
    groups[1] = (dense->n + tile.tokens - 1) / tile.tokens;
    groups[2] = dense->groups;
    local[0] = tuning->lanes;
    local[1] = local[2] = 1;
    return ocl_product_kernel(call, "product", "dense", dense->weight->dtype, dense->input.form, &tile,
                              part_aligned(dense, part), dense->round ? " -DROUND" : "");
}

/* The rows of one part. */
static void
dense_part(struct ocl_call *call, const struct ocl_dense *dense, const struct ocl_part *part, uint32_t n_rows,
           struct ocl_span y)
{
    const struct ocl_part *second = dense->second == NULL ? part : &dense->second->parts[0];
    size_t groups[3], local[3];
    struct ocl_kernel *kernel = dense->input.form == OCL_HALVES ? ocl_tensor_dense(call, dense, n_rows, groups, local)
                                                                : tile_dense(call, dense, part, n_rows, groups, local);
    ocl_arg_span(call, kernel, dense->input.values);
    ocl_arg_span(call, kernel, dense->input.scales);
    ocl_arg_span(call, kernel, part->data);
    ocl_arg_span(call, kernel, part->scales);
    ocl_arg_span(call, kernel, y);
    ocl_arg_u32(call, kernel, dense->n);
    ocl_arg_u32(call, kernel, (uint32_t)dense->weight->cols);
    ocl_arg_u32(call, kernel, n_rows);
    ocl_arg_u32(call, kernel, dense->row_step);
    ocl_arg_u64(call, kernel, second->data.offset - part->data.offset);
    ocl_arg_u64(call, kernel, second->scales.offset - part->scales.offset);
    ocl_arg_u32(call, kernel, dense->x_step);
    ocl_arg_u32(call, kernel, dense->x_next);
    ocl_arg_u32(call, kernel, dense->y_stride);
    ocl_arg_u32(call, kernel, dense->y_step);
    if (dense->input.form == OCL_HALVES) {
        ocl_arg_f32(call, kernel, dense->input.limit);
        ocl_arg_u64(call, kernel, dense->input.low);
    }
    if (dense->pair_y.mem != NULL) {
        ocl_arg_span(call, kernel, dense->pair_y);
        ocl_arg_u32(call, kernel, (uint32_t)dense->second->rows);
    }
    ocl_launch(call, kernel, 3, groups, local);
}

void
ocl_dense(struct ocl_call *call, const struct ocl_dense *dense)
{
    if (call->status < 0 || !ocl_call_check(call, dense->weight->n_parts == 1, "a matrix in one part wanted")) {
        return;
    }
    dense_part(call, dense, &dense->weight->parts[0], dense->n_rows, dense->y);
}

void
ocl_dense_whole(struct ocl_call *call, const struct ocl_matrix *weight, struct ocl_input input, struct ocl_span y,
                uint32_t n, bool round)
{
    for (uint32_t i = 0; call->status == 0 && i < weight->n_parts; i++) {
        const struct ocl_part *part = &weight->parts[i];
        const struct ocl_dense dense = {
            .weight = weight,
            .input = input,
            .n = n,
            .groups = 1,
            .x_step = 1,
            .y_stride = (uint32_t)weight->rows,
            .round = round,
        };
        dense_part(call, &dense, part, (uint32_t)part->n_rows, ocl_at(y, part->first_row * sizeof(float)));
    }
}

static bool
goes_with(const struct ocl_several *several, const struct ocl_matrix *weight, const struct ocl_input *input, bool round)
{
    const struct ocl_matrix *first = several->weights[0];
    const bool is_pair = several->input.form == OCL_HALVES;
    return several->n_weights < (is_pair ? 2 : OCL_SEVERAL) && (!is_pair || several->rounds[0] == round) &&
           several->input.form == input->form && first->dtype == weight->dtype &&
           first->parts[0].data.mem == weight->parts[0].data.mem;
}

bool
ocl_several_add(struct ocl_call *call, struct ocl_several *several, const struct ocl_matrix *weight,
                const struct ocl_input *input, struct ocl_span y, bool round)
{
    const bool is_plain = weight->dtype == HEARTH_F32 || weight->dtype == HEARTH_BF16;
    if ((!is_plain && !ocl_tensor_is_few(input, several->n)) || weight->n_parts != 1) {
        return false;
    }
    if (several->n_weights > 0 && !goes_with(several, weight, input, round)) {
        ocl_several_launch(call, several);
    }
    several->weights[several->n_weights] = weight;
    several->rounds[several->n_weights] = round;
    several->y[several->n_weights++] = y;
    several->input = *input;
    return true;
}

/* One matrix of tensor.cl, or a pair. */
static void
launch_pair(struct ocl_call *call, const struct ocl_several *several)
{
    const bool is_pair = several->n_weights == 2;
    const struct ocl_dense dense = {
        .weight = several->weights[0],
        .second = is_pair ? several->weights[1] : NULL,
        .input = several->input,
        .y = several->y[0],
        .pair_y = is_pair ? several->y[1] : (struct ocl_span){NULL, 0},
        .n = several->n,
        .groups = several->n_weights,
        .n_rows = (uint32_t)several->weights[0]->rows,
        .x_step = 1,
        .y_stride = (uint32_t)several->weights[0]->rows,
        .round = several->rounds[0],
    };
    ocl_dense(call, &dense);
}

size_t
ocl_several_tiles(const struct ocl_several *several, uint32_t tile_rows)
{
    size_t n = 0;
    for (uint32_t i = 0; i < several->n_weights; i++) {
        n += (size_t)((several->weights[i]->rows + tile_rows - 1) / tile_rows);
    }
    return n;
}

void
ocl_several_args(struct ocl_call *call, const struct ocl_several *several, struct ocl_kernel *kernel)
{
    uint32_t rounded = 0; /* a bit for each matrix whose products become bf16 */
    ocl_arg_span(call, kernel, (struct ocl_span){several->weights[0]->parts[0].data.mem, 0});
    for (uint32_t i = 0; i < OCL_SEVERAL; i++) {
        rounded |= several->rounds[i] ? 1u << i : 0u;
        ocl_arg_span(call, kernel, several->y[i]);
    }
    for (uint32_t i = 0; i < OCL_SEVERAL; i++) {
        ocl_arg_u64(call, kernel, i < several->n_weights ? several->weights[i]->parts[0].data.offset : 0);
    }
    for (uint32_t i = 0; i < OCL_SEVERAL; i++) {
        ocl_arg_u32(call, kernel, i < several->n_weights ? (uint32_t)several->weights[i]->rows : 0);
    }
    ocl_arg_u32(call, kernel, several->n);
    ocl_arg_u32(call, kernel, (uint32_t)several->weights[0]->cols);
    ocl_arg_u32(call, kernel, rounded);
}

/* Up to OCL_SEVERAL matrices of product.cl. */
static void
launch_plain(struct ocl_call *call, const struct ocl_several *several)
{
    uint64_t n_rows = 0;
    bool is_aligned = several->input.values.offset % 16 == 0;
    for (uint32_t i = 0; i < several->n_weights; i++) {
        const struct ocl_matrix *weight = several->weights[i];
        n_rows += weight->rows;
        is_aligned =
            is_aligned && ocl_rows_aligned(weight->dtype, weight->cols) && weight->parts[0].data.offset % 16 == 0;
    }
    const struct ocl_tile tile = choose_tile(call, several->n, n_rows);
    const size_t local[2] = {ocl_tuning_of(call->device)->lanes, 1};
    const size_t groups[2] = {ocl_several_tiles(several, tile.rows), (several->n + tile.tokens - 1) / tile.tokens};
    struct ocl_kernel *kernel = ocl_product_kernel(call, "product", "dense_several", several->weights[0]->dtype,
                                                   OCL_PLAIN, &tile, is_aligned, "");
    ocl_arg_span(call, kernel, several->input.values);
    ocl_several_args(call, several, kernel);
    ocl_launch(call, kernel, 2, groups, local);
}

void
ocl_several_launch(struct ocl_call *call, struct ocl_several *several)
{
    if (call->status == 0 && several->n_weights > 0) {
        if (several->input.form == OCL_HALVES) {
            launch_pair(call, several);
        } else if (several->input.form == OCL_PARTS) {
            ocl_bf16_several(call, several);
        } else {
            launch_plain(call, several);
        }
        *several = (struct ocl_several){.n = several->n};
    }
}
