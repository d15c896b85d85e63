/* k_layer.c - the small steps between products: norms, rotation, hyper-connections, sums of experts, the router's
 * affinities, the compressor's pooling.  Sums that decide a factor run in double: they are short beside the products.
 */
#include "backends/cpu/kernels_tiered.h"

/* Four words hide the latency of the additions. */
float
TIERED(k_squares)(const float *x, uint64_t n)
{
    vf sums[4] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
    uint64_t i = 0;
    for (; i + 4 * W <= n; i += 4 * W) {
        UNROLL
        for (unsigned j = 0; j < 4; j++) {
            const vf part = vf_load(x + i + j * W);
            sums[j] = vf_fma(part, part, sums[j]);
        }
    }
    for (; i < n; i += W) {
        const vf part = vf_load_tail(x + i, n - i);
        sums[0] = vf_fma(part, part, sums[0]);
    }
    return vf_sum(vf_add(vf_add(sums[0], sums[1]), vf_add(sums[2], sums[3])));
}

void
TIERED(k_normalise)(bool native, const float *x, const float *norm, uint64_t n, float eps, float *y)
{
    const double mean = (double)TIERED(k_squares)(x, n) / (double)n;
    const vf factor = vf_set1((float)(1.0 / sqrt(mean + (double)eps)));
    for (uint64_t i = 0; i < n; i += W) {
        const vf value = vf_mul(vf_mul(vf_load_tail(x + i, n - i), factor), vf_load_tail(norm + i, n - i));
        vf_store_tail(y + i, vf_round(value, native), n - i);
    }
}

/* The norm of a head has no weight.  In native numerics every step of it is rounded to bf16, as the model was run. */
void
TIERED(k_norm_head)(bool native, float *q, uint64_t n, float eps)
{
    vf sums = vf_zero();
    for (uint64_t i = 0; i < n; i += W) {
        const vf part = vf_load_tail(q + i, n - i);
        sums = vf_add(sums, vf_round(vf_mul(part, part), native));
    }
    const double mean = (double)vf_sum(sums) / (double)n;
    float factor = (float)(1.0 / sqrt(mean + (double)eps));
    if (native) {
        const float rounded = hearth_round_bf16(hearth_round_bf16((float)mean) + eps);
        factor = hearth_round_bf16((float)(1.0 / sqrt((double)hearth_round_bf16(rounded))));
    }
    for (uint64_t i = 0; i < n; i += W) {
        vf_store_tail(q + i, vf_round(vf_mul(vf_load_tail(q + i, n - i), vf_set1(factor)), native), n - i);
    }
}

/* Pairs of neighbours: u cos - v sin, u sin + v cos.  angles: [rope_dim / 2] cosines, then sines. */
void
TIERED(k_turn)(bool native, float *x, const float *angles, uint32_t rope_dim)
{
    const uint32_t half = rope_dim / 2;
    for (uint32_t i = 0; i < rope_dim; i += W) {
        const uint64_t left = rope_dim - i;
        float cosines[W] = {0.0f}, sines[W] = {0.0f};
        for (uint32_t j = 0; j < W && i + j < rope_dim; j++) {
            const uint32_t pair = (i + j) / 2;
            cosines[j] = angles[pair];
            sines[j] = j % 2 == 0 ? -angles[half + pair] : angles[half + pair];
        }
        const vf part = vf_load_tail(x + i, left);
        const vf turned = vf_fma(vf_swap1(part), vf_load(sines), vf_mul(part, vf_load(cosines)));
        vf_store_tail(x + i, vf_round(turned, native), left);
    }
}

void
TIERED(k_collapse)(bool native, const float *x, const float *factors, uint32_t n_streams, uint64_t dim, float *out)
{
    for (uint64_t d = 0; d < dim; d += W) {
        vf sum = vf_zero();
        for (uint32_t s = 0; s < n_streams; s++) {
            sum = vf_fma(vf_set1(factors[s]), vf_load_tail(x + s * dim + d, dim - d), sum);
        }
        vf_store_tail(out + d, vf_round(sum, native), dim - d);
    }
}

