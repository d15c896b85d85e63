/* op_compress.c - the compressor: the entries that a command completes, then the state it leaves
 * (kernels-cl/compress.cl). */
#include <config.h>

#include <math.h>
#include <stdio.h>

#include "backends/opencl/rows.h"

#define STATE_ITEMS 64u

static void
check_arguments(struct ocl_call *call, const struct hearth_op_compress *op)
{
    rows_check(call, op->kv_format, op->width, op->rope_dim);
    ocl_call_check(call, op->ratio > 0 && op->n > 0, "ratio and n: 1 or more wanted");
    ocl_call_check(call, op->kind <= HEARTH_ENTRY_INDEX, "kind: 0 or 1 wanted");
    ocl_call_check(call, op->position < UINT64_MAX - op->n, "position: too large");
    if (call->status == 0 && op->kind == HEARTH_ENTRY_INDEX && call->native && (op->width & (op->width - 1)) != 0) {
        ocl_call_fail(call, HEARTH_EUNSUPPORTED, "width: a power of two wanted for the Hadamard rotation, %u found",
                      op->width);
    }
}

struct rows_compressor
rows_find_compressor(struct ocl_call *call, const struct hearth_op_compress *op)
{
    const uint64_t c = op->overlap ? 2 : 1;
    struct rows_compressor work = {.columns = c * op->width};
    check_arguments(call, op);
    if (call->status < 0) {
        return work;
    }
    work.first_entry = op->position / op->ratio;
    work.n_entries = (op->position + op->n) / op->ratio - work.first_entry;
    work.row_bytes = op->kind == HEARTH_ENTRY_KV ? hearth_kv_row_bytes(op->kv_format, op->width, op->rope_dim)
                                                 : hearth_index_row_bytes(op->kv_format, op->width);
    work.values = ocl_view_f32(call, "values", op->values, op->n, work.columns);
    work.gates = ocl_view_f32(call, "gates", op->gates, op->n, work.columns);
    work.state = ocl_view_f32(call, "state", op->state, 2, c * op->ratio * work.columns);
    work.ape = ocl_vector(call, "ape", op->ape, op->ratio * work.columns);
    if (work.n_entries > 0) {
        work.entries = ocl_view(call, "entries", op->entries, work.first_entry + work.n_entries, work.row_bytes, 1);
        work.norm = ocl_vector(call, "norm", op->norm, op->width);
        work.inv_freq = ocl_vector(call, "inv_freq", op->inv_freq, op->rope_dim / 2);
    }
    return work;
}

static void
launch_entries(struct ocl_call *call, const struct hearth_op_compress *op, const struct rows_compressor *work)
{
    char defines[32];
    const uint32_t group = rows_group(call, ROW_ITEMS);
    snprintf(defines, sizeof defines, "-DGROUP=%u", group);
    struct ocl_kernel *kernel = ocl_kernel(call, "compress", defines, "compress_entries");
    ocl_arg_span(call, kernel, work->values);
    ocl_arg_span(call, kernel, work->gates);
    ocl_arg_span(call, kernel, work->ape);
    ocl_arg_span(call, kernel, work->state);
    ocl_arg_span(call, kernel, work->entries);
    ocl_arg_span(call, kernel, work->norm);
    ocl_arg_span(call, kernel, work->inv_freq);
    ocl_arg_u64(call, kernel, op->position);
    ocl_arg_u32(call, kernel, op->ratio);
    ocl_arg_u32(call, kernel, op->width);
    ocl_arg_u32(call, kernel, op->rope_dim);
    ocl_arg_u32(call, kernel, op->overlap != 0);
    ocl_arg_u32(call, kernel, op->kind == HEARTH_ENTRY_INDEX);
    ocl_arg_u32(call, kernel, (uint32_t)work->row_bytes);
    ocl_arg_u32(call, kernel, op->kv_format);
    ocl_arg_f32(call, kernel, op->eps);
    ocl_arg_f32(call, kernel, (float)(1.0 / sqrt((double)op->width)));
    ocl_arg_u32(call, kernel, call->native);
    ocl_arg_local(call, kernel, op->width * sizeof(float));
    ocl_arg_local(call, kernel, rows_divide_up(op->width, HOST_INDEX_BLOCK) * sizeof(uint32_t));
    ocl_launch_1d(call, kernel, work->n_entries, group);
}

static void
launch_state(struct ocl_call *call, const struct hearth_op_compress *op, const struct rows_compressor *work)
{
    char defines[32];
    const uint32_t group = rows_group(call, ROW_ITEMS);
    const uint32_t items = rows_group(call, STATE_ITEMS);
    const size_t groups[2] = {(size_t)rows_divide_up(work->columns, items), op->ratio};
    const size_t local[2] = {items, 1};
    snprintf(defines, sizeof defines, "-DGROUP=%u", group);
    struct ocl_kernel *kernel = ocl_kernel(call, "compress", defines, "compress_state");
    ocl_arg_span(call, kernel, work->values);
    ocl_arg_span(call, kernel, work->gates);
    ocl_arg_span(call, kernel, work->ape);
    ocl_arg_span(call, kernel, work->state);
    ocl_arg_u64(call, kernel, op->position);
    ocl_arg_u32(call, kernel, op->n);
    ocl_arg_u32(call, kernel, op->ratio);
    ocl_arg_u32(call, kernel, (uint32_t)work->columns);
    ocl_arg_u32(call, kernel, op->overlap != 0);
    ocl_launch(call, kernel, 2, groups, local);
}

void
ocl_compress(struct ocl_call *call, const struct hearth_op_compress *op)
{
    const struct rows_compressor work = rows_find_compressor(call, op);
    if (call->status < 0) {
        return;
    }
    if (work.n_entries > 0) {
        launch_entries(call, op, &work);
    }
    launch_state(call, op, &work);
}
