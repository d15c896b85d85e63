/* k_rows.c - products with weights kept as rows (f32, bf16, e4m3): lanes run along k.
 *
 * One output is one running word of W sums; with an e4m3 weight a word for each 128 columns, times the tile's scale,
 * added to the running one.  Then its lanes are added.  How many rows and tokens go through the loop together changes
 * nothing of that.
 *
 * One token: four rows at once, so that four streams come from memory and four chains of sums hide the latency of an
 * addition.  More tokens: rows are decoded to f32 a tile at a time, and four of them meet six tokens at once (three
 * with half as many registers): 24 sums in registers for ten loads.
 */
#include "backends/cpu/kernels_tiered.h"

#define ROWS 4u
#define TOKENS (W == 16 ? 6u : 3u)

/* 4 W elements of a row, as f32, in the order of the weight's input form */
LANE void
load_step(uint32_t dtype, const unsigned char *row, uint64_t k, vf out[4])
{
    if (dtype == HEARTH_E4M3) {
        vf_load_e4m3(row + k, out);
        return;
    }
    UNROLL
    for (unsigned i = 0; i < 4; i++) {
        out[i] = dtype == HEARTH_F32 ? vf_load((const float *)(const void *)row + k + i * W)
                                     : vf_from_bits(vi_sll(vi_load_u16(row + 2 * (k + i * W)), 16));
    }
}

LANE uint64_t
row_bytes(uint32_t dtype, uint64_t n_padded)
{
    return dtype == HEARTH_E4M3 ? n_padded : (dtype == HEARTH_BF16 ? 2 * n_padded : 4 * n_padded);
}

/* The scales of a row's tiles; e4m3 values are loaded as vf_load_e4m3 says, which E4M3_BACK puts right
 * at the end of a sum. */
LANE const float *
row_scales(const struct host_matrix *weight, uint64_t row)
{
    const uint64_t n_blocks = cpu_padded(weight->cols) / HOST_ACT_BLOCK;
    return (const float *)(const void *)weight->scales + row / HOST_ACT_BLOCK * n_blocks;
}

LANE void
put(const struct cpu_product *product, uint64_t i, uint64_t row, float value)
{
    product->y[cpu_slot_of(product, i) * product->y_stride + row] = product->round ? hearth_round_bf16(value) : value;
}

#define NEAR_BYTES 512u
#define LEAST_STRIDE 4096u /* shorter rows: more than the next ROWS are on their way */

/* Asks for n bytes of a row: of the rows that come next into the second cache, for a row is about a page, and a
 * processor's own prefetch begins anew at each; of this one into the first.  Beyond the weight's end it asks for
 * nothing that matters. */
LANE void
fetch_ahead(const unsigned char *at, uint64_t to_next, unsigned n)
{
    UNROLL
    for (unsigned i = 0; i < n; i += 64) {
        _mm_prefetch((const char *)at + to_next + i, _MM_HINT_T1);
        _mm_prefetch((const char *)at + NEAR_BYTES + i, _MM_HINT_T0);
    }
}

