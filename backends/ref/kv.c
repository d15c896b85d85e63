/* kv.c - stored KV rows and indexer keys (formats: command.h), and the window ring. */
#include "backends/ref/ref.h"

/* Far beyond any model; it keeps the sizes of rows within 32 bits. */
#define MAX_ROW 65536u

void
ref_kv_check(struct host_call *call, uint32_t format, uint32_t head_dim, uint32_t rope_dim)
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

/* Native rows kept as f32: the values that a packed row would give back.  x: [n] */
static void
simulate_e4m3(const float *x, uint64_t n, float *out)
{
    for (uint64_t begin = 0; begin < n; begin += HOST_KV_BLOCK) {
        const uint64_t length = n - begin < HOST_KV_BLOCK ? n - begin : HOST_KV_BLOCK;
        uint8_t codes[HOST_KV_BLOCK];
        uint8_t scale;
        ref_act_quant(x + begin, length, HOST_KV_BLOCK, codes, &scale);
        for (uint64_t i = 0; i < length; i++) {
            out[begin + i] = hearth_e4m3_to_f32(codes[i]) * hearth_e8m0_to_f32(scale);
        }
    }
}

static void
simulate_e2m1(const float *x, uint64_t n, float *out)
{
    for (uint64_t begin = 0; begin < n; begin += HOST_INDEX_BLOCK) {
        const uint64_t length = n - begin < HOST_INDEX_BLOCK ? n - begin : HOST_INDEX_BLOCK;
        uint8_t codes[HOST_INDEX_BLOCK];
        uint8_t scale;
        ref_fp4_quant(x + begin, length, codes, &scale);
        for (uint64_t i = 0; i < length; i++) {
            out[begin + i] = hearth_e2m1_to_f32(codes[i]) * hearth_e8m0_to_f32(scale);
        }
    }
}

void
ref_kv_store(const float *row, uint32_t format, bool native, uint32_t head_dim, uint32_t rope_dim, unsigned char *bytes)
{
    const uint64_t nope = head_dim - rope_dim;
    if (format == HEARTH_KV_F32) {
        float *out = (float *)(void *)bytes;
        memcpy(out, row, head_dim * sizeof *row);
        if (native) {
            simulate_e4m3(row, nope, out);
        }
        return;
    }
    memset(bytes, 0, (size_t)hearth_kv_row_bytes(format, head_dim, rope_dim));
    ref_act_quant(row, nope, HOST_KV_BLOCK, bytes, bytes + nope + 2 * (uint64_t)rope_dim);
    for (uint32_t i = 0; i < rope_dim; i++) {
        const uint16_t bits = hearth_bf16_from_f32(row[nope + i]);
        memcpy(bytes + nope + 2 * (uint64_t)i, &bits, sizeof bits);
    }
}

void
ref_kv_load(const unsigned char *bytes, uint32_t format, uint32_t head_dim, uint32_t rope_dim, float *row)
{
    const uint64_t nope = head_dim - rope_dim;
    const unsigned char *scales = bytes + nope + 2 * (uint64_t)rope_dim;
    if (format == HEARTH_KV_F32) {
        memcpy(row, bytes, head_dim * sizeof *row);
        return;
    }
    for (uint64_t begin = 0; begin < nope; begin += HOST_KV_BLOCK) {
        const uint64_t end = nope - begin < HOST_KV_BLOCK ? nope : begin + HOST_KV_BLOCK;
        const float scale = hearth_e8m0_to_f32(scales[begin / HOST_KV_BLOCK]);
        for (uint64_t i = begin; i < end; i++) {
            row[i] = host_e4m3_values[bytes[i]] * scale;
        }
    }
    for (uint32_t i = 0; i < rope_dim; i++) {
        uint16_t bits;
        memcpy(&bits, bytes + nope + 2 * (uint64_t)i, sizeof bits);
        row[nope + i] = hearth_bf16_to_f32(bits);
    }
}

void
ref_index_store(const float *key, uint32_t format, bool native, uint32_t width, unsigned char *bytes)
{
    unsigned char *scales = bytes + (width + 1) / 2;
    if (format == HEARTH_KV_F32) {
        float *out = (float *)(void *)bytes;
        memcpy(out, key, width * sizeof *key);
        if (native) {
            simulate_e2m1(key, width, out);
        }
        return;
    }
    memset(bytes, 0, (size_t)hearth_index_row_bytes(format, width));
    for (uint32_t begin = 0; begin < width; begin += HOST_INDEX_BLOCK) {
        const uint32_t length = width - begin < HOST_INDEX_BLOCK ? width - begin : HOST_INDEX_BLOCK;
        uint8_t codes[HOST_INDEX_BLOCK];
        ref_fp4_quant(key + begin, length, codes, &scales[begin / HOST_INDEX_BLOCK]);
        for (uint32_t i = 0; i < length; i++) {
            bytes[(begin + i) / 2] |= (unsigned char)(codes[i] << ((begin + i) % 2 * 4));
        }
    }
}

void
ref_index_load(const unsigned char *bytes, uint32_t format, uint32_t width, float *key)
{
    const unsigned char *scales = bytes + (width + 1) / 2;
    if (format == HEARTH_KV_F32) {
        memcpy(key, bytes, width * sizeof *key);
        return;
    }
    for (uint32_t i = 0; i < width; i++) {
        const struct host_halves halves = host_e2m1_halves[bytes[i / 2]];
        const float scale = hearth_e8m0_to_f32(scales[i / HOST_INDEX_BLOCK]);
        key[i] = 0.5f * (float)(i % 2 == 0 ? halves.low : halves.high) * scale;
    }
}

struct kv_append {
    bool native;
    const float *kv, *norm, *inv_freq;
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
        const uint64_t position = op->position + t;
        ref_normalise(work->native, work->kv + t * op->head_dim, work->norm, op->head_dim, op->eps, row);
        ref_rotate(work->native, row + (op->head_dim - op->rope_dim), op->rope_dim, work->inv_freq, position, 1);
        ref_kv_store(row, op->kv_format, work->native, op->head_dim, op->rope_dim,
                     work->ring + position % op->ring_slots * work->row_bytes);
    }
}

void
ref_kv_append(struct host_call *call, const struct hearth_op_kv_append *op)
{
    struct kv_append work = {.native = call->native, .op = op};
    ref_kv_check(call, op->kv_format, op->head_dim, op->rope_dim);
    if (call->status < 0 || !host_call_check(call, op->ring_slots >= op->n, "ring_slots: at least n wanted")) {
        return;
    }
    work.row_bytes = hearth_kv_row_bytes(op->kv_format, op->head_dim, op->rope_dim);
    work.kv = host_view_f32(call, "kv", op->kv, op->n, op->head_dim);
    work.ring = host_view(call, "ring", op->ring, op->ring_slots, work.row_bytes, 1);
    work.norm = host_vector(call, "norm", op->norm, op->head_dim);
    work.inv_freq = host_vector(call, "inv_freq", op->inv_freq, op->rope_dim / 2);
    work.rows = host_scratch_take(call, ref_pool_threads(call->device->pool), op->head_dim * sizeof(float));
    if (call->status < 0) {
        return;
    }
    ref_pool_run(call->device->pool, op->n, (uint64_t)op->head_dim * 10 + op->rope_dim * 40,
                 (struct ref_work){append_tokens, &work});
}
