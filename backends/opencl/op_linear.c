/* op_linear.c - y = x W^T, and its form by groups (the first half of the output projection).
 *
 * Linears that stand together and read the same rows, as a layer's projections do, prepare them once for each type of
 * weight, and small matrices of f32 or bf16 share a launch: launches, not bytes, are what they cost a GPU. */
#include <config.h>

#include "backends/opencl/beside.h"

/* Linears of the same rows. */
struct together {
    struct ocl_prepare prepare;
    struct ocl_input inputs[OCL_N_FORMS]; /* made ready for weights that were met; values.mem NULL: not yet */
    struct ocl_several several, late; /* waiting for more of their kind; late: those of make_late, if two kinds wait */
};

/* Forms are each of one type of weight, but for OCL_PLAIN, in which rows are as they came. */
static const struct ocl_input *
input_for(struct ocl_call *call, struct together *work, const struct hearth_weight *weight)
{
    struct ocl_prepare *prepare = &work->prepare;
    const uint32_t dtype = weight->matrices[0].dtype;
    const enum ocl_form form =
        ocl_bf16_fits(call, weight) ? OCL_PARTS : ocl_form_for(call, dtype, prepare->cols, false);
    struct ocl_input *input = &work->inputs[form];
    if (input->values.mem == NULL) {
        prepare->dtype = dtype;
        prepare->form = form;
        ocl_prepare(call, prepare, input);
    }
    return input;
}

static void
add_linear(struct ocl_call *call, const struct hearth_op_linear *op, struct together *work)
{
    const struct ocl_span y = ocl_view_f32(call, "y", op->y, op->n, op->n_out);
    const struct ocl_matrix *weight = ocl_weight(call, "weight", op->weight, 0, op->n_out, op->n_in);
    const bool is_round = call->native && op->round_output;
    if (call->status < 0 || !ocl_product_can(call, "weight", weight->dtype)) {
        return;
    }
    const struct ocl_input *input = input_for(call, work, op->weight);
    if (input->form == OCL_PARTS && work->several.input.form == OCL_HALVES && work->late.n_weights == 0) {
        work->late = work->several; /* may share their launch */
        work->several.n_weights = 0;
    }
    if (!ocl_several_add(call, &work->several, weight, input, y, is_round)) {
        ocl_dense_whole(call, weight, *input, y, op->n, is_round);
    }
}

void
ocl_linears(struct ocl_call *call, const struct hearth_command *commands, size_t n_commands)
{
    const struct hearth_op_linear *first = &commands[0].args.linear;
    const bool has_norm = commands[n_commands - 1].op == HEARTH_OP_RMSNORM;
    const struct hearth_op_rmsnorm *norm = has_norm ? &commands[n_commands - 1].args.rmsnorm : NULL;
    struct together work = {
        .prepare = {.n = first->n, .cols = first->n_in}, .several = {.n = first->n}, .late = {.n = first->n}};
    work.prepare.x = ocl_view_f32(call, "x", first->x, first->n, first->n_in);
    for (size_t i = 0; i < n_commands - has_norm && call->status == 0; i++) {
        add_linear(call, &commands[i].args.linear, &work);
    }
    const bool is_of_first = work.late.n_weights > 0 && work.late.weights[0] == &first->weight->matrices[0];
    if (!ocl_beside_launch(call, &work.late, &work.several, is_of_first ? norm : NULL) && has_norm) {
        call->op = "rmsnorm";
        ocl_rmsnorm(call, norm);
    }
}

/* Whether two commands are linears of the same rows, which neither writes. */
static bool
is_alike(const struct hearth_command *a, const struct hearth_command *b)
{
    const struct hearth_op_linear *x = &a->args.linear, *y = &b->args.linear;
    return a->op == HEARTH_OP_LINEAR && b->op == HEARTH_OP_LINEAR && a->numerics == b->numerics &&
           x->x.buffer == y->x.buffer && x->x.offset == y->x.offset && x->n == y->n && x->n_in == y->n_in &&
           x->y.buffer != x->x.buffer && y->y.buffer != x->x.buffer;
}

/* Whether the second is one token's norm of what the first one makes, in place. */
static bool
is_normed(const struct hearth_command *linear, const struct hearth_command *second)
{
    const struct hearth_op_linear *op = &linear->args.linear;
    const struct hearth_op_rmsnorm *norm = &second->args.rmsnorm;
    return second->op == HEARTH_OP_RMSNORM && second->numerics == HEARTH_NATIVE && linear->numerics == HEARTH_NATIVE &&
           norm->n == 1 && op->n == 1 && norm->dim == op->n_out && norm->x.buffer == op->y.buffer &&
           norm->x.offset == op->y.offset && norm->y.buffer == op->y.buffer && norm->y.offset == op->y.offset;
}

size_t
ocl_count_linears(const struct hearth_command *commands, size_t n_commands)
{
    size_t n = 1;
    while (n < n_commands && is_alike(&commands[0], &commands[n])) {
        for (size_t i = 0; i < n; i++) { /* the order of two that write one buffer is theirs to choose */
            if (commands[i].args.linear.y.buffer == commands[n].args.linear.y.buffer) {
                return n;
            }
        }
        n++;
    }
    return n > 1 && n < n_commands && is_normed(&commands[0], &commands[n]) ? n + 1 : n;
}

void
ocl_linear(struct ocl_call *call, const struct hearth_op_linear *op)
{
    const struct hearth_command command = {.op = HEARTH_OP_LINEAR, .args.linear = *op};
    ocl_linears(call, &command, 1);
}

void
ocl_output_groups(struct ocl_call *call, const struct hearth_op_output_groups *op)
{
    const uint64_t n_in = (uint64_t)op->n_groups * op->width, n_out = (uint64_t)op->n_groups * op->rank;
    struct ocl_prepare prepare = {.n = op->n * op->n_groups, .n_tokens = op->n, .cols = op->width};
    struct ocl_dense dense = {
        .n = op->n,
        .groups = op->n_groups,
        .n_rows = op->rank,
        .row_step = op->rank,
        .x_step = op->n_groups,
        .x_next = 1,
        .y_stride = (uint32_t)n_out,
        .y_step = op->rank,
        .round = call->native,
    };
    prepare.x = ocl_view_f32(call, "o", op->o, op->n, n_in);
    dense.y = ocl_view_f32(call, "y", op->y, op->n, n_out);
    dense.weight = ocl_weight(call, "weight", op->weight, 0, n_out, op->width);
    if (call->status == 0 && ocl_product_can(call, "weight", dense.weight->dtype) &&
        ocl_call_check(call, (uint64_t)op->n * op->n_groups <= UINT32_MAX, "n * n_groups: within 32 bits wanted")) {
        prepare.dtype = dense.weight->dtype;
        prepare.is_whole = call->native && prepare.dtype == HEARTH_E4M3 && op->rank % HOST_ACT_BLOCK == 0 &&
                           ocl_tensor_fits(call, op->width);
        prepare.form = prepare.is_whole ? OCL_HALVES : OCL_PLAIN;
        ocl_prepare(call, &prepare, &dense.input);
        ocl_dense(call, &dense);
    }
}
