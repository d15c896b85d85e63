/* check_index_topk.c - which entries win.  Three kinds of trials: small integers with width * heads a power of four,
 * where every step is exact in any order, ties abound and the bits are the contract; random ones, where no entry left
 * out may be clearly better than one taken; and those whose queries are what index_query makes in native numerics, e2m1
 * in blocks, which a backend may multiply in another way: with scales near each other or far apart, or apart in queries
 * alone. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/conformance/check.h"

static const struct shape {
    uint32_t n, n_heads, width, ratio, top_k;
    uint64_t position;
    enum contents { RANDOM, INTEGERS, QUANTISED, SPREAD, WILD, LOPSIDED } contents;
} shapes[] = {
    {1, 1, 16, 4, 1, 2, INTEGERS},       {1, 2, 32, 4, 7, 91, INTEGERS},     {9, 4, 64, 4, 5, 30, INTEGERS},
    {1, 8, 128, 4, 512, 4095, INTEGERS}, {3, 4, 32, 4, 16, 63, RANDOM},      {1, 64, 128, 4, 64, 2050, RANDOM},
    {6, 1, 64, 3, 2, 0, INTEGERS},       {5, 4, 64, 4, 33, 400, RANDOM},     {1, 64, 128, 4, 64, 2051, QUANTISED},
    {5, 24, 128, 4, 33, 417, QUANTISED}, {2, 80, 128, 2, 40, 333, SPREAD},   {4, 3, 96, 4, 20, 390, SPREAD},
    {3, 20, 128, 4, 50, 810, WILD},      {40, 2, 32, 4, 40, 300, QUANTISED}, {1, 16, 64, 1, 1, 1500, INTEGERS},
    {1, 8, 32, 1, 700, 1402, INTEGERS},  {70, 1, 64, 2, 9, 3, QUANTISED},    {2, 64, 128, 4, 30, 1200, LOPSIDED},
    {2, 4, 64, 1, 5, 900, INTEGERS},
};

struct answer {
    double *scores, *slacks; /* [n][max_entries] */
    uint64_t max_entries;
};

static const char *
verify(const struct check_trial *trial, unsigned char *const *outputs)
{
    const struct hearth_op_index_topk *op = &trial->command.args.index_topk;
    const struct answer *answer = trial->verify_context;
    const int32_t *indices = (const void *)outputs[3];
    for (uint32_t t = 0; t < op->n; t++, indices += op->top_k) {
        const uint64_t n_visible = (op->position + t + 1) / op->ratio;
        const double *scores = answer->scores + t * answer->max_entries;
        const double *slacks = answer->slacks + t * answer->max_entries;
        uint64_t next = 0; /* walks indices beside the entries */
        double worst_taken = INFINITY, best_left = -INFINITY;
        for (uint64_t w = 0; w < n_visible; w++) {
            if (next < op->top_k && indices[next] == (int32_t)w) {
                worst_taken = fmin(worst_taken, scores[w] + slacks[w]);
                next++;
            } else {
                best_left = fmax(best_left, scores[w] - slacks[w]);
            }
        }
        if (next != (n_visible < op->top_k ? n_visible : op->top_k)) {
            return "indices: not top_k visible entries in ascending order";
        }
        for (; next < op->top_k; next++) {
            if (indices[next] != -1) {
                return "indices: not padded with -1";
            }
        }
        if (best_left > worst_taken) {
            return "indices: a better entry was left out";
        }
    }
    return NULL;
}

/* One entry's score and how far other orders of its sums may take it. */
static double
expect_score(const struct hearth_op_index_topk *op, bool native, const float *q, const float *weights, const float *key,
             double *slack)
{
    const float factor = (float)(1.0 / sqrt((double)op->width) / sqrt((double)op->n_heads));
    double score = 0.0, error = 0.0;
    for (uint32_t h = 0; h < op->n_heads; h++) {
        double dot = 0.0, magnitude = 0.0;
        for (uint32_t i = 0; i < op->width; i++) {
            dot += (double)q[h * op->width + i] * key[i];
            magnitude += fabs((double)q[h * op->width + i] * key[i]);
        }
        dot = fmax(native ? check_bf16(dot) : dot, 0.0);
        const double head = native ? check_bf16((double)(weights[h] * factor)) : (double)weights[h] * factor;
        score += native ? check_bf16(dot * head) : dot * head;
        error += check_tight(op->width, magnitude) * fabs(head) +
                 (native ? 4.0 * check_half_bf16(dot * head) : 0x1p-22 * fabs(dot * head));
    }
    *slack = error + (native ? 2.0 * check_half_bf16(score) : 0.0);
    return native ? check_bf16(score) : score;
}

static void
read_indices(const struct check_trial *trial, const unsigned char *bytes, float *values)
{
    for (uint64_t i = 0; i < trial->tensors[3].n_values; i++) {
        int32_t index;
        memcpy(&index, bytes + i * sizeof index, sizeof index);
        values[i] = (float)index;
    }
}

/* The answer by repeated search, for scores that are exact. */
static void
expect_indices(struct check_trial *trial, const struct hearth_op_index_topk *op, const struct answer *answer)
{
    struct check_tensor *indices = &trial->tensors[3];
    bool *taken = check_alloc(trial, answer->max_entries + 1, sizeof *taken);
    indices->read = read_indices;
    indices->n_values = (uint64_t)op->n * op->top_k;
    indices->expected = check_alloc(trial, indices->n_values, sizeof(double));
    indices->slack = check_alloc(trial, indices->n_values, sizeof(double));
    for (uint32_t t = 0; t < op->n; t++) {
        const uint64_t n_visible = (op->position + t + 1) / op->ratio;
        const double *scores = answer->scores + t * answer->max_entries;
        memset(taken, 0, answer->max_entries);
        for (uint64_t k = 0; k < op->top_k && k < n_visible; k++) {
            uint64_t best = n_visible;
            for (uint64_t w = 0; w < n_visible; w++) {
                best = !taken[w] && (best == n_visible || scores[w] > scores[best]) ? w : best;
            }
            taken[best] = true;
        }
        double *out = indices->expected + t * op->top_k;
        for (uint64_t w = 0; w < n_visible; w++) {
            if (taken[w]) {
                *out++ = (double)w;
            }
        }
        while (out < indices->expected + (t + 1) * op->top_k) {
            *out++ = -1.0;
        }
    }
}

