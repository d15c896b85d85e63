/* product.c - y = x W^T, for weights of every type: the inner loops of linear, the experts, the router and mHC.
 *
 * Quantised form (docs/numerics.md).  An e4m3 value is whole + fraction / 512 with integers |whole| <= 448, |fraction|
 * <= 511, and an e2m1 value is an integer of halves, |half| <= 12; so the sum over a block is a few dot products of
 * 16-bit integers, exact in 32 bits:
 *
 *     e2m1, 32 elements:   |sum of whole * half| <= 32 * 448 * 12 < 2^18;  in units of 2^-10 the block's sum is
 *                          whole sum * 512 + fraction sum, at most 32 * 448 * 512 * 12 < 2^27.
 *     e4m3, 128 elements:  |whole * whole| <= 128 * 448^2 < 2^25, the mixed products 2 * 128 * 448 * 511 < 2^26,
 *                          |fraction * fraction| <= 128 * 511^2 < 2^25;  in units of 2^-18 the sum takes 43 bits.
 *
 * The sum is rounded once to f32 and multiplied by the block's scale, a power of two: no second rounding.
 *
 * A weight is decoded once per command by a table and then meets every token; rows go in tiles so that a token's
 * activations are read from cache.  docs/numerics.md has the figures. */
#include <string.h>

#include "backends/ref/ref.h"

#define ROW_TILE 8u

/* One token has no use for a tile, and one decoded row stays in the first cache. */
static uint64_t
tile_rows(const struct ref_product *product)
{
    return product->n_tokens == 1 ? 1 : ROW_TILE;
}

uint32_t
ref_form_for(const struct host_call *call, uint32_t dtype)
{
    return call->native && host_dtype_quantises(dtype) ? REF_FORM_QUANTISED : REF_FORM_EXACT;
}

struct prepare {
    const float *x;
    uint64_t n_in, n_padded;
    double *exact;
    int16_t *wholes, *fractions;
    uint8_t *scales;
    uint8_t *codes; /* [threads][n_padded] */
};

static void
prepare_quantised(const struct prepare *prepare, uint64_t t, uint32_t thread)
{
    const uint64_t n_blocks = prepare->n_padded / HOST_ACT_BLOCK;
    uint8_t *codes = prepare->codes + thread * prepare->n_padded;
    int16_t *wholes = prepare->wholes + t * prepare->n_padded;
    int16_t *fractions = prepare->fractions + t * prepare->n_padded;
    ref_act_quant(prepare->x + t * prepare->n_in, prepare->n_in, HOST_ACT_BLOCK, codes, prepare->scales + t * n_blocks);
    for (uint64_t i = 0; i < prepare->n_padded; i++) {
        const uint8_t code = i < prepare->n_in ? codes[i] : 0;
        wholes[i] = host_e4m3_wholes[code];
        fractions[i] = host_e4m3_fractions[code];
    }
}

static void
prepare_rows(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct prepare *prepare = context;
    for (uint64_t t = begin; t < end; t++) {
        if (prepare->wholes != NULL) {
            prepare_quantised(prepare, t, thread);
        }
        for (uint64_t i = 0; prepare->exact != NULL && i < prepare->n_padded; i++) {
            prepare->exact[t * prepare->n_padded + i] =
                i < prepare->n_in ? (double)prepare->x[t * prepare->n_in + i] : 0.0;
        }
    }
}

