/* beside.h - products that share a launch with what does not depend on them, of one token (kernels-cl/beside.cl). */
#ifndef BACKENDS_OPENCL_BESIDE_H
#define BACKENDS_OPENCL_BESIDE_H

#include "backends/opencl/product.h"

/* A router's command under way. */
struct ocl_router {
    struct ocl_span x, logits, bias, table, ids, routes;
    const struct ocl_matrix *gate;
    uint64_t n_table_rows;
    enum ocl_form form; /* of x for the gate */
};

/* op_router.c: the arguments, checked; false after a failure. */
bool ocl_router_find(struct ocl_call *call, const struct hearth_op_router *op, struct ocl_router *ret_router);
/* Adds the gate's products with x, launching what does not go with them. */
void ocl_router_gate(struct ocl_call *call, const struct hearth_op_router *op, const struct ocl_router *router,
                     struct ocl_several *several);
/* The kernel's arguments CHOICE (routes.cl). */
void ocl_router_args(struct ocl_call *call, const struct hearth_op_router *op, const struct ocl_router *router,
                     struct ocl_kernel *kernel);

/* A shared expert's command under way.  products: [2][n][inner], those of w1 and w3 */
struct ocl_shared {
    struct ocl_span x, y, products;
    const struct ocl_matrix *up[2], *down;
};

/* op_expert.c: the arguments, checked; false after a failure. */
bool ocl_shared_find(struct ocl_call *call, const struct hearth_op_shared_ffn *op, struct ocl_shared *ret_shared);

/* Launches the products, of two kinds, in one launch if it can be, else in two.  Both are empty then.  norm: of the
 * products of the first matrix of `late`, in place, or NULL; returns whether that is done. */
bool ocl_beside_launch(struct ocl_call *call, struct ocl_several *late, struct ocl_several *products,
                       const struct hearth_op_rmsnorm *norm);

#endif
