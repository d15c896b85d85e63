/* k_attend.c - attention of one token: all heads over all its keys (attention.c gathers them and cuts the work).
 *
 *     z_k = (q . kv_k) * head_dim^-1/2,   M = max_k z_k (without the sink),   P_k = exp(z_k - M)
 *     o   = sum_k bf16(P_k) kv_k / (sum_k P_k + exp(sink - M))
 *
 * Keys are values, and one row of them serves all heads, so both products are products of matrices: tiles of rows are
 * unpacked to f32 and meet blocks of ROWS by two words, whose sums stay in registers.  First all scores, lanes being
 * heads; then their weights; then the sums with values, a few columns at a time, lanes being columns.  Each step is cut
 * freely, by tiles of keys or by columns: no sum depends on the cut.  What is kept for a key is one number a head.  Two
 * passes instead of a running maximum: the weights round as the reference rounds them.
 *
 * With 64 heads of 512 a row takes 4096 multiply-adds of 16 lanes; unpacking it twice takes some 300 instructions. */
#include "backends/cpu/kernels_tiered.h"

#ifdef __AVX512F__
#define ROWS 8u /* with two words: 16 sums, 2 operands and what is broadcast */
#else
#define ROWS 4u
#endif
#define DEPTH 128u /* elements of a dot product taken at once, so that the queries' stay in the first cache */
#define PANEL CPU_ATTEND_PANEL /* heads side by side */
#define PANEL_WORDS (PANEL / W)

_Static_assert(CPU_KEY_TILE % ROWS == 0 && PANEL % ROWS == 0, "tiles are whole blocks of rows");

/* c[row][word] += sum_i a[row][i] * b[i][word], i ascending.  Strides are in floats. */
struct product {
    const float *a, *b;
    uint64_t a_row, a_step, b_word, b_step, n;
    float *c;
    uint64_t c_row, c_word;
};

LANE void
multiply(const struct product *product, const unsigned n_words)
{
    const float *a = product->a, *b = product->b;
    const uint64_t a_row = product->a_row, a_step = product->a_step, b_word = product->b_word;
    vf sums[ROWS][2];
    UNROLL
    for (unsigned i = 0; i < ROWS * n_words; i++) {
        sums[i / n_words][i % n_words] =
            vf_load(product->c + i / n_words * product->c_row + i % n_words * product->c_word);
    }
    ONE_BY_ONE
    for (uint64_t step = 0; step < product->n; step++, a += a_step, b += product->b_step) {
        vf words[2];
        UNROLL
        for (unsigned i = 0; i < n_words; i++) {
            words[i] = vf_load(b + i * b_word);
        }
        UNROLL
        for (unsigned row = 0; row < ROWS; row++) {
            const vf element = vf_set1(a[row * a_row]);
            UNROLL
            for (unsigned i = 0; i < n_words; i++) {
                sums[row][i] = vf_fma(element, words[i], sums[row][i]);
                KEEP(sums[row][i]);
            }
        }
    }
    UNROLL
    for (unsigned i = 0; i < ROWS * n_words; i++) {
        vf_store(product->c + i / n_words * product->c_row + i % n_words * product->c_word,
                 sums[i / n_words][i % n_words]);
    }
}

/* Words first .. n_words-1 of ROWS rows, two at a time. */
LANE void
multiply_words(struct product product, uint64_t n_words)
{
    uint64_t word = 0;
    for (; word + 2 <= n_words; word += 2) {
        multiply(&product, 2);
        product.b += 2 * product.b_word;
        product.c += 2 * product.c_word;
    }
    if (word < n_words) {
        multiply(&product, 1);
    }
}

/* 16 codes of e4m3, times a scale.  As the bits of an f16 they are times 2^-8. */
LANE void
unpack_codes(const unsigned char *codes, float scale, float *out)
{
    const vf factor = vf_set1(scale * 256.0f);
    const __m256i words = _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)codes));
    const __m256i halves =
        _mm256_and_si256(_mm256_srai_epi16(_mm256_slli_epi16(words, 8), 1), _mm256_set1_epi16((short)0xBF80));
#ifdef __AVX512F__
    vf_store(out, vf_mul(_mm512_cvtph_ps(halves), factor));
#else
    vf_store(out, vf_mul(_mm256_cvtph_ps(_mm256_castsi256_si128(halves)), factor));
    vf_store(out + W, vf_mul(_mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1)), factor));
#endif
}

