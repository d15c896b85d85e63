/* between.h - what lies between two sublayers: the arguments of its commands, moe_sum, mhc_post and mhc_pre, checked,
 * for the files that launch them alone and together. */
#ifndef BACKENDS_OPENCL_BETWEEN_H
#define BACKENDS_OPENCL_BETWEEN_H

#include "backends/opencl/opencl.h"

/* Elements of the streams that a part of a dot product is made of (kernels-cl/mhc.cl). */
#define OCL_DOT_PIECE 1024u

/* What mhc_pre and mhc_head share; head has no post and comb, and n_mix is n_streams.  parts: scratch */
struct ocl_collapse {
    struct ocl_span streams, norm, base, scale, normed, post, comb, parts;
    const struct ocl_matrix *fn;
    uint32_t n, n_streams, dim, n_mix, n_sinkhorn, n_pieces;
    float norm_eps, hc_eps;
};

struct ocl_sum {
    struct ocl_span parts, routes, shared, y;
};

struct ocl_post {
    struct ocl_span streams, result, post, comb;
};

/* Whether a kernel may read the place by 16 bytes. */
static inline bool
ocl_is_aligned(struct ocl_span span)
{
    return span.offset % 16 == 0;
}

/* op_mhc.c: false after a failure. */
bool ocl_collapse_find(struct ocl_call *call, const struct hearth_op_mhc_pre *op, struct ocl_collapse *ret_work);
/* Work items that share a dot product, and a token's collapse: their numbers decide the order of sums. */
uint32_t ocl_dot_items(const struct ocl_call *call);
uint32_t ocl_collapse_items(const struct ocl_call *call);

/* op_sum.c; after a failure without meaning. */
struct ocl_sum ocl_sum_find(struct ocl_call *call, const struct hearth_op_moe_sum *op);
struct ocl_post ocl_post_find(struct ocl_call *call, const struct hearth_op_mhc_post *op);
/* Whether the second command is an mhc_post of what the first one, a moe_sum, makes, apart in memory; and both, as one
 * launch. */
bool ocl_is_sum_and_post(const struct hearth_command *first, const struct hearth_command *second);
void ocl_sum_and_post(struct ocl_call *call, const struct hearth_command *first, const struct hearth_command *second);

#endif
