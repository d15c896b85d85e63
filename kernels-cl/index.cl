/* index.cl - the lightning indexer of ratio-4 layers: its queries, the scores of all keys, and the choice.
 *
 * q             [n][n_heads][width] f32
 * keys          rows of row_bytes: width e2m1 elements with a scale per 32, or f32
 * head_weights  [n][n_heads] f32
 * scores        [tokens][max_entries] f32; NaN is stored as -infinity
 * indices       [n][top_k] i32
 *
 *     score[w] = sum_h relu(q_h . key_w) * a_h,   a_h = head_weights[h] * scale
 *
 * Native: each dot product, a_h, each product with a_h and the score are rounded to bf16.
 *
 * index_query:   a work-group of GROUP items is a head: rotation, Hadamard, e2m1 (native).  In place.
 * index_scores:  a work-group of 16 x 8 items scores 32 keys of a token, 16 heads at a time: 2 heads x 2 keys an item.
 *                A dot product is one chain of fma; heads are added in one order wherever the tile is.
 * index_select:  a work-group of GROUP items chooses for one token.  Scores become unsigned numbers of the same order;
 *                digits from the top down narrow the place of the last one chosen (radix select), then every item
 *                writes what is chosen of its share of the entries, in ascending order. */

#ifdef GROUP
kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
index_query(PLACE(q), PLACE_CONST(inv_freq), ulong position, uint n_heads, uint width, uint rope_dim, float hadamard,
            uint native, local float *row, local uint *maxima)
{
    global float *head = AT(float, q) + (ulong)get_group_id(0) * width;
    for (uint i = (uint)get_local_id(0); i < width; i += GROUP) {
        row[i] = head[i];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    group_rotate(row, width, rope_dim, AT_CONST(float, inv_freq), position + get_group_id(0) / n_heads, native);
    group_hadamard(row, native ? width : 0, hadamard);
    group_maxima(row, width, INDEX_BLOCK, INDEX_LEAST, maxima);
    for (uint i = (uint)get_local_id(0); i < width; i += GROUP) {
        head[i] = native ? index_value(row, maxima, i) : row[i];
    }
}
#endif

#ifdef SCORES
#define KEYS 32
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

/* relu(dot) * a_h */
static inline float
head_part(float dot, float factor, uint native)
{
    const float rounded = native ? round_bf16(dot) : dot;
    const float part = rounded * factor;
    return rounded > 0.0f ? (native ? round_bf16(part) : part) : 0.0f;
}

/* key_tile: [KEYS][n_quads + 1] of four, query_tile: [HEADS][n_quads + 1]; the one in excess keeps rows off one
 * another's banks.  The first token is the first of this launch. */
kernel __attribute__((reqd_work_group_size(KEY_LANES, HEAD_LANES, 1))) void
index_scores(PLACE_CONST(q), PLACE_CONST(head_weights), PLACE_CONST(keys), PLACE(scores), ulong position, uint n_heads,
             uint width, uint ratio, uint top_k, uint row_bytes, uint format, uint max_entries, float scale,
             uint native, local float4 *key_tile, local float4 *query_tile)
{
    local float sums[HEAD_LANES][KEYS];
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
        for (uint i = 0; i < n_quads; i++) {
            const float4 a = query_tile[head_lane * stride + i];
            const float4 b = query_tile[(head_lane + HEAD_LANES) * stride + i];
            const float4 u = key_tile[lane * stride + i];
            const float4 v = key_tile[(lane + KEY_LANES) * stride + i];
            dots[0][0] = add_quad(a, u, dots[0][0]);
            dots[0][1] = add_quad(a, v, dots[0][1]);
            dots[1][0] = add_quad(b, u, dots[1][0]);
            dots[1][1] = add_quad(b, v, dots[1][1]);
        }
        for (uint k = 0; k < 2; k++) {
            const uint h = head + head_lane + k * HEAD_LANES;
            const float product = h < n_heads ? AT_CONST(float, head_weights)[token * n_heads + h] * scale : 0.0f;
            const float factor = native ? round_bf16(product) : product;
            totals[0] += h < n_heads ? head_part(dots[k][0], factor, native) : 0.0f;
            totals[1] += h < n_heads ? head_part(dots[k][1], factor, native) : 0.0f;
        }
    }
    sums[head_lane][lane] = totals[0];
    sums[head_lane][lane + KEY_LANES] = totals[1];
    barrier(CLK_LOCAL_MEM_FENCE);
    float score = 0.0f;
    for (uint i = 0; i < HEAD_LANES; i++) { /* by all items: PoCL miscompiles a loop in a branch */
        score += sums[i][item % KEYS];
    }
    if (item < KEYS && first + item < n_visible) {
        score = native ? round_bf16(score) : score;
        AT(float, scores)[token * max_entries + first + item] = score == score ? score : -INFINITY;
    }
}
#endif

