/* between.c - what lies between two sublayers, together where it is of few tokens: moe_sum if there is one, mhc_post
 * and the next sublayer's mhc_pre as one launch (kernels-cl/between.cl).  That needs a device whose last work-group
 * sees what the others wrote; elsewhere the sum and the return are one launch, and the collapse is two. */
#include <config.h>

#include <stdio.h>

#include "backends/opencl/between.h"
#include "backends/opencl/rows.h"
#include "backends/opencl/tuning.h"

/* Of one launch, each with a counter of its own; 0: mhc_pre is always launched by itself. */
#define MOST_TOKENS OCL_N_COUNTERS

#define MOST_STREAMS 8u
#define MOST_FOURS 16u /* of an item, in registers: HELD of collapse.cl */
#define MOST_ROWS 9u   /* of a work-group: the 25 of a V4 are three work-groups' */

struct between {
    struct ocl_sum sum; /* y.mem NULL: there is none */
    struct ocl_post post;
    struct ocl_collapse pre;
    uint32_t top_k;
};

/* ---- which commands ---- */

static bool
is_among(const struct hearth_buffer *buffer, const struct hearth_buffer *const *all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (all[i] == buffer) {
            return true;
        }
    }
    return false;
}

/* Whether no work-group of the launch writes what another may yet read: y is read by the last one alone, and so are the
 * coefficients written, after their like has been read.  sum: NULL without one */
static bool
is_apart(const struct hearth_op_moe_sum *sum, const struct hearth_op_mhc_post *post,
         const struct hearth_op_mhc_pre *pre)
{
    const struct hearth_buffer *streams = post->streams.buffer, *y = post->result.buffer, *normed = pre->normed.buffer;
    const struct hearth_buffer *const coefficients[] = {post->post.buffer, post->comb.buffer, pre->post.buffer,
                                                        pre->comb.buffer};
    const struct hearth_buffer *const rows[] = {streams, y, normed};
    bool is = streams != y && streams != normed && y != normed;
    for (size_t i = 0; i < 3; i++) {
        is = is && !is_among(rows[i], coefficients, 4);
    }
    if (sum != NULL) {
        const struct hearth_buffer *const given[] = {sum->parts.buffer, sum->routes.buffer, sum->shared.buffer};
        for (size_t i = 0; i < 3; i++) {
            is = is && !is_among(given[i], rows, 3) && !is_among(given[i], coefficients, 4);
        }
    }
    return is;
}

/* Whether the second command, an mhc_pre, is of the streams that the first one, an mhc_post, makes.  sum: NULL without
 * one */
static bool
is_pre_of(const struct hearth_op_moe_sum *sum, const struct hearth_command *first, const struct hearth_command *second)
{
    const struct hearth_op_mhc_post *post = &first->args.mhc_post;
    const struct hearth_op_mhc_pre *pre = &second->args.mhc_pre;
    return second->op == HEARTH_OP_MHC_PRE && first->numerics == second->numerics && post->n <= MOST_TOKENS &&
           post->n == pre->n && post->n_streams == pre->n_streams && post->dim == pre->dim &&
           post->streams.buffer == pre->streams.buffer && post->streams.offset == pre->streams.offset &&
           is_apart(sum, post, pre);
}

size_t
ocl_count_between(const struct hearth_command *commands, size_t n_commands)
{
    const bool has_sum = commands[0].op == HEARTH_OP_MOE_SUM;
    const struct hearth_op_moe_sum *sum = has_sum ? &commands[0].args.moe_sum : NULL;
    const size_t n = has_sum ? 2 : 1; /* up to mhc_post */
    if (n > n_commands || (has_sum && !ocl_is_sum_and_post(&commands[0], &commands[1]))) {
        return 1;
    }
    return n < n_commands && is_pre_of(sum, &commands[n - 1], &commands[n]) ? n + 1 : n;
}

/* ---- the launch ---- */

/* A CPU's barriers cost more than its launches: it does this only where it stands in for a GPU (option mma). */
static bool
gains(const struct hearth_device *device)
{
    return ocl_tuning_of(device)->last_group && (!device->caps.is_cpu || device->uses_mma);
}

static bool
fits(const struct ocl_call *call, const struct between *work)
{
    const struct ocl_collapse *pre = &work->pre;
    const uint32_t n_items = ocl_collapse_items(call);
    const uint64_t n_fours = pre->n_streams * rows_divide_up(pre->dim, 4 * (uint64_t)n_items);
    const bool is_aligned = ocl_is_aligned(pre->streams) && ocl_is_aligned(pre->norm) && ocl_is_aligned(pre->normed) &&
                            ocl_is_aligned(work->post.result) && ocl_is_aligned(work->sum.parts) &&
                            ocl_is_aligned(work->sum.shared) && ocl_is_aligned(pre->fn->parts[0].data);
    return pre->dim % 4 == 0 && is_aligned && pre->fn->n_parts == 1 && pre->n_streams <= MOST_STREAMS &&
           n_fours <= MOST_FOURS && n_items >= ocl_dot_items(call);
}

