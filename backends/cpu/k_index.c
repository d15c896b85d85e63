/* k_index.c - the indexer's scores: lanes are heads, so that a key's element meets all queries at once.
 *
 *     score[w] = sum_h relu(q_h . key_w) * a_h
 *
 * Native: the dot products, the products with a_h and the score are each rounded to bf16. */
#include "backends/cpu/kernels_tiered.h"

/* key: [width] */
static void
unpack_key(const struct cpu_index *work, const unsigned char *bytes, float *key)
{
    const unsigned char *scales = bytes + (work->width + 1) / 2;
    if (work->format == HEARTH_KV_F32) {
        memcpy(key, bytes, work->width * sizeof *key);
        return;
    }
    for (uint32_t i = 0; i < work->width; i++) {
        const uint8_t code = (uint8_t)(bytes[i / 2] >> (i % 2 * 4) & 15u);
        key[i] = hearth_e2m1_to_f32(code) * hearth_e8m0_to_f32(scales[i / HOST_INDEX_BLOCK]);
    }
}

/* The same for whole blocks: the codes of 32 elements are 16 bytes. */
static void
unpack_key_blocks(const struct cpu_index *work, const unsigned char *bytes, float *key)
{
    const __m128i table = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
    const unsigned char *scales = bytes + work->width / 2;
    for (uint32_t i = 0; i < work->width; i += HOST_INDEX_BLOCK) {
        const __m256 scale = _mm256_set1_ps(0.5f * hearth_e8m0_to_f32(scales[i / HOST_INDEX_BLOCK]));
        const __m128i raw = _mm_loadu_si128((const void *)(bytes + i / 2));
        const __m128i low = _mm_and_si128(raw, _mm_set1_epi8(15));
        const __m128i high = _mm_and_si128(_mm_srli_epi16(raw, 4), _mm_set1_epi8(15));
        const __m128i halves[2] = {_mm_shuffle_epi8(table, _mm_unpacklo_epi8(low, high)),
                                   _mm_shuffle_epi8(table, _mm_unpackhi_epi8(low, high))};
        for (unsigned j = 0; j < 4; j++) {
            const __m128i bytes8 = j % 2 == 0 ? halves[j / 2] : _mm_srli_si128(halves[j / 2], 8);
            const __m256 values = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes8));
            _mm256_storeu_ps(key + i + 8 * j, _mm256_mul_ps(values, scale));
        }
    }
}

/* The weighted sum of n_words words of heads for one key. */
LANE vf
score_words(const struct cpu_index *work, const float *key, uint64_t stride, uint64_t first, const unsigned n_words)
{
    vf dots[4];
    vf score = vf_zero();
    UNROLL
    for (unsigned i = 0; i < n_words; i++) {
        dots[i] = vf_zero();
    }
    for (uint32_t d = 0; d < work->width; d++) {
        const vf element = vf_set1(key[d]);
        UNROLL
        for (unsigned i = 0; i < n_words; i++) {
            dots[i] = vf_fma(vf_load(work->q + d * stride + first + i * W), element, dots[i]);
        }
    }
    UNROLL
    for (unsigned i = 0; i < n_words; i++) {
        const vf dot = vf_round(dots[i], work->native);
        const vf part = vf_round(vf_mul(dot, vf_load(work->head_weights + first + i * W)), work->native);
        score = vf_add(score, vf_where_less(vf_zero(), dot, part));
    }
    return score;
}

void
TIERED(k_index)(const struct cpu_index *work, uint64_t begin, uint64_t end)
{
    const uint64_t stride = (work->n_heads + 15u) / 16u * 16u;
    for (uint64_t w = begin; w < end; w++) {
        vf score = vf_zero();
        if (work->format == HEARTH_KV_PACKED && work->width % HOST_INDEX_BLOCK == 0) {
            unpack_key_blocks(work, work->keys + w * work->row_bytes, work->key);
        } else {
            unpack_key(work, work->keys + w * work->row_bytes, work->key);
        }
        for (uint64_t first = 0; first < stride;) {
            if (stride - first >= 4 * W) {
                score = vf_add(score, score_words(work, work->key, stride, first, 4));
                first += 4 * W;
            } else {
                score = vf_add(score, score_words(work, work->key, stride, first, 1));
                first += W;
            }
        }
        const float sum = vf_sum(score);
        const float rounded = work->native ? hearth_round_bf16(sum) : sum;
        work->scores[w] = rounded == rounded ? rounded : -INFINITY; /* NaN is the worst */
    }
}

uint64_t
TIERED(k_next_above)(const float *scores, uint64_t begin, uint64_t end, float limit)
{
    const vf limits = vf_set1(limit);
    uint64_t i = begin;
    for (; i + W <= end; i += W) {
        const int above = vf_any_greater(vf_load(scores + i), limits);
        if (above != 0) {
            return i + (unsigned)__builtin_ctz((unsigned)above);
        }
    }
    for (; i < end && !(scores[i] > limit); i++) {
    }
    return i;
}
