/* compress.c - the compressor: groups of `ratio` tokens become one entry (spec: decode step of the official model).
 *
 * The state holds the running group's values u and scores g (gates plus ape) as rows of c * width columns.  Without
 * overlap token p fills row p mod ratio.  With overlap there are two groups of rows: token p fills row ratio + p mod
 * ratio, and when its group is complete the rows move down to become the previous group.  An entry is, channel by
 * channel,
 *
 *     e[c] = sum_slots softmax_slots(score)[slot] * value[slot]
 *
 * where with overlap the previous group's slots read the FIRST half of the columns and the current group's the SECOND.
 * A new session's scores are -infinity: slots before the first token weigh nothing.  Then e is rounded to bf16,
 * normalised, rotated at its group's first position and stored.
 *
 * Channels do not meet before the norm, so the state machine runs by channels over all tokens of the command, and then
 * the entries are finished one by one: both steps cut into threads freely. */
#include <math.h>
#include <string.h>

#include "backends/cpu/kernels.h"

/* Channels that one kernel call takes. */
#define CHANNELS 64u

struct compress {
    const struct cpu_kernels *kernels;
    bool native;
    const float *values, *gates, *ape, *norm;
    const float *angles;                /* [entries of this command][rope_dim] */
    float *state_values, *state_scores; /* [c * ratio][c * width] */
    unsigned char *entries;
    uint64_t columns; /* c * width */
    uint64_t row_bytes;
    uint64_t first_entry;
    float *raw;          /* [entries of this command][width] */
    uint64_t n_slots;    /* of a group */
    const float **slots; /* [threads][2 * n_slots] */
    uint8_t *codes;      /* [threads][width] */
    const struct hearth_op_compress *op;
};

/* Channels begin .. end-1 of a complete group; out: the same channels */
static void
pool_channels(const struct compress *work, uint64_t begin, uint64_t end, const float **slots, float *out)
{
    const uint64_t ratio = work->op->ratio;
    const uint64_t n_slots = work->op->overlap ? 2 * ratio : ratio;
    for (uint64_t slot = 0; slot < n_slots; slot++) {
        const uint64_t column = work->op->overlap && slot >= ratio ? work->op->width + begin : begin;
        slots[slot] = work->state_scores + slot * work->columns + column;
        slots[n_slots + slot] = work->state_values + slot * work->columns + column;
    }
    work->kernels->pool(slots, slots + n_slots, n_slots, end - begin, out);
}

/* Columns begin .. end-1 of a token go to a slot. */
static void
feed(const struct compress *work, uint64_t token, uint64_t slot, uint64_t begin, uint64_t end)
{
    const float *gates = work->gates + token * work->columns;
    const float *ape = work->ape + (work->op->position + token) % work->op->ratio * work->columns;
    float *scores = work->state_scores + slot * work->columns;
    memcpy(work->state_values + slot * work->columns + begin, work->values + token * work->columns + begin,
           (size_t)(end - begin) * sizeof(float));
    for (uint64_t column = begin; column < end; column++) {
        scores[column] = gates[column] + ape[column];
    }
}

/* rows 0 .. ratio-1 <- rows ratio .. 2 ratio - 1 */
static void
shift(const struct compress *work, uint64_t begin, uint64_t end)
{
    const size_t size = (size_t)(end - begin) * sizeof(float);
    for (uint64_t slot = 0; slot < work->op->ratio; slot++) {
        const uint64_t to = slot * work->columns + begin;
        const uint64_t from = to + work->op->ratio * work->columns;
        memcpy(work->state_values + to, work->state_values + from, size);
        memcpy(work->state_scores + to, work->state_scores + from, size);
    }
}

/* item: CHANNELS channels of width; with overlap they own columns of both halves */
static void
run_channels(void *context, uint64_t first, uint64_t last, uint32_t thread)
{
    const struct compress *work = context;
    const struct hearth_op_compress *op = work->op;
    const uint64_t begin = first * CHANNELS;
    const uint64_t end = last * CHANNELS < op->width ? last * CHANNELS : op->width;
    /* no entry is completed: there are none */
    const float **slots = work->slots == NULL ? NULL : work->slots + thread * work->n_slots * 2;
    for (uint64_t t = 0; t < op->n; t++) {
        const uint64_t position = op->position + t;
        const uint64_t slot = position % op->ratio + (op->overlap ? op->ratio : 0);
        feed(work, t, slot, begin, end);
        if (op->overlap) {
            feed(work, t, slot, op->width + begin, op->width + end);
        }
        if ((position + 1) % op->ratio != 0) {
            continue;
        }
        pool_channels(work, begin, end, slots,
                      work->raw + (position / op->ratio - work->first_entry) * op->width + begin);
        if (op->overlap) {
            shift(work, begin, end);
            shift(work, op->width + begin, op->width + end);
        }
    }
}

