/* op_expert.c - gated feed-forward blocks: the routed experts over a list of routes, and the shared expert.
 *
 * x is made ready once; w1 and w3 side by side; their activation, quantised; w2.  Few routes each have their own tile;
 * many are first ordered by expert, so that a tile's weights meet several tokens. */
#include <config.h>

#include <stdio.h>

#include "backends/opencl/beside.h"
#include "backends/opencl/experts.h"

#define N_DTYPES 16u

/* A routed command under way. */
struct routed {
    const struct hearth_op_expert_ffn *op;
    struct ocl_experts experts;
    struct ocl_span routes, order, tiles;
    struct ocl_tile tile;
    uint32_t n_tiles;
    bool is_ordered;
    bool is_tensor; /* tensor.cl makes them */
};

/* One stage: w1 and w3 of all experts, or w2. */
struct stage {
    struct ocl_input inputs[N_DTYPES]; /* by the weight's dtype */
    struct ocl_span y;
    uint32_t first_matrix, n_matrices, cols, n_rows;
    const char *defines; /* what routed.cl does with routes */
};

/* Whether all experts here have weights that tensor.cl multiplies with. */
static bool
is_for_tensor(struct ocl_call *call, const struct routed *work)
{
    const uint32_t wanted = 1u << HEARTH_E2M1X2;
    bool fits = call->native && ocl_tensor_fits(call, work->op->dim) && ocl_tensor_fits(call, work->op->inner);
    for (uint32_t i = 0; i < work->experts.n_slabs; i++) {
        const struct ocl_expert_slab *slab = &work->experts.slabs[i];
        fits = fits && slab->up_dtypes == wanted && slab->down_dtypes == wanted;
    }
    return fits && ocl_tensor_exact(call);
}

static void
order_routes(struct ocl_call *call, struct routed *work)
{
    const struct hearth_op_expert_ffn *op = work->op;
    const struct ocl_tuning *tuning = ocl_tuning_of(call->device);
    const uint64_t local_bytes = 3 * ((uint64_t)op->n_experts + 1) * sizeof(uint32_t);
    work->is_ordered = op->n_routes >= tuning->many_routes && local_bytes <= call->device->caps.local_bytes;
    work->is_tensor = work->is_ordered && is_for_tensor(call, work);
    work->tile = work->is_tensor ? ocl_tensor_tile() : work->is_ordered ? tuning->many : tuning->one;
    work->n_tiles = op->n_routes;
    if (!work->is_ordered) {
        return;
    }
    /* every expert may have one tile that is not full */
    const uint32_t n_partial = op->n_routes < op->n_experts ? op->n_routes : op->n_experts;
    work->n_tiles = op->n_routes / work->tile.tokens + n_partial;
    work->order = ocl_scratch(call, op->n_routes, sizeof(uint32_t));
    work->tiles = ocl_scratch(call, work->n_tiles, 3 * sizeof(uint32_t));
    struct ocl_kernel *kernel = ocl_kernel(call, "routes", NULL, "group");
    ocl_arg_span(call, kernel, work->routes);
    ocl_arg_span(call, kernel, work->experts.span);
    ocl_arg_span(call, kernel, work->order);
    ocl_arg_span(call, kernel, work->tiles);
    ocl_arg_u32(call, kernel, op->n_routes);
    ocl_arg_u32(call, kernel, op->n_experts);
    ocl_arg_u32(call, kernel, work->tile.tokens);
    ocl_arg_u32(call, kernel, work->n_tiles);
    ocl_arg_local(call, kernel, local_bytes);
    ocl_launch_1d(call, kernel, 1, tuning->items);
}

/* What all kernels of routes are told behind x and the slabs, from number `slab` on. */
static void
arg_routes(struct ocl_call *call, struct ocl_kernel *kernel, const struct routed *work, const struct stage *stage,
           uint32_t slab, bool has_tiles)
{
    ocl_arg_span(call, kernel, work->experts.span);
    ocl_arg_span(call, kernel, work->routes);
    if (has_tiles) {
        ocl_arg_span(call, kernel, work->order);
        ocl_arg_span(call, kernel, work->tiles);
    }
    ocl_arg_span(call, kernel, stage->y);
    ocl_arg_u32(call, kernel, slab);
    ocl_arg_u32(call, kernel, stage->first_matrix);
    ocl_arg_u32(call, kernel, stage->cols);
    ocl_arg_u32(call, kernel, stage->n_rows);
    ocl_arg_u32(call, kernel, work->op->n);
    ocl_arg_u32(call, kernel, work->op->n_slots);
    ocl_arg_u32(call, kernel, work->op->n_experts);
    ocl_arg_u64(call, kernel, (uint64_t)work->op->n_routes * stage->n_rows);
}