/* Rows of four doubles.  One division for all sums of a step. */
void
TIERED(k_balance4)(double *comb, uint32_t n_iterations, double eps)
{
    const __m256d one = _mm256_set1_pd(1.0);
    const __m256d epsilon = _mm256_set1_pd(eps);
    __m256d row[4];
    UNROLL
    for (unsigned j = 0; j < 4; j++) {
        row[j] = _mm256_loadu_pd(comb + 4 * j);
    }
    for (uint32_t iteration = 0; iteration < n_iterations; iteration++) {
        if (iteration > 0) {
            const __m256d pairs01 = _mm256_hadd_pd(row[0], row[1]); /* a0+a1, b0+b1, a2+a3, b2+b3 */
            const __m256d pairs23 = _mm256_hadd_pd(row[2], row[3]);
            const __m256d sums = _mm256_add_pd(_mm256_permute2f128_pd(pairs01, pairs23, 0x20),
                                               _mm256_permute2f128_pd(pairs01, pairs23, 0x31));
            const __m256d factors = _mm256_div_pd(one, _mm256_add_pd(sums, epsilon));
            row[0] = _mm256_mul_pd(row[0], _mm256_permute4x64_pd(factors, 0x00));
            row[1] = _mm256_mul_pd(row[1], _mm256_permute4x64_pd(factors, 0x55));
            row[2] = _mm256_mul_pd(row[2], _mm256_permute4x64_pd(factors, 0xAA));
            row[3] = _mm256_mul_pd(row[3], _mm256_permute4x64_pd(factors, 0xFF));
        }
        const __m256d sums = _mm256_add_pd(_mm256_add_pd(row[0], row[1]), _mm256_add_pd(row[2], row[3]));
        const __m256d factors = _mm256_div_pd(one, _mm256_add_pd(sums, epsilon));
        UNROLL
        for (unsigned j = 0; j < 4; j++) {
            row[j] = _mm256_mul_pd(row[j], factors);
        }
    }
    UNROLL
    for (unsigned j = 0; j < 4; j++) {
        _mm256_storeu_pd(comb + 4 * j, row[j]);
    }
}

/* The model's four streams stay in registers. */
LANE void
expand_word(bool native, float *x, vf result, const float *post, const float *comb, const uint32_t n, uint64_t dim,
            uint64_t n_left)
{
    vf streams[CPU_MAX_STREAMS];
    for (uint32_t j = 0; j < n; j++) {
        streams[j] = vf_load_tail(x + j * dim, n_left);
    }
    for (uint32_t k = 0; k < n; k++) {
        vf sum = vf_mul(vf_set1(post[k]), result);
        for (uint32_t j = 0; j < n; j++) {
            sum = vf_fma(vf_set1(comb[j * n + k]), streams[j], sum);
        }
        vf_store_tail(x + k * dim, vf_round(sum, native), n_left);
    }
}

void
TIERED(k_expand)(bool native, float *x, const float *result, const float *post, const float *comb, uint32_t n_streams,
                 uint64_t dim)
{
    for (uint64_t d = 0; d < dim; d += W) {
        const vf part = vf_load_tail(result + d, dim - d);
        if (n_streams == 4) {
            expand_word(native, x + d, part, post, comb, 4, dim, dim - d);
        } else {
            expand_word(native, x + d, part, post, comb, n_streams, dim, dim - d);
        }
    }
}

/* Native: the additions and their order are part of the contract. */
static void
moe_sum_native(const float *const *parts, uint32_t n_parts, const float *shared, uint64_t n, float *y)
{
    for (uint64_t i = 0; i < n; i += W) {
        vf sum = vf_zero();
        for (uint32_t k = 0; k < n_parts; k++) {
            sum = vf_add(sum, vf_load_tail(parts[k] + i, n - i));
        }
        vf_store_tail(y + i, vf_round_bf16(vf_add(sum, vf_load_tail(shared + i, n - i))), n - i);
    }
}