void
TIERED(k_attend_row)(const struct cpu_attend *work, const unsigned char *bytes, uint64_t begin, uint64_t end,
                     float *out)
{
    const uint64_t head_dim = work->head_dim, nope = head_dim - work->rope_dim;
    const unsigned char *rope = bytes + nope, *scales = rope + 2 * (uint64_t)work->rope_dim;
    const uint64_t last = end < head_dim ? end : head_dim;
    uint64_t i = begin;
    if (work->format == HEARTH_KV_F32) {
        memcpy(out, bytes + begin * sizeof *out, (size_t)(last - begin) * sizeof *out);
        i = last;
    }
    for (; i + 16 <= end && i + 16 <= nope; i += 16) {
        unpack_codes(bytes + i, hearth_e8m0_to_f32(scales[i / HOST_KV_BLOCK]), out + (i - begin));
    }
    for (; i < last && i < nope; i++) {
        out[i - begin] = hearth_e4m3_to_f32(bytes[i]) * hearth_e8m0_to_f32(scales[i / HOST_KV_BLOCK]);
    }
    for (; i + W <= last; i += W) {
        vf_store(out + (i - begin), vf_from_bits(vi_sll(vi_load_u16(rope + 2 * (i - nope)), 16)));
    }
    for (; i < last; i++) {
        uint16_t bits;
        memcpy(&bits, rope + 2 * (i - nope), sizeof bits);
        out[i - begin] = hearth_bf16_to_f32(bits);
    }
    memset(out + (last - begin), 0, (size_t)(end - last) * sizeof *out);
}

/* A tile of rows, columns begin .. end-1; rows that are not there are zero. */
static void
unpack_tile(const struct cpu_attend *work, uint64_t tile, uint64_t begin, uint64_t end, uint64_t row_floats)
{
    const uint64_t first = tile * CPU_KEY_TILE;
    for (uint64_t k = 0; k < CPU_KEY_TILE; k++) {
        float *out = work->keys + k * row_floats;
        if (first + k < work->n_keys) {
            TIERED(k_attend_row)(work, work->rows[first + k], begin, end, out);
        } else {
            memset(out, 0, (size_t)(end - begin) * sizeof *out);
        }
    }
}

void
TIERED(k_attend_turn)(const struct cpu_attend *work, const float *q, float *turned)
{
    const uint64_t n_panels = work->stride / PANEL, width = work->width, head_dim = work->head_dim;
    for (uint64_t panel = 0; panel < n_panels; panel++, turned += width * PANEL) {
        for (uint64_t d = 0; d < width; d++) {
            for (uint64_t h = 0; h < PANEL; h++) {
                const uint64_t head = panel * PANEL + h;
                turned[d * PANEL + h] = head < work->n_heads && d < head_dim ? q[head * head_dim + d] : 0.0f;
            }
        }
    }
}

/* Scores of a tile's keys: sums times the scale, and the greatest for each head. */
static void
finish_scores(const struct cpu_attend *work, uint64_t tile)
{
    const vf scale = vf_set1((float)(1.0 / sqrt((double)work->head_dim)));
    const uint64_t first = tile * CPU_KEY_TILE, left = work->n_keys - first;
    const uint64_t n = left < CPU_KEY_TILE ? left : CPU_KEY_TILE;
    for (uint64_t head = 0; head < work->stride; head += W) {
        float *scores = work->scores + first * work->stride + head;
        vf most = vf_set1(-INFINITY);
        for (uint64_t k = 0; k < n; k++) {
            const vf score = vf_mul(vf_load(scores + k * work->stride), scale);
            vf_store(scores + k * work->stride, score);
            most = vf_max(score, most);
        }
        vf_store(work->greatest + tile * work->stride + head, most);
    }
}

