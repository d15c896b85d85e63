/* attend.h - attention's two ways: by multiply-adds (op_attend.c), by matrix instructions (attend_mma.c). */
#ifndef BACKENDS_OPENCL_ATTEND_H
#define BACKENDS_OPENCL_ATTEND_H

#include "backends/opencl/opencl.h"

/* Tokens first .. first + n - 1 of a command, and what their kernels leave one another. */
struct attend {
    struct ocl_span q, ring, entries, indices, sinks, inv_freq, o;
    struct ocl_span scores, maxima, parts, weights, largest;
    uint64_t row_bytes;
    uint32_t max_keys, n_tiles, n_chunks; /* of the token that has most keys */
    uint32_t n_rows;                      /* heads, and what fills them up, of parts, weights and largest */
    uint32_t head_steps;
    uint32_t first, n;
    char defines[48]; /* of attend.cl */
};

/* The arguments ring .. top_k of a kernel, for the tokens of work. */
void ocl_attend_rows(struct ocl_call *call, const struct hearth_op_attention *op, const struct attend *work,
                     struct ocl_kernel *kernel);
/* Adds up the parts by chunk, divides, rotates back. */
void ocl_attend_finish(struct ocl_call *call, const struct hearth_op_attention *op, const struct attend *work);

/* Whether attend_mma.c takes the command: by shapes and places alone, never by n. */
bool ocl_attend_has_mma(const struct ocl_call *call, const struct hearth_op_attention *op, const struct attend *work);
/* n_keys: of the last token, which has most */
void ocl_attend_mma(struct ocl_call *call, const struct hearth_op_attention *op, struct attend *work, uint64_t n_keys);

#endif
