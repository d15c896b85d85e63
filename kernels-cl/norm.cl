/* norm.cl - the RMS norm of a token's row: x, y [n][dim], norm [dim], all f32.  y may be x.
 *
 * A work-group is a token and has GROUP items (a power of two).  A row is read twice; the second time from a cache. */

kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) WITH_SUBGROUPS void
rmsnorm(PLACE(x), PLACE(y), PLACE_CONST(norm), uint dim, float eps, uint native)
{
    local float parts[GROUP];
    const uint item = (uint)get_local_id(0);
    const global float *row = AT_CONST(float, x) + (ulong)get_group_id(0) * dim;
    global float *out = AT(float, y) + (ulong)get_group_id(0) * dim;
    const global float *weights = AT_CONST(float, norm);
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
