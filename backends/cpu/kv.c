/* kv.c - the window ring: new rows normalised, rotated, stored. */
#include <string.h>

#include "backends/cpu/kernels.h"

/* Far beyond any model; it keeps the sizes of rows within 32 bits. */
#define MAX_ROW 65536u

void
cpu_kv_check(struct host_call *call, uint32_t format, uint32_t head_dim, uint32_t rope_dim)
{
    if (format != HEARTH_KV_F32 && format != HEARTH_KV_PACKED) {
        host_call_fail(call, HEARTH_EINTERNAL, "kv_format: 0 or 1 wanted, %u found", format);
    } else if (format == HEARTH_KV_PACKED && !call->native) {
        host_call_fail(call, HEARTH_EINTERNAL, "kv_format: packed rows hold native numerics only");
    } else if (rope_dim % 2 != 0 || rope_dim > head_dim || head_dim > MAX_ROW) {
        host_call_fail(call, HEARTH_EINTERNAL, "rows of %u elements, %u of them rotated: impossible", head_dim,
                       rope_dim);
    }
}

void
cpu_kv_store(const struct cpu_kernels *kernels, float *row, uint32_t format, bool native, uint32_t head_dim,
             uint32_t rope_dim, unsigned char *bytes)
{
    const uint64_t nope = head_dim - rope_dim;
    if (format == HEARTH_KV_F32) {
        if (native) {
            kernels->round_e4m3(row, (uint32_t)nope, NULL, NULL);
        }
        memcpy(bytes, row, head_dim * sizeof *row);
        return;
    }
    memset(bytes, 0, (size_t)hearth_kv_row_bytes(format, head_dim, rope_dim));
    kernels->round_e4m3(row, (uint32_t)nope, bytes, bytes + nope + 2 * (uint64_t)rope_dim);
    for (uint32_t i = 0; i < rope_dim; i++) {
        const uint16_t bits = hearth_bf16_from_f32(row[nope + i]);
        memcpy(bytes + nope + 2 * (uint64_t)i, &bits, sizeof bits);
    }
}

void
cpu_index_store(const struct cpu_kernels *kernels, float *key, uint8_t *codes, uint32_t format, bool native,
                uint32_t width, unsigned char *bytes)
{
    if (format == HEARTH_KV_F32) {
        if (native) {
            kernels->round_e2m1(key, width, NULL, NULL);
        }
        memcpy(bytes, key, width * sizeof *key);
        return;
    }
    memset(bytes, 0, (size_t)hearth_index_row_bytes(format, width));
    kernels->round_e2m1(key, width, codes, bytes + (width + 1) / 2);
    for (uint32_t i = 0; i < width; i++) {
        bytes[i / 2] |= (unsigned char)(codes[i] << (i % 2 * 4));
    }
}

struct kv_append {
    const struct cpu_kernels *kernels;
    bool native;
    const float *kv, *norm, *angles;
    unsigned char *ring;
    uint64_t row_bytes;
    float *rows; /* [threads][head_dim] */
    const struct hearth_op_kv_append *op;
};

static void
append_tokens(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct kv_append *work = context;
    const struct hearth_op_kv_append *op = work->op;
    float *row = work->rows + (uint64_t)thread * op->head_dim;
    for (uint64_t t = begin; t < end; t++) {
        const uint64_t slot = (op->position + t) % op->ring_slots;
        work->kernels->normalise(work->native, work->kv + t * op->head_dim, work->norm, op->head_dim, op->eps, row);
        work->kernels->turn(work->native, row + (op->head_dim - op->rope_dim), work->angles + t * op->rope_dim,
                            op->rope_dim);
        cpu_kv_store(work->kernels, row, op->kv_format, work->native, op->head_dim, op->rope_dim,
                     work->ring + slot * work->row_bytes);
    }
}

void
cpu_kv_append(struct host_call *call, const struct hearth_op_kv_append *op)
{
    struct kv_append work = {.kernels = call->device->kernels, .native = call->native, .op = op};
    cpu_kv_check(call, op->kv_format, op->head_dim, op->rope_dim);
    if (call->status < 0 || !host_call_check(call, op->ring_slots >= op->n, "ring_slots: at least n wanted")) {
        return;
    }
    work.row_bytes = hearth_kv_row_bytes(op->kv_format, op->head_dim, op->rope_dim);
    work.kv = host_view_f32(call, "kv", op->kv, op->n, op->head_dim);
    work.ring = host_view(call, "ring", op->ring, op->ring_slots, work.row_bytes, 1);
    work.norm = host_vector(call, "norm", op->norm, op->head_dim);
    const float *inv_freq = host_vector(call, "inv_freq", op->inv_freq, op->rope_dim / 2);
    work.rows = host_scratch_take(call, cpu_pool_threads(call->device->pool), op->head_dim * sizeof(float));
    if (call->status < 0) {
        return;
    }
    work.angles = cpu_angles_take(call, inv_freq, op->rope_dim, op->position, op->n, 1, 1);
    if (call->status == 0) {
        cpu_pool_run(call->device->pool, op->n, 1, op->head_dim * 4, (struct cpu_work){append_tokens, &work});
    }
}