/* Rows row .. row + n_rows - 1 (n_rows <= ROWS; what is beyond repeats the last) for one token. */
LANE void
one_token(const struct cpu_product *product, const uint32_t dtype, uint64_t row, uint64_t n_rows)
{
    const struct host_matrix *weight = product->weight;
    const uint64_t n = cpu_padded(weight->cols);
    const uint64_t stride = row_bytes(dtype, n);
    const uint64_t to_next = (stride < LEAST_STRIDE ? LEAST_STRIDE / stride : 1) * ROWS * stride;
    const float *x =
        (dtype == HEARTH_E4M3 ? product->input->split : product->input->plain) + cpu_token_of(product, 0) * n;
    const unsigned char *rows[ROWS];
    const float *scales[ROWS] = {NULL};
    vf totals[ROWS];
    UNROLL
    for (unsigned r = 0; r < ROWS; r++) {
        const uint64_t at = row + (r < n_rows ? r : n_rows - 1);
        rows[r] = weight->data + at * stride;
        scales[r] = dtype == HEARTH_E4M3 ? row_scales(weight, at) : NULL;
        totals[r] = vf_zero();
    }
    for (uint64_t k = 0; k < n; k += HOST_ACT_BLOCK) {
        vf sums[ROWS];
        UNROLL
        for (unsigned r = 0; r < ROWS; r++) {
            fetch_ahead(rows[r] + row_bytes(dtype, k), to_next, (unsigned)row_bytes(dtype, HOST_ACT_BLOCK));
            sums[r] = dtype == HEARTH_E4M3 ? vf_zero() : totals[r];
        }
        for (unsigned step = 0; step < HOST_ACT_BLOCK; step += 4 * W) {
            UNROLL
            for (unsigned r = 0; r < ROWS; r++) {
                vf values[4];
                load_step(dtype, rows[r], k + step, values);
                UNROLL
                for (unsigned i = 0; i < 4; i++) {
                    sums[r] = vf_fma(values[i], vf_load(x + k + step + i * W), sums[r]);
                }
            }
        }
        UNROLL
        for (unsigned r = 0; r < ROWS; r++) {
            totals[r] =
                dtype == HEARTH_E4M3 ? vf_fma(sums[r], vf_set1(scales[r][k / HOST_ACT_BLOCK]), totals[r]) : sums[r];
        }
    }
    for (unsigned r = 0; r < n_rows; r++) {
        put(product, 0, row + r, dtype == HEARTH_E4M3 ? vf_sum(totals[r]) * E4M3_BACK : vf_sum(totals[r]));
    }
}

/* More tokens.  A tile of rows is decoded for a batch of tokens, and stays in the first cache while they pass: four
 * rows of it meet several tokens at a time.  A batch's x stays in the second cache while all rows pass. */
#define TILE_ROWS 16u
#define TILE_COLS 256u
#define BATCH 48u

struct tile {
    _Alignas(64) float values[TILE_ROWS][TILE_COLS];
    float scales[TILE_COLS / HOST_ACT_BLOCK][TILE_ROWS];
};

LANE void
decode_tile(const struct host_matrix *weight, const uint32_t dtype, uint64_t row, uint64_t n_rows, uint64_t begin,
            uint64_t n, struct tile *tile)
{
    const uint64_t n_padded = cpu_padded(weight->cols);
    for (uint64_t r = 0; r < TILE_ROWS; r++) {
        const uint64_t at = row + (r < n_rows ? r : n_rows - 1);
        const unsigned char *data = weight->data + at * row_bytes(dtype, n_padded);
        for (uint64_t k = 0; k < n; k += 4 * W) {
            vf values[4];
            load_step(dtype, data, begin + k, values);
            UNROLL
            for (unsigned i = 0; i < 4; i++) {
                vf_store(tile->values[r] + k + i * W, values[i]);
            }
        }
        for (uint64_t b = 0; b < n / HOST_ACT_BLOCK; b++) {
            tile->scales[b][r] = dtype == HEARTH_E4M3 ? row_scales(weight, at)[begin / HOST_ACT_BLOCK + b] : 1.0f;
        }
    }
}

/* Four rows of a tile and several tokens of x.  The pointers are those of the first row. */
struct meeting {
    const float *w;      /* [ROWS][TILE_COLS] */
    const float *scales; /* [blocks][TILE_ROWS] */
    const float *const *x;
    float *totals; /* [tokens][TILE_ROWS] words */
    uint64_t n;
};

