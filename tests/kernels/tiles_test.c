/* tiles_test.c - the kernels for AMX, run with the tile instructions in C (soft_tiles.h): rows of many tokens have the
 * bits of each token alone, near the sums in double; the indexer's scores have those of its vectors; attention has the
 * same bits however it is cut, near what double gives. */
#include <config.h>

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <hearth/dtype.h>

#include "backends/cpu/kernels.h"
#include "tests/kernels/tile_rig.h"

enum { MAX_TOKENS = 70, GUARD = 5 };

static struct host_matrix weight;
static struct cpu_input input;
static uint32_t tokens[MAX_TOKENS], slots[MAX_TOKENS];

void k_near_rows_soft(const struct cpu_product *product, uint64_t row, uint64_t n_rows);

struct rows_trial {
    uint64_t rows, cols, first_row, n_rows, n_tokens;
    uint32_t stride; /* token i of the product is (i * stride + 3) mod MAX_TOKENS of the input */
};

/* x: [MAX_TOKENS][cols padded], what the pairs hold in the order of k_tile_rows.c */
static uint16_t *
fill_pairs(uint64_t cols, float *x)
{
    const uint64_t n = cpu_padded(cols);
    const uint64_t n_pairs = cpu_pairs_tokens(MAX_TOKENS) * cpu_pairs_padded(n);
    uint16_t *pairs = take(n_pairs * sizeof *pairs);
    memset(pairs, 0, n_pairs * sizeof *pairs);
    for (uint64_t i = 0; i < MAX_TOKENS * n; i++) {
        const uint64_t token = i / n, k = i % n, at = k % CPU_PAIRS_BLOCK;
        x[i] =
            k < cols ? hearth_e4m3_to_f32((uint8_t)(next_random() % 0x7F)) * (token % 2 == 0 ? 1.0f : -0.125f) : 0.0f;
        const uint64_t in_tile = at / 64 * 8 + at % 2 * 4 + at / 32 % 2 * 2 + at % 4 / 2;
        pairs[cpu_tiled_at(n, MAX_TOKENS, token, k - at + at % 32 / 4 * 32) + in_tile] =
            (uint16_t)(hearth_f32_bits(x[i]) >> 16);
    }
    input = (struct cpu_input){.n = MAX_TOKENS, .n_in = cols, .n_padded = n, .pairs = pairs};
    return pairs;
}

/* Rows of random codes, and a scale for each tile. */
static unsigned char *
fill_rows(uint64_t rows, uint64_t cols, float **ret_scales)
{
    const uint64_t n = cpu_padded(cols), n_scales = (rows + 127) / 128 * (n / 128);
    unsigned char *data = take(rows * n);
    float *scales = take(n_scales * sizeof *scales);
    for (uint64_t i = 0; i < rows * n; i++) {
        const uint8_t code = (uint8_t)next_random();
        data[i] = i % n < cols && (code & 0x7F) != 0x7F ? code : 0;
    }
    for (uint64_t i = 0; i < n_scales; i++) {
        scales[i] = ldexpf(1.0f, (int)(next_random() % 9) - 8);
    }
    weight = (struct host_matrix){HEARTH_E4M3, CPU_ROWS, rows, cols, data, (const unsigned char *)scales};
    *ret_scales = scales;
    return data;
}

static void
run_rows(const struct rows_trial *trial, uint64_t first_token, uint64_t n_tokens, float *y)
{
    const struct cpu_product product = {.weight = &weight,
                                        .input = &input,
                                        .tokens = tokens + first_token,
                                        .slots = slots + first_token,
                                        .n_tokens = n_tokens,
                                        .y = y,
                                        .y_stride = trial->rows + GUARD,
                                        .form = CPU_FORM_SPLIT};
    k_near_rows_soft(&product, trial->first_row, trial->n_rows);
}

/* Whether y holds sum, of terms whose magnitudes add up to `size`, as docs/numerics.md allows. */
static void
near_in_double(const struct rows_trial *trial, const float *x, uint64_t token, uint64_t row, float y)
{
    const uint64_t n = cpu_padded(trial->cols);
    double sum = 0.0, size = 0.0;
    for (uint64_t k = 0; k < n; k++) {
        const float scale = ((const float *)(const void *)weight.scales)[row / 128 * (n / 128) + k / 128];
        const double term =
            (double)hearth_e4m3_to_f32(weight.data[row * n + k]) * (double)scale * (double)x[token * n + k];
        sum += term;
        size += fabs(term);
    }
    ck_assert_msg(fabs((double)y - sum) <= (8.0 + sqrt((double)n)) * 0x1p-24 * size, "row %llu, token %llu: %a, not %a",
                  (unsigned long long)row, (unsigned long long)token, (double)y, sum);
}

