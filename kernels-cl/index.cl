/* index.cl - the lightning indexer of ratio-4 layers: its queries and the scores of all keys; select.cl chooses.
 *
 * q             [n][n_heads][width] f32
 * keys          rows of row_bytes: width e2m1 elements with a scale per 32, or f32
 * head_weights  [n][n_heads] f32
 * orders        [tokens][max_blocks * SCORE_BLOCK] of order_t: numbers of the scores' order (rows.cl)
 * maxima        [tokens][max_blocks] of order_t: the largest of each block
 *
 *     score[w] = sum_h relu(q_h . key_w) * a_h,   a_h = head_weights[h] * scale
 *
 * Native: each dot product, a_h, each product with a_h and the score are rounded to bf16.
 *
 * index_query:   a work-group of GROUP items is a head: rotation, Hadamard, e2m1 (native).  In place.
 * index_scores:  a work-group of 16 x 8 items scores 32 keys of a token, 16 heads at a time: 2 heads x 2 keys an item.
 *                A dot product is one chain of fma; heads are added in one order wherever the tile is. */

#ifdef GROUP
/* width and rope_dim 0: nothing.  row: [width]; maxima: a number for each of its blocks */
static inline void
make_index_head(global float *head, const global float *inv_freq, ulong at, uint width, uint rope_dim, float hadamard,
                uint native, local float *row, local uint *maxima)
{
    for (uint i = (uint)get_local_id(0); i < width; i += GROUP) {
        row[i] = head[i];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    group_rotate(row, width, rope_dim, inv_freq, at, native);
    group_hadamard(row, native ? width : 0, hadamard);
    group_maxima(row, width, INDEX_BLOCK, INDEX_LEAST, maxima);
    for (uint i = (uint)get_local_id(0); i < width; i += GROUP) {
        head[i] = native ? index_value(row, maxima, i) : row[i];
    }
}

kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
index_query(PLACE(q), PLACE_CONST(inv_freq), ulong position, uint n_heads, uint width, uint rope_dim, float hadamard,
            uint native, local float *row, local uint *maxima)
{
    const ulong head = get_group_id(0);
    make_index_head(AT(float, q) + head * width, AT_CONST(float, inv_freq), position + head / n_heads, width, rope_dim,
                    hadamard, native, row, maxima);
}
#endif

#ifdef SCORES
#define KEYS SCORE_BLOCK
#define HEADS 16
#define KEY_LANES 16
#define HEAD_LANES 8
#define ITEMS (KEY_LANES * HEAD_LANES)

/* Elements 4 quad .. 4 quad + 3 of a key; 0 beyond its width. */
static inline float4
key_quad(const global uchar *bytes, uint quad, uint width, uint format)
{
    float values[4];
    if (format == KV_PACKED && 4 * quad + 4 <= width) {
        const uint codes = ((const global ushort *)bytes)[quad];
        const float scale = e8m0_to_f32(bytes[(width + 1) / 2 + 4 * quad / INDEX_BLOCK]);
        return (float4)(e2m1_to_f32(codes), e2m1_to_f32(codes >> 4), e2m1_to_f32(codes >> 8),
                        e2m1_to_f32(codes >> 12)) * scale;
    }
    for (uint k = 0; k < 4; k++) {
        const uint i = 4 * quad + k;
        if (i >= width) {
            values[k] = 0.0f;
        } else if (format == KV_F32) {
            values[k] = ((const global float *)bytes)[i];
        } else {
            values[k] = e2m1_to_f32((uint)bytes[i / 2] >> 4 * (i & 1)) *
                        e8m0_to_f32(bytes[(width + 1) / 2 + i / INDEX_BLOCK]);
        }
    }
    return (float4)(values[0], values[1], values[2], values[3]);
}

static inline float4
query_quad(const global float *head, uint quad, uint width)
{
    const uint i = 4 * quad;
    return (float4)(i < width ? head[i] : 0.0f, i + 1 < width ? head[i + 1] : 0.0f, i + 2 < width ? head[i + 2] : 0.0f,
                    i + 3 < width ? head[i + 3] : 0.0f);
}

static inline float
add_quad(float4 a, float4 b, float sum)
{
    return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
}

static inline float
score_round(float value)
{
#ifdef NATIVE
    return round_bf16(value);
#else
    return value;
#endif
}

/* relu(dot) * a_h */
static inline float
head_part(float dot, float factor)
{
    const float rounded = score_round(dot);
    return rounded > 0.0f ? score_round(rounded * factor) : 0.0f;
}

/* Of an item's two heads, HEAD_LANES apart, with its two keys, KEY_LANES apart.  query, key: its first ones. */
static inline void
add_dots(const local float4 *query, const local float4 *key, uint n_quads, uint stride, float (*dots)[2])
{
    for (uint i = 0; i < n_quads; i++) {
        const float4 a = query[i], b = query[HEAD_LANES * stride + i];
        const float4 u = key[i], v = key[KEY_LANES * stride + i];
        dots[0][0] = add_quad(a, u, dots[0][0]);
        dots[0][1] = add_quad(a, v, dots[0][1]);
        dots[1][0] = add_quad(b, u, dots[1][0]);
        dots[1][1] = add_quad(b, v, dots[1][1]);
    }
}

/* key_tile: [KEYS][n_quads + 1] of four, query_tile: [HEADS][n_quads + 1]; the one in excess keeps rows off one
 * another's banks.  The first token is the first of this launch. */
kernel __attribute__((reqd_work_group_size(KEY_LANES, HEAD_LANES, 1))) void
index_scores(PLACE_CONST(q), PLACE_CONST(head_weights), PLACE_CONST(keys), PLACE(orders), PLACE(maxima), ulong position,
             uint n_heads, uint width, uint ratio, uint top_k, uint row_bytes, uint format, uint max_blocks,
             float scale, local float4 *key_tile, local float4 *query_tile)
{
    local float sums[HEAD_LANES][KEYS];
    local uint largest;
    const uint lane = (uint)get_local_id(0), head_lane = (uint)get_local_id(1);
    const uint item = head_lane * KEY_LANES + lane;
    const ulong token = get_group_id(1);
    const uint n_visible = (uint)((position + token + 1) / ratio);
    const uint first = (uint)get_group_id(0) * KEYS;
    const uint n_quads = (width + 3) / 4, stride = n_quads + 1;
    const global float *queries = AT_CONST(float, q) + token * n_heads * width;
    float totals[2] = {0.0f, 0.0f};
    if (n_visible <= top_k || first >= n_visible) {
        return;
    }
    for (uint i = item; i < KEYS * n_quads; i += ITEMS) {
        const uint key = min(first + i / n_quads, n_visible - 1);
        key_tile[i / n_quads * stride + i % n_quads] =
            key_quad(AT_CONST(uchar, keys) + (ulong)key * row_bytes, i % n_quads, width, format);
    }
    for (uint head = 0; head < n_heads; head += HEADS) {
        float dots[2][2] = {{0.0f, 0.0f}, {0.0f, 0.0f}};
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint i = item; i < HEADS * n_quads; i += ITEMS) {
            const uint h = min(head + i / n_quads, n_heads - 1);
            query_tile[i / n_quads * stride + i % n_quads] =
                query_quad(queries + (ulong)h * width, i % n_quads, width);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        add_dots(query_tile + head_lane * stride, key_tile + lane * stride, n_quads, stride, dots);
        for (uint k = 0; k < 2; k++) {
            const uint h = head + head_lane + k * HEAD_LANES;
            const float product = h < n_heads ? AT_CONST(float, head_weights)[token * n_heads + h] * scale : 0.0f;
            const float factor = score_round(product);
            totals[0] += h < n_heads ? head_part(dots[k][0], factor) : 0.0f;
            totals[1] += h < n_heads ? head_part(dots[k][1], factor) : 0.0f;
        }
    }
    sums[head_lane][lane] = totals[0];
    sums[head_lane][lane + KEY_LANES] = totals[1];
    if (item == 0) {
        largest = 0;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    /* By all items, though four do the same: PoCL miscompiles a loop in a branch, and its vectorised store, where a
     * branch kept the others from it, would touch the next group's numbers. */
    float score = 0.0f;
    for (uint i = 0; i < HEAD_LANES; i++) {
        score += sums[i][item % KEYS];
    }
    const uint order = first + item % KEYS < n_visible ? order_of(score_round(score)) : NO_ORDER;
    AT(order_t, orders)[(token * max_blocks + get_group_id(0)) * KEYS + item % KEYS] = (order_t)order;
    atomic_max(&largest, order);
    barrier(CLK_LOCAL_MEM_FENCE);
    AT(order_t, maxima)[token * max_blocks + get_group_id(0)] = (order_t)largest;
}
#endif
