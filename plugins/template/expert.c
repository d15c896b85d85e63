/* expert.c - the arithmetic: the routed experts of a layer, for e2m1 weights.
 *
 *     y = w2 (g sigmoid(g) * u * weight),   g = min(w1 x, limit),   u = clamp(w3 x, -limit, limit)
 *
 * Native numerics is a contract in bits (docs/numerics.md of hearth): x is quantised to e4m3 by blocks of 128, each dot
 * product is a sum of sums over pieces of 512 elements, within them over blocks of 32, and what is written down here is
 * rounded where the contract rounds.  Exact numerics sums in double and rounds at the end.
 *
 * This is the file to replace by your machine's kernels.  Correct first: `hearth plugin check` tells every bit. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "template.h"

#define ACT_BLOCK 128u    /* activations: elements per scale */
#define WEIGHT_BLOCK 32u  /* e2m1 weights: elements per scale */
#define ACT_FLOOR 1e-4f   /* the least maximum that a block's scale is made from */

/* One activation row, in the form the numerics want. */
struct row {
    const float *exact; /* [n] */
    int32_t *units;     /* [n]: the e4m3 value in units of 2^-9, an integer */
    uint8_t *scales;    /* [blocks of 128] */
};

/* An e2m1 value in halves: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives. */
static const int8_t halves[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static uint64_t
blocks(uint64_t n, uint64_t block)
{
    return (n + block - 1) / block;
}

/* Quantises n elements: each block gets the smallest power of two that brings its maximum within e4m3.  A block that
 * holds a NaN or an infinity gets the NaN scale, and everything computed from it is NaN. */
static void
quantise(struct row *row, uint64_t n)
{
    for (uint64_t begin = 0; begin < n; begin += ACT_BLOCK) {
        const uint64_t end = n - begin < ACT_BLOCK ? n : begin + ACT_BLOCK;
        float largest = ACT_FLOOR;
        bool finite = true;
        for (uint64_t i = begin; i < end; i++) {
            const float magnitude = fabsf(row->exact[i]);
            finite = finite && magnitude < INFINITY;
            largest = magnitude > largest ? magnitude : largest;
        }
        const uint8_t scale = finite ? hearth_scale_code(largest, HEARTH_E4M3_RECIPROCAL) : HEARTH_E8M0_NAN;
        const float reciprocal = finite ? hearth_e8m0_to_f32((uint8_t)(254u - scale)) : 0.0f;
        row->scales[begin / ACT_BLOCK] = scale;
        for (uint64_t i = begin; i < end; i++) {
            const float value = finite ? hearth_e4m3_to_f32(hearth_e4m3_from_f32(row->exact[i] * reciprocal)) : 0.0f;
            row->units[i] = (int32_t)(value * 512.0f);
        }
    }
}

/* n codes as halves */
static void
decode(const unsigned char *codes, uint64_t n, int32_t *values)
{
    for (uint64_t i = 0; i < n / 2; i++) {
        values[2 * i] = halves[codes[i] & 15u];
        values[2 * i + 1] = halves[codes[i] >> 4];
    }
}

/* The contract's dot product.  A block's sum is an integer in units of 2^-10, at most 32 * 448 * 512 * 12 < 2^27; it is
 * rounded once to f32, and its scale is a power of two. */
static float
dot_native(const struct row *x, const int32_t *w, const unsigned char *scales, uint64_t n)
{
    float total = 0.0f;
    for (uint64_t piece = 0; piece < n; piece += HEARTH_EXPERT_CHUNK) {
        const uint64_t piece_end = n - piece < HEARTH_EXPERT_CHUNK ? n : piece + HEARTH_EXPERT_CHUNK;
        float sum = 0.0f;
        for (uint64_t k = piece; k < piece_end; k += WEIGHT_BLOCK) {
            const uint64_t end = n - k < WEIGHT_BLOCK ? n : k + WEIGHT_BLOCK;
            int32_t exact = 0;
            for (uint64_t i = k; i < end; i++) {
                exact += x->units[i] * w[i];
            }
            sum += (float)exact * hearth_scale_product(x->scales[k / ACT_BLOCK], scales[k / WEIGHT_BLOCK], -10);
        }
        total += sum;
    }
    return total;
}

static float
dot_exact(const struct row *x, const int32_t *w, const unsigned char *scales, uint64_t n)
{
    double total = 0.0;
    for (uint64_t k = 0; k < n; k += WEIGHT_BLOCK) {
        const uint64_t end = n - k < WEIGHT_BLOCK ? n : k + WEIGHT_BLOCK;
        double sum = 0.0;
        for (uint64_t i = k; i < end; i++) {
            sum += (double)x->exact[i] * w[i];
        }
        total += sum * 0.5 * (double)hearth_e8m0_to_f32(scales[k / WEIGHT_BLOCK]);
    }
    return (float)total;
}

/* y[r] = row r of the matrix times x, rounded to bf16 in native numerics.  decoded: [cols], scratch. */
static void
multiply(const struct template_matrix *matrix, bool native, const struct row *x, int32_t *decoded, float *y)
{
    const uint64_t n_scales = blocks(matrix->cols, WEIGHT_BLOCK);
    for (uint64_t r = 0; r < matrix->rows; r++) {
        const unsigned char *scales = matrix->scales + r * n_scales;
        decode(matrix->codes + r * (matrix->cols / 2), matrix->cols, decoded);
        y[r] = native ? hearth_round_bf16(dot_native(x, decoded, scales, matrix->cols))
                      : dot_exact(x, decoded, scales, matrix->cols);
    }
}

/* gates become activations */
static void
activate(float *gates, const float *ups, uint64_t n, bool native, float limit, float weight)
{
    for (uint64_t i = 0; i < n; i++) {
        if (native) {
            gates[i] = hearth_round_bf16(hearth_swiglu(gates[i], ups[i], limit) * weight);
        } else {
            const double g = gates[i] > limit ? limit : gates[i];
            const double u = ups[i] > limit ? limit : (ups[i] < -limit ? -limit : ups[i]);
            gates[i] = (float)(g / (1.0 + exp(-g)) * u * weight);
        }
    }
}

/* What one route needs besides its input and output. */
struct scratch {
    struct row x, hidden;
    int32_t *decoded;
    float *gates, *ups;
};

static void
run_route(const struct hearth_op_expert_ffn *op, bool native, const struct hearth_weight *expert, float weight,
          struct scratch *scratch, float *y)
{
    if (native) {
        quantise(&scratch->x, op->dim);
    }
    multiply(&expert->w1, native, &scratch->x, scratch->decoded, scratch->gates);
    multiply(&expert->w3, native, &scratch->x, scratch->decoded, scratch->ups);
    activate(scratch->gates, scratch->ups, op->inner, native, op->limit, weight);
    scratch->hidden.exact = scratch->gates;
    if (native) {
        quantise(&scratch->hidden, op->inner);
    }
    multiply(&expert->w2, native, &scratch->hidden, scratch->decoded, y);
}

int
template_expert_ffn(const struct hearth_op_expert_ffn *op, bool native, const float *x,
                    const struct hearth_route *routes, float *y)
{
    const size_t dim = op->dim, inner = op->inner, widest = dim > inner ? dim : inner;
    struct scratch scratch = {
        .x = {.units = malloc(dim * sizeof(int32_t)), .scales = malloc(blocks(dim, ACT_BLOCK))},
        .hidden = {.units = malloc(inner * sizeof(int32_t)), .scales = malloc(blocks(inner, ACT_BLOCK))},
        .decoded = malloc(widest * sizeof(int32_t)),
        .gates = malloc(inner * sizeof(float)),
        .ups = malloc(inner * sizeof(float)),
    };
    const bool has_memory = scratch.x.units && scratch.x.scales && scratch.hidden.units && scratch.hidden.scales &&
                            scratch.decoded && scratch.gates && scratch.ups;
    for (uint32_t r = 0; has_memory && r < op->n_routes; r++) {
        const struct hearth_weight *expert = op->experts[routes[r].expert];
        if (expert) { /* else it lives on another device, which writes that slot */
            scratch.x.exact = x + routes[r].token * dim;
            run_route(op, native, expert, routes[r].weight, &scratch, y + routes[r].slot * dim);
        }
    }
    free(scratch.ups);
    free(scratch.gates);
    free(scratch.decoded);
    free(scratch.hidden.scales);
    free(scratch.hidden.units);
    free(scratch.x.scales);
    free(scratch.x.units);
    return has_memory ? HEARTH_OK : HEARTH_EMEMORY;
}
