/* ref.h - what the files of the reference backend share: a device and its memory, checked access to a command's
 * arguments, threads, and one declaration for each operation.
 *
 * Each operation is one function, ref_<op>, that first fetches every argument through the checked calls below (the
 * first failure sticks to the call) and then computes.  An output element is computed by one thread, in one order, from
 * its own token alone: the bits depend neither on the number of threads nor on how a prompt is cut into commands. */
#ifndef BACKENDS_REF_REF_H
#define BACKENDS_REF_REF_H

#include "backends/host/host.h"

struct ref_pool;

struct hearth_device {
    struct ref_pool *pool;
    struct host_scratch scratch;
};

/* parallel.c: the threads of one device. */

/* Computes items begin .. end-1; thread < ref_pool_threads and differs between calls that run at once. */
struct ref_work {
    void (*run)(void *context, uint64_t begin, uint64_t end, uint32_t thread);
    void *context;
};

int ref_pool_new(uint32_t n_threads, struct ref_pool **ret_pool, struct hearth_error *err);
void ref_pool_free(struct ref_pool *pool); /* joins the threads; NULL allowed */
uint32_t ref_pool_threads(const struct ref_pool *pool);
/* Cuts n_items into contiguous shares, one a thread, and returns when all are done.  cost: multiplications an item is
 * worth; what is not worth waking a thread for runs in the caller. */
void ref_pool_run(struct ref_pool *pool, uint64_t n_items, uint64_t cost, struct ref_work work);

/* quantize.c */

/* codes: [n] e4m3; scales: [ceil(n / block)] e8m0 */
void ref_act_quant(const float *x, uint64_t n, uint32_t block, uint8_t *codes, uint8_t *scales);
/* codes: [n] e2m1, one a byte; scales: [ceil(n / 32)] e8m0 */
void ref_fp4_quant(const float *x, uint64_t n, uint8_t *codes, uint8_t *scales);
/* x: [width], width a power of two; natural order, times width^-1/2, rounded to bf16 */
void ref_hadamard(float *x, uint32_t width);
float ref_round(bool native, double value); /* to f32, then (native) to bf16 */

/* product.c: y = x W^T, the inner loops of every weight. */

/* Rows of activations in the forms that weights want them in; absent forms are NULL. */
struct ref_input {
    uint64_t n, n_in;
    uint64_t n_padded;        /* n_in rounded up to HOST_ACT_BLOCK; what is beyond n_in is 0 */
    const double *exact;      /* [n][n_padded] */
    const int16_t *wholes;    /* [n][n_padded]: the e4m3 value is whole + fraction / 512 */
    const int16_t *fractions; /* [n][n_padded] */
    const uint8_t *scales;    /* [n][n_padded / HOST_ACT_BLOCK] e8m0 */
};

enum ref_form { REF_FORM_EXACT = 1, REF_FORM_QUANTISED = 2 };

/* The form that a native or exact product with a weight of this dtype needs. */
uint32_t ref_form_for(const struct host_call *call, uint32_t dtype);
/* x: [n][n_in] f32; forms: enum ref_form, or-ed. */
void ref_input_prepare(struct host_call *call, const float *x, uint64_t n, uint64_t n_in, uint32_t forms,
                       struct ref_input *ret_input);

/* y[slots[i] * y_stride + row] = sum_k weight[row][k] * input[tokens[i]][k] */
struct ref_product {
    const struct host_matrix *weight;
    const struct ref_input *input;
    const uint32_t *tokens; /* [n_tokens] rows of input, or NULL: row i */
    const uint32_t *slots;  /* [n_tokens] rows of y, or NULL: row i */
    uint64_t n_tokens;
    float *y;
    uint64_t y_stride;
    uint64_t chunk; /* quantised form: elements of K per partial sum; a multiple of HOST_ACT_BLOCK */
    bool quantised; /* which form of the input to use */
    bool round;     /* y is rounded to bf16 */
};

/* Bytes of scratch that ref_product_rows needs for n_in inputs. */
uint64_t ref_product_scratch(uint64_t n_in);
void ref_product_rows(const struct ref_product *product, uint64_t begin, uint64_t end, void *scratch);
/* Rows begin .. end-1, and all rows, on all threads. */
void ref_product_run_some(struct host_call *call, const struct ref_product *product, uint64_t begin, uint64_t end);
void ref_product_run(struct host_call *call, const struct ref_product *product);
double ref_dot(const double *a, const double *b, uint64_t n); /* n: a multiple of 8 */

/* rmsnorm.c, rope.c, kv.c: steps that several operations share. */

/* y: [n], may be x; norm: [n] */
void ref_normalise(bool native, const float *x, const float *norm, uint64_t n, float eps, float *y);
/* x: [rope_dim], the part to rotate; direction 1, or -1 to rotate back */
void ref_rotate(bool native, float *x, uint32_t rope_dim, const float *inv_freq, uint64_t position, int direction);
/* row: [head_dim] f32; native numerics quantise it here; bytes: hearth_kv_row_bytes */
void ref_kv_store(const float *row, uint32_t format, bool native, uint32_t head_dim, uint32_t rope_dim,
                  unsigned char *bytes);
void ref_kv_load(const unsigned char *bytes, uint32_t format, uint32_t head_dim, uint32_t rope_dim, float *row);
void ref_index_store(const float *key, uint32_t format, bool native, uint32_t width, unsigned char *bytes);
void ref_index_load(const unsigned char *bytes, uint32_t format, uint32_t width, float *key);
/* Fails unless the format is known and fits the numerics. */
void ref_kv_check(struct host_call *call, uint32_t format, uint32_t head_dim, uint32_t rope_dim);

#define HEARTH_OP(NAME, name) void ref_##name(struct host_call *call, const struct hearth_op_##name *op);
#include <hearth/ops.def>
#undef HEARTH_OP

/* device.c: the calls of the plugin table. */

int ref_start(const struct hearth_host *host, uint32_t *ret_n_devices, struct hearth_error *err);
void ref_stop(void);
int ref_describe(uint32_t index, struct hearth_device_info *info, struct hearth_error *err);
int ref_open(uint32_t index, struct hearth_device **ret_device, struct hearth_error *err);
void ref_close(struct hearth_device *device);
int ref_weight_create(struct hearth_device *device, enum hearth_weight_role role, const struct hearth_matrix *matrices,
                      size_t n_matrices, struct hearth_weight **ret_weight, struct hearth_error *err);
void ref_weight_free(struct hearth_device *device, struct hearth_weight *weight);
bool ref_supports(const struct hearth_device *device, uint32_t op, uint32_t numerics);
int ref_submit(struct hearth_device *device, const struct hearth_command *commands, size_t n_commands,
               struct hearth_event *const *waits, size_t n_waits, struct hearth_event **ret_event,
               struct hearth_error *err);

#endif