static void
compare_rows(const struct rows_trial *trial)
{
    const uint64_t n_y = MAX_TOKENS * (trial->rows + GUARD);
    float *scales, *x = take(MAX_TOKENS * cpu_padded(trial->cols) * sizeof *x);
    float *together = take(n_y * sizeof *together), *alone = take(n_y * sizeof *alone);
    uint16_t *pairs = fill_pairs(trial->cols, x);
    unsigned char *data = fill_rows(trial->rows, trial->cols, &scales);
    for (uint64_t i = 0; i < n_y; i++) {
        together[i] = alone[i] = -1.0f;
    }
    for (uint32_t i = 0; i < MAX_TOKENS; i++) {
        tokens[i] = (i * trial->stride + 3) % MAX_TOKENS;
        slots[i] = (i * 11 + 1) % MAX_TOKENS;
    }
    run_rows(trial, 0, trial->n_tokens, together);
    for (uint64_t i = 0; i < trial->n_tokens; i++) {
        run_rows(trial, i, 1, alone);
        for (uint64_t r = 0; r < trial->n_rows; r++) {
            const uint64_t row = trial->first_row + r;
            near_in_double(trial, x, tokens[i], row, together[slots[i] * (trial->rows + GUARD) + row]);
        }
    }
    ck_assert_mem_eq(together, alone, n_y * sizeof *together);
    free(data);
    free(scales);
    free(pairs);
    free(alone);
    free(together);
    free(x);
}

START_TEST(rows_are_those_of_each_token)
{
    static const struct rows_trial trials[] = {
        {128, 128, 0, 128, 1, 1},  {140, 600, 128, 12, 2, 1}, {48, 1280, 16, 17, 15, 27}, {40, 512, 8, 32, 16, 1},
        {128, 640, 64, 48, 17, 1}, {21, 1024, 0, 21, 33, 27}, {64, 300, 0, 64, 70, 1},    {33, 130, 1, 31, 48, 2},
    };
    state = 7;
    for (size_t i = 0; i < sizeof trials / sizeof trials[0]; i++) {
        compare_rows(&trials[i]);
    }
}
END_TEST

bool k_tile_index_query_soft(const float *q, uint32_t n_heads, uint32_t width, struct cpu_index_query *query);
void k_tile_index_soft(const struct cpu_index *index, uint64_t begin, uint64_t end);

enum { INDEX_WIDTH = 128, N_KEYS = 150, ROW_BYTES = INDEX_WIDTH / 2 + 4 };

/* Scales of blocks are within these doublings of each other; of keys, only of those from far_from on and before far_to.
 */
struct index_trial {
    uint32_t n_heads, n_queries;
    unsigned query_spread, far_from, far_to;
    bool is_tiled;
};

static struct cpu_index_query
make_query(const struct index_trial *trial)
{
    struct cpu_index_query query = {.stride = (trial->n_heads + 15) / 16 * 16};
    const uint64_t n = query.stride, n_blocks = 4 * n;
    query.turned = take(INDEX_WIDTH * n * sizeof *query.turned);
    query.codes = (int8_t *)query.turned;
    query.tiles = take(INDEX_WIDTH * n);
    query.corrections = take(n_blocks * sizeof *query.corrections);
    query.multipliers = take(n_blocks * sizeof *query.multipliers);
    query.units = take(n_blocks * sizeof *query.units);
    query.totals = take(n * sizeof *query.totals);
    query.factors = take(n * sizeof *query.factors);
    query.joint_factors = take(n * sizeof *query.joint_factors);
    query.scores = take(N_KEYS * sizeof *query.scores);
    for (uint32_t head = 0; head < n; head++) {
        query.factors[head] =
            head < trial->n_heads ? hearth_round_bf16((float)(next_random() % 1000) / 700.0f - 0.5f) : 0.0f;
    }
    for (uint32_t i = 0; i < N_KEYS; i++) {
        query.scores[i] = -1.0f;
    }
    return query;
}

static void
free_query(const struct cpu_index_query *query)
{
    void *const parts[] = {query->turned, query->tiles,   query->corrections,   query->multipliers, query->units,
                           query->totals, query->factors, query->joint_factors, query->scores};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        free(parts[i]);
    }
}