void
TIERED(k_moe_sum)(bool native, const float *const *parts, uint32_t n_parts, const float *shared, uint64_t n, float *y)
{
    if (native) {
        moe_sum_native(parts, n_parts, shared, n, y);
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        double sum = 0.0;
        for (uint32_t k = 0; k < n_parts; k++) {
            sum += (double)parts[k][i];
        }
        y[i] = (float)(sum + (double)shared[i]);
    }
}

/* sqrt(softplus(x)), softplus(x) = max(x, 0) + log(1 + t), t = e^-|x|, and log(1 + t) = 2 artanh(z), z = t / (2 + t) <=
 * 1/3: the series to z^15 leaves less than 2^-26 of it. */
void
TIERED(k_affinities)(float *x, uint64_t n)
{
    for (uint64_t i = 0; i < n; i += W) {
        const vf part = vf_load_tail(x + i, n - i);
        const vf t = vf_exp(vf_negative(vf_abs(part)));
        const vf z = vf_div(t, vf_add(vf_set1(2.0f), t));
        const vf square = vf_mul(z, z);
        vf p = vf_set1(1.0f / 15.0f);
        p = vf_fma(p, square, vf_set1(1.0f / 13.0f));
        p = vf_fma(p, square, vf_set1(1.0f / 11.0f));
        p = vf_fma(p, square, vf_set1(1.0f / 9.0f));
        p = vf_fma(p, square, vf_set1(1.0f / 7.0f));
        p = vf_fma(p, square, vf_set1(1.0f / 5.0f));
        p = vf_fma(p, square, vf_set1(1.0f / 3.0f));
        p = vf_fma(p, square, vf_set1(1.0f));
        const vf logarithm = vf_mul(vf_add(z, z), p);
        vf_store_tail(x + i, vf_sqrt(vf_add(vf_max(vf_zero(), part), logarithm)), n - i);
    }
}

/* Slots before the first token have the score -infinity and weigh nothing; e^x holds x from below, so they are left out
 * by a comparison.  The first slot that counts decides nothing: softmax does not depend on what is subtracted. */
void
TIERED(k_pool)(const float *const *scores, const float *const *values, uint64_t n_slots, uint64_t n, float *out)
{
    const vf least = vf_set1(-0x1.fffffep+127f);
    for (uint64_t c = 0; c < n; c += W) {
        vf most = least, weights = vf_zero(), sum = vf_zero();
        for (uint64_t slot = 0; slot < n_slots; slot++) {
            most = vf_max(vf_load_tail(scores[slot] + c, n - c), most);
        }
        for (uint64_t slot = 0; slot < n_slots; slot++) {
            const vf score = vf_load_tail(scores[slot] + c, n - c);
            const vf weight = vf_where_less(vf_set1(-INFINITY), score, vf_exp(vf_sub(score, most)));
            const vf value = vf_where_less(vf_set1(-INFINITY), score, vf_load_tail(values[slot] + c, n - c));
            weights = vf_add(weights, weight);
            sum = vf_fma(weight, value, sum);
        }
        vf_store_tail(out + c, vf_div(sum, weights), n - c);
    }
}

/* gates: the activation replaces the gate (hearth_swiglu, the same operations).  Exact numerics: not rounded. */
void
TIERED(k_swiglu)(float *gates, const float *ups, uint64_t n, float limit, const float *weight, bool native)
{
    const vf one = vf_set1(1.0f);
    const vf most = vf_set1(limit);
    for (uint64_t i = 0; i < n; i += W) {
        const vf g = vf_min(most, vf_load_tail(gates + i, n - i));
        const vf u = vf_max(vf_set1(-limit), vf_min(most, vf_load_tail(ups + i, n - i)));
        const vf sigmoid = vf_div(one, vf_add(one, vf_exp(vf_negative(g))));
        vf value = vf_mul(vf_mul(g, sigmoid), u);
        value = weight == NULL ? value : vf_mul(value, vf_set1(*weight));
        vf_store_tail(gates + i, vf_round(value, native), n - i);
    }
}
