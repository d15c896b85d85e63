/* compress.cl - the compressor: groups of `ratio` tokens become one entry.
 *
 * values, gates  [n][columns] f32, columns = c * width, c = 2 with overlap, else 1; ape [ratio][columns]
 * state          two arrays [c * ratio][columns]: values, then scores (gates plus ape).  Token p is in row p mod ratio,
 *                with overlap in row ratio + p mod ratio, where rows 0 .. ratio - 1 are the group before.
 * entries        rows of row_bytes
 *
 *     e[c] = sum_slots softmax_slots(score)[slot] * value[slot]
 *
 * compress_entries: a work-group of GROUP items is an entry that the command completes.  A slot's token is one of the command, or the
 * state holds it as the command found it.  With overlap the slots of the group before read the first half of the
 * columns, those of its own group the second.  Then e is rounded, normalised, rotated at its group's first position and
 * stored.
 * compress_state: an item is one slot of one column; runs after compress_entries and leaves what n tokens leave.
 * ready.cl makes both for few tokens. */

/* Where the command's tokens and the state lie. */
struct history {
    const global float *values, *gates, *ape, *state;
    ulong position, group; /* of the command's first token */
    uint ratio, columns, overlap;
};

/* The score of a group's slot in a column; ret_value: its value. */
static inline float
read_slot(const struct history *history, ulong group, uint slot, uint column, float *ret_value)
{
    const ulong p = group * history->ratio + slot;
    if (p >= history->position) {
        const ulong at = (p - history->position) * history->columns + column;
        *ret_value = history->values[at];
        return history->gates[at] + history->ape[(ulong)slot * history->columns + column];
    }
    const ulong n_rows = history->overlap ? 2 * history->ratio : history->ratio;
    const ulong row = slot + (history->overlap && group == history->group ? history->ratio : 0);
    *ret_value = history->state[row * history->columns + column];
    return history->state[(n_rows + row) * history->columns + column];
}

/* Channel `channel` of entry w.  Before entry 0 there is nothing. */
static inline float
pool_channel(const struct history *history, ulong w, uint channel, uint width)
{
    const uint oldest = history->overlap && w > 0 ? 1 : 0; /* groups back */
    float most = -INFINITY, sum = 0.0f, weights = 0.0f;
    for (uint pass = 0; pass < 2; pass++) {
        for (uint back = oldest; back <= oldest; back--) {
            const uint column = channel + (history->overlap && back == 0 ? width : 0);
            UNROLL_LOADS
            for (uint slot = 0; slot < history->ratio; slot++) {
                float value;
                const float score = read_slot(history, w - back, slot, column, &value);
                if (pass == 0) {
                    most = score > most ? score : most;
                } else if (score > -INFINITY) {
                    const float weight = exact_exp(score - most);
                    weights += weight;
                    sum = fma(weight, value, sum);
                }
            }
        }
    }
    return sum / weights;
}

/* Entry w.  width, rope_dim and row_bytes 0: nothing.  row: [width]; maxima: a number for each of its blocks */
static inline void
make_entry(const struct history *history, ulong w, global uchar *bytes, const global float *norm,
           const global float *inv_freq, uint width, uint rope_dim, uint is_index, uint row_bytes, uint format,
           float eps, float hadamard, uint native, local float *parts, local float *row, local uint *maxima)
{
    for (uint channel = (uint)get_local_id(0); channel < width; channel += GROUP) {
        const float pooled = pool_channel(history, w, channel, width);
        row[channel] = native ? round_bf16(pooled) : pooled;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    group_normalise(row, norm, width, eps, native, parts);
    group_rotate(row, width, rope_dim, inv_freq, w * history->ratio, native);
    group_hadamard(row, is_index && native ? width : 0, hadamard);
    group_store(row, bytes, is_index, format, native, width, is_index ? 0 : rope_dim, row_bytes, maxima);
}

/* A slot of a column as n tokens leave it.  rows: the state */
static inline void
keep_slot(const struct history *history, global float *rows, uint n, uint slot, uint column)
{
    const uint ratio = history->ratio, columns = history->columns, overlap = history->overlap;
    const ulong position = history->position, end = position + n;
    const ulong n_rows = overlap ? 2 * ratio : ratio;
    const ulong current = (slot + (overlap ? ratio : 0)) * (ulong)columns + column;
    const ulong scores = n_rows * columns; /* from a value to its score */
    const float bias = history->ape[(ulong)slot * columns + column];
    if (overlap && end / ratio > history->group) { /* a group was completed: the last of them is the one before now */
        const ulong p = (end / ratio - 1) * ratio + slot;
        const ulong before = (ulong)slot * columns + column;
        const ulong at = (p - position) * columns + column;
        rows[before] = p >= position ? history->values[at] : rows[current];
        rows[before + scores] = p >= position ? history->gates[at] + bias : rows[current + scores];
    }
    const uint back = (uint)((end - 1 - slot) % ratio); /* from the last token to the last one of this slot */
    if (end > slot && back < n) {
        const ulong at = (ulong)(n - 1 - back) * columns + column;
        rows[current] = history->values[at];
        rows[current + scores] = history->gates[at] + bias;
    }
}

kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) WITH_SUBGROUPS void
compress_entries(PLACE_CONST(values), PLACE_CONST(gates), PLACE_CONST(ape), PLACE_CONST(state), PLACE(entries),
                 PLACE_CONST(norm), PLACE_CONST(inv_freq), ulong position, uint ratio, uint width, uint rope_dim,
                 uint overlap, uint is_index, uint row_bytes, uint format, float eps, float hadamard, uint native,
                 local float *row, local uint *maxima)
{
    local float parts[GROUP];
    const struct history history = {AT_CONST(float, values), AT_CONST(float, gates), AT_CONST(float, ape),
                                    AT_CONST(float, state), position, position / ratio, ratio,
                                    overlap ? 2 * width : width, overlap};
    const ulong w = history.group + get_group_id(0);
    make_entry(&history, w, AT(uchar, entries) + w * row_bytes, AT_CONST(float, norm), AT_CONST(float, inv_freq),
               width, rope_dim, is_index, row_bytes, format, eps, hadamard, native, parts, row, maxima);
}

kernel void
compress_state(PLACE_CONST(values), PLACE_CONST(gates), PLACE_CONST(ape), PLACE(state), ulong position, uint n,
               uint ratio, uint columns, uint overlap)
{
    const uint column = (uint)get_global_id(0);
    const struct history history = {AT_CONST(float, values), AT_CONST(float, gates), AT_CONST(float, ape),
                                    AT_CONST(float, state), position, position / ratio, ratio, columns, overlap};
    if (column < columns) {
        keep_slot(&history, AT(float, state), n, (uint)get_group_id(1), column);
    }
}
