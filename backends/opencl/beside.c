/* beside.c - see beside.h.  A launch of few tiles costs a GPU nearly as much as one of many, and decoding is made of
 * them. */
#include <config.h>

#include <stdio.h>

#include "backends/opencl/beside.h"
#include "backends/opencl/rows.h"

/* As beside.cl has them. */
#define WARP 32u
#define WARPS 8u
#define TOKENS 8u
#define FEW_ROWS 16u
#define MAX_BLOCKS 64u

#define GROUPS_A_UNIT 2u /* that E4M3 rows are cut for */
#define DEFINES_BYTES 192

static struct ocl_kernel *
find_kernel(struct ocl_call *call, const char *name, uint32_t cols, uint32_t rows, const char *more)
{
    char defines[DEFINES_BYTES];
    const uint32_t turns = (cols / HOST_ACT_BLOCK + WARPS - 1) / WARPS;
    snprintf(defines, sizeof defines,
             "-DBESIDE -DLATE -DFEW -DDTYPE=3 -DWARPS=%u -DGROUP=%u -DTOKENS=%u -DROWS=%u -DBLOCKS=%u -DTURNS=%u "
             "-DMAX_BLOCKS=%u%s",
             WARPS, WARPS * WARP, TOKENS, rows, turns < 2 ? 1 : 2, turns < 4 ? turns : 4, MAX_BLOCKS, more);
    return ocl_kernel(call, "beside", defines, name);
}

/* Work-groups for a matrix of E4M3 rows, of which all matrices of the launch have n_tiles. */
static uint32_t
count_groups(const struct ocl_call *call, uint64_t rows, uint64_t n_tiles)
{
    const uint64_t room = (uint64_t)call->device->caps.n_units * GROUPS_A_UNIT, own = (rows + FEW_ROWS - 1) / FEW_ROWS;
    const uint64_t n_rounds = (n_tiles + room - 1) / room;
    return (uint32_t)((own + n_rounds - 1) / n_rounds);
}

/* Whether the products are those of make_late. */
static bool
is_late(const struct ocl_input *input, uint32_t n)
{
    return n == 1 && input->form == OCL_HALVES && input->is_late && !input->is_whole;
}

static bool
goes_together(const struct ocl_several *late, const struct ocl_several *products)
{
    const struct ocl_span x = late->input.values, y = products->input.values;
    return late->n_weights > 0 && products->n_weights > 0 && is_late(&late->input, late->n) && products->n == 1 &&
           late->input.scales.mem == NULL && products->input.form == OCL_PARTS && x.mem == y.mem &&
           x.offset == y.offset && late->weights[0]->cols == products->weights[0]->cols;
}

/* Whether the launch can end with the norm: the order of its sums is that of op_norm.c. */
static bool
can_norm(const struct ocl_call *call, const struct ocl_several *late, const struct hearth_op_rmsnorm *norm)
{
    return norm != NULL && ocl_tuning_of(call->device)->last_group && norm->dim == late->weights[0]->rows &&
           rows_group(call, NORM_ITEMS) == WARPS * WARP;
}

