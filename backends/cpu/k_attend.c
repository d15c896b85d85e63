/* k_attend.c - attention of one token: a few heads over all its keys (attention.c gathers them and cuts the heads).
 *
 *     z_k = (q . kv_k) * head_dim^-1/2,   M = max_k z_k (without the sink),   P_k = exp(z_k - M)
 *     o   = sum_k bf16(P_k) kv_k / (sum_k P_k + exp(sink - M))
 *
 * Keys are values.  Rows are unpacked to f32 a tile at a time, once for the scores and once for the sums, and each tile
 * serves all the heads while it is in the first cache; what is kept for a key is one score a head.  Two passes instead
 * of a running maximum: the weights round as the reference rounds them, and no tile's place shows in the result. */
#include "backends/cpu/kernels_tiered.h"

LANE uint64_t
padded16(uint64_t n)
{
    return (n + 15) / 16 * 16;
}

/* bytes: a stored row; out: [head_dim], then zeros up to a multiple of 16 */
static void
unpack_row(const struct cpu_attend *work, const unsigned char *bytes, float *out)
{
    const uint32_t nope = work->head_dim - work->rope_dim;
    const unsigned char *scales = bytes + nope + 2 * (uint64_t)work->rope_dim;
    const uint64_t padded = padded16(work->head_dim);
    if (work->format == HEARTH_KV_F32) {
        memcpy(out, bytes, work->head_dim * sizeof *out);
        memset(out + work->head_dim, 0, (size_t)(padded - work->head_dim) * sizeof *out);
        return;
    }
    uint64_t i = 0;
    for (; i + 16 <= nope; i += 16) {
        const __m256 scale = _mm256_set1_ps(hearth_e8m0_to_f32(scales[i / HOST_KV_BLOCK]));
        const __m256 lift = _mm256_set1_ps(256.0f); /* as f16 bits the values are times 2^-8 */
        const __m256i words = _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)(bytes + i)));
        const __m256i halves =
            _mm256_and_si256(_mm256_srai_epi16(_mm256_slli_epi16(words, 8), 1), _mm256_set1_epi16((short)0xBF80));
        const __m256 low = _mm256_cvtph_ps(_mm256_castsi256_si128(halves));
        const __m256 high = _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1));
        _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_mul_ps(low, lift), scale));
        _mm256_storeu_ps(out + i + 8, _mm256_mul_ps(_mm256_mul_ps(high, lift), scale));
    }
    for (; i < nope; i++) {
        out[i] = hearth_e4m3_to_f32(bytes[i]) * hearth_e8m0_to_f32(scales[i / HOST_KV_BLOCK]);
    }
    for (uint32_t r = 0; r < work->rope_dim; r++) {
        uint16_t bits;
        memcpy(&bits, bytes + nope + 2 * (uint64_t)r, sizeof bits);
        out[nope + r] = hearth_bf16_to_f32(bits);
    }
    memset(out + work->head_dim, 0, (size_t)(padded - work->head_dim) * sizeof *out);
}

/* Unpacks keys begin .. begin + n - 1; what a tile lacks is zero. */
static void
unpack_tile(const struct cpu_attend *work, uint64_t begin, uint64_t n)
{
    const uint64_t width = padded16(work->head_dim);
    for (uint64_t k = 0; k < n; k++) {
        unpack_row(work, work->rows[begin + k], work->keys + k * width);
    }
    memset(work->keys + n * width, 0, (size_t)((CPU_KEY_TILE - n) * width) * sizeof *work->keys);
}

/* Two heads and four keys: eight sums, each in one order whatever else is computed beside it. */
LANE void
score_some(const float *const q[2], const float *keys, uint64_t width, float scale, float *const out[2])
{
    vf sums[2][4];
    UNROLL
    for (unsigned i = 0; i < 8; i++) {
        sums[i / 4][i % 4] = vf_zero();
    }
    for (uint64_t d = 0; d < width; d += W) {
        const vf first = vf_load(q[0] + d);
        const vf second = vf_load(q[1] + d);
        UNROLL
        for (unsigned k = 0; k < 4; k++) {
            const vf key = vf_load(keys + k * width + d);
            sums[0][k] = vf_fma(first, key, sums[0][k]);
            sums[1][k] = vf_fma(second, key, sums[1][k]);
        }
    }
    UNROLL
    for (unsigned i = 0; i < 8; i++) {
        out[i / 4][i % 4] = vf_sum(sums[i / 4][i % 4]) * scale;
    }
}

static void
score_keys(const struct cpu_attend *work)
{
    const uint64_t width = padded16(work->head_dim);
    const uint64_t stride = padded16(work->n_keys);
    const float scale = (float)(1.0 / sqrt((double)work->head_dim));
    for (uint64_t begin = 0; begin < work->n_keys; begin += CPU_KEY_TILE) {
        const uint64_t left = work->n_keys - begin;
        unpack_tile(work, begin, left < CPU_KEY_TILE ? left : CPU_KEY_TILE);
        for (uint32_t h = 0; h < work->n_heads; h += 2) {
            const uint32_t other = h + 1 < work->n_heads ? h + 1 : h;
            for (unsigned k = 0; k < CPU_KEY_TILE; k += 4) {
                const float *const q[2] = {work->padded_q + h * width, work->padded_q + other * width};
                float *const out[2] = {work->weights + h * stride + begin + k,
                                       work->weights + other * stride + begin + k};
                score_some(q, work->keys + k * width, width, scale, out);
            }
        }
    }
}

