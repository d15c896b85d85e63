/* norm.cl - RMS norms: of a token's row, and of each query head, whose last elements are then rotated.
 *
 * rmsnorm:     x, y [n][dim], norm [dim]; a work-group is a token.  y may be x.
 * query_rope:  q [n][n_heads][head_dim], inv_freq [rope_dim / 2]; a work-group is a head.  In place.
 *
 * All f32.  A work-group has GROUP items (a power of two).  A row is read twice; the second time from a cache. */

kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
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

/* 1 / sqrt(mean(q^2) + eps); in native numerics each step is rounded to bf16, as the model was run. */
static inline float
head_factor(const global float *q, uint n, float eps, uint native, local float *parts)
{
    float squares = 0.0f;
    for (uint i = (uint)get_local_id(0); i < n; i += GROUP) {
        const float square = q[i] * q[i];
        squares += native ? round_bf16(square) : square;
    }
    const float mean = group_sum(squares, parts) / (float)n;
    const float total = native ? round_bf16(round_bf16(mean) + eps) : mean + eps;
    const float factor = 1.0f / sqrt(total);
    return native ? round_bf16(factor) : factor;
}

kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
query_rope(PLACE(q), PLACE_CONST(inv_freq), ulong position, uint n_heads, uint head_dim, uint rope_dim, float eps,
           uint native)
{
    local float parts[GROUP];
    const uint item = (uint)get_local_id(0);
    const uint nope = head_dim - rope_dim;
    global float *head = AT(float, q) + (ulong)get_group_id(0) * head_dim;
    const ulong at = position + (ulong)get_group_id(0) / n_heads;
    const float factor = head_factor(head, head_dim, eps, native, parts);
    barrier(CLK_GLOBAL_MEM_FENCE); /* all have read what is now overwritten */
    for (uint i = item; i < nope; i += GROUP) {
        const float value = head[i] * factor;
        head[i] = native ? round_bf16(value) : value;
    }
    global float *tail = head + nope;
    for (uint i = item; i < rope_dim / 2; i += GROUP) {
        float2 pair = (float2)(tail[2 * i], tail[2 * i + 1]) * factor;
        pair = native ? (float2)(round_bf16(pair.x), round_bf16(pair.y)) : pair;
        pair = rotate_pair(pair, at, AT_CONST(float, inv_freq)[i], 1, native);
        tail[2 * i] = pair.x;
        tail[2 * i + 1] = pair.y;
    }
}
