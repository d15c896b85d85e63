/* product.h - y = x W^T on the device: what linear, output_groups, the router and the experts share. */
#ifndef BACKENDS_OPENCL_PRODUCT_H
#define BACKENDS_OPENCL_PRODUCT_H

#include "backends/opencl/opencl.h"
#include "backends/opencl/tuning.h"

/* The forms of activations (prepare.cl, product.cl; HALVES: tensor.cl; PARTS: bf16_mma.cl).  BLOCKS and DIGITS give the
 * contract's bits. */
enum ocl_form { OCL_PLAIN = 0, OCL_QUADS, OCL_BLOCKS, OCL_DIGITS, OCL_HALVES, OCL_PARTS, OCL_N_FORMS };

/* Rows of activations ready for a product. */
struct ocl_input {
    enum ocl_form form;
    struct ocl_span values, scales;
    uint64_t low; /* HALVES of E2M1X2: where the low parts begin in values */
    bool is_whole; /* HALVES: not quantised */
    bool is_late; /* HALVES, or DIGITS of expert.cl, of one token: values are f32 as they came, scales the other factor
                   * of SwiGLU or absent */
    float limit;  /* of SwiGLU */
};

/* The form that a product with rows of `cols` weights of this type wants.  same_bits: the product is part of the
 * contract. */
enum ocl_form ocl_form_for(const struct ocl_call *call, uint32_t dtype, uint64_t cols, bool same_bits);
/* Whether the weight's dtype is one that product.cl multiplies with; else the call fails. */
bool ocl_product_can(struct ocl_call *call, const char *name, uint32_t dtype);

/* What prepare.cl makes.  up NULL: x as it is; else the gated activation of x (gates) and up. */
struct ocl_prepare {
    struct ocl_span x, up;
    struct ocl_span routes, experts; /* mem NULL: every row, without a weight */
    uint32_t n_experts;
    float limit;
    uint32_t n, cols;
    uint32_t n_tokens; /* whose rows they are; 0: n */
    uint32_t dtype;    /* of the weight that the rows will meet */
    bool is_whole;     /* HALVES that are not quantised */
    enum ocl_form form;
};

/* x itself where there is nothing to do; else rows in scratch. */
void ocl_prepare(struct ocl_call *call, const struct ocl_prepare *prepare, struct ocl_input *ret_input);

/* groups products side by side; group g: rows g * row_step .. + n_rows - 1 of the weight with rows t * x_step + g *
 * x_next of x, to y[t * y_stride + g * y_step + row]. */
struct ocl_dense {
    const struct ocl_matrix *weight;
    const struct ocl_matrix *second; /* group 1's matrix, alike and of one slab; NULL: weight is all groups' */
    struct ocl_span pair_y; /* mem NULL, or second may have other rows, whole, and has a y of its own (tensor.cl) */
    struct ocl_input input;
    struct ocl_span y;
    uint32_t n, groups, n_rows, row_step, x_step, x_next, y_stride, y_step;
    bool round;
};

void ocl_dense(struct ocl_call *call, const struct ocl_dense *dense);
/* The whole matrix with n rows of x; y: [n][rows]. */
void ocl_dense_whole(struct ocl_call *call, const struct ocl_matrix *weight, struct ocl_input input, struct ocl_span y,
                     uint32_t n, bool round);

#define OCL_SEVERAL 5u /* what a CSA layer projects for its indexer and its compressors */

/* Whole matrices that meet the same n rows, in one launch: OCL_SEVERAL of f32 or bf16, or two of those that tensor.cl
 * has for few tokens.  At first all zero but n. */
struct ocl_several {
    const struct ocl_matrix *weights[OCL_SEVERAL];
    struct ocl_span y[OCL_SEVERAL];
    bool rounds[OCL_SEVERAL];
    struct ocl_input input;
    uint32_t n, n_weights;
};

/* Takes the product in, launching what does not go with it; false: it cannot be one of several. */
bool ocl_several_add(struct ocl_call *call, struct ocl_several *several, const struct ocl_matrix *weight,
                     const struct ocl_input *input, struct ocl_span y, bool round);
/* Launches what was taken in. */
void ocl_several_launch(struct ocl_call *call, struct ocl_several *several);
/* Tiles of so many rows that the matrices have side by side. */
size_t ocl_several_tiles(const struct ocl_several *several, uint32_t tile_rows);
/* The kernel's arguments SEVERAL (several.cl). */
void ocl_several_args(struct ocl_call *call, const struct ocl_several *several, struct ocl_kernel *kernel);

/* bf16_mma.c: whether the weight's products with any number of rows are those of bf16_mma.cl, to which rows come as
 * they are, form PARTS; and the products, in one launch. */
bool ocl_bf16_fits(const struct ocl_call *call, const struct hearth_weight *weight);
void ocl_bf16_several(struct ocl_call *call, const struct ocl_several *several);

/* tensor.c: the kernel of tensor.cl for n_rows rows of the product, and its work-groups.  The input's form is HALVES.
 */
/* Whether tensor.cl has products for few tokens with the input. */
bool ocl_tensor_is_few(const struct ocl_input *input, uint32_t n);
struct ocl_kernel *ocl_tensor_dense(struct ocl_call *call, const struct ocl_dense *dense, uint32_t n_rows,
                                    size_t groups[3], size_t local[3]);

/* Whether the product itself makes the rows ready. */
bool ocl_tensor_prepares(const struct ocl_prepare *prepare);
/* Whether sums of matrix instructions are exact where the contract's bits depend on it; a kernel finds out, once. */
bool ocl_tensor_exact(struct ocl_call *call);
/* Routed experts, many routes: the tile of tensor.cl, and its kernel. */
struct ocl_tile ocl_tensor_tile(void);
uint32_t ocl_tensor_items(void); /* of its work-groups */
struct ocl_kernel *ocl_tensor_routed(struct ocl_call *call, const char *more);
/* Whether rows of so many columns are for tensor.cl. */
bool ocl_tensor_fits(const struct ocl_call *call, uint64_t cols);

/* The kernel `name` of product.cl, or of what stands on it, for a tile; more: further defines, or "". */
struct ocl_kernel *ocl_product_kernel(struct ocl_call *call, const char *family, const char *name, uint32_t dtype,
                                      enum ocl_form form, const struct ocl_tile *tile, bool aligned, const char *more);
/* Whether rows of cols elements are whole units of 16 bytes. */
bool ocl_rows_aligned(uint32_t dtype, uint64_t cols);

#endif