/* Scores become weights; returns the denominator, which a loud sink makes larger than f32 can hold. */
static double
weigh_keys(const struct cpu_attend *work, float *weights, float sink)
{
    const uint64_t n = work->n_keys;
    vf most = vf_set1(-INFINITY);
    vf sums = vf_zero();
    for (uint64_t k = 0; k < n; k += W) {
        const vf part = n - k >= W ? vf_load(weights + k) : vf_set1(weights[k]);
        most = vf_max(part, most);
        for (uint64_t i = 1; n - k < W && i < n - k; i++) {
            most = vf_max(vf_set1(weights[k + i]), most);
        }
    }
    const float greatest = vf_greatest(most);
    for (uint64_t k = 0; k < n; k += W) {
        vf weight = vf_exp(vf_sub(vf_load(weights + k), vf_set1(greatest)));
        vf_store(weights + k, weight);
        weight = vf_load_tail(weights + k, n - k); /* without what lies behind the last key */
        sums = vf_add(sums, weight);
        vf_store(weights + k, vf_round(weight, work->native));
    }
    return (double)vf_sum(sums) + exp((double)sink - (double)greatest);
}

/* Four words of two heads' sums over a tile of keys. */
LANE void
sum_some(const float *const weights[2], const float *keys, uint64_t width, const unsigned n_words, float *const sums[2])
{
    vf parts[2][4];
    UNROLL
    for (unsigned i = 0; i < n_words; i++) {
        parts[0][i] = vf_load(sums[0] + i * W);
        parts[1][i] = vf_load(sums[1] + i * W);
    }
    for (unsigned k = 0; k < CPU_KEY_TILE; k++) {
        const vf first = vf_set1(weights[0][k]);
        const vf second = vf_set1(weights[1][k]);
        UNROLL
        for (unsigned i = 0; i < n_words; i++) {
            const vf key = vf_load(keys + k * width + i * W);
            parts[0][i] = vf_fma(first, key, parts[0][i]);
            parts[1][i] = vf_fma(second, key, parts[1][i]);
        }
    }
    UNROLL
    for (unsigned i = 0; i < n_words; i++) {
        vf_store(sums[0] + i * W, parts[0][i]);
        vf_store(sums[1] + i * W, parts[1][i]);
    }
}

static void
sum_keys(const struct cpu_attend *work)
{
    const uint64_t width = padded16(work->head_dim);
    const uint64_t stride = padded16(work->n_keys);
    float unused[4 * 16]; /* where the partner of a last odd head goes */
    memset(work->sums, 0, (size_t)(work->n_heads * width) * sizeof *work->sums);
    for (uint64_t begin = 0; begin < work->n_keys; begin += CPU_KEY_TILE) {
        const uint64_t left = work->n_keys - begin;
        unpack_tile(work, begin, left < CPU_KEY_TILE ? left : CPU_KEY_TILE);
        for (uint32_t h = 0; h < work->n_heads; h += 2) {
            const bool has_other = h + 1 < work->n_heads;
            const uint32_t other = has_other ? h + 1 : h;
            const float *const weights[2] = {work->weights + h * stride + begin,
                                             work->weights + other * stride + begin};
            for (uint64_t d = 0; d < width;) {
                float *const sums[2] = {work->sums + h * width + d,
                                        has_other ? work->sums + other * width + d : unused};
                memset(unused, 0, sizeof unused);
                if (width - d >= 4 * W) {
                    sum_some(weights, work->keys + d, width, 4, sums);
                    d += 4 * W;
                } else {
                    sum_some(weights, work->keys + d, width, 1, sums);
                    d += W;
                }
            }
        }
    }
}

static void
put_head(const struct cpu_attend *work, const float *sums, double denominator, float *o)
{
    const vf divisor = vf_set1((float)denominator);
    for (uint64_t d = 0; denominator < 0x1p100 && d < work->head_dim; d += W) {
        vf_store_tail(o + d, vf_round(vf_div(vf_load(sums + d), divisor), work->native), work->head_dim - d);
    }
    for (uint64_t d = 0; !(denominator < 0x1p100) && d < work->head_dim; d++) {
        const float value = (float)((double)sums[d] / denominator);
        o[d] = work->native ? hearth_round_bf16(value) : value;
    }
}

void
TIERED(k_attend)(const struct cpu_attend *work)
{
    const uint64_t width = padded16(work->head_dim);
    const uint64_t stride = padded16(work->n_keys);
    double denominators[CPU_HEADS];
    for (uint32_t h = 0; h < work->n_heads; h++) {
        TIERED(k_plain)(work->q + (uint64_t)h * work->head_dim, work->head_dim, width, work->padded_q + h * width);
    }
    score_keys(work);
    for (uint32_t h = 0; h < work->n_heads; h++) {
        denominators[h] = weigh_keys(work, work->weights + h * stride, work->sinks[h]);
    }
    sum_keys(work);
    for (uint32_t h = 0; h < work->n_heads; h++) {
        put_head(work, work->sums + h * width, denominators[h], work->o + (uint64_t)h * work->head_dim);
    }
}