static void
fill_keys(const struct index_trial *trial, unsigned char *keys)
{
    for (unsigned i = 0; i < N_KEYS * ROW_BYTES; i++) {
        const bool is_far = i / ROW_BYTES >= trial->far_from && i / ROW_BYTES < trial->far_to;
        const unsigned scale = 120 + next_random() % (is_far ? 9 : 3);
        keys[i] = (unsigned char)(i % ROW_BYTES < INDEX_WIDTH / 2 ? next_random() : scale);
    }
}

/* The scores of some entries, by tiles and by vectors; twice, for no score may depend on the cut. */
static void
compare_scores(const struct index_trial *trial)
{
    const struct cpu_kernels *vectors = cpu_tier_kernels(CPU_TIER_AVX2);
    struct cpu_index_query tiled[CPU_INDEX_QUERIES], plain[CPU_INDEX_QUERIES];
    float *q = take(trial->n_heads * INDEX_WIDTH * sizeof *q);
    unsigned char *keys = take(N_KEYS * ROW_BYTES);
    struct cpu_index index = {.queries = tiled,
                              .n_queries = trial->n_queries,
                              .keys = keys,
                              .row_bytes = ROW_BYTES,
                              .width = INDEX_WIDTH,
                              .format = HEARTH_KV_PACKED,
                              .native = true};
    index.key = take(INDEX_WIDTH * sizeof *index.key);
    index.bytes = take(CPU_INDEX_TILE * INDEX_WIDTH);
    index.block_units = take(CPU_INDEX_TILE * 4 * sizeof *index.block_units);
    fill_keys(trial, keys);
    for (uint32_t t = 0; t < trial->n_queries; t++) {
        for (uint32_t i = 0; i < trial->n_heads * INDEX_WIDTH; i++) {
            const int power = (int)(i / 32 % (trial->query_spread + 1));
            q[i] = ldexpf(i % 32 == 0 ? 6.0f : hearth_e2m1_to_f32((uint8_t)next_random() & 15), power);
        }
        tiled[t] = make_query(trial);
        plain[t] = make_query(trial);
        memcpy(plain[t].factors, tiled[t].factors, tiled[t].stride * sizeof *tiled[t].factors);
        tiled[t].is_in_bytes = k_tile_index_query_soft(q, trial->n_heads, INDEX_WIDTH, &tiled[t]);
        plain[t].is_in_bytes = vectors->index_query(q, trial->n_heads, INDEX_WIDTH, &plain[t]);
        ck_assert(tiled[t].is_in_bytes && tiled[t].is_tiled == trial->is_tiled);
    }
    k_tile_index_soft(&index, 3, 21);
    k_tile_index_soft(&index, 21, N_KEYS - 1);
    index.queries = plain;
    vectors->index(&index, 3, N_KEYS - 1);
    for (uint32_t t = 0; t < trial->n_queries; t++) {
        ck_assert_mem_eq(tiled[t].scores, plain[t].scores, N_KEYS * sizeof(float));
        free_query(&tiled[t]);
        free_query(&plain[t]);
    }
    free(index.block_units);
    free(index.bytes);
    free(index.key);
    free(keys);
    free(q);
}

START_TEST(scores_are_those_of_vectors)
{
    static const struct index_trial trials[] = {
        {64, 1, 3, 0, 0, true}, {64, 4, 1, 60, 61, true}, {20, 2, 2, 0, 30, true},   {128, 3, 0, 140, 150, true},
        {1, 1, 3, 0, 0, true},  {129, 1, 2, 0, 0, false}, {64, 2, 4, 70, 75, false},
    };
    state = 11;
    for (size_t i = 0; i < sizeof trials / sizeof trials[0]; i++) {
        compare_scores(&trials[i]);
    }
}
END_TEST

bool k_tile_attend_fits_soft(const float *q, uint64_t n);
void k_tile_attend_turn_soft(const struct cpu_attend *attend, const float *q, float *turned);
void k_tile_attend_scores_soft(const struct cpu_attend *attend, uint64_t begin, uint64_t end);
void k_tile_attend_weigh_soft(const struct cpu_attend *attend, uint64_t begin, uint64_t end);
void k_tile_attend_sum_soft(const struct cpu_attend *attend, uint64_t begin, uint64_t end);

struct attend_trial {
    uint32_t n_heads, head_dim, rope_dim, n_keys;
    uint64_t columns; /* of a call, once; the other time all */
};