/* The experts of one slab whose matrices are of one dtype. */
static void
run_slab(struct ocl_call *call, const struct routed *work, const struct stage *stage, uint32_t slab, uint32_t dtype)
{
    const struct ocl_input *input = &stage->inputs[dtype];
    const size_t groups[3] = {(stage->n_rows + work->tile.rows - 1) / work->tile.rows, work->n_tiles,
                              stage->n_matrices};
    const size_t local[3] = {ocl_tuning_of(call->device)->lanes, 1, 1};
    const bool is_aligned = ocl_rows_aligned(dtype, stage->cols) && call->device->caps.align_bytes % 16 == 0 &&
                            input->values.offset % 16 == 0;
    char defines[64];
    snprintf(defines, sizeof defines, "%s%s%s", stage->defines, work->is_ordered ? " -DTILES" : "",
             call->native ? " -DROUND" : "");
    struct ocl_kernel *kernel =
        ocl_product_kernel(call, "routed", "routed", dtype, input->form, &work->tile, is_aligned, defines);
    ocl_arg_span(call, kernel, input->values);
    ocl_arg_span(call, kernel, input->scales);
    ocl_arg_span(call, kernel, (struct ocl_span){work->experts.slabs[slab].mem, 0});
    arg_routes(call, kernel, work, stage, slab, true);
    ocl_launch(call, kernel, 3, groups, local);
}

/* Slabs of a launch of expert.cl or routed_mma.cl, from `first` on; in the place of one that is not there any other. */
#define GROUP_SLABS 4u

static void
arg_slabs(struct ocl_call *call, struct ocl_kernel *kernel, const struct routed *work, uint32_t first)
{
    for (uint32_t i = first; i < first + GROUP_SLABS; i++) {
        ocl_arg_mem(call, kernel, work->experts.slabs[i < work->experts.n_slabs ? i : first].mem);
    }
}

/* The experts of a group of slabs, many routes, by matrix instructions. */
static void
run_tensor(struct ocl_call *call, const struct routed *work, const struct stage *stage, uint32_t first)
{
    const struct ocl_input *input = &stage->inputs[HEARTH_E2M1X2];
    const size_t groups[3] = {(stage->n_rows + work->tile.rows - 1) / work->tile.rows, work->n_tiles,
                              stage->n_matrices};
    const size_t local[3] = {ocl_tensor_items(), 1, 1};
    char defines[64];
    snprintf(defines, sizeof defines, "%s -DROUND", stage->defines); /* native numerics, always */
    struct ocl_kernel *kernel = ocl_tensor_routed(call, defines);
    ocl_arg_span(call, kernel, input->values);
    ocl_arg_span(call, kernel, input->scales);
    arg_slabs(call, kernel, work, first);
    arg_routes(call, kernel, work, stage, first, true);
    ocl_arg_u64(call, kernel, input->low);
    ocl_launch(call, kernel, 3, groups, local);
}

/* Of expert.cl: local memory, generously. */
#define LATE_COLUMN_BYTES 4u
#define LATE_ROW_BYTES 640u
#define LATE_RESERVE 1536u

/* Whether expert.cl makes x ready itself: for one token, where every work-group has room for it. */
static bool
is_late(const struct ocl_call *call, const struct routed *work, uint32_t dtype, const struct ocl_prepare *prepare)
{
    const struct ocl_few *few = &ocl_tuning_of(call->device)->few;
    const uint64_t local_bytes = LATE_COLUMN_BYTES * (uint64_t)prepare->cols + few->rows * few->warps * LATE_ROW_BYTES;
    return few->rows > 0 && work->op->n == 1 && !work->is_ordered && dtype == HEARTH_E2M1X2 &&
           prepare->form == OCL_DIGITS && prepare->cols % HOST_ACT_BLOCK == 0 && prepare->x.offset % 16 == 0 &&
           call->device->caps.align_bytes % 16 == 0 && local_bytes + LATE_RESERVE <= call->device->caps.local_bytes;
}

/* Whether the stage's E2M1X2 matrices are those of expert.cl. */
static bool
is_few(const struct ocl_call *call, const struct routed *work, const struct stage *stage)
{
    const struct ocl_input *input = &stage->inputs[HEARTH_E2M1X2];
    return ocl_tuning_of(call->device)->few.rows > 0 && !work->is_ordered && input->form == OCL_DIGITS &&
           ocl_rows_aligned(HEARTH_E2M1X2, stage->cols) && call->device->caps.align_bytes % 16 == 0 &&
           input->values.offset % 16 == 0;
}

