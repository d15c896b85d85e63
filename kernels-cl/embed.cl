/* embed.cl - rows of the embedding table; each stream starts as a copy.
 *
 * ids i32 [n], streams f32 [n][n_streams][dim], table rows first_row .. + n_rows - 1 of DTYPE, and their scales
 *
 * A work item is one element of one token.  A table in several parts takes one launch for each: tokens whose row lies
 * elsewhere are left alone. */

static inline float
table_element(const global uchar *data, const global uchar *scales, ulong row, uint dim, uint d)
{
    const ulong at = row * dim + d;
#if DTYPE == DTYPE_F32
    return ((const global float *)data)[at];
#elif DTYPE == DTYPE_BF16
    return bf16_to_f32(((const global ushort *)data)[at]);
#elif DTYPE == DTYPE_E4M3
    return e4m3_to_f32(data[at]) * e8m0_to_f32(scales[row / 128u * ((dim + 127u) / 128u) + d / 128u]);
#else
    return e2m1_to_f32(data[at / 2u] >> (d % 2u * 4u) & 0xFu) *
           e8m0_to_f32(scales[row * ((dim + 31u) / 32u) + d / 32u]);
#endif
}

kernel void
embed(PLACE_CONST(ids), PLACE_CONST(data), PLACE_CONST(scales), PLACE(streams), ulong first_row, ulong n_rows,
      uint n_streams, uint dim)
{
    const uint t = get_group_id(1), d = get_global_id(0);
    const ulong row = (ulong)(long)AT_CONST(int, ids)[t] - first_row;
    if (d >= dim || row >= n_rows) {
        return;
    }
    const float value = table_element(AT_CONST(uchar, data), AT_CONST(uchar, scales), row, dim, d);
    for (uint s = 0; s < n_streams; s++) {
        AT(float, streams)[((ulong)t * n_streams + s) * dim + d] = value;
    }
}
