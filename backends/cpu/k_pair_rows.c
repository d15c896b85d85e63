/* k_pair_rows.c - e4m3 rows whose scales are near 1 (k_pairs.c), and bf16 rows, by the vectors' dot product of pairs.
 *
 * One output is one running word of 16 sums along k; then its lanes are added. */
#include "backends/cpu/pairs.h"

#if defined(__AVX512BF16__) && !defined(CPU_TILES)

#define ROWS 4u
#define TOKENS 6u
#define NEAR_BYTES 512u
#define LEAST_STRIDE 4096u

/* PAIRS_STEP elements from the k-th of a row. */
LANE void
load_step(const uint8_t *row, uint64_t k, const unsigned element_bytes, const struct tables *tables, vi words[2])
{
    if (element_bytes == 2) {
        words[0] = vi_load(row + 2 * k);
        words[1] = vi_load(row + 2 * k + 64);
    } else {
        decode(vi_load(row + k), tables, words);
    }
}

LANE unsigned
element_bytes_of(const struct host_matrix *weight)
{
    return weight->dtype == HEARTH_BF16 ? 2 : 1;
}

/* The tables of a row's block; bf16 elements need none. */
LANE struct tables
tables_at(const struct host_matrix *weight, uint64_t row, uint64_t k)
{
    return tables_of(weight->dtype == HEARTH_BF16 ? 1.0f : row_scales(weight, row)[k / HOST_ACT_BLOCK]);
}

/* Four rows, of one band of tiles, for one token; what is beyond n_rows repeats the last. */
LANE void
one_token(const struct cpu_product *product, uint64_t row, uint64_t n_rows, const unsigned element_bytes)
{
    const struct host_matrix *weight = product->weight;
    const uint64_t n = cpu_padded(weight->cols), row_bytes = n * element_bytes;
    const uint64_t token = cpu_token_of(product, 0);
    const uint64_t to_next = (row_bytes < LEAST_STRIDE ? LEAST_STRIDE / row_bytes : 1) * ROWS * row_bytes;
    const uint8_t *rows[ROWS];
    vf sums[ROWS];
    UNROLL
    for (unsigned r = 0; r < ROWS; r++) {
        rows[r] = weight->data + (row + (r < n_rows ? r : n_rows - 1)) * row_bytes;
        sums[r] = vf_zero();
    }
    for (uint64_t k = 0; k < n; k += HOST_ACT_BLOCK) {
        const struct tables tables = tables_at(weight, row, k);
        const uint16_t *x = token_pairs(product, token, k - k % PAIRS_BLOCK) + k % PAIRS_BLOCK;
        UNROLL
        for (unsigned r = 0; r < ROWS; r++) {
            for (uint64_t i = 0; i < HOST_ACT_BLOCK * element_bytes; i += 64) { /* as k_rows.c */
                const char *line = (const char *)rows[r] + k * element_bytes + i;
                _mm_prefetch(line + to_next, _MM_HINT_T1);
                _mm_prefetch(line + NEAR_BYTES, _MM_HINT_T0);
            }
        }
        UNROLL
        for (unsigned step = 0; step < HOST_ACT_BLOCK; step += PAIRS_STEP) {
            UNROLL
            for (unsigned r = 0; r < ROWS; r++) {
                vi words[2];
                load_step(rows[r], k + step, element_bytes, &tables, words);
                sums[r] = add_pairs(sums[r], words[0], vi_load(x + step));
                sums[r] = add_pairs(sums[r], words[1], vi_load(x + step + 32));
            }
        }
    }
    float *y = product->y + cpu_slot_of(product, 0) * product->y_stride + row;
    for (unsigned r = 0; r < n_rows; r++) {
        y[r] = product->round ? hearth_round_bf16(vf_sum(sums[r])) : vf_sum(sums[r]);
    }
}

static NOT_INLINED void
one_token_decoded(const struct cpu_product *product, uint64_t row, uint64_t n_rows)
{
    one_token(product, row, n_rows, 1);
}

static NOT_INLINED void
one_token_plain(const struct cpu_product *product, uint64_t row, uint64_t n_rows)
{
    one_token(product, row, n_rows, 2);
}

/* Several tokens: see k_rows.c. */
#define TILE_ROWS 16u
#define TILE_COLS PAIRS_COLS
#define BATCH PAIRS_BATCH

struct tile {
    _Alignas(64) uint16_t values[TILE_ROWS][TILE_COLS];
};

/* The rows are of one band; those beyond n_rows repeat the last. */
static void
decode_tile(const struct host_matrix *weight, uint64_t row, uint64_t n_rows, uint64_t begin, uint64_t n,
            struct tile *tile)
{
    const unsigned element_bytes = element_bytes_of(weight);
    const uint64_t row_bytes = cpu_padded(weight->cols) * element_bytes;
    const uint64_t n_decoded = (n_rows + ROWS - 1) / ROWS * ROWS;
    for (uint64_t k = 0; k < n; k += HOST_ACT_BLOCK) {
        const struct tables tables = tables_at(weight, row, begin + k);
        for (uint64_t r = 0; r < n_decoded; r++) {
            const uint8_t *from = weight->data + (row + (r < n_rows ? r : n_rows - 1)) * row_bytes;
            UNROLL
            for (unsigned step = 0; step < HOST_ACT_BLOCK; step += PAIRS_STEP) {
                vi words[2];
                load_step(from, begin + k + step, element_bytes, &tables, words);
                vi_store(tile->values[r] + k + step, words[0]);
                vi_store(tile->values[r] + k + step + 32, words[1]);
            }
        }
    }
}