void
ref_input_prepare(struct host_call *call, const float *x, uint64_t n, uint64_t n_in, uint32_t forms,
                  struct ref_input *ret_input)
{
    struct prepare prepare = {.x = x, .n_in = n_in};
    struct ref_pool *pool = call->device->pool;
    prepare.n_padded = (n_in + HOST_ACT_BLOCK - 1) / HOST_ACT_BLOCK * HOST_ACT_BLOCK;
    const uint64_t n_values = n * prepare.n_padded;
    if (forms & REF_FORM_EXACT) {
        prepare.exact = host_scratch_take(call, n_values, sizeof *prepare.exact);
    }
    if (forms & REF_FORM_QUANTISED) {
        prepare.wholes = host_scratch_take(call, n_values, sizeof *prepare.wholes);
        prepare.fractions = host_scratch_take(call, n_values, sizeof *prepare.fractions);
        prepare.scales = host_scratch_take(call, n_values / HOST_ACT_BLOCK, 1);
        prepare.codes = host_scratch_take(call, ref_pool_threads(pool), prepare.n_padded);
    }
    if (call->status < 0) {
        return;
    }
    ref_pool_run(pool, n, n_in * 4, (struct ref_work){prepare_rows, &prepare});
    *ret_input = (struct ref_input){
        .n = n,
        .n_in = n_in,
        .n_padded = prepare.n_padded,
        .exact = prepare.exact,
        .wholes = prepare.wholes,
        .fractions = prepare.fractions,
        .scales = prepare.scales,
    };
}

/* Eight running sums hide the latency of the additions; their order is fixed. */
double
ref_dot(const double *a, const double *b, uint64_t n)
{
    double s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
    for (uint64_t i = 0; i < n; i += 8) {
        s0 += a[i] * b[i];
        s1 += a[i + 1] * b[i + 1];
        s2 += a[i + 2] * b[i + 2];
        s3 += a[i + 3] * b[i + 3];
        s4 += a[i + 4] * b[i + 4];
        s5 += a[i + 5] * b[i + 5];
        s6 += a[i + 6] * b[i + 6];
        s7 += a[i + 7] * b[i + 7];
    }
    return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7));
}