LANE void
meet(const struct meeting *m, const bool scaled, const unsigned n_tokens)
{
    vf sums[TOKENS][ROWS];
    for (uint64_t k = 0; k < m->n; k += HOST_ACT_BLOCK) {
        UNROLL
        for (unsigned t = 0; t < n_tokens; t++) {
            UNROLL
            for (unsigned r = 0; r < ROWS; r++) {
                sums[t][r] = scaled ? vf_zero() : vf_load(m->totals + (t * TILE_ROWS + r) * W);
            }
        }
        ONE_BY_ONE
        for (unsigned i = 0; i < HOST_ACT_BLOCK; i += W) {
            vf w[ROWS];
            UNROLL
            for (unsigned r = 0; r < ROWS; r++) {
                w[r] = vf_load(m->w + r * TILE_COLS + k + i);
            }
            UNROLL
            for (unsigned t = 0; t < n_tokens; t++) {
                const vf part = vf_load(m->x[t] + k + i);
                UNROLL
                for (unsigned r = 0; r < ROWS; r++) {
                    sums[t][r] = vf_fma(w[r], part, sums[t][r]);
                    KEEP(sums[t][r]);
                }
            }
        }
        UNROLL
        for (unsigned r = 0; r < ROWS; r++) {
            const vf scale = vf_set1(m->scales[k / HOST_ACT_BLOCK * TILE_ROWS + r]);
            UNROLL
            for (unsigned t = 0; t < n_tokens; t++) {
                float *total = m->totals + (t * TILE_ROWS + r) * W;
                vf_store(total, scaled ? vf_fma(sums[t][r], scale, vf_load(total)) : sums[t][r]);
            }
        }
    }
}

/* Functions of their own: what is inlined thrice has no registers left. */
static NOT_INLINED void
meet_scaled(const struct meeting *m)
{
    meet(m, true, TOKENS);
}

static NOT_INLINED void
meet_plain(const struct meeting *m)
{
    meet(m, false, TOKENS);
}

static NOT_INLINED void
meet_two(const struct meeting *m, bool scaled)
{
    if (scaled) {
        meet(m, true, 2);
    } else {
        meet(m, false, 2);
    }
}

/* What a tile is decoded from: `bytes` of each row, asked for while the tile before meets its first tokens. */
struct source {
    const unsigned char *data;
    uint64_t stride, bytes;
};

/* All rows of a tile with n_tokens tokens of x: TOKENS at a time, what is left by twos. */
LANE void
meet_tile(const struct tile *tile, uint64_t n_rows, const bool scaled, const float *const *x, uint64_t n_tokens,
          uint64_t n, const struct source *next, float *totals)
{
    uint64_t t = 0;
    while (t < n_tokens) {
        const bool is_full = t + TOKENS <= n_tokens;
        for (uint64_t r = 0; r < n_rows; r += ROWS) {
            const struct meeting m = {tile->values[r], &tile->scales[0][r], x + t, totals + (t * TILE_ROWS + r) * W, n};
            for (uint64_t i = 0; i < ROWS * next->bytes && t == 0; i += 64) {
                _mm_prefetch((const char *)next->data + (r + i / next->bytes) * next->stride + i % next->bytes,
                             _MM_HINT_T0);
            }
            if (!is_full) {
                meet_two(&m, scaled);
            } else if (scaled) {
                meet_scaled(&m);
            } else {
                meet_plain(&m);
            }
        }
        t += is_full ? TOKENS : 2;
    }
}

/* totals: [BATCH][TILE_ROWS] words */
LANE void
tile_tokens(const struct cpu_product *product, const uint32_t dtype, uint64_t row, uint64_t n_rows, uint64_t first,
            uint64_t n_tokens, float *totals)
{
    const uint64_t n = cpu_padded(product->weight->cols);
    const float *input = dtype == HEARTH_E4M3 ? product->input->split : product->input->plain;
    struct tile tile;
    for (uint64_t begin = 0; begin < n; begin += TILE_COLS) {
        const uint64_t length = n - begin < TILE_COLS ? n - begin : TILE_COLS;
        const float *x[BATCH + 1];
        for (uint64_t t = 0; t <= n_tokens; t++) { /* one more than there are: an odd one has a partner */
            const uint64_t token = first + (t < n_tokens ? t : n_tokens - 1);
            x[t] = input + cpu_token_of(product, token) * n + begin;
        }
        const bool is_last = begin + length == n;
        const uint64_t stride = row_bytes(dtype, n);
        const struct source next = {product->weight->data + (is_last ? row + TILE_ROWS : row) * stride +
                                        (is_last ? 0 : row_bytes(dtype, begin + length)),
                                    stride, row_bytes(dtype, TILE_COLS)};
        decode_tile(product->weight, dtype, row, n_rows, begin, length, &tile);
        meet_tile(&tile, n_rows, dtype == HEARTH_E4M3, x, n_tokens, length, &next, totals);
    }
}

