/* ffn.c - see ffn.h. */
#include <math.h>

#include "core/conformance/ffn.h"

void
ffn_make(struct check_trial *trial, const struct hearth_weight **slot, enum hearth_weight_role role, uint32_t dtype,
         uint32_t dim, uint32_t inner, struct ffn *ret_ffn)
{
    *ret_ffn = (struct ffn){
        .dtype = dtype,
        .dim = dim,
        .inner = inner,
        .w1 = check_matrix_make(trial, dtype, inner, dim, 3.0 / sqrt(dim)),
        .w3 = check_matrix_make(trial, dtype, inner, dim, 3.0 / sqrt(dim)),
        .w2 = check_matrix_make(trial, dtype, dim, inner, 1.0 / sqrt(inner)),
    };
    trial->weights[trial->n_weights++] = (struct check_weight){
        .slot = slot,
        .role = role,
        .matrices = {ret_ffn->w1.matrix, ret_ffn->w3.matrix, ret_ffn->w2.matrix},
        .n_matrices = 3,
    };
}

/* One row of a quantised product as the contract has it.  x: quantised; scales are divided out of both operands, so
 * that a block's sum is exact in double whatever the scales, and put back as one power of two. */
static float
contract_row(const struct check_matrix *w, uint32_t row, const float *x)
{
    const uint32_t n = (uint32_t)w->matrix.cols;
    const uint32_t block = w->matrix.dtype == HEARTH_E2M1X2 ? 32 : 128;
    float total = 0.0f;
    for (uint32_t chunk = 0; chunk < n; chunk += 512) {
        float sum = 0.0f;
        for (uint32_t begin = chunk; begin < n && begin < chunk + 512; begin += block) {
            double exact = 0.0;
            for (uint32_t i = begin; i < n && i < begin + block; i++) {
                exact += (double)x[i] * w->values[(uint64_t)row * n + i];
            }
            sum = sum + (float)exact; /* a power of two times the rounded sum: the same bits */
        }
        total = total + sum;
    }
    return total;
}

static double
plain_row(const struct check_matrix *w, uint32_t row, const float *x, double *magnitude, double *largest)
{
    const uint64_t n = w->matrix.cols;
    double sum = 0.0;
    *magnitude = *largest = 0.0;
    for (uint64_t i = 0; i < n; i++) {
        const double term = (double)x[i] * w->values[row * n + i];
        sum += term;
        *magnitude += fabs(term);
        *largest = fmax(*largest, fabs(term));
    }
    return sum;
}

static float
activation(bool native, float g, float u, float limit, const float *weight)
{
    g = fminf(g, limit);
    u = fmaxf(-limit, fminf(limit, u));
    if (!native) {
        return (float)((double)g / (1.0 + exp(-(double)g)) * u * (weight == NULL ? 1.0 : (double)*weight));
    }
    const float gated = g * hearth_sigmoid(g);
    const float product = gated * u;
    return (float)check_bf16((double)(weight == NULL ? product : product * *weight));
}

void
ffn_expect(struct check_trial *trial, const struct ffn *ffn, bool native, bool same_bits, const float *x,
           const float *weight, float limit, double *expected, double *slack)
{
    const bool quantises = native && (ffn->dtype == HEARTH_E2M1X2 || ffn->dtype == HEARTH_E4M3);
    float *input = check_alloc(trial, ffn->dim, sizeof *input);
    float *hidden = check_alloc(trial, ffn->inner, sizeof *hidden);
    double magnitude, largest;
    for (uint32_t i = 0; i < ffn->dim; i++) {
        input[i] = x[i];
    }
    if (quantises) {
        check_act_quant(x, ffn->dim, 128, input);
    }
    for (uint32_t i = 0; i < ffn->inner; i++) {
        float g =
            quantises ? contract_row(&ffn->w1, i, input) : (float)plain_row(&ffn->w1, i, input, &magnitude, &largest);
        float u =
            quantises ? contract_row(&ffn->w3, i, input) : (float)plain_row(&ffn->w3, i, input, &magnitude, &largest);
        g = native ? (float)check_bf16(g) : g;
        u = native ? (float)check_bf16(u) : u;
        hidden[i] = activation(native, g, u, limit, weight);
    }
    if (quantises) {
        check_act_quant(hidden, ffn->inner, 128, hidden);
    }
    for (uint32_t o = 0; o < ffn->dim; o++) {
        expected[o] = plain_row(&ffn->w2, o, hidden, &magnitude, &largest);
        /* f32 noise on the way: relative in g and u, hence in each hidden value; native: one value in the hidden row
         * may take the next e4m3 code (2^-3 of it) and so may, for the bf16 roundings before it, none or all */
        slack[o] = check_tight(ffn->inner, magnitude) + check_tight(ffn->dim, 4.0 * magnitude) +
                   check_half_step(native, expected[o]);
        slack[o] += native ? 0x1p-3 * largest : 0.0;
        if (native && quantises && same_bits) {
            expected[o] = check_bf16(contract_row(&ffn->w2, o, hidden));
            slack[o] = 0.0;
        }
    }
}