void
TIERED(k_attend_scores)(const struct cpu_attend *work, uint64_t begin, uint64_t end)
{
    const uint64_t width = work->width, stride = work->stride, row = width + CPU_ATTEND_SKEW;
    for (uint64_t tile = begin; tile < end; tile++) {
        float *scores = work->scores + tile * CPU_KEY_TILE * stride;
        unpack_tile(work, tile, 0, width, row);
        memset(scores, 0, (size_t)(CPU_KEY_TILE * stride) * sizeof *scores);
        for (uint64_t d = 0; d < width; d += DEPTH) {
            for (uint64_t panel = 0; panel * PANEL < stride; panel += 2 / PANEL_WORDS) {
                const uint64_t words = (stride - panel * PANEL) / W;
                for (uint64_t k = 0; k < CPU_KEY_TILE; k += ROWS) {
                    multiply_words((struct product){.a = work->keys + k * row + d,
                                                    .a_row = row,
                                                    .a_step = 1,
                                                    .b = work->q + (panel * width + d) * PANEL,
                                                    .b_word = PANEL_WORDS == 1 ? width * PANEL : W,
                                                    .b_step = PANEL,
                                                    .n = width - d < DEPTH ? width - d : DEPTH,
                                                    .c = scores + k * stride + panel * PANEL,
                                                    .c_row = stride,
                                                    .c_word = W},
                                   words < 2 ? words : 2);
                }
            }
        }
        finish_scores(work, tile);
    }
}

void
TIERED(k_attend_weigh)(const struct cpu_attend *work, uint64_t begin, uint64_t end)
{
    for (uint64_t tile = begin; tile < end; tile++) {
        const uint64_t first = tile * CPU_KEY_TILE, left = work->n_keys - first;
        const uint64_t n = left < CPU_KEY_TILE ? left : CPU_KEY_TILE;
        for (uint64_t head = 0; head < work->stride; head += W) {
            float *scores = work->scores + first * work->stride + head;
            const vf most = vf_load(work->most + head);
            vf sum = vf_zero();
            for (uint64_t k = 0; k < n; k++) {
                const vf weight = vf_exp(vf_sub(vf_load(scores + k * work->stride), most));
                sum = vf_add(sum, weight);
                vf_store(scores + k * work->stride, vf_round(weight, work->native));
            }
            for (uint64_t k = n; k < CPU_KEY_TILE; k++) {
                vf_store(scores + k * work->stride, vf_zero());
            }
            vf_store(work->totals + tile * work->stride + head, sum);
        }
    }
}

/* Columns begin .. end-1 of a head. */
static void
put_head(const struct cpu_attend *work, const float *sums, double denominator, uint64_t begin, uint64_t end, float *o)
{
    const vf divisor = vf_set1((float)denominator);
    const uint64_t n = (end < work->head_dim ? end : work->head_dim) - begin;
    for (uint64_t d = 0; denominator < 0x1p100 && d < n; d += W) {
        vf_store_tail(o + begin + d, vf_round(vf_div(vf_load(sums + d), divisor), work->native), n - d);
    }
    for (uint64_t d = 0; !(denominator < 0x1p100) && d < n; d++) {
        const float value = (float)((double)sums[d] / denominator);
        o[begin + d] = work->native ? hearth_round_bf16(value) : value;
    }
}

void
TIERED(k_attend_put)(const struct cpu_attend *work, const float *sums, uint64_t begin, uint64_t end)
{
    for (uint64_t head = work->first_head; head < work->n_heads && head < work->end_head; head++) {
        put_head(work, sums + head * (end - begin), work->denominators[head], begin, end,
                 work->o + head * work->head_dim);
    }
}

_Static_assert(CPU_HEADS_AT_ONCE % ROWS == 0, "attend_sum begins where a product does");

void
TIERED(k_attend_sum)(const struct cpu_attend *work, uint64_t begin, uint64_t end)
{
    const uint64_t n_tiles = (work->n_keys + CPU_KEY_TILE - 1) / CPU_KEY_TILE, columns = end - begin;
    float *sums = work->keys + CPU_KEY_TILE * columns;
    memset(sums, 0, (size_t)(work->stride * columns) * sizeof *sums);
    for (uint64_t tile = 0; tile < n_tiles; tile++) {
        unpack_tile(work, tile, begin, end, columns);
        for (uint64_t d = 0; d < columns; d += 2 * W) {
            const uint64_t words = (columns - d) / W;
            for (uint64_t head = work->first_head; head < work->n_heads && head < work->end_head; head += ROWS) {
                multiply_words((struct product){.a = work->scores + tile * CPU_KEY_TILE * work->stride + head,
                                                .a_row = 1,
                                                .a_step = work->stride,
                                                .b = work->keys + d,
                                                .b_word = W,
                                                .b_step = columns,
                                                .n = CPU_KEY_TILE,
                                                .c = sums + head * columns + d,
                                                .c_row = columns,
                                                .c_word = W},
                               words < 2 ? words : 2);
            }
        }
    }
    TIERED(k_attend_put)(work, sums, begin, end);
}
