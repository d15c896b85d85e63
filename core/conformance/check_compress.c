/* check_compress.c - entries by the formula over the whole history, against a state machine that starts in its middle.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/conformance/check.h"

static const struct shape {
    uint32_t n, ratio, width, rope_dim, overlap, kind;
    uint64_t position;
} shapes[] = {
    {1, 4, 80, 16, 1, HEARTH_ENTRY_KV, 3},      {9, 4, 32, 16, 1, HEARTH_ENTRY_INDEX, 0},
    {6, 4, 80, 16, 1, HEARTH_ENTRY_KV, 4},      {2, 4, 64, 8, 1, HEARTH_ENTRY_INDEX, 8},
    {5, 128, 80, 16, 0, HEARTH_ENTRY_KV, 125},  {1, 128, 512, 64, 0, HEARTH_ENTRY_KV, 255},
    {23, 4, 512, 64, 1, HEARTH_ENTRY_KV, 14},   {3, 8, 72, 2, 0, HEARTH_ENTRY_KV, 1},
    {11, 4, 128, 64, 1, HEARTH_ENTRY_INDEX, 5}, {130, 128, 96, 32, 0, HEARTH_ENTRY_KV, 0},
};

/* The history: what every token brought, gates with ape added. */
struct history {
    float *values, *scores; /* [tokens][columns] */
    uint32_t columns;
};

static uint64_t
row_bytes(const struct hearth_op_compress *op)
{
    return op->kind == HEARTH_ENTRY_KV ? hearth_kv_row_bytes(op->kv_format, op->width, op->rope_dim)
                                       : hearth_index_row_bytes(op->kv_format, op->width);
}

static void
read_entries(const struct check_trial *trial, const unsigned char *bytes, float *values)
{
    const struct hearth_op_compress *op = &trial->command.args.compress;
    for (uint64_t w = 0; w < trial->tensors[3].size_bytes / row_bytes(op); w++) {
        if (op->kind == HEARTH_ENTRY_KV) {
            check_kv_decode(bytes + w * row_bytes(op), op->kv_format, op->width, op->rope_dim, values + w * op->width);
        } else {
            check_index_decode(bytes + w * row_bytes(op), op->kv_format, op->width, values + w * op->width);
        }
    }
}

/* e of entry w, channel c, and the sum of its terms' magnitudes */
static double
expect_channel(const struct hearth_op_compress *op, const struct history *history, uint64_t w, uint32_t c,
               double *magnitude)
{
    double sum = 0.0, weights = 0.0;
    *magnitude = 0.0;
    for (uint32_t back = op->overlap ? 1 : 0; back <= 1; back--) {
        for (uint32_t i = 0; i < op->ratio && w >= back; i++) {
            const uint64_t token = (w - back) * op->ratio + i;
            const uint64_t at = token * history->columns + (op->overlap && back == 0 ? op->width : 0) + c;
            const double weight = exp((double)history->scores[at]);
            weights += weight;
            sum += weight * history->values[at];
            *magnitude += weight * fabs((double)history->values[at]);
        }
    }
    *magnitude /= weights;
    return sum / weights;
}

static void
expect_entry(const struct hearth_op_compress *op, const struct history *history, bool native, const float *norm,
             const float *freqs, uint64_t w, double *expected, double *slack)
{
    double error[512], relative = 0.0;
    for (uint32_t c = 0; c < op->width; c++) {
        double magnitude;
        expected[c] = expect_channel(op, history, w, c, &magnitude);
        error[c] = check_tight(2.0 * op->ratio, magnitude) + 0x1p-20 * magnitude;
        error[c] += native ? 2.0 * check_half_bf16(fabs(expected[c]) + error[c]) : 0.0;
        expected[c] = native ? check_bf16(expected[c]) : expected[c];
        relative += error[c] * error[c];
    }
    double squares = 0.0;
    for (uint32_t c = 0; c < op->width; c++) {
        squares += expected[c] * expected[c];
    }
    relative = sqrt(relative / squares) + (8.0 + sqrt(op->width)) * 0x1p-24;
    const double factor = pow(squares / op->width + op->eps, -0.5);
    check_normalise(expected, norm, op->width, op->eps, expected);
    for (uint32_t c = 0; c < op->width; c++) {
        error[c] = error[c] * factor * fabs((double)norm[c]) + relative * fabs(expected[c]);
        error[c] += native ? 2.0 * check_half_bf16(fabs(expected[c]) + error[c]) : 0.0;
        expected[c] = native ? check_bf16(expected[c]) : expected[c];
    }
    check_rotate_tail(expected, error, native, op->width, op->rope_dim, freqs, w * op->ratio, 1);
    if (op->kind == HEARTH_ENTRY_KV) {
        check_kv_slack(expected, error, native, op->width, op->rope_dim, slack);
        return;
    }
    if (native) {
        check_hadamard_rounded(expected, error, op->width);
    }
    check_index_slack(expected, error, native, op->width, slack);
}

/* The state after `position` tokens; rows that nobody may read again are NaN.  state: [2][rows][columns] */
static void
expect_state(const struct hearth_op_compress *op, const struct history *history, uint64_t position, double *state)
{
    const uint64_t n_rows = op->overlap ? 2 * op->ratio : op->ratio;
    const uint64_t partial = position % op->ratio, first = position - partial;
    for (uint64_t row = 0; row < n_rows; row++) {
        const bool current = !op->overlap || row >= op->ratio;
        const uint64_t slot = row % op->ratio;
        const bool fresh = op->overlap && !current && first == 0;
        const uint64_t token = current ? first + slot : first - op->ratio + slot;
        for (uint64_t c = 0; c < history->columns; c++) {
            double *value = &state[row * history->columns + c], *score = &state[(n_rows + row) * history->columns + c];
            *value = fresh ? 0.0
                           : (current && slot >= partial ? NAN : (double)history->values[token * history->columns + c]);
            *score = fresh ? -INFINITY
                           : (current && slot >= partial ? NAN : (double)history->scores[token * history->columns + c]);
        }
    }
}