/* w: four rows of a tile; totals: [n_tokens][TILE_ROWS] words from the first of them */
LANE void
meet(const uint16_t *w, const uint16_t *const *x, const unsigned n_tokens, uint64_t n, float *totals)
{
    vf sums[TOKENS][ROWS];
    UNROLL
    for (unsigned t = 0; t < n_tokens; t++) {
        UNROLL
        for (unsigned r = 0; r < ROWS; r++) {
            sums[t][r] = vf_load(totals + (t * TILE_ROWS + r) * W);
        }
    }
    ONE_BY_ONE
    for (uint64_t k = 0; k < n; k += 32) {
        vi words[ROWS];
        UNROLL
        for (unsigned r = 0; r < ROWS; r++) {
            words[r] = vi_load(w + r * TILE_COLS + k);
        }
        UNROLL
        for (unsigned t = 0; t < n_tokens; t++) {
            const vi part = vi_load(x[t] + k);
            UNROLL
            for (unsigned r = 0; r < ROWS; r++) {
                sums[t][r] = add_pairs(sums[t][r], words[r], part);
                KEEP(sums[t][r]);
            }
        }
    }
    UNROLL
    for (unsigned t = 0; t < n_tokens; t++) {
        UNROLL
        for (unsigned r = 0; r < ROWS; r++) {
            vf_store(totals + (t * TILE_ROWS + r) * W, sums[t][r]);
        }
    }
}

static NOT_INLINED void
meet_six(const uint16_t *w, const uint16_t *const *x, uint64_t n, float *totals)
{
    meet(w, x, TOKENS, n, totals);
}

static NOT_INLINED void
meet_two(const uint16_t *w, const uint16_t *const *x, uint64_t n, float *totals)
{
    meet(w, x, 2, n, totals);
}

/* next: rows of what is decoded next, stride bytes apart, asked for while the first tokens are met */
LANE void
meet_tile(const struct tile *tile, uint64_t n_rows, const uint16_t *const *x, uint64_t n_tokens, uint64_t n,
          const unsigned char *next, uint64_t stride, float *totals)
{
    uint64_t t = 0;
    while (t < n_tokens) {
        const bool is_full = t + TOKENS <= n_tokens;
        for (uint64_t r = 0; r < n_rows; r += ROWS) {
            for (uint64_t i = 0; i < ROWS * TILE_COLS && t == 0; i += 64) {
                _mm_prefetch((const char *)next + (r + i / TILE_COLS) * stride + i % TILE_COLS, _MM_HINT_T0);
            }
            (is_full ? meet_six : meet_two)(tile->values[r], x + t, n, totals + (t * TILE_ROWS + r) * W);
        }
        t += is_full ? TOKENS : 2;
    }
}

/* At most TILE_ROWS rows for at most BATCH tokens. */
static void
many_tokens(const struct cpu_product *product, uint64_t row, uint64_t n_rows)
{
    const uint64_t n = cpu_padded(product->weight->cols), n_tokens = product->n_tokens;
    const unsigned element_bytes = element_bytes_of(product->weight);
    _Alignas(64) float totals[(BATCH + 1) * TILE_ROWS * W];
    struct tile tile;
    memset(totals, 0, (size_t)(n_tokens + 1) * TILE_ROWS * W * sizeof *totals);
    for (uint64_t begin = 0; begin < n; begin += TILE_COLS) {
        const uint64_t length = n - begin < TILE_COLS ? n - begin : TILE_COLS;
        const uint16_t *x[BATCH + 1];
        for (uint64_t t = 0; t <= n_tokens; t++) { /* one more than there are: an odd one has a partner */
            x[t] = token_pairs(product, cpu_token_of(product, t < n_tokens ? t : n_tokens - 1), begin);
        }
        const uint64_t next = begin + length < n ? row * n + begin + length : (row + TILE_ROWS) * n;
        decode_tile(product->weight, row, n_rows, begin, length, &tile);
        meet_tile(&tile, n_rows, x, n_tokens, length, product->weight->data + next * element_bytes, n * element_bytes,
                  totals);
    }
    for (uint64_t t = 0; t < n_tokens; t++) {
        float *y = product->y + cpu_slot_of(product, t) * product->y_stride + row;
        vf_store_tail(y, vf_round(vf_sum_words(totals + t * TILE_ROWS * W), product->round), n_rows);
    }
}

/* Rows of one band. */
void
TIERED(k_near_rows)(const struct cpu_product *product, uint64_t row, uint64_t n_rows)
{
    const uint64_t most = product->n_tokens == 1 ? ROWS : TILE_ROWS;
    for (uint64_t done = 0; done < n_rows; done += most) {
        const uint64_t n = n_rows - done < most ? n_rows - done : most;
        if (product->n_tokens == 1) {
            (product->weight->dtype == HEARTH_BF16 ? one_token_plain : one_token_decoded)(product, row + done, n);
        } else {
            many_tokens(product, row + done, n);
        }
    }
}

#endif