/* Random codes with scales between 2^-9 and 2^-7, and what they stand for: [n_keys][head_dim]. */
static unsigned char *
fill_stored(const struct attend_trial *trial, uint64_t row_bytes, const unsigned char **rows, float *values)
{
    const uint32_t nope = trial->head_dim - trial->rope_dim;
    unsigned char *bytes = take(trial->n_keys * row_bytes);
    for (uint32_t k = 0; k < trial->n_keys; k++) {
        unsigned char *row = bytes + k * row_bytes, *rope = row + nope, *scales = rope + 2 * (size_t)trial->rope_dim;
        rows[k] = row;
        for (uint32_t i = 0; i < (nope + 63) / 64; i++) {
            scales[i] = (unsigned char)(118 + next_random() % 3);
        }
        for (uint32_t i = 0; i < trial->head_dim; i++) {
            float *value = &values[k * trial->head_dim + i];
            const float x = hearth_round_bf16((float)(next_random() % 2000) / 700.0f - 1.4f);
            const uint16_t bits = (uint16_t)(hearth_f32_bits(x) >> 16);
            const uint8_t code = (uint8_t)(next_random() % 120 | (next_random() % 2 << 7));
            if (i < nope) {
                row[i] = code;
                *value = hearth_e4m3_to_f32(code) * hearth_e8m0_to_f32(scales[i / 64]);
            } else {
                memcpy(rope + 2 * (size_t)(i - nope), &bits, sizeof bits);
                *value = x;
            }
        }
    }
    return bytes;
}

static struct cpu_attend
make_attend(const struct attend_trial *trial, const unsigned char *const *rows)
{
    struct cpu_attend attend = {.rows = rows,
                                .n_keys = trial->n_keys,
                                .n_heads = trial->n_heads,
                                .head_dim = trial->head_dim,
                                .rope_dim = trial->rope_dim,
                                .format = HEARTH_KV_PACKED,
                                .native = true,
                                .is_tiled = true};
    const uint64_t n_tiles = (trial->n_keys + CPU_KEY_TILE - 1) / CPU_KEY_TILE;
    attend.width = (trial->head_dim + 15) / 16 * 16;
    attend.stride = (trial->n_heads + 15) / 16 * 16;
    attend.q = take(attend.stride * attend.width * sizeof *attend.q);
    attend.o = take((size_t)trial->n_heads * trial->head_dim * sizeof *attend.o);
    attend.scores = take(n_tiles * CPU_KEY_TILE * attend.stride * sizeof *attend.scores);
    attend.greatest = take(n_tiles * attend.stride * sizeof *attend.greatest);
    attend.totals = take(n_tiles * attend.stride * sizeof *attend.totals);
    attend.most = take(attend.stride * sizeof *attend.most);
    attend.denominators = take(trial->n_heads * sizeof *attend.denominators);
    attend.keys = take((CPU_KEY_TILE * (attend.width + CPU_ATTEND_SKEW + attend.width) + attend.stride * attend.width) *
                       sizeof *attend.keys);
    return attend;
}

static void
free_attend(const struct cpu_attend *attend)
{
    void *const parts[] = {
        (void *)(uintptr_t)attend->q, attend->o,   attend->scores, attend->greatest, attend->totals, attend->most,
        attend->denominators,         attend->keys};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        free(parts[i]);
    }
}

/* The steps of attention.c, without a sink; tiles and columns go by as many as are given, and heads if columns do. */
static void
attend_by(const struct cpu_attend *attend, const float *q, uint64_t by_tiles, uint64_t by_columns)
{
    const uint64_t n_tiles = (attend->n_keys + CPU_KEY_TILE - 1) / CPU_KEY_TILE;
    k_tile_attend_turn_soft(attend, q, (float *)(uintptr_t)attend->q);
    for (uint64_t tile = 0; tile < n_tiles; tile += by_tiles) {
        k_tile_attend_scores_soft(attend, tile, tile + by_tiles < n_tiles ? tile + by_tiles : n_tiles);
    }
    for (uint64_t head = 0; head < attend->stride; head++) {
        attend->most[head] = -INFINITY;
        for (uint64_t tile = 0; tile < n_tiles; tile++) {
            attend->most[head] = fmaxf(attend->most[head], attend->greatest[tile * attend->stride + head]);
        }
    }
    for (uint64_t tile = 0; tile < n_tiles; tile += by_tiles) {
        k_tile_attend_weigh_soft(attend, tile, tile + by_tiles < n_tiles ? tile + by_tiles : n_tiles);
    }
    for (uint64_t head = 0; head < attend->n_heads; head++) {
        attend->denominators[head] = 0.0;
        for (uint64_t tile = 0; tile < n_tiles; tile++) {
            attend->denominators[head] += (double)attend->totals[tile * attend->stride + head];
        }
    }
    const uint64_t by_heads = by_columns < attend->width ? CPU_HEADS_AT_ONCE : attend->stride;
    struct cpu_attend part = *attend;
    for (; part.first_head < attend->stride; part.first_head += by_heads) {
        part.end_head = part.first_head + by_heads < attend->stride ? part.first_head + by_heads : attend->stride;
        for (uint64_t d = 0; d < attend->width; d += by_columns) {
            k_tile_attend_sum_soft(&part, d, d + by_columns < attend->width ? d + by_columns : attend->width);
        }
    }
}

