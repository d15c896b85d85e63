/* kv.cl - the window ring: new rows normalised, rotated, quantised (native) and stored.
 *
 * kv_append:  kv [n][head_dim] f32, norm [head_dim], inv_freq [rope_dim / 2] -> ring, rows of row_bytes.  A work-group
 *             is a token; token t goes to slot (position + t) mod ring_slots.
 *
 * A work-group has GROUP items (a power of two).  Local memory: the row, and the largest magnitudes of its blocks. */

kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
kv_append(PLACE_CONST(kv), PLACE(ring), PLACE_CONST(norm), PLACE_CONST(inv_freq), ulong position, uint head_dim,
          uint rope_dim, uint ring_slots, uint row_bytes, uint format, float eps, uint native, local float *row,
          local uint *maxima)
{
    local float parts[GROUP];
    const global float *raw = AT_CONST(float, kv) + (ulong)get_group_id(0) * head_dim;
    const ulong at = position + get_group_id(0);
    for (uint i = (uint)get_local_id(0); i < head_dim; i += GROUP) {
        row[i] = raw[i];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    group_normalise(row, AT_CONST(float, norm), head_dim, eps, native, parts);
    group_rotate(row, head_dim, rope_dim, AT_CONST(float, inv_freq), at, native);
    group_store(row, AT(uchar, ring) + at % ring_slots * row_bytes, 0, format, native, head_dim, rope_dim, row_bytes,
                maxima);
}