LANE void
many_tokens(const struct cpu_product *product, const uint32_t dtype, uint64_t row, uint64_t n_rows, uint64_t first,
            uint64_t n_tokens)
{
    _Alignas(64) float totals[(BATCH + 1) * TILE_ROWS * W];
    memset(totals, 0, (size_t)(n_tokens + 1) * TILE_ROWS * W * sizeof *totals);
    tile_tokens(product, dtype, row, n_rows, first, n_tokens, totals);
    for (uint64_t t = 0; t < n_tokens; t++) {
        float *y = product->y + cpu_slot_of(product, first + t) * product->y_stride + row;
        for (uint64_t r = 0; r < n_rows; r += W) {
            const vf sums = vf_sum_words(totals + (t * TILE_ROWS + r) * W);
            const vf values = dtype == HEARTH_E4M3 ? vf_mul(sums, vf_set1(E4M3_BACK)) : sums;
            vf_store_tail(y + r, vf_round(values, product->round), n_rows - r);
        }
    }
}

LANE void
rows_of(const struct cpu_product *product, const uint32_t dtype, uint64_t begin, uint64_t end)
{
    if (product->n_tokens == 1) {
        for (uint64_t row = begin; row < end; row += ROWS) {
            one_token(product, dtype, row, end - row < ROWS ? end - row : ROWS);
        }
        return;
    }
    for (uint64_t first = 0; first < product->n_tokens; first += BATCH) {
        const uint64_t left = product->n_tokens - first;
        for (uint64_t row = begin; row < end; row += TILE_ROWS) {
            many_tokens(product, dtype, row, end - row < TILE_ROWS ? end - row : TILE_ROWS, first,
                        left < BATCH ? left : BATCH);
        }
    }
}

void
TIERED(k_rows)(const struct cpu_product *product, uint64_t begin, uint64_t end)
{
    if (product->weight->dtype == HEARTH_E4M3) {
        rows_of(product, HEARTH_E4M3, begin, end);
    } else if (product->weight->dtype == HEARTH_BF16) {
        rows_of(product, HEARTH_BF16, begin, end);
    } else {
        rows_of(product, HEARTH_F32, begin, end);
    }
}

/* The contract's sum for an e4m3 weight: a block's sum is exact (43 bits, in double), rounded once to f32, times its
 * scale; blocks ascending within a chunk, chunks ascending. */
static float
exact_row(const struct host_matrix *weight, uint64_t row, const float *x, const uint8_t *x_scales)
{
    const uint64_t n = cpu_padded(weight->cols);
    const unsigned char *data = weight->data + row * n;
    const float *scales = row_scales(weight, row);
    float total = 0.0f;
    float sum = 0.0f;
    for (uint64_t k = 0; k < n; k += HOST_ACT_BLOCK) {
        const uint64_t block = k / HOST_ACT_BLOCK;
        const uint32_t code = hearth_f32_bits(scales[block]) >> 23;
        double exact = 0.0;
        for (unsigned step = 0; step < HOST_ACT_BLOCK; step += 4 * W) {
            vf values[4];
            vf_load_e4m3(data + k + step, values);
            for (unsigned i = 0; i < 4; i++) {
                exact += vf_dot_double(values[i], vf_load(x + k + step + i * W));
            }
        }
        sum += (float)(exact * (double)E4M3_BACK) * hearth_scale_product(x_scales[block], (uint8_t)code, 0);
        if ((k + HOST_ACT_BLOCK) % HEARTH_EXPERT_CHUNK == 0 || k + HOST_ACT_BLOCK >= n) {
            total += sum;
            sum = 0.0f;
        }
    }
    return total;
}

void
TIERED(k_rows_exact)(const struct cpu_product *product, uint64_t begin, uint64_t end)
{
    const struct cpu_input *input = product->input;
    for (uint64_t row = begin; row < end; row++) {
        for (uint64_t i = 0; i < product->n_tokens; i++) {
            const uint64_t token = cpu_token_of(product, i);
            put(product, i, row,
                exact_row(product->weight, row, input->codes + token * input->n_padded,
                          input->scales + token * (input->n_padded / HOST_ACT_BLOCK)));
        }
    }
}