static void
add_history(struct check_trial *trial, const struct hearth_op_compress *op, struct history *history)
{
    float *gates = check_alloc(trial, (op->position + op->n) * history->columns, sizeof *gates);
    const struct check_weight *ape = &trial->weights[0];
    history->values = check_alloc(trial, (op->position + op->n) * history->columns, sizeof(float));
    history->scores = check_alloc(trial, (op->position + op->n) * history->columns, sizeof(float));
    float *values_in = check_input(trial, "values", &trial->command.args.compress.values, op->n, history->columns, 1.0);
    float *gates_in = check_input(trial, "gates", &trial->command.args.compress.gates, op->n, history->columns, 1.0);
    for (uint64_t i = 0; i < (op->position + op->n) * history->columns; i++) {
        const uint64_t token = i / history->columns, column = i % history->columns;
        float added;
        memcpy(&added,
               (const unsigned char *)ape->matrices[0].data + 4 * (token % op->ratio * history->columns + column), 4);
        history->values[i] = (float)check_normal(trial);
        gates[i] = (float)(2.0 * check_normal(trial));
        history->scores[i] = gates[i] + added;
        if (token >= op->position) {
            values_in[(token - op->position) * history->columns + column] = history->values[i];
            gates_in[(token - op->position) * history->columns + column] = gates[i];
        }
    }
}

static void
add_state(struct check_trial *trial, struct hearth_op_compress *op, const struct history *history)
{
    const uint64_t n_rows = op->overlap ? 2 * op->ratio : op->ratio;
    struct check_tensor *state = check_output(trial, "state", &op->state, 1, 2 * n_rows * history->columns);
    float *initial = (float *)(void *)state->initial;
    state->role = CHECK_INOUT;
    state->token_bytes = 0;
    expect_state(op, history, op->position, state->expected);
    for (uint64_t i = 0; i < state->n_values; i++) {
        initial[i] = isnan(state->expected[i]) ? 1e30f : (float)state->expected[i]; /* what is stale must not count */
    }
    expect_state(op, history, op->position + op->n, state->expected);
    for (uint64_t i = 0; i < state->n_values; i++) {
        state->expected[i] = isinf(state->expected[i]) ? NAN : state->expected[i];
    }
}

static void
make(struct check_trial *trial, uint32_t index, uint32_t numerics)
{
    const struct shape *shape = &shapes[index];
    struct hearth_op_compress *op = &trial->command.args.compress;
    const bool native = numerics == HEARTH_NATIVE;
    *op = (struct hearth_op_compress){.n = shape->n,
                                      .ratio = shape->ratio,
                                      .width = shape->width,
                                      .rope_dim = shape->rope_dim,
                                      .overlap = (uint16_t)shape->overlap,
                                      .kind = (uint16_t)shape->kind,
                                      .eps = 1e-6f,
                                      .position = shape->position,
                                      .kv_format = native ? HEARTH_KV_PACKED : HEARTH_KV_F32};
    struct history history = {.columns = op->width * (op->overlap ? 2 : 1)};
    check_weight_add(trial, &op->ape, HEARTH_WEIGHT_VECTOR, HEARTH_F32, op->ratio, history.columns, 0.5);
    add_history(trial, op, &history);
    add_state(trial, op, &history);
    const float *norm = check_weight_add(trial, &op->norm, HEARTH_WEIGHT_VECTOR, HEARTH_BF16, 1, op->width, 1.0);
    const float *freqs = check_freqs_add(trial, &op->inv_freq, op->rope_dim / 2);
    const uint64_t first = op->position / op->ratio, end = (op->position + op->n) / op->ratio, n_rows = end + 1;
    struct check_tensor *entries = check_output(trial, "entries", &op->entries, n_rows, op->width);
    entries->role = CHECK_INOUT;
    entries->token_bytes = 0;
    entries->size_bytes = n_rows * row_bytes(op);
    entries->read = read_entries;
    memset(entries->initial, 0x31, entries->size_bytes);
    float *before = check_alloc(trial, entries->n_values, sizeof *before);
    read_entries(trial, entries->initial, before);
    for (uint64_t w = 0; w < n_rows; w++) {
        for (uint32_t c = 0; c < op->width; c++) {
            entries->expected[w * op->width + c] = before[w * op->width + c];
        }
        if (w >= first && w < end) {
            expect_entry(op, &history, native, norm, freqs, w, entries->expected + w * op->width,
                         entries->slack + w * op->width);
        }
    }
    trial->n = &op->n;
    trial->position = &op->position;
    snprintf(trial->name, sizeof trial->name, "%s n=%u ratio=%u%s width=%u rope=%u position=%llu",
             op->kind ? "index" : "kv", op->n, op->ratio, op->overlap ? " overlap" : "", op->width, op->rope_dim,
             (unsigned long long)op->position);
}

const struct check check_compress = {
    .name = "compress", .op = HEARTH_OP_COMPRESS, .n_trials = sizeof shapes / sizeof shapes[0], .make = make};