static void
launch_together(struct ocl_call *call, const struct ocl_several *late, const struct ocl_several *products,
                const struct hearth_op_rmsnorm *norm)
{
    const struct ocl_matrix *first = late->weights[0], *second = late->weights[late->n_weights - 1];
    const bool is_pair = late->n_weights == 2;
    const uint64_t n_tiles = ocl_several_tiles(late, FEW_ROWS);
    const uint32_t n_late = count_groups(call, first->rows, n_tiles);
    const uint32_t pair_late = is_pair ? count_groups(call, second->rows, n_tiles) : 0;
    const uint32_t rows = ocl_several_tiles(products, 16) < call->device->caps.n_units ? 8 : 16;
    char more[48];
    snprintf(more, sizeof more, "%s%s%s", late->rounds[0] ? " -DROUND" : "",
             products->input.values.offset % 16 == 0 ? " -DALIGNED" : "", norm != NULL ? " -DNORM" : "");
    struct ocl_kernel *kernel = find_kernel(call, "few_and_products", (uint32_t)first->cols, rows, more);
    ocl_arg_span(call, kernel, late->input.values);
    ocl_arg_span(call, kernel, first->parts[0].data);
    ocl_arg_span(call, kernel, first->parts[0].scales);
    ocl_arg_span(call, kernel, late->y[0]);
    ocl_arg_span(call, kernel, late->y[late->n_weights - 1]);
    ocl_arg_u64(call, kernel, second->parts[0].data.offset - first->parts[0].data.offset);
    ocl_arg_u64(call, kernel, second->parts[0].scales.offset - first->parts[0].scales.offset);
    ocl_arg_u32(call, kernel, (uint32_t)first->rows);
    ocl_arg_u32(call, kernel, (uint32_t)second->rows);
    ocl_arg_u32(call, kernel, n_late);
    ocl_arg_u32(call, kernel, pair_late);
    ocl_several_args(call, products, kernel);
    if (norm != NULL) {
        ocl_arg_span(call, kernel, ocl_vector(call, "norm", norm->norm, norm->dim));
        ocl_arg_span(call, kernel, ocl_counter(call));
        ocl_arg_f32(call, kernel, norm->eps);
    }
    ocl_launch_1d(call, kernel, n_late + pair_late + ocl_several_tiles(products, rows), (uint64_t)WARPS * WARP);
}

bool
ocl_beside_launch(struct ocl_call *call, struct ocl_several *late, struct ocl_several *products,
                  const struct hearth_op_rmsnorm *norm)
{
    bool has_norm = false;
    if (call->status == 0 && goes_together(late, products)) {
        has_norm = can_norm(call, late, norm);
        launch_together(call, late, products, has_norm ? norm : NULL);
        late->n_weights = products->n_weights = 0;
    }
    ocl_several_launch(call, late);
    ocl_several_launch(call, products);
    return has_norm;
}

/* ---- the router and the shared expert of one token ---- */

/* Whether the second command's place in the order is free to be beside the first: neither reads what the other
 * writes, nor do the routed experts between them. */
static bool
is_apart(const struct hearth_op_router *router, const struct hearth_op_shared_ffn *shared,
         const struct hearth_op_expert_ffn *expert)
{
    const struct hearth_buffer *y = shared->y.buffer, *routes = router->routes.buffer;
    return y != router->x.buffer && y != routes && y != router->ids.buffer && shared->x.buffer != routes &&
           (expert == NULL || (y != expert->x.buffer && y != expert->routes.buffer && y != expert->y.buffer &&
                               shared->x.buffer != expert->y.buffer));
}

size_t
ocl_count_router(const struct hearth_command *commands, size_t n_commands)
{
    const size_t at = n_commands > 1 && commands[1].op == HEARTH_OP_EXPERT_FFN ? 2 : 1;
    if (at >= n_commands || commands[at].op != HEARTH_OP_SHARED_FFN) {
        return 1;
    }
    const struct hearth_op_router *router = &commands[0].args.router;
    const struct hearth_op_shared_ffn *shared = &commands[at].args.shared_ffn;
    const bool is_of_one = router->n == 1 && shared->n == 1 && router->dim == shared->dim &&
                           router->x.buffer == shared->x.buffer && router->x.offset == shared->x.offset;
    const bool is_alike =
        commands[0].numerics == commands[at].numerics && (at == 1 || commands[1].numerics == commands[0].numerics);
    return is_of_one && is_alike && is_apart(router, shared, at == 2 ? &commands[1].args.expert_ffn : NULL) ? at + 1
                                                                                                            : 1;
}