/* The experts of a group of slabs with E2M1X2 matrices, few routes. */
static void
run_few(struct ocl_call *call, const struct routed *work, const struct stage *stage, uint32_t first)
{
    const struct ocl_few *few = &ocl_tuning_of(call->device)->few;
    const struct ocl_input *input = &stage->inputs[HEARTH_E2M1X2];
    const uint32_t rows = few->rows * few->steps * few->warps;
    const size_t groups[3] = {(stage->n_rows + rows - 1) / rows, work->n_tiles, stage->n_matrices};
    const size_t local[3] = {32 * (size_t)few->warps, 1, 1};
    char defines[128], late[48] = "";
    if (input->is_late) {
        snprintf(late, sizeof late, " -DLATE -DCOLS=%u%s", stage->cols, input->scales.mem != NULL ? " -DSWIGLU" : "");
    }
    snprintf(defines, sizeof defines, "-DROWS=%u -DWARPS=%u%s%s%s", few->rows, few->warps, stage->defines,
             call->native ? " -DROUND" : "", late);
    struct ocl_kernel *kernel = ocl_kernel(call, "expert", defines, "routed_few");
    ocl_arg_span(call, kernel, input->values);
    ocl_arg_span(call, kernel, input->scales);
    arg_slabs(call, kernel, work, first);
    arg_routes(call, kernel, work, stage, first, false);
    ocl_arg_u32(call, kernel, few->steps);
    ocl_arg_f32(call, kernel, input->limit);
    ocl_launch(call, kernel, 3, groups, local);
}

static uint32_t
stage_dtypes(const struct routed *work, uint32_t slab, bool is_down)
{
    return is_down ? work->experts.slabs[slab].down_dtypes : work->experts.slabs[slab].up_dtypes;
}

static void
run_stage(struct ocl_call *call, const struct routed *work, const struct stage *stage, bool is_down)
{
    uint32_t group_end = 0; /* slabs before it are done */
    for (uint32_t i = 0; i < work->experts.n_slabs; i++) {
        for (uint32_t dtype = 0; dtype < N_DTYPES && call->status == 0; dtype++) {
            if (!(stage_dtypes(work, i, is_down) >> dtype & 1u)) {
                continue;
            }
            const bool is_grouped = work->is_tensor || (dtype == HEARTH_E2M1X2 && is_few(call, work, stage));
            if (!is_grouped) {
                run_slab(call, work, stage, i, dtype);
            } else if (i >= group_end) {
                (work->is_tensor ? run_tensor : run_few)(call, work, stage, i);
                group_end = i + GROUP_SLABS;
            }
        }
    }
}

/* Makes the rows ready for every dtype that some expert has. */
static void
prepare_stage(struct ocl_call *call, const struct routed *work, struct ocl_prepare prepare, bool is_down,
              struct stage *stage)
{
    uint32_t dtypes = 0;
    for (uint32_t i = 0; i < work->experts.n_slabs; i++) {
        dtypes |= stage_dtypes(work, i, is_down);
    }
    for (uint32_t dtype = 0; dtype < N_DTYPES && call->status == 0; dtype++) {
        if (dtypes >> dtype & 1u) {
            prepare.dtype = dtype;
            prepare.form = work->is_tensor ? OCL_HALVES : ocl_form_for(call, dtype, prepare.cols, true);
            if (is_late(call, work, dtype, &prepare)) {
                stage->inputs[dtype] = (struct ocl_input){.form = prepare.form,
                                                          .values = prepare.x,
                                                          .scales = prepare.up,
                                                          .limit = prepare.limit,
                                                          .is_late = true};
            } else {
                ocl_prepare(call, &prepare, &stage->inputs[dtype]);
            }
        }
    }
}

static void
run_routes(struct ocl_call *call, const struct routed *work, struct ocl_span x, struct ocl_span y)
{
    const struct hearth_op_expert_ffn *op = work->op;
    const uint64_t n_hidden = (uint64_t)op->n_routes * op->inner;
    struct stage up = {.n_matrices = 2, .cols = op->dim, .n_rows = op->inner, .defines = " -DX_TOKENS"};
    struct stage down = {
        .y = y, .first_matrix = 2, .n_matrices = 1, .cols = op->inner, .n_rows = op->dim, .defines = " -DY_SLOTS"};
    prepare_stage(call, work, (struct ocl_prepare){.x = x, .n = op->n, .cols = op->dim}, false, &up);
    up.y = ocl_scratch(call, n_hidden, 2 * sizeof(float));
    run_stage(call, work, &up, false);
    const struct ocl_prepare activation = {
        .x = up.y,
        .up = ocl_at(up.y, n_hidden * sizeof(float)),
        .routes = work->routes,
        .experts = work->experts.span,
        .n_experts = op->n_experts,
        .limit = op->limit,
        .n = op->n_routes,
        .cols = op->inner,
    };
    prepare_stage(call, work, activation, true, &down);
    run_stage(call, work, &down, true);
}