/* A head's output in double, and the tolerance of docs/numerics.md as check_attention.c has it. */
static void
near_attention(const struct attend_trial *trial, const float *q, const float *values, const float *o)
{
    const uint32_t n = trial->n_keys, width = trial->head_dim;
    double *weights = take(n * sizeof *weights), most = -INFINITY, total = 0.0, size = 0.0;
    for (uint32_t k = 0; k < n; k++) {
        double magnitude = 0.0;
        weights[k] = 0.0;
        for (uint32_t i = 0; i < width; i++) {
            const double term = (double)q[i] * (double)values[k * width + i] / sqrt(width);
            weights[k] += term;
            magnitude += fabs(term);
        }
        most = fmax(most, weights[k]);
        size = fmax(size, magnitude);
    }
    for (uint32_t k = 0; k < n; k++) {
        weights[k] = exp(weights[k] - most);
        total += weights[k];
    }
    for (uint32_t i = 0; i < width; i++) {
        double sum = 0.0, magnitude = 0.0, largest = 0.0;
        for (uint32_t k = 0; k < n; k++) {
            const double term = (double)hearth_round_bf16((float)weights[k]) * (double)values[k * width + i] / total;
            sum += term;
            magnitude += fabs(term);
            largest = fmax(largest, fabs(term));
        }
        const double error = (4.0 * (8.0 + sqrt(width)) * size + 8.0 + sqrt(n)) * 0x1p-24 * magnitude;
        const double slack = error + 0x1p-8 * (largest + fabs(sum));
        ck_assert_msg(fabs((double)o[i] - sum) <= slack, "element %u: %a, not %a", i, (double)o[i], sum);
    }
    free(weights);
}

static void
compare_attention(const struct attend_trial *trial)
{
    const uint64_t row_bytes = hearth_kv_row_bytes(HEARTH_KV_PACKED, trial->head_dim, trial->rope_dim);
    const uint64_t n_q = (uint64_t)trial->n_heads * trial->head_dim;
    const unsigned char **rows = take(trial->n_keys * sizeof *rows);
    float *values = take((size_t)trial->n_keys * trial->head_dim * sizeof *values), *q = take(n_q * sizeof *q);
    unsigned char *bytes = fill_stored(trial, row_bytes, rows, values);
    for (uint64_t i = 0; i < n_q; i++) {
        q[i] = hearth_round_bf16((float)(next_random() % 2000) / 1000.0f - 1.0f);
    }
    const struct cpu_attend whole = make_attend(trial, rows), cut = make_attend(trial, rows);
    ck_assert(k_tile_attend_fits_soft(q, n_q));
    attend_by(&whole, q, UINT32_MAX, whole.width);
    attend_by(&cut, q, 2, trial->columns);
    ck_assert_mem_eq(whole.o, cut.o, n_q * sizeof *q);
    for (uint32_t head = 0; head < trial->n_heads; head++) {
        near_attention(trial, q + (size_t)head * trial->head_dim, values, whole.o + (size_t)head * trial->head_dim);
    }
    q[n_q - 1] = 1.0f + 0x1p-20f;
    ck_assert(!k_tile_attend_fits_soft(q, n_q));
    free_attend(&whole);
    free_attend(&cut);
    free(bytes);
    free(q);
    free(values);
    free(rows);
}

START_TEST(attention_does_not_depend_on_the_cut)
{
    static const struct attend_trial trials[] = {
        {64, 512, 64, 97, 128}, {20, 512, 64, 161, 48}, {3, 80, 16, 40, 16},
        {33, 130, 2, 64, 32},   {17, 96, 32, 1, 64},    {1, 16, 4, 200, 16},
    };
    state = 5;
    for (size_t i = 0; i < sizeof trials / sizeof trials[0]; i++) {
        compare_attention(&trials[i]);
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("tiles");
    TCase *tcase = tcase_create("products");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, rows_are_those_of_each_token);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("indexer");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, scores_are_those_of_vectors);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("attention");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, attention_does_not_depend_on_the_cut);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