/* The choice beside the product with w2 if that is one of make_late, else before it. */
static void
launch_down(struct ocl_call *call, const struct hearth_op_router *op, const struct ocl_router *router,
            const struct hearth_op_shared_ffn *shared_op, const struct ocl_shared *shared)
{
    const struct ocl_matrix *down = shared->down;
    const uint64_t n_tiles = (down->rows + FEW_ROWS - 1) / FEW_ROWS;
    char more[48];
    snprintf(more, sizeof more, " -DSWIGLU%s%s", call->native ? " -DROUND" : "", op->table != NULL ? " -DTABLE" : "");
    struct ocl_kernel *kernel = find_kernel(call, "few_and_choice", (uint32_t)down->cols, 8, more);
    ocl_arg_span(call, kernel, shared->products);
    ocl_arg_span(call, kernel, ocl_at(shared->products, (uint64_t)shared_op->inner * sizeof(float)));
    ocl_arg_span(call, kernel, down->parts[0].data);
    ocl_arg_span(call, kernel, down->parts[0].scales);
    ocl_arg_span(call, kernel, shared->y);
    ocl_arg_u32(call, kernel, (uint32_t)down->cols);
    ocl_arg_u32(call, kernel, (uint32_t)down->rows);
    ocl_arg_f32(call, kernel, shared_op->limit);
    ocl_router_args(call, op, router, kernel);
    ocl_launch_1d(call, kernel, 1 + (uint64_t)count_groups(call, down->rows, n_tiles), (uint64_t)WARPS * WARP);
}

/* Whether all of the shared expert's products are those of make_late, and the gate's those of bf16_mma.cl. */
static bool
fits(const struct ocl_call *call, const struct hearth_op_shared_ffn *op, const struct ocl_router *router,
     const struct ocl_shared *shared)
{
    bool is_e4m3 = true;
    for (uint32_t i = 0; i < 3; i++) {
        const struct ocl_matrix *matrix = i < 2 ? shared->up[i] : shared->down;
        is_e4m3 = is_e4m3 && matrix->dtype == HEARTH_E4M3 && matrix->n_parts == 1;
    }
    return is_e4m3 && call->native && router->form == OCL_PARTS && ocl_tensor_fits(call, op->dim) &&
           ocl_tensor_fits(call, op->inner) && shared->up[0]->parts[0].data.mem == shared->up[1]->parts[0].data.mem;
}

static void
launch_both(struct ocl_call *call, const struct hearth_op_router *op, const struct ocl_router *router,
            const struct hearth_op_shared_ffn *shared_op, const struct ocl_shared *shared)
{
    struct ocl_several late = {.n = 1}, products = {.n = 1};
    const struct ocl_input input = {.form = OCL_HALVES, .values = shared->x, .is_late = true};
    ocl_several_add(call, &late, shared->up[0], &input, shared->products, true);
    ocl_several_add(call, &late, shared->up[1], &input,
                    ocl_at(shared->products, (uint64_t)shared_op->inner * sizeof(float)), true);
    ocl_router_gate(call, op, router, &products);
    (void)ocl_beside_launch(call, &late, &products, NULL);
    launch_down(call, op, router, shared_op, shared);
}

void
ocl_router_and_shared(struct ocl_call *call, const struct hearth_command *commands, size_t n_commands)
{
    const struct hearth_op_router *op = &commands[0].args.router;
    const struct hearth_op_shared_ffn *shared_op = &commands[n_commands - 1].args.shared_ffn;
    struct ocl_router router;
    struct ocl_shared shared;
    if (!ocl_router_find(call, op, &router) || !ocl_shared_find(call, shared_op, &shared)) {
        return;
    }
    const bool is_both = fits(call, shared_op, &router, &shared);
    if (is_both) {
        launch_both(call, op, &router, shared_op, &shared);
    } else {
        ocl_router(call, op);
    }
    if (n_commands > 2) {
        call->op = "expert_ffn";
        ocl_expert_ffn(call, &commands[1].args.expert_ffn);
    }
    if (!is_both) {
        call->op = "shared_ffn";
        ocl_shared_ffn(call, shared_op);
    }
}
