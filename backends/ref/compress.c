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
 * Channels do not meet before the norm, so the state machine runs per channel over all tokens of the command, and then
 * the entries are finished one by one: both steps cut into threads freely. */
#include "backends/ref/ref.h"

struct compress {
    bool native;
    const float *values, *gates, *ape, *norm, *inv_freq;
    float *state_values, *state_scores; /* [c * ratio][c * width] */
    unsigned char *entries;
    uint64_t columns; /* c * width */
    uint64_t row_bytes;
    uint64_t first_entry;
    float *raw;  /* [entries of this command][width] */
    float *rows; /* [threads][width] */
    const struct hearth_op_compress *op;
};

/* One channel of a complete group. */
static float
pool_channel(const struct compress *work, uint64_t channel)
{
    const uint64_t ratio = work->op->ratio;
    const uint64_t n_slots = work->op->overlap ? 2 * ratio : ratio;
    double most = -INFINITY;
    double sum = 0.0;
    double weights = 0.0;
    for (int pass = 0; pass < 2; pass++) {
        for (uint64_t slot = 0; slot < n_slots; slot++) {
            const uint64_t column = work->op->overlap && slot >= ratio ? work->op->width + channel : channel;
            const double score = work->state_scores[slot * work->columns + column];
            if (pass == 0) {
                most = score > most ? score : most;
            } else if (score > -INFINITY) {
                const double weight = exp(score - most);
                weights += weight;
                sum += weight * (double)work->state_values[slot * work->columns + column];
            }
        }
    }
    return (float)(sum / weights);
}

static void
feed(const struct compress *work, uint64_t token, uint64_t slot, uint64_t column)
{
    const uint64_t at = slot * work->columns + column;
    const uint64_t ape_row = (work->op->position + token) % work->op->ratio;
    work->state_values[at] = work->values[token * work->columns + column];
    work->state_scores[at] = work->gates[token * work->columns + column] + work->ape[ape_row * work->columns + column];
}

/* rows 0 .. ratio-1 <- rows ratio .. 2 ratio - 1 */
static void
shift(const struct compress *work, uint64_t column)
{
    for (uint64_t slot = 0; slot < work->op->ratio; slot++) {
        const uint64_t to = slot * work->columns + column;
        const uint64_t from = to + work->op->ratio * work->columns;
        work->state_values[to] = work->state_values[from];
        work->state_scores[to] = work->state_scores[from];
    }
}

/* item: channel of width; with overlap it owns columns channel and width + channel */
static void
run_channels(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct compress *work = context;
    const struct hearth_op_compress *op = work->op;
    (void)thread;
    for (uint64_t t = 0; t < op->n; t++) {
        const uint64_t position = op->position + t;
        const uint64_t slot = position % op->ratio + (op->overlap ? op->ratio : 0);
        const bool complete = (position + 1) % op->ratio == 0;
        float *raw = complete ? work->raw + (position / op->ratio - work->first_entry) * op->width : NULL;
        for (uint64_t channel = begin; channel < end; channel++) {
            feed(work, t, slot, channel);
            if (op->overlap) {
                feed(work, t, slot, op->width + channel);
            }
            if (complete) {
                raw[channel] = pool_channel(work, channel);
            }
            if (complete && op->overlap) {
                shift(work, channel);
                shift(work, op->width + channel);
            }
        }
    }
}

static void
finish_entries(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct compress *work = context;
    const struct hearth_op_compress *op = work->op;
    float *row = work->rows + (uint64_t)thread * op->width;
    for (uint64_t i = begin; i < end; i++) {
        const uint64_t entry = work->first_entry + i;
        unsigned char *bytes = work->entries + entry * work->row_bytes;
        for (uint64_t c = 0; c < op->width; c++) {
            row[c] = ref_round(work->native, work->raw[i * op->width + c]);
        }
        ref_normalise(work->native, row, work->norm, op->width, op->eps, row);
        ref_rotate(work->native, row + (op->width - op->rope_dim), op->rope_dim, work->inv_freq, entry * op->ratio, 1);
        if (op->kind == HEARTH_ENTRY_KV) {
            ref_kv_store(row, op->kv_format, work->native, op->width, op->rope_dim, bytes);
        } else {
            if (work->native) {
                ref_hadamard(row, op->width);
            }
            ref_index_store(row, op->kv_format, work->native, op->width, bytes);
        }
    }
}

static bool
check_arguments(struct host_call *call, const struct hearth_op_compress *op)
{
    ref_kv_check(call, op->kv_format, op->width, op->rope_dim);
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
ref_compress(struct host_call *call, const struct hearth_op_compress *op)
{
    const uint64_t c = op->overlap ? 2 : 1;
    if (!check_arguments(call, op)) {
        return;
    }
    struct compress work = {.native = call->native, .op = op, .columns = c * op->width};
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
    work.inv_freq = host_vector(call, "inv_freq", op->inv_freq, op->rope_dim / 2);
    const uint64_t n_new = n_entries - work.first_entry;
    if (n_new > 0) {
        work.entries = host_view(call, "entries", op->entries, n_entries, work.row_bytes, 1);
        work.raw = host_scratch_take(call, n_new, op->width * sizeof(float));
        work.rows = host_scratch_take(call, ref_pool_threads(call->device->pool), op->width * sizeof(float));
    }
    if (call->status < 0) {
        return;
    }
    work.state_scores = work.state_values + n_state;
    ref_pool_run(call->device->pool, op->width, (uint64_t)op->n * 40, (struct ref_work){run_channels, &work});
    ref_pool_run(call->device->pool, n_new, (uint64_t)op->width * 20, (struct ref_work){finish_entries, &work});
}