static void
finish_entries(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct compress *work = context;
    const struct hearth_op_compress *op = work->op;
    uint8_t *codes = work->codes + (uint64_t)thread * op->width;
    for (uint64_t i = begin; i < end; i++) {
        unsigned char *bytes = work->entries + (work->first_entry + i) * work->row_bytes;
        float *row = work->raw + i * op->width;
        for (uint64_t c = 0; c < op->width && work->native; c++) {
            row[c] = hearth_round_bf16(row[c]);
        }
        work->kernels->normalise(work->native, row, work->norm, op->width, op->eps, row);
        work->kernels->turn(work->native, row + (op->width - op->rope_dim), work->angles + i * op->rope_dim,
                            op->rope_dim);
        if (op->kind == HEARTH_ENTRY_KV) {
            cpu_kv_store(work->kernels, row, op->kv_format, work->native, op->width, op->rope_dim, bytes);
        } else {
            if (work->native) {
                work->kernels->hadamard(row, op->width);
            }
            cpu_index_store(work->kernels, row, codes, op->kv_format, work->native, op->width, bytes);
        }
    }
}

static bool
check_arguments(struct host_call *call, const struct hearth_op_compress *op)
{
    cpu_kv_check(call, op->kv_format, op->width, op->rope_dim);
    if (call->status < 0 || !host_call_check(call, op->ratio > 0 && op->n > 0, "ratio and n: 1 or more wanted") ||
        !host_call_check(call, op->kind <= HEARTH_ENTRY_INDEX, "kind: 0 or 1 wanted") ||
        !host_call_check(call, op->position < UINT64_MAX - op->n, "position: too large")) {
        return false;
    }
    if (op->kind == HEARTH_ENTRY_INDEX && call->native && (op->width & (op->width - 1)) != 0) {
        host_call_fail(call, HEARTH_EUNSUPPORTED, "width: a power of two wanted for the Hadamard rotation, %u found",
                       op->width);
        return false;
    }
    return true;
}

void
cpu_compress(struct host_call *call, const struct hearth_op_compress *op)
{
    const uint64_t c = op->overlap ? 2 : 1;
    if (!check_arguments(call, op)) {
        return;
    }
    struct compress work = {
        .kernels = call->device->kernels, .native = call->native, .op = op, .columns = c * op->width};
    const uint64_t n_state = c * op->ratio * work.columns;
    const uint64_t n_entries = (op->position + op->n) / op->ratio;
    work.first_entry = op->position / op->ratio;
    work.row_bytes = op->kind == HEARTH_ENTRY_KV ? hearth_kv_row_bytes(op->kv_format, op->width, op->rope_dim)
                                                 : hearth_index_row_bytes(op->kv_format, op->width);
    work.values = host_view_f32(call, "values", op->values, op->n, work.columns);
    work.gates = host_view_f32(call, "gates", op->gates, op->n, work.columns);
    work.state_values = host_view_f32(call, "state", op->state, 2, n_state);
    work.ape = host_vector(call, "ape", op->ape, op->ratio * work.columns);
    work.norm = host_vector(call, "norm", op->norm, op->width);
    const float *inv_freq = host_vector(call, "inv_freq", op->inv_freq, op->rope_dim / 2);
    const uint64_t n_new = n_entries - work.first_entry;
    if (n_new > 0) {
        work.entries = host_view(call, "entries", op->entries, n_entries, work.row_bytes, 1);
        work.raw = host_scratch_take(call, n_new, op->width * sizeof(float));
        work.codes = host_scratch_take(call, cpu_pool_threads(call->device->pool), op->width);
        work.n_slots = c * op->ratio;
        work.slots =
            host_scratch_take(call, cpu_pool_threads(call->device->pool), 2 * work.n_slots * sizeof *work.slots);
    }
    if (call->status < 0) {
        return;
    }
    work.state_scores = work.state_values + n_state;
    cpu_pool_run(call->device->pool, (op->width + CHANNELS - 1) / CHANNELS, 1, CHANNELS * c * op->n * 4,
                 (struct cpu_work){run_channels, &work});
    if (n_new > 0) {
        work.angles = cpu_angles_take(call, inv_freq, op->rope_dim, work.first_entry * op->ratio, n_new, op->ratio, 1);
    }
    if (call->status == 0 && n_new > 0) {
        cpu_pool_run(call->device->pool, n_new, 1, (uint64_t)op->width * 8, (struct cpu_work){finish_entries, &work});
    }
}
