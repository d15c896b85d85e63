/* check_attention.c - window only, all entries, listed entries; early positions, wrapping rings, loud sinks.
 *
 * Rows that no query may see hold NaN: a peek at one shows.  Slack: the score's error turns each weight by as much; a
 * weight near a tie may round to the other bf16, which is allowed once for the largest term. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/conformance/check.h"

/* LOUD: listed, and rows are so large, queries so small, that no scale is near 1. */
enum entry_use { NONE, ALL, LISTED, LOUD };
#define LOUDNESS 0x1p20

static const struct shape {
    uint32_t n, n_heads, head_dim, rope_dim, window, extra_slots, ratio, top_k;
    uint64_t position;
    enum entry_use use;
    double sink;
} shapes[] = {
    {1, 1, 4, 2, 1, 0, 0, 0, 0, NONE, 0.0},        {3, 4, 80, 16, 8, 0, 0, 0, 0, NONE, 1.0},
    {5, 2, 80, 16, 8, 3, 0, 0, 100, NONE, -3.0},   {1, 64, 512, 64, 128, 0, 0, 0, 127, NONE, 0.0},
    {4, 3, 80, 16, 8, 0, 16, 0, 45, ALL, 2.0},     {1, 4, 130, 2, 5, 1, 128, 0, 700, ALL, 0.0},
    {3, 2, 80, 16, 8, 0, 4, 5, 60, LISTED, 0.0},   {1, 8, 512, 64, 128, 2, 4, 64, 1003, LISTED, 30.0},
    {7, 2, 80, 16, 16, 0, 4, 9, 1, LISTED, -1.0},  {12, 33, 96, 32, 40, 0, 16, 0, 200, ALL, 1.0},
    {2, 17, 130, 2, 33, 5, 4, 70, 500, LISTED, 0}, {8, 3, 80, 14, 8, 2, 4, 5, 60, LISTED, 0.0},
    {1, 80, 512, 64, 31, 0, 2, 0, 75, ALL, -2.0},  {5, 20, 512, 64, 24, 3, 4, 7, 61, LISTED, 0.5},
    {3, 17, 512, 64, 128, 1, 1, 0, 700, ALL, 1.0}, {2, 16, 512, 64, 20, 1, 4, 6, 70, LOUD, 0.0},
    {1, 40, 64, 16, 8, 0, 16, 0, 300, ALL, 2.0},
};

struct rows {
    float *window;  /* [position + n][head_dim] */
    float *entries; /* [n_entries][head_dim] */
    int32_t *indices;
    uint64_t n_entries;
};

/* Encodes a random row and keeps what the format holds of it. */
static void
fill_row(struct check_trial *trial, const struct hearth_op_attention *op, double loudness, unsigned char *bytes,
         float *kept)
{
    double row[512];
    for (uint32_t i = 0; i < op->head_dim; i++) {
        row[i] = check_bf16(loudness * check_normal(trial));
    }
    check_kv_encode(row, op->kv_format, op->head_dim, op->rope_dim, bytes);
    check_kv_decode(bytes, op->kv_format, op->head_dim, op->rope_dim, kept);
}

static void
add_rows(struct check_trial *trial, struct hearth_op_attention *op, enum entry_use use, struct rows *rows)
{
    const double loudness = use == LOUD ? LOUDNESS : 1.0;
    const uint64_t end = op->position + op->n;
    const uint64_t row_bytes = hearth_kv_row_bytes(op->kv_format, op->head_dim, op->rope_dim);
    unsigned char *ring = check_tensor(trial, "ring", &op->ring, CHECK_IN, op->ring_slots, row_bytes, 0);
    memset(ring, 0xFF, op->ring_slots * row_bytes);
    rows->window = check_alloc(trial, end * op->head_dim, sizeof(float));
    for (uint64_t p = end > op->ring_slots ? end - op->ring_slots : 0; p < end; p++) {
        fill_row(trial, op, loudness, ring + p % op->ring_slots * row_bytes, rows->window + p * op->head_dim);
    }
    if (use == NONE) {
        return;
    }
    rows->n_entries = end / op->ratio;
    unsigned char *entries = check_tensor(trial, "entries", &op->entries, CHECK_IN, rows->n_entries + 2, row_bytes, 0);
    memset(entries, 0xFF, (rows->n_entries + 2) * row_bytes);
    rows->entries = check_alloc(trial, rows->n_entries * op->head_dim + 1, sizeof(float));
    for (uint64_t w = 0; w < rows->n_entries; w++) {
        fill_row(trial, op, loudness, entries + w * row_bytes, rows->entries + w * op->head_dim);
    }
    if (use == ALL) {
        return;
    }
    rows->indices =
        check_tensor(trial, "indices", &op->indices, CHECK_IN, (uint64_t)op->n * op->top_k, 4, 4ull * op->top_k);
    for (uint32_t t = 0; t < op->n; t++) {
        const uint64_t n_visible = (op->position + t + 1) / op->ratio;
        uint32_t n = 0;
        for (uint64_t w = 0; w < n_visible && n < op->top_k; w++) {
            if (n_visible - w <= op->top_k - n || check_below(trial, 3) == 0) {
                rows->indices[t * op->top_k + n++] = (int32_t)w;
            }
        }
        for (; n < op->top_k; n++) {
            rows->indices[t * op->top_k + n] = -1;
        }
    }
}

