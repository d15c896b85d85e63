/* rows.h - what the operations on rows of activations and on stored rows share: sizes of work-groups, checks. */
#ifndef BACKENDS_OPENCL_ROWS_H
#define BACKENDS_OPENCL_ROWS_H

#include "backends/opencl/opencl.h"

/* Work items that share a row, or a head of a query, in kv.cl, compress.cl and ready.cl: their number decides the order
 * of sums. */
#define HEAD_ITEMS 128u
#define ROW_ITEMS 512u
#define NORM_ITEMS 256u /* likewise, of norm.cl */

/* Far beyond any model; it keeps the sizes of rows within 32 bits. */
#define ROWS_MAX 65536u

/* The largest power of two of work items that is at most `wanted` and that the device takes. */
static inline uint32_t
rows_group(const struct ocl_call *call, uint32_t wanted)
{
    uint32_t group = 1;
    while (2 * group <= wanted && 2 * (uint64_t)group <= call->device->caps.max_group) {
        group *= 2;
    }
    return group;
}

static inline uint64_t
rows_divide_up(uint64_t n, uint64_t by)
{
    return (n + by - 1) / by;
}

/* Fails unless the format is known, fits the numerics, and the row fits where a kernel works on it. */
void rows_check(struct ocl_call *call, uint32_t format, uint32_t width, uint32_t rope_dim);
/* Fails unless n * size bytes fit in local memory beside what kernels take for themselves. */
void rows_check_local(struct ocl_call *call, const char *name, uint64_t n, uint64_t size);

/* ---- what an operation's arguments name, checked ---- */

struct rows_queries {
    struct ocl_span q, inv_freq;
};

struct rows_new {
    struct ocl_span kv, ring, norm, inv_freq;
    uint32_t row_bytes;
};

/* n_entries: that the command completes; entries, norm and inv_freq are absent without any */
struct rows_compressor {
    struct ocl_span values, gates, state, ape, entries, norm, inv_freq;
    uint64_t columns, first_entry, n_entries, row_bytes;
};

struct rows_queries rows_find_queries(struct ocl_call *call, const struct hearth_op_query_rope *op);
struct rows_queries rows_find_index_queries(struct ocl_call *call, const struct hearth_op_index_query *op);
struct rows_new rows_find_new(struct ocl_call *call, const struct hearth_op_kv_append *op);
struct rows_compressor rows_find_compressor(struct ocl_call *call, const struct hearth_op_compress *op);

/* Words of local memory for the largest magnitudes of a stored row's blocks. */
static inline uint64_t
rows_n_maxima(uint32_t width, uint32_t rope_dim, bool is_index)
{
    return is_index ? rows_divide_up(width, HOST_INDEX_BLOCK)
                    : rows_divide_up((uint64_t)width - rope_dim + 1, HOST_KV_BLOCK);
}

#endif
