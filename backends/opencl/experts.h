/* experts.h - where a command's experts lie, as routed.cl wants it told. */
#ifndef BACKENDS_OPENCL_EXPERTS_H
#define BACKENDS_OPENCL_EXPERTS_H

#include "backends/opencl/opencl.h"

/* The experts of one cl_mem: which types w1 and w3, and w2, have; bit d: dtype d. */
struct ocl_expert_slab {
    cl_mem mem;
    uint32_t up_dtypes, down_dtypes;
};

/* A list of experts on the device: struct expert of common.cl for each, in order. */
struct ocl_experts {
    struct ocl_span span;
    const struct ocl_expert_slab *slabs; /* a slab's index here is its number there */
    uint32_t n_slabs;
};

/* The list op->experts.  It is made once and kept: a layer's experts are the same ones token after token.  Borrowed;
 * valid until the next call. */
void ocl_experts_find(struct ocl_call *call, const struct hearth_op_expert_ffn *op, struct ocl_experts *ret_experts);

#endif