void
ocl_expert_ffn(struct ocl_call *call, const struct hearth_op_expert_ffn *op)
{
    struct routed work = {.op = op};
    const struct ocl_span x = ocl_view_f32(call, "x", op->x, op->n, op->dim);
    const struct ocl_span y = ocl_view_f32(call, "y", op->y, op->n_slots, op->dim);
    work.routes = ocl_view(call, "routes", op->routes, op->n_routes, 1, sizeof(struct hearth_route));
    ocl_call_check(call, op->experts != NULL && op->n_experts > 0, "experts: an array wanted, none given");
    ocl_call_check(call, op->inner > 0, "inner: 1 or more wanted");
    ocl_experts_find(call, op, &work.experts);
    if (call->status < 0 || work.experts.n_slabs == 0) {
        return;
    }
    order_routes(call, &work);
    run_routes(call, &work, x, y);
}

/* w1 and w3, side by side where they are alike.  y: [2][n][inner] */
static void
run_shared_up(struct ocl_call *call, const struct hearth_op_shared_ffn *op, const struct ocl_matrix *const matrices[2],
              struct ocl_span x, struct ocl_span y)
{
    const bool is_pair = matrices[0]->dtype == matrices[1]->dtype && matrices[0]->n_parts == 1 &&
                         matrices[1]->n_parts == 1 && matrices[0]->parts[0].data.mem == matrices[1]->parts[0].data.mem;
    struct ocl_prepare prepare = {.x = x, .n = op->n, .cols = op->dim};
    for (uint32_t i = 0; i < (is_pair ? 1u : 2u) && call->status == 0; i++) {
        struct ocl_dense dense = {
            .weight = matrices[i],
            .second = is_pair ? matrices[1] : NULL,
            .y = ocl_at(y, i * (uint64_t)op->n * op->inner * sizeof(float)),
            .n = op->n,
            .groups = is_pair ? 2 : 1,
            .n_rows = op->inner,
            .x_step = 1,
            .y_stride = op->inner,
            .y_step = op->n * op->inner,
            .round = call->native,
        };
        prepare.dtype = matrices[i]->dtype;
        prepare.form = ocl_form_for(call, prepare.dtype, op->dim, false);
        ocl_prepare(call, &prepare, &dense.input);
        ocl_dense(call, &dense);
    }
}

bool
ocl_shared_find(struct ocl_call *call, const struct hearth_op_shared_ffn *op, struct ocl_shared *ret_shared)
{
    const struct ocl_shared shared = {
        .x = ocl_view_f32(call, "x", op->x, op->n, op->dim),
        .y = ocl_view_f32(call, "y", op->y, op->n, op->dim),
        .up = {ocl_weight(call, "w1", op->expert, 0, op->inner, op->dim),
               ocl_weight(call, "w3", op->expert, 1, op->inner, op->dim)},
        .down = ocl_weight(call, "w2", op->expert, 2, op->dim, op->inner),
        .products = ocl_scratch(call, (uint64_t)op->n * op->inner, 2 * sizeof(float)),
    };
    if (call->status < 0 || !ocl_product_can(call, "w1", shared.up[0]->dtype) ||
        !ocl_product_can(call, "w3", shared.up[1]->dtype) || !ocl_product_can(call, "w2", shared.down->dtype) ||
        !ocl_call_check(call, (uint64_t)op->n * op->inner <= UINT32_MAX, "n * inner: within 32 bits wanted")) {
        return false;
    }
    *ret_shared = shared;
    return true;
}

void
ocl_shared_ffn(struct ocl_call *call, const struct hearth_op_shared_ffn *op)
{
    struct ocl_input hidden = {.form = OCL_PLAIN};
    struct ocl_shared shared;
    if (!ocl_shared_find(call, op, &shared)) {
        return;
    }
    run_shared_up(call, op, shared.up, shared.x, shared.products);
    const struct ocl_prepare activation = {
        .x = shared.products,
        .up = ocl_at(shared.products, (uint64_t)op->n * op->inner * sizeof(float)),
        .limit = op->limit,
        .n = op->n,
        .cols = op->inner,
        .dtype = shared.down->dtype,
        .form = ocl_form_for(call, shared.down->dtype, op->inner, false),
    };
    ocl_prepare(call, &activation, &hidden);
    ocl_dense_whole(call, shared.down, hidden, shared.y, op->n, call->native);
}