#ifdef GROUP
#define BIN_BITS 11
#define BINS (1u << BIN_BITS)
#define ITEM_BINS (BINS / GROUP)

/* A number of the same order as the score; of a native score, which is a bf16, the upper half says all. */
static inline uint
order_of(float score, uint native)
{
    const uint bits = score == 0.0f ? 0u : as_uint(score); /* -0 and 0 are one score */
    const uint order = (bits & 0x80000000u) ? ~bits : bits | 0x80000000u;
    return native ? order >> 16 : order;
}

/* Sums of all items' values before this one's.  parts: [GROUP] */
static inline uint
group_before(uint value, local uint *parts)
{
    const uint item = (uint)get_local_id(0);
    parts[item] = value;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint reach = 1; reach < GROUP; reach *= 2) {
        const uint add = item >= reach ? parts[item - reach] : 0u;
        barrier(CLK_LOCAL_MEM_FENCE);
        parts[item] += add;
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    const uint before = parts[item] - value;
    barrier(CLK_LOCAL_MEM_FENCE);
    return before;
}

/* The bin in which the entry at place `wanted` (from 1) from the top lies, and its place there; found: these two. */
static inline void
find_bin(const local uint *bins, uint wanted, local uint *parts, local uint *found)
{
    const uint first = (uint)get_local_id(0) * ITEM_BINS; /* bins from the top */
    uint sum = 0;
    for (uint i = 0; i < ITEM_BINS; i++) {
        sum += bins[BINS - 1 - (first + i)];
    }
    uint before = group_before(sum, parts);
    if (before < wanted && wanted <= before + sum) {
        uint bin = BINS - 1 - first;
        for (; before + bins[bin] < wanted; bin--) {
            before += bins[bin];
        }
        found[0] = bin;
        found[1] = wanted - before;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* The order of the entry at place top_k from the best, and how many entries of that order are chosen. */
static inline uint
find_last(const global float *scores, uint n, uint top_k, uint native, local uint *bins, local uint *parts,
          local uint *found, uint *ret_n_equal)
{
    const uint n_bits = native ? 16 : 32;
    uint last = 0, wanted = top_k;
    for (uint done = 0; done < n_bits;) {
        const uint step = min((uint)BIN_BITS, n_bits - done);
        const uint left = n_bits - done - step; /* bits below this digit */
        for (uint i = (uint)get_local_id(0); i < BINS; i += GROUP) {
            bins[i] = 0;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint i = (uint)get_local_id(0); i < n; i += GROUP) {
            const uint order = order_of(scores[i], native);
            if (done == 0 || order >> (left + step) == last) {
                atomic_inc(&bins[(order >> left) & ((1u << step) - 1)]);
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        find_bin(bins, wanted, parts, found);
        last = last << step | found[0];
        wanted = found[1];
        done += step;
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    *ret_n_equal = wanted;
    return last;
}

kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
index_select(PLACE_CONST(scores), PLACE(indices), ulong position, uint ratio, uint top_k, uint max_entries, uint native)
{
    local uint bins[BINS], parts[GROUP], found[2];
    const uint item = (uint)get_local_id(0);
    const ulong token = get_group_id(0);
    const uint n = (uint)((position + token + 1) / ratio);
    const global float *score = AT_CONST(float, scores) + token * max_entries;
    global int *chosen = AT(int, indices) + token * top_k;
    if (n <= top_k) {
        for (uint i = item; i < top_k; i += GROUP) {
            chosen[i] = i < n ? (int)i : -1;
        }
        return;
    }
    uint n_equal;
    const uint last = find_last(score, n, top_k, native, bins, parts, found, &n_equal);
    const uint share = (n + GROUP - 1) / GROUP;
    const uint begin = min(item * share, n), end = min(begin + share, n);
    uint better = 0, equal = 0;
    for (uint i = begin; i < end; i++) {
        const uint order = order_of(score[i], native);
        better += order > last ? 1 : 0;
        equal += order == last ? 1 : 0;
    }
    uint equal_before = group_before(equal, parts);
    uint to = group_before(better, parts) + min(equal_before, n_equal);
    for (uint i = begin; i < end; i++) {
        const uint order = order_of(score[i], native);
        if (order > last || (order == last && equal_before < n_equal)) {
            chosen[to++] = (int)i;
        }
        equal_before += order == last ? 1 : 0;
    }
}
#endif