static double
pick(struct check_trial *trial, enum contents contents)
{
    return contents == INTEGERS ? (double)check_below(trial, 5) - 2.0 : check_normal(trial);
}

/* One row of a key or of a head's query; what is not RANDOM has blocks of 32 with scales of their own. */
static void
pick_row(struct check_trial *trial, enum contents contents, uint32_t width, double *row)
{
    double scale = 1.0;
    for (uint32_t i = 0; i < width; i++) {
        if (i % 32 == 0 && (contents == SPREAD || contents == LOPSIDED)) {
            scale = ldexp(1.0, (int)check_below(trial, 5));
        } else if (i % 32 == 0 && contents == WILD) { /* some blocks are zero */
            scale = check_below(trial, 6) == 0 ? 0.0 : ldexp(1.0, (int)check_below(trial, 24) - 12);
        }
        row[i] = pick(trial, contents) * scale;
    }
}

static void
fill_queries(struct check_trial *trial, enum contents contents, uint64_t n_rows, uint32_t width, float *q)
{
    for (uint64_t r = 0; contents != RANDOM && r < n_rows; r++, q += width) {
        double row[128];
        unsigned char bytes[128];
        pick_row(trial, contents, width, row);
        if (contents != INTEGERS) {
            check_index_encode(row, HEARTH_KV_PACKED, width, bytes);
            check_index_decode(bytes, HEARTH_KV_PACKED, width, q);
        }
        for (uint32_t i = 0; contents == INTEGERS && i < width; i++) {
            q[i] = (float)row[i];
        }
    }
}

static void
make(struct check_trial *trial, uint32_t index, uint32_t numerics)
{
    const struct shape *shape = &shapes[index];
    struct hearth_op_index_topk *op = &trial->command.args.index_topk;
    struct answer *answer = check_alloc(trial, 1, sizeof *answer);
    const bool native = numerics == HEARTH_NATIVE;
    op->n = shape->n;
    op->n_heads = shape->n_heads;
    op->width = shape->width;
    op->ratio = shape->ratio;
    op->top_k = shape->top_k;
    op->position = shape->position;
    op->kv_format = native ? HEARTH_KV_PACKED : HEARTH_KV_F32;
    answer->max_entries = (op->position + op->n) / op->ratio;
    const uint64_t row_bytes = hearth_index_row_bytes(op->kv_format, op->width);
    float *q = check_input(trial, "q", &op->q, op->n, (uint64_t)op->n_heads * op->width, 1.0);
    float *weights = check_input(trial, "head_weights", &op->head_weights, op->n, op->n_heads, 0.3);
    unsigned char *keys = check_tensor(trial, "keys", &op->keys, CHECK_IN, answer->max_entries + 1, row_bytes, 0);
    check_tensor(trial, "indices", &op->indices, CHECK_OUT, (uint64_t)op->n * op->top_k, 4, 4ull * op->top_k);
    const bool integers = shape->contents == INTEGERS;
    trial->tensors[3].same_bits = integers;
    fill_queries(trial, shape->contents, (uint64_t)op->n * op->n_heads, op->width, q);
    for (uint32_t i = 0; integers && i < op->n * op->n_heads; i++) {
        weights[i] = check_below(trial, 2) ? 0.5f : 1.0f;
    }
    answer->scores = check_alloc(trial, op->n * answer->max_entries + 1, sizeof(double));
    answer->slacks = check_alloc(trial, op->n * answer->max_entries + 1, sizeof(double));
    for (uint64_t w = 0; w < answer->max_entries; w++) {
        double wide[128];
        float key[128];
        pick_row(trial, shape->contents == LOPSIDED ? QUANTISED : shape->contents, op->width, wide);
        check_index_encode(wide, op->kv_format, op->width, keys + w * row_bytes);
        check_index_decode(keys + w * row_bytes, op->kv_format, op->width, key);
        for (uint32_t t = 0; t < op->n; t++) {
            answer->scores[t * answer->max_entries + w] =
                expect_score(op, native, q + (uint64_t)t * op->n_heads * op->width, weights + t * op->n_heads, key,
                             &answer->slacks[t * answer->max_entries + w]);
        }
    }
    if (integers) {
        expect_indices(trial, op, answer);
    }
    trial->n = &op->n;
    trial->position = &op->position;
    trial->verify = verify;
    trial->verify_context = answer;
    trial->n_products = (double)op->n * answer->max_entries * op->n_heads * op->width;
    snprintf(trial->name, sizeof trial->name, "n=%u heads=%u width=%u ratio=%u top_k=%u position=%llu%s", op->n,
             op->n_heads, op->width, op->ratio, op->top_k, (unsigned long long)op->position,
             (const char *[]){"", " ties", " quantised", " scales apart", " wild scales",
                              " queries apart"}[shape->contents]);
}

const struct check check_index_topk = {
    .name = "index_topk", .op = HEARTH_OP_INDEX_TOPK, .n_trials = sizeof shapes / sizeof shapes[0], .make = make};
