/* kv.cl - what attention looks at: query heads normalised and rotated, in place; new rows of the window ring normalised,
 * rotated, quantised (native) and stored.
 *
 * q [n][n_heads][head_dim] f32; kv [n][head_dim] f32, norm [head_dim] -> ring, rows of row_bytes, token t in slot
 * (position + t) mod ring_slots; inv_freq [rope_dim / 2] of each.
 *
 * query_rope:  HEAD_ITEMS items of a work-group, a power of two, are a head.
 * kv_append:   a work-group is a token.
 *
 * ready.cl makes both, and more, in one launch.
 * A work-group has GROUP items (a power of two).  A head is read twice; the second time from a cache. */

/* 1 / sqrt(mean(q^2) + eps); in native numerics each step is rounded to bf16, as the model was run. */
static inline float
head_factor(const global float *q, uint n, float eps, uint native, local float *parts)
{
    float squares = 0.0f;
    for (uint i = (uint)get_local_id(0) % HEAD_ITEMS; i < n; i += HEAD_ITEMS) {
        const float square = q[i] * q[i];
        squares += native ? round_bf16(square) : square;
    }
    const float mean = team_sum(squares, parts, HEAD_ITEMS) / (float)n;
    const float total = native ? round_bf16(round_bf16(mean) + eps) : mean + eps;
    const float factor = 1.0f / sqrt(total);
    return native ? round_bf16(factor) : factor;
}

/* head_dim and rope_dim 0: nothing */
static inline void
turn_head(global float *head, const global float *inv_freq, ulong at, uint head_dim, uint rope_dim, float eps,
          uint native, local float *parts)
{
    const uint item = (uint)get_local_id(0) % HEAD_ITEMS, nope = head_dim - rope_dim;
    const float factor = head_factor(head, head_dim, eps, native, parts);
    barrier(CLK_GLOBAL_MEM_FENCE); /* all have read what is now overwritten */
    for (uint i = item; i < nope; i += HEAD_ITEMS) {
        const float value = head[i] * factor;
        head[i] = native ? round_bf16(value) : value;
    }
    global float *tail = head + nope;
    for (uint i = item; i < rope_dim / 2; i += HEAD_ITEMS) {
        float2 pair = (float2)(tail[2 * i], tail[2 * i + 1]) * factor;
        pair = native ? (float2)(round_bf16(pair.x), round_bf16(pair.y)) : pair;
        pair = rotate_pair(pair, at, inv_freq[i], 1, native);
        tail[2 * i] = pair.x;
        tail[2 * i + 1] = pair.y;
    }
}

/* head_dim, rope_dim and row_bytes 0: nothing.  row: [head_dim]; maxima: a number for each of its blocks */
static inline void
append_row(const global float *raw, global uchar *stored, const global float *norm, const global float *inv_freq,
           ulong at, uint head_dim, uint rope_dim, uint row_bytes, uint format, float eps, uint native,
           local float *parts, local float *row, local uint *maxima)
{
    for (uint i = (uint)get_local_id(0); i < head_dim; i += GROUP) {
        row[i] = raw[i];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    group_normalise(row, norm, head_dim, eps, native, parts);
    group_rotate(row, head_dim, rope_dim, inv_freq, at, native);
    group_store(row, stored, 0, format, native, head_dim, rope_dim, row_bytes, maxima);
}

kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) WITH_SUBGROUPS void
query_rope(PLACE(q), PLACE_CONST(inv_freq), ulong position, uint n_heads, uint head_dim, uint rope_dim, float eps,
           uint native)
{
    local float parts[GROUP];
    const ulong head = get_group_id(0); /* GROUP is HEAD_ITEMS */
    turn_head(AT(float, q) + head * head_dim, AT_CONST(float, inv_freq), position + head / n_heads, head_dim, rope_dim,
              eps, native, parts);
}

kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) WITH_SUBGROUPS void
kv_append(PLACE_CONST(kv), PLACE(ring), PLACE_CONST(norm), PLACE_CONST(inv_freq), ulong position, uint head_dim,
          uint rope_dim, uint ring_slots, uint row_bytes, uint format, float eps, uint native, local float *row,
          local uint *maxima)
{
    local float parts[GROUP];
    const ulong token = get_group_id(0), at = position + token;
    append_row(AT_CONST(float, kv) + token * head_dim, AT(uchar, ring) + at % ring_slots * row_bytes,
               AT_CONST(float, norm), AT_CONST(float, inv_freq), at, head_dim, rope_dim, row_bytes, format, eps, native,
               parts, row, maxima);
}
