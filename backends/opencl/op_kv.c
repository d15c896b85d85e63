/* op_kv.c - what attention looks at: query heads, normalised and rotated; new rows of the window ring, normalised,
 * rotated, stored (kernels-cl/kv.cl); and the checks of stored rows. */
#include <config.h>

#include <stdio.h>

#include "backends/opencl/rows.h"

/* Local memory that a kernel takes beside its arguments, generously. */
#define LOCAL_RESERVE 2048u

void
rows_check_local(struct ocl_call *call, const char *name, uint64_t n, uint64_t size)
{
    if (call->status == 0 && n * size + LOCAL_RESERVE > call->device->caps.local_bytes) {
        ocl_call_fail(call, HEARTH_EUNSUPPORTED, "%s: %llu bytes of local memory wanted, the device has %llu", name,
                      (unsigned long long)(n * size + LOCAL_RESERVE),
                      (unsigned long long)call->device->caps.local_bytes);
    }
}

void
rows_check(struct ocl_call *call, uint32_t format, uint32_t width, uint32_t rope_dim)
{
    if (call->status < 0) {
        return;
    }
    if (format != HEARTH_KV_F32 && format != HEARTH_KV_PACKED) {
        ocl_call_fail(call, HEARTH_EINTERNAL, "kv_format: 0 or 1 wanted, %u found", format);
    } else if (format == HEARTH_KV_PACKED && !call->native) {
        ocl_call_fail(call, HEARTH_EINTERNAL, "kv_format: packed rows hold native numerics only");
    } else if (rope_dim % 2 != 0 || rope_dim > width || width > ROWS_MAX) {
        ocl_call_fail(call, HEARTH_EINTERNAL, "rows of %u elements, %u of them rotated: impossible", width, rope_dim);
    } else {
        rows_check_local(call, "row", width + rows_divide_up(width, HOST_INDEX_BLOCK), sizeof(float));
    }
}

struct rows_queries
rows_find_queries(struct ocl_call *call, const struct hearth_op_query_rope *op)
{
    ocl_call_check(call, op->rope_dim % 2 == 0 && op->rope_dim <= op->head_dim,
                   "rope_dim: even, at most head_dim wanted");
    return (struct rows_queries){
        .q = ocl_view_f32(call, "q", op->q, (uint64_t)op->n * op->n_heads, op->head_dim),
        .inv_freq = ocl_vector(call, "inv_freq", op->inv_freq, op->rope_dim / 2),
    };
}

struct rows_new
rows_find_new(struct ocl_call *call, const struct hearth_op_kv_append *op)
{
    const uint64_t row_bytes = hearth_kv_row_bytes(op->kv_format, op->head_dim, op->rope_dim);
    rows_check(call, op->kv_format, op->head_dim, op->rope_dim);
    ocl_call_check(call, op->ring_slots >= op->n, "ring_slots: at least n wanted");
    return (struct rows_new){
        .kv = ocl_view_f32(call, "kv", op->kv, op->n, op->head_dim),
        .ring = ocl_view(call, "ring", op->ring, op->ring_slots, row_bytes, 1),
        .norm = ocl_vector(call, "norm", op->norm, op->head_dim),
        .inv_freq = ocl_vector(call, "inv_freq", op->inv_freq, op->rope_dim / 2),
        .row_bytes = (uint32_t)row_bytes,
    };
}

static struct ocl_kernel *
kernel_of_rows(struct ocl_call *call, const char *name, uint32_t group)
{
    char defines[64];
    snprintf(defines, sizeof defines, "-DGROUP=%u -DHEAD_ITEMS=%u", group, rows_group(call, HEAD_ITEMS));
    return ocl_kernel(call, "kv", defines, name);
}

void
ocl_query_rope(struct ocl_call *call, const struct hearth_op_query_rope *op)
{
    const struct rows_queries queries = rows_find_queries(call, op);
    const uint32_t group = rows_group(call, HEAD_ITEMS);
    struct ocl_kernel *kernel = kernel_of_rows(call, "query_rope", group);
    ocl_arg_span(call, kernel, queries.q);
    ocl_arg_span(call, kernel, queries.inv_freq);
    ocl_arg_u64(call, kernel, op->position);
    ocl_arg_u32(call, kernel, op->n_heads);
    ocl_arg_u32(call, kernel, op->head_dim);
    ocl_arg_u32(call, kernel, op->rope_dim);
    ocl_arg_f32(call, kernel, op->eps);
    ocl_arg_u32(call, kernel, call->native);
    ocl_launch_1d(call, kernel, (uint64_t)op->n * op->n_heads, group);
}

/* At last room for a row, and for the largest magnitudes of its blocks. */
void
ocl_kv_append(struct ocl_call *call, const struct hearth_op_kv_append *op)
{
    const struct rows_new rows = rows_find_new(call, op);
    const uint32_t group = rows_group(call, ROW_ITEMS);
    struct ocl_kernel *kernel = kernel_of_rows(call, "kv_append", group);
    ocl_arg_span(call, kernel, rows.kv);
    ocl_arg_span(call, kernel, rows.ring);
    ocl_arg_span(call, kernel, rows.norm);
    ocl_arg_span(call, kernel, rows.inv_freq);
    ocl_arg_u64(call, kernel, op->position);
    ocl_arg_u32(call, kernel, op->head_dim);
    ocl_arg_u32(call, kernel, op->rope_dim);
    ocl_arg_u32(call, kernel, op->ring_slots);
    ocl_arg_u32(call, kernel, rows.row_bytes);
    ocl_arg_u32(call, kernel, op->kv_format);
    ocl_arg_f32(call, kernel, op->eps);
    ocl_arg_u32(call, kernel, call->native);
    ocl_arg_local(call, kernel, op->head_dim * sizeof(float));
    ocl_arg_local(call, kernel, rows_n_maxima(op->head_dim, op->rope_dim, false) * sizeof(uint32_t));
    ocl_launch_1d(call, kernel, op->n, group);
}