/* n is a constant at each use, so that compilers find the machine's multiply-and-add of 16-bit pairs. */
static inline int32_t
dot16(const int16_t *a, const int16_t *b, unsigned n)
{
    int32_t sum = 0;
    for (unsigned i = 0; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

/* The exact sum over one e4m3 block in units of 2^-18.  x, w: [HOST_ACT_BLOCK] wholes and fractions. */
static int64_t
block_e4m3(const int16_t *x_whole, const int16_t *x_fraction, const int16_t *w_whole, const int16_t *w_fraction)
{
    const int64_t wholes = dot16(x_whole, w_whole, HOST_ACT_BLOCK);
    const int64_t mixed = dot16(x_whole, w_fraction, HOST_ACT_BLOCK) + dot16(x_fraction, w_whole, HOST_ACT_BLOCK);
    const int64_t fractions = dot16(x_fraction, w_fraction, HOST_ACT_BLOCK);
    return wholes * 262144 + mixed * 512 + fractions;
}

/* The exact sum over one e2m1 block in units of 2^-10.  w: [HOST_E2M1_BLOCK] halves. */
static int32_t
block_e2m1(const int16_t *x_whole, const int16_t *x_fraction, const int16_t *w)
{
    return dot16(x_whole, w, HOST_E2M1_BLOCK) * 512 + dot16(x_fraction, w, HOST_E2M1_BLOCK);
}

/* One output: blocks ascending within a chunk, chunks ascending. */
static float
sum_e4m3(const struct ref_input *input, uint64_t token, const int16_t *w_whole, const int16_t *w_fraction,
         const unsigned char *w_scales, uint64_t chunk)
{
    const int16_t *x_whole = input->wholes + token * input->n_padded;
    const int16_t *x_fraction = input->fractions + token * input->n_padded;
    const uint8_t *x_scales = input->scales + token * (input->n_padded / HOST_ACT_BLOCK);
    float total = 0.0f;
    for (uint64_t begin = 0; begin < input->n_padded; begin += chunk) {
        const uint64_t end = input->n_padded - begin < chunk ? input->n_padded : begin + chunk;
        float sum = 0.0f;
        for (uint64_t k = begin; k < end; k += HOST_ACT_BLOCK) {
            const uint64_t block = k / HOST_ACT_BLOCK;
            const int64_t exact = block_e4m3(x_whole + k, x_fraction + k, w_whole + k, w_fraction + k);
            sum += (float)exact * hearth_scale_product(x_scales[block], w_scales[block], -18);
        }
        total += sum;
    }
    return total;
}

static float
sum_e2m1(const struct ref_input *input, uint64_t token, const int16_t *w, const unsigned char *w_scales, uint64_t chunk)
{
    const int16_t *x_whole = input->wholes + token * input->n_padded;
    const int16_t *x_fraction = input->fractions + token * input->n_padded;
    const uint8_t *x_scales = input->scales + token * (input->n_padded / HOST_ACT_BLOCK);
    float total = 0.0f;
    for (uint64_t begin = 0; begin < input->n_in; begin += chunk) {
        const uint64_t end = input->n_in - begin < chunk ? input->n_in : begin + chunk;
        float sum = 0.0f;
        for (uint64_t k = begin; k < end; k += HOST_E2M1_BLOCK) {
            const int32_t exact = block_e2m1(x_whole + k, x_fraction + k, w + k);
            const float scale = hearth_scale_product(x_scales[k / HOST_ACT_BLOCK], w_scales[k / HOST_E2M1_BLOCK], -10);
            sum += (float)exact * scale;
        }
        total += sum;
    }
    return total;
}

/* n codes, then zeros up to n_padded */
static void
decode_e4m3(const unsigned char *codes, uint64_t n, uint64_t n_padded, int16_t *restrict wholes,
            int16_t *restrict fractions)
{
    for (uint64_t k = 0; k < n; k++) {
        wholes[k] = host_e4m3_wholes[codes[k]];
    }
    for (uint64_t k = 0; k < n; k++) { /* two loops with one table each are faster than one with both */
        fractions[k] = host_e4m3_fractions[codes[k]];
    }
    memset(wholes + n, 0, (size_t)(n_padded - n) * sizeof *wholes);
    memset(fractions + n, 0, (size_t)(n_padded - n) * sizeof *fractions);
}

static void
decode_e2m1(const unsigned char *codes, uint64_t n, uint64_t n_padded, int16_t *restrict halves)
{
    for (uint64_t j = 0; j < n / 2; j++) {
        memcpy(halves + 2 * j, &host_e2m1_halves[codes[j]], sizeof host_e2m1_halves[0]);
    }
    memset(halves + n, 0, (size_t)(n_padded - n) * sizeof *halves);
}

static void
store(const struct ref_product *product, uint64_t i, uint64_t row, float value)
{
    const uint64_t slot = product->slots == NULL ? i : product->slots[i];
    product->y[slot * product->y_stride + row] = product->round ? hearth_round_bf16(value) : value;
}

static uint64_t
token_of(const struct ref_product *product, uint64_t i)
{
    return product->tokens == NULL ? i : product->tokens[i];
}

static void
rows_e4m3(const struct ref_product *product, uint64_t begin, uint64_t end, int16_t *decoded)
{
    const struct host_matrix *weight = product->weight;
    const struct ref_input *input = product->input;
    const uint64_t n_tile = tile_rows(product);
    const uint64_t n_blocks = (weight->cols + HOST_ACT_BLOCK - 1) / HOST_ACT_BLOCK;
    int16_t *wholes = decoded;
    int16_t *fractions = decoded + n_tile * input->n_padded;
    for (uint64_t tile = begin; tile < end; tile += n_tile) {
        const uint64_t n_rows = end - tile < n_tile ? end - tile : n_tile;
        for (uint64_t r = 0; r < n_rows; r++) {
            const unsigned char *codes = weight->data + (tile + r) * weight->cols;
            decode_e4m3(codes, weight->cols, input->n_padded, wholes + r * input->n_padded,
                        fractions + r * input->n_padded);
        }
        for (uint64_t i = 0; i < product->n_tokens; i++) {
            for (uint64_t r = 0; r < n_rows; r++) {
                const unsigned char *scales = weight->scales + (tile + r) / HOST_ACT_BLOCK * n_blocks;
                store(product, i, tile + r,
                      sum_e4m3(input, token_of(product, i), wholes + r * input->n_padded,
                               fractions + r * input->n_padded, scales, product->chunk));
            }
        }
    }
}

static void
rows_e2m1(const struct ref_product *product, uint64_t begin, uint64_t end, int16_t *decoded)
{
    const struct host_matrix *weight = product->weight;
    const struct ref_input *input = product->input;
    const uint64_t n_tile = tile_rows(product);
    const uint64_t n_blocks = (weight->cols + HOST_E2M1_BLOCK - 1) / HOST_E2M1_BLOCK;
    for (uint64_t tile = begin; tile < end; tile += n_tile) {
        const uint64_t n_rows = end - tile < n_tile ? end - tile : n_tile;
        for (uint64_t r = 0; r < n_rows; r++) {
            const unsigned char *codes = weight->data + (tile + r) * (weight->cols / 2);
            decode_e2m1(codes, weight->cols, input->n_padded, decoded + r * input->n_padded);
        }
        for (uint64_t i = 0; i < product->n_tokens; i++) {
            for (uint64_t r = 0; r < n_rows; r++) {
                store(product, i, tile + r,
                      sum_e2m1(input, token_of(product, i), decoded + r * input->n_padded,
                               weight->scales + (tile + r) * n_blocks, product->chunk));
            }
        }
    }
}

/* Weights that are read exactly: products and sums in double, rounded once to f32. */
static void
rows_exact(const struct ref_product *product, uint64_t begin, uint64_t end, double *decoded)
{
    const struct host_matrix *weight = product->weight;
    const struct ref_input *input = product->input;
    const uint64_t n_tile = tile_rows(product);
    float *values = (float *)(decoded + ROW_TILE * input->n_padded);
    for (uint64_t tile = begin; tile < end; tile += n_tile) {
        const uint64_t n_rows = end - tile < n_tile ? end - tile : n_tile;
        for (uint64_t r = 0; r < n_rows; r++) {
            double *row = decoded + r * input->n_padded;
            host_matrix_row(weight, tile + r, values);
            for (uint64_t k = 0; k < input->n_padded; k++) {
                row[k] = k < weight->cols ? (double)values[k] : 0.0;
            }
        }
        for (uint64_t i = 0; i < product->n_tokens; i++) {
            const double *x = input->exact + token_of(product, i) * input->n_padded;
            for (uint64_t r = 0; r < n_rows; r++) {
                store(product, i, tile + r, (float)ref_dot(x, decoded + r * input->n_padded, input->n_padded));
            }
        }
    }
}

/* ROW_TILE rows of double and one of f32; the quantised forms need two int16 an element, less than that. */
uint64_t
ref_product_scratch(uint64_t n_in)
{
    const uint64_t n_padded = (n_in + HOST_ACT_BLOCK - 1) / HOST_ACT_BLOCK * HOST_ACT_BLOCK;
    return n_padded * (ROW_TILE * sizeof(double) + sizeof(float));
}

void
ref_product_rows(const struct ref_product *product, uint64_t begin, uint64_t end, void *scratch)
{
    if (!product->quantised) {
        rows_exact(product, begin, end, scratch);
    } else if (product->weight->dtype == HEARTH_E4M3) {
        rows_e4m3(product, begin, end, scratch);
    } else {
        rows_e2m1(product, begin, end, scratch);
    }
}

struct product_run {
    const struct ref_product *product;
    uint64_t first_row;
    unsigned char *scratch;
    uint64_t scratch_bytes; /* of one thread */
};

static void
run_rows(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct product_run *run = context;
    ref_product_rows(run->product, run->first_row + begin, run->first_row + end,
                     run->scratch + thread * run->scratch_bytes);
}

void
ref_product_run_some(struct host_call *call, const struct ref_product *product, uint64_t begin, uint64_t end)
{
    struct ref_pool *pool = call->device->pool;
    struct product_run run = {.product = product, .first_row = begin};
    run.scratch_bytes = ref_product_scratch(product->weight->cols);
    run.scratch = host_scratch_take(call, ref_pool_threads(pool), run.scratch_bytes);
    if (run.scratch == NULL) {
        return;
    }
    const uint64_t cost = product->weight->cols * (product->n_tokens + 1);
    ref_pool_run(pool, end - begin, cost, (struct ref_work){run_rows, &run});
}

void
ref_product_run(struct host_call *call, const struct ref_product *product)
{
    ref_product_run_some(call, product, 0, product->weight->rows);
}