static struct ocl_kernel *
find_kernel(struct ocl_call *call, const struct between *work, uint32_t rows)
{
    char defines[256], routes[24] = "";
    const struct ocl_collapse *pre = &work->pre;
    if (work->sum.y.mem != NULL) {
        snprintf(routes, sizeof routes, " -DTOP_K=%uu", work->top_k);
    }
    snprintf(defines, sizeof defines,
             "-DBETWEEN -DWIDE -DWHOLE -DDTYPE=%u -DSTREAMS=%u -DDIM=%uu -DCOLS=%uu -DGROUP=%u -DDOT_ITEMS=%uu "
             "-DPIECE=%uu -DPIECES=%u -DROWS_A_GROUP=%uu%s%s",
             pre->fn->dtype, pre->n_streams, pre->dim, pre->n_streams * pre->dim, ocl_collapse_items(call),
             ocl_dot_items(call), OCL_DOT_PIECE, pre->n_pieces, rows, call->native ? " -DNATIVE" : "", routes);
    return ocl_kernel(call, "between", defines, "post_and_pre");
}

static void
launch(struct ocl_call *call, const struct between *work)
{
    const struct ocl_collapse *pre = &work->pre;
    const uint32_t n_items = ocl_collapse_items(call), n_teams = n_items / ocl_dot_items(call);
    const uint32_t rows = n_teams < MOST_ROWS ? n_teams : MOST_ROWS;
    const size_t groups[3] = {pre->n_pieces, (size_t)rows_divide_up((uint64_t)pre->n_mix + 1, rows), pre->n};
    const size_t local[3] = {n_items, 1, 1};
    struct ocl_kernel *kernel = find_kernel(call, work, rows);
    ocl_arg_span(call, kernel, pre->streams);
    ocl_arg_span(call, kernel, work->post.result);
    ocl_arg_span(call, kernel, work->post.post);
    ocl_arg_span(call, kernel, work->post.comb);
    ocl_arg_span(call, kernel, pre->fn->parts[0].data);
    ocl_arg_span(call, kernel, pre->parts);
    ocl_arg_span(call, kernel, ocl_counter(call));
    ocl_arg_span(call, kernel, pre->base);
    ocl_arg_span(call, kernel, pre->scale);
    ocl_arg_span(call, kernel, pre->norm);
    ocl_arg_span(call, kernel, pre->normed);
    ocl_arg_span(call, kernel, pre->post);
    ocl_arg_span(call, kernel, pre->comb);
    ocl_arg_u32(call, kernel, pre->n_sinkhorn);
    ocl_arg_f32(call, kernel, pre->norm_eps);
    ocl_arg_f32(call, kernel, pre->hc_eps);
    if (work->sum.y.mem != NULL) {
        ocl_arg_span(call, kernel, work->sum.parts);
        ocl_arg_span(call, kernel, work->sum.routes);
        ocl_arg_span(call, kernel, work->sum.shared);
        ocl_arg_u32(call, kernel, pre->n);
    }
    ocl_launch(call, kernel, 3, groups, local);
}

/* sum: NULL without one.  False: nothing is done, because it does not fit or has failed. */
static bool
launch_together(struct ocl_call *call, const struct hearth_op_moe_sum *sum, const struct hearth_op_mhc_post *post,
                const struct hearth_op_mhc_pre *pre)
{
    struct between work = {.top_k = sum != NULL ? sum->top_k : 0};
    if (sum != NULL) {
        work.sum = ocl_sum_find(call, sum);
    }
    work.post = ocl_post_find(call, post);
    if (!ocl_collapse_find(call, pre, &work.pre) || !fits(call, &work)) {
        return false;
    }
    launch(call, &work);
    return true;
}

void
ocl_between(struct ocl_call *call, const struct hearth_command *commands, size_t n_commands)
{
    const bool has_sum = commands[0].op == HEARTH_OP_MOE_SUM;
    const struct hearth_command *last = &commands[n_commands - 1];
    const struct hearth_op_mhc_post *post = &commands[has_sum].args.mhc_post;
    const struct hearth_op_mhc_pre *pre = last->op == HEARTH_OP_MHC_PRE ? &last->args.mhc_pre : NULL;
    if (pre != NULL && gains(call->device) &&
        launch_together(call, has_sum ? &commands[0].args.moe_sum : NULL, post, pre)) {
        return;
    }
    if (has_sum) {
        ocl_sum_and_post(call, &commands[0], &commands[1]);
    } else {
        ocl_mhc_post(call, post);
    }
    if (pre != NULL) {
        call->op = "mhc_pre";
        ocl_mhc_pre(call, pre);
    }
}
