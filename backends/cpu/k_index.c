/* k_index.c - the indexer's scores: lanes are heads, so that a key's element meets all queries at once.
 *
 *     score[w] = sum_h relu(q_h . key_w) * a_h
 *
 * Native: the dot products, the products with a_h and the score are each rounded to bf16.  A tile of keys serves all
 * the command's queries.  What is e2m1 on both sides is multiplied as bytes (k_index_bytes.c), all else in f32, here.
 */
#include "backends/cpu/index.h"

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
score_words(const struct cpu_index *work, const struct cpu_index_query *query, uint64_t first, const unsigned n_words)
{
    vf dots[4];
    vf score = vf_zero();
    UNROLL
    for (unsigned i = 0; i < n_words; i++) {
        dots[i] = vf_zero();
    }
    for (uint32_t d = 0; d < work->width; d++) {
        const vf element = vf_set1(work->key[d]);
        UNROLL
        for (unsigned i = 0; i < n_words; i++) {
            dots[i] = vf_fma(vf_load(query->turned + d * query->stride + first + i * W), element, dots[i]);
        }
    }
    UNROLL
    for (unsigned i = 0; i < n_words; i++) {
        const vf dot = vf_round(dots[i], work->native);
        const vf part = vf_round(vf_mul(dot, vf_load(query->factors + first + i * W)), work->native);
        score = vf_add(score, vf_where_less(vf_zero(), dot, part));
    }
    return score;
}

/* Scores of n entries from `first` on. */
static void
score_f32(const struct cpu_index *work, const struct cpu_index_query *query, uint64_t first, uint32_t n, float *scores)
{
    for (uint32_t k = 0; k < n; k++) {
        const unsigned char *bytes = work->keys + (first + k) * work->row_bytes;
        vf score = vf_zero();
        if (work->format == HEARTH_KV_PACKED && work->width % HOST_INDEX_BLOCK == 0) {
            unpack_key_blocks(work, bytes, work->key);
        } else {
            unpack_key(work, bytes, work->key);
        }
        for (uint64_t head = 0; head < query->stride;) {
            if (query->stride - head >= 4 * W) {
                score = vf_add(score, score_words(work, query, head, 4));
                head += 4 * W;
            } else {
                score = vf_add(score, score_words(work, query, head, 1));
                head += W;
            }
        }
        scores[k] = vf_sum(score);
    }
}

void
TIERED(k_index)(const struct cpu_index *work, uint64_t begin, uint64_t end)
{
    struct cpu_index_tile tile = {.n = 0};
    float sums[CPU_INDEX_TILE] = {0.0f};
    bool any_in_bytes = false;
    for (uint32_t t = 0; t < work->n_queries; t++) {
        any_in_bytes = any_in_bytes || work->queries[t].is_in_bytes;
    }
    for (uint64_t first = begin; first < end; first += CPU_INDEX_TILE) {
        const uint32_t n = end - first < CPU_INDEX_TILE ? (uint32_t)(end - first) : CPU_INDEX_TILE;
        if (any_in_bytes) {
            TIERED(k_index_tile)(work, first, n, &tile);
        }
        for (uint32_t t = 0; t < work->n_queries; t++) {
            const struct cpu_index_query *query = &work->queries[t];
            if (query->is_in_bytes) {
                TIERED(k_index_score)(work, query, &tile, sums);
            } else {
                score_f32(work, query, first, n, sums);
            }
            finish_scores(work->native, sums, n, query->scores + first);
        }
    }
}
