/* norm.cl - the RMS norm of a token's row: x, y [n][dim], norm [dim], all f32.  y may be x.
 *
 * A work-group is a token and has GROUP items (a power of two).  A row is read twice; the second time from a cache. With
 * BESIDE only normalise_row is wanted: the text stands before beside.cl. */

/* dim 0: nothing.  parts: [GROUP] */
static inline void
normalise_row(const global float *row, global float *out, const global float *weights, uint dim, float eps,
              uint native, local float *parts)
{
    const uint item = (uint)get_local_id(0);
    float squares = 0.0f;
    for (uint i = item; i < dim; i += GROUP) {
        squares = fma(row[i], row[i], squares);
    }
    const float factor = 1.0f / sqrt(group_sum(squares, parts) / (float)dim + eps);
    for (uint i = item; i < dim; i += GROUP) {
        const float value = row[i] * factor * weights[i];
        out[i] = native ? round_bf16(value) : value;
    }
}

#ifndef BESIDE
kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) WITH_SUBGROUPS void
rmsnorm(PLACE(x), PLACE(y), PLACE_CONST(norm), uint dim, float eps, uint native)
{
    local float parts[GROUP];
    const ulong first = (ulong)get_group_id(0) * dim;
    normalise_row(AT_CONST(float, x) + first, AT(float, y) + first, AT_CONST(float, norm), dim, eps, native, parts);
}
#endif
