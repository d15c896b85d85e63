/* check_kv_append.c - new rows in their slots, every other slot untouched; rings that wrap. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/conformance/check.h"

static void
read_ring(const struct check_trial *trial, const unsigned char *bytes, float *values)
{
    const struct hearth_op_kv_append *op = &trial->command.args.kv_append;
    const uint64_t row_bytes = hearth_kv_row_bytes(op->kv_format, op->head_dim, op->rope_dim);
    for (uint32_t slot = 0; slot < op->ring_slots; slot++) {
        check_kv_decode(bytes + slot * row_bytes, op->kv_format, op->head_dim, op->rope_dim,
                        values + slot * op->head_dim);
    }
}

static void
make(struct check_trial *trial, uint32_t index, uint32_t numerics)
{
    static const uint32_t shapes[][5] = {/* n, head_dim, rope_dim, ring_slots, position */
                                         {1, 80, 16, 8, 0},      {3, 80, 16, 10, 9},      {5, 130, 2, 5, 1000003},
                                         {2, 512, 64, 129, 127}, {1, 64, 64, 4, 1048575}, {4, 200, 72, 131, 130}};
    struct hearth_op_kv_append *op = &trial->command.args.kv_append;
    const bool native = numerics == HEARTH_NATIVE;
    op->n = shapes[index][0];
    op->head_dim = shapes[index][1];
    op->rope_dim = shapes[index][2];
    op->ring_slots = shapes[index][3];
    op->position = shapes[index][4];
    op->kv_format = native && index != 1 ? HEARTH_KV_PACKED : HEARTH_KV_F32;
    op->eps = 1e-6f;
    const uint64_t row_bytes = hearth_kv_row_bytes(op->kv_format, op->head_dim, op->rope_dim);
    const float *kv = check_input(trial, "kv", &op->kv, op->n, op->head_dim, 3.0);
    const float *norm = check_weight_add(trial, &op->norm, HEARTH_WEIGHT_VECTOR, HEARTH_BF16, 1, op->head_dim, 1.0);
    const float *freqs = check_freqs_add(trial, &op->inv_freq, op->rope_dim / 2);
    struct check_tensor *ring = check_output(trial, "ring", &op->ring, op->ring_slots, op->head_dim);
    ring->role = CHECK_INOUT;
    ring->token_bytes = 0;
    ring->size_bytes = op->ring_slots * row_bytes;
    ring->read = read_ring;
    memset(ring->initial, 0x31, ring->size_bytes);
    float *before = check_alloc(trial, ring->n_values, sizeof *before);
    read_ring(trial, ring->initial, before);
    for (uint64_t i = 0; i < ring->n_values; i++) {
        ring->expected[i] = before[i];
    }
    for (uint32_t t = 0; t < op->n; t++) {
        const uint64_t slot = (op->position + t) % op->ring_slots;
        double *row = ring->expected + slot * op->head_dim;
        double error[512];
        for (uint32_t i = 0; i < op->head_dim; i++) {
            row[i] = kv[t * op->head_dim + i];
        }
        check_normalise(row, norm, op->head_dim, op->eps, row);
        for (uint32_t i = 0; i < op->head_dim; i++) {
            error[i] = check_tight(op->head_dim, fabs(row[i])) + (native ? check_half_bf16(row[i]) : 0.0);
        }
        check_rotate_tail(row, error, native, op->head_dim, op->rope_dim, freqs, op->position + t, 1);
        check_kv_slack(row, error, native, op->head_dim, op->rope_dim, ring->slack + slot * op->head_dim);
    }
    trial->n = &op->n;
    trial->position = &op->position;
    snprintf(trial->name, sizeof trial->name, "n=%u head_dim=%u rope=%u slots=%u position=%llu%s", op->n, op->head_dim,
             op->rope_dim, op->ring_slots, (unsigned long long)op->position, op->kv_format ? " packed" : "");
}

const struct check check_kv_append = {.name = "kv_append", .op = HEARTH_OP_KV_APPEND, .n_trials = 6, .make = make};