/* keys: rows that query t sees, in order */
static uint32_t
list_keys(const struct hearth_op_attention *op, const struct rows *rows, uint32_t t, const float **keys)
{
    const uint64_t p = op->position + t;
    uint32_t n = 0;
    for (uint64_t k = p + 1 > op->window ? p + 1 - op->window : 0; k <= p; k++) {
        keys[n++] = rows->window + k * op->head_dim;
    }
    const uint64_t n_listed = rows->entries == NULL ? 0 : (rows->indices == NULL ? (p + 1) / op->ratio : op->top_k);
    for (uint64_t i = 0; i < n_listed; i++) {
        const int64_t w = rows->indices == NULL ? (int64_t)i : rows->indices[t * op->top_k + i];
        if (w >= 0) {
            keys[n++] = rows->entries + w * op->head_dim;
        }
    }
    return n;
}

static void
expect_head(struct check_trial *trial, const struct hearth_op_attention *op, bool native, const float *q, double sink,
            const float *const *keys, uint32_t n_keys, double *o, double *error)
{
    double *scores = check_alloc(trial, n_keys, sizeof *scores);
    double most = -INFINITY, score_error = 0.0, denominator;
    for (uint32_t k = 0; k < n_keys; k++) {
        double magnitude = 0.0;
        for (uint32_t i = 0; i < op->head_dim; i++) {
            scores[k] += (double)q[i] * keys[k][i] / sqrt(op->head_dim);
            magnitude += fabs((double)q[i] * keys[k][i]) / sqrt(op->head_dim);
        }
        scores[k] = (float)scores[k];
        most = fmax(most, scores[k]);
        score_error = fmax(score_error, check_tight(op->head_dim, magnitude));
    }
    denominator = exp(sink - most);
    for (uint32_t k = 0; k < n_keys; k++) {
        scores[k] = (float)exp(scores[k] - most);
        denominator += scores[k];
    }
    for (uint32_t i = 0; i < op->head_dim; i++) {
        double magnitude = 0.0, largest = 0.0;
        for (uint32_t k = 0; k < n_keys; k++) {
            const double term = (native ? check_bf16(scores[k]) : scores[k]) * keys[k][i] / denominator;
            o[i] += term;
            magnitude += fabs(term);
            largest = fmax(largest, fabs(term));
        }
        error[i] = 4.0 * score_error * magnitude + check_tight(n_keys, magnitude) + (native ? 0x1p-8 * largest : 0.0);
        error[i] += native ? 2.0 * check_half_bf16(fabs(o[i]) + error[i]) : 0.0;
        o[i] = native ? check_bf16(o[i]) : o[i];
    }
}

static void
make(struct check_trial *trial, uint32_t index, uint32_t numerics)
{
    const struct shape *shape = &shapes[index];
    struct hearth_op_attention *op = &trial->command.args.attention;
    const bool native = numerics == HEARTH_NATIVE;
    struct rows rows = {NULL, NULL, NULL, 0};
    op->n = shape->n;
    op->n_heads = shape->n_heads;
    op->head_dim = shape->head_dim;
    op->rope_dim = shape->rope_dim;
    op->window = shape->window;
    op->ring_slots = shape->window - 1 + shape->n + shape->extra_slots;
    op->ratio = shape->ratio;
    op->top_k = shape->top_k;
    op->position = shape->position;
    op->kv_format = native && index != 2 ? HEARTH_KV_PACKED : HEARTH_KV_F32;
    const float *q = check_input(trial, "q", &op->q, op->n, (uint64_t)op->n_heads * op->head_dim,
                                 shape->use == LOUD ? 1.0 / LOUDNESS : 1.0);
    float *sinks =
        check_weight_add(trial, &op->sinks, HEARTH_WEIGHT_VECTOR, HEARTH_F32, 1, op->n_heads, 1e-3 + fabs(shape->sink));
    const float *freqs = check_freqs_add(trial, &op->inv_freq, op->rope_dim / 2);
    add_rows(trial, op, shape->use, &rows);
    struct check_tensor *o = check_output(trial, "o", &op->o, op->n, (uint64_t)op->n_heads * op->head_dim);
    const float **keys = check_alloc(trial, op->window + rows.n_entries + op->top_k, sizeof *keys);
    uint64_t n_pairs = 0;
    for (uint32_t t = 0; t < op->n; t++) {
        const uint32_t n_keys = list_keys(op, &rows, t, keys);
        n_pairs += n_keys;
        for (uint32_t h = 0; h < op->n_heads; h++) {
            const uint64_t at = ((uint64_t)t * op->n_heads + h) * op->head_dim;
            double error[512];
            expect_head(trial, op, native, q + at, sinks[h], keys, n_keys, o->expected + at, error);
            check_rotate_tail(o->expected + at, error, native, op->head_dim, op->rope_dim, freqs, op->position + t, -1);
            for (uint32_t i = 0; i < op->head_dim; i++) {
                o->slack[at + i] = error[i] + check_half_step(native, o->expected[at + i]);
            }
        }
    }
    trial->n = &op->n;
    trial->position = &op->position;
    trial->n_products = 2.0 * (double)n_pairs * op->n_heads * op->head_dim;
    snprintf(trial->name, sizeof trial->name, "%s n=%u heads=%u head_dim=%u window=%u position=%llu",
             (const char *[]){"window", "all entries", "listed entries", "loud entries"}[shape->use], op->n,
             op->n_heads, op->head_dim, op->window, (unsigned long long)op->position);
}

const struct check check_attention = {
    .name = "attention", .op = HEARTH_OP_ATTENTION, .n_trials = sizeof shapes / sizeof shapes[0], .make = make};
