/* attend.cl - attention: one softmax over window rows and compressed entries, with a sink in the denominator.
 *
 *     z_k = (q . kv_k) * head_dim^-1/2,   M = max_k z_k (without the sink),   P_k = exp(z_k - M)
 *     o   = sum_k bf16(P_k) kv_k / (sum_k P_k + exp(sink - M)),   its last rope_dim elements rotated back
 *
 * Keys are values.  A token's keys are numbered: window rows by age, oldest first, then entries ascending; a listed
 * entry that is -1 keeps its number and weighs nothing.  Three kernels, since P is rounded relative to the M of all
 * keys:
 *
 * attend_scores  a work-group of 16 x 8 items: KEYS keys, HEADS heads of one token -> scores, and the tile's maxima.
 * attend_sums    a work-group of 16 x 8 items: CHUNK keys, HEADS heads, DEPTH elements -> one part of the sums.
 * attend_finish  a work-group is a head: parts are added by ascending chunk, divided, rotated back.
 *
 * A score is one chain of fma over the elements, a part's sum one chain over the chunk's keys: the bits are those of
 * any other cut of the work.  Rows are unpacked to f32 once a work-group, into local memory.  HEADS = 8 * HEAD_STEPS:
 * more heads share an unpacked row, fewer make more work-groups.
 *
 * q, o      [n][n_heads][head_dim] f32
 * ring      rows of row_bytes, position p in slot p mod ring_slots; entries: rows of row_bytes; indices: i32 [n][top_k]
 * scores    [tokens][n_heads][max_keys] f32;  maxima [tokens][n_heads][n_tiles]
 * parts     [tokens][n_chunks][n_heads][head_dim];  weights [tokens][n_chunks][n_heads]: sums of P */

#define KEYS 32
#define DEPTH 64
#ifndef CHUNK /* attend_mma.cl has larger ones */
#define CHUNK 128
#endif
#define KEY_LANES 16
#define HEAD_LANES 8
#define ITEMS (KEY_LANES * HEAD_LANES)
#define HEADS (HEAD_LANES * HEAD_STEPS)
#define LANES_A_HEAD (ITEMS / HEADS)
#define QUADS (DEPTH / 4)
#define STRIDE (QUADS + 1) /* the one in excess keeps rows off one another's banks */
#define NO_ROW 0xFFFFFFFFFFFFFFFFul

/* The rows that a token sees. */
struct keys {
    const global uchar *ring, *entries;
    const global int *listed; /* of the token; 0: all entries */
    ulong oldest;             /* position of the first window row */
    uint n_window, n_keys, n_visible, ring_slots, row_bytes, head_dim, rope_dim, format;
};

/* Arguments of every kernel that reads rows. */
#define KEYS_PLACES                                                                                                    \
    PLACE_CONST(ring), PLACE_CONST(entries), PLACE_CONST(indices), ulong position, uint window, uint ring_slots,       \
        uint ratio, uint top_k, uint row_bytes, uint head_dim, uint rope_dim, uint format
#define KEYS_OF(token)                                                                                                 \
    keys_of(ring_mem + ring_at, entries_mem == 0 ? 0 : entries_mem + entries_at,                                       \
            indices_mem == 0 ? 0 : AT_CONST(int, indices) + (token) * top_k, position + (token), window, ring_slots,   \
            ratio, top_k, row_bytes, head_dim, rope_dim, format)

static inline struct keys
keys_of(const global uchar *ring, const global uchar *entries, const global int *listed, ulong position, uint window,
        uint ring_slots, uint ratio, uint top_k, uint row_bytes, uint head_dim, uint rope_dim, uint format)
{
    const uint n_visible = entries == 0 ? 0u : (uint)((position + 1) / ratio);
    const uint n_window = position + 1 < window ? (uint)position + 1 : window;
    const uint n_listed = listed == 0 ? n_visible : top_k;
    const struct keys keys = {ring,      entries,    listed,    position + 1 - n_window, n_window, n_window + n_listed,
                              n_visible, ring_slots, row_bytes, head_dim,                rope_dim, format};
    return keys;
}

/* Where key k's row begins: an offset in the ring, or with the lowest bit set in the entries (rows begin at multiples
 * of 4); NO_ROW: nowhere. */
static inline ulong
row_of(const struct keys *keys, uint k)
{
    if (k < keys->n_window) {
        return (keys->oldest + k) % keys->ring_slots * keys->row_bytes;
    }
    if (k >= keys->n_keys) {
        return NO_ROW;
    }
    const uint i = k - keys->n_window;
    const int entry = keys->listed == 0 ? (int)i : keys->listed[i];
    return entry >= 0 && (uint)entry < keys->n_visible ? (ulong)entry * keys->row_bytes | 1ul : NO_ROW;
}

static inline float
row_element(const struct keys *keys, const global uchar *row, uint i)
{
    const uint nope = keys->head_dim - keys->rope_dim;
    if (keys->format == KV_F32) {
        return ((const global float *)row)[i];
    }
    if (i < nope) {
        return e4m3_to_f32(row[i]) * e8m0_to_f32(row[nope + 2 * keys->rope_dim + i / KV_BLOCK]);
    }
    const global uchar *bits = row + nope + 2 * (i - nope);
    return bf16_to_f32((ushort)(bits[0] | bits[1] << 8));
}

/* Elements 4 quad .. 4 quad + 3 of a row; 0 beyond its end, and all of NO_ROW. */
static inline float4
row_quad(const struct keys *keys, ulong place, uint quad)
{
    const uint i = 4 * quad, nope = keys->head_dim - keys->rope_dim;
    const global uchar *row = (place & 1ul) ? keys->entries + (place - 1) : keys->ring + place;
    if (place == NO_ROW || i >= keys->head_dim) {
        return (float4)(0.0f);
    }
    if (keys->format == KV_PACKED && i + 4 <= nope) {
        const uint codes = *(const global uint *)(row + i);
        const float scale = e8m0_to_f32(row[nope + 2 * keys->rope_dim + i / KV_BLOCK]);
        return (float4)(e4m3_to_f32(codes & 0xFFu), e4m3_to_f32(codes >> 8 & 0xFFu), e4m3_to_f32(codes >> 16 & 0xFFu),
                        e4m3_to_f32(codes >> 24)) * scale;
    }
    float values[4];
    for (uint k = 0; k < 4; k++) {
        values[k] = i + k < keys->head_dim ? row_element(keys, row, i + k) : 0.0f;
    }
    return (float4)(values[0], values[1], values[2], values[3]);
}

static inline float
add_quad(float4 a, float4 b, float sum)
{
    return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
}

static inline void
load_queries(const global float *q, uint first, uint n_heads, uint head_dim, uint first_quad, local float4 *tile)
{
    const uint item = (uint)(get_local_id(1) * KEY_LANES + get_local_id(0));
    for (uint i = item; i < HEADS * QUADS; i += ITEMS) {
        const uint head = min(first + i / QUADS, n_heads - 1);
        const uint d = 4 * (first_quad + i % QUADS);
        const global float *row = q + (ulong)head * head_dim;
        tile[i / QUADS * STRIDE + i % QUADS] =
            (float4)(d < head_dim ? row[d] : 0.0f, d + 1 < head_dim ? row[d + 1] : 0.0f,
                     d + 2 < head_dim ? row[d + 2] : 0.0f, d + 3 < head_dim ? row[d + 3] : 0.0f);
    }
}

static inline void
load_keys(const struct keys *keys, const local ulong *places, uint first_quad, local float4 *tile)
{
    const uint item = (uint)(get_local_id(1) * KEY_LANES + get_local_id(0));
    for (uint i = item; i < KEYS * QUADS; i += ITEMS) {
        tile[i / QUADS * STRIDE + i % QUADS] = row_quad(keys, places[i / QUADS], first_quad + i % QUADS);
    }
}

/* The head, of those of the work-group, whose figure an item writes.  Several items may write the same: were the others
 * kept from it by a branch, PoCL's vectorised store would touch the heads of the next group. */
static inline uint
head_of(uint item, uint first_head, uint n_heads)
{
    return min(item % HEADS, n_heads - 1 - first_head);
}

/* The tile's largest score of each head.  An item has HEAD_STEPS heads x 2 keys. */
static inline void
store_maxima(const float scores[HEAD_STEPS][2], global float *maxima, uint first_head, uint n_heads, uint n_tiles,
             local float (*shared)[KEY_LANES])
{
    const uint lane = (uint)get_local_id(0), head_lane = (uint)get_local_id(1);
    for (uint h = 0; h < HEAD_STEPS; h++) {
        shared[head_lane + h * HEAD_LANES][lane] = fmax(scores[h][0], scores[h][1]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    const uint head = head_of(head_lane * KEY_LANES + lane, first_head, n_heads);
    float most = -INFINITY;
    for (uint i = 0; i < KEY_LANES; i++) {
        most = fmax(most, shared[head][i]);
    }
    maxima[(ulong)(first_head + head) * n_tiles + get_group_id(0)] = most;
}

kernel __attribute__((reqd_work_group_size(KEY_LANES, HEAD_LANES, 1))) void
attend_scores(PLACE_CONST(q), KEYS_PLACES, PLACE(scores), PLACE(maxima), uint n_heads, uint max_keys, uint n_tiles,
              float scale)
{
    local float4 key_tile[KEYS * STRIDE], query_tile[HEADS * STRIDE];
    local ulong places[KEYS];
    local float shared[HEADS][KEY_LANES];
    const uint lane = (uint)get_local_id(0), head_lane = (uint)get_local_id(1);
    const uint item = head_lane * KEY_LANES + lane;
    const ulong token = get_group_id(2);
    const uint first_key = (uint)get_group_id(0) * KEYS, first_head = (uint)get_group_id(1) * HEADS;
    const struct keys keys = KEYS_OF(token);
    const global float *queries = AT_CONST(float, q) + token * n_heads * head_dim;
    float sums[HEAD_STEPS][2];
    if (first_key >= keys.n_keys) {
        return;
    }
    for (uint h = 0; h < HEAD_STEPS; h++) {
        sums[h][0] = sums[h][1] = 0.0f;
    }
    if (item < KEYS) {
        places[item] = row_of(&keys, first_key + item);
    }
    for (uint quad = 0; 4 * quad < head_dim; quad += QUADS) {
        barrier(CLK_LOCAL_MEM_FENCE);
        load_keys(&keys, places, quad, key_tile);
        load_queries(queries, first_head, n_heads, head_dim, quad, query_tile);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint i = 0; i < QUADS; i++) {
            const float4 u = key_tile[lane * STRIDE + i];
            const float4 v = key_tile[(lane + KEY_LANES) * STRIDE + i];
            for (uint h = 0; h < HEAD_STEPS; h++) {
                const float4 query = query_tile[(head_lane + h * HEAD_LANES) * STRIDE + i];
                sums[h][0] = add_quad(query, u, sums[h][0]);
                sums[h][1] = add_quad(query, v, sums[h][1]);
            }
        }
    }
    for (uint h = 0; h < HEAD_STEPS; h++) {
        const uint head = first_head + head_lane + h * HEAD_LANES;
        for (uint k = 0; k < 2; k++) {
            const uint key = lane + k * KEY_LANES;
            const float score = places[key] == NO_ROW ? -INFINITY : sums[h][k] * scale;
            sums[h][k] = score;
            if (head < n_heads && first_key + key < max_keys) {
                AT(float, scores)[(token * n_heads + head) * max_keys + first_key + key] = score;
            }
        }
    }
    store_maxima(sums, AT(float, maxima) + token * n_heads * n_tiles, first_head, n_heads, n_tiles, shared);
}

/* most[h]: the largest score of head first_head + h, over all tiles that the token has.
 * shared: [HEADS][LANES_A_HEAD] */
static inline void
find_maxima(const global float *maxima, uint first_head, uint n_heads, uint n_tiles, uint n_used,
            local float (*shared)[LANES_A_HEAD], local float *most)
{
    const uint item = (uint)(get_local_id(1) * KEY_LANES + get_local_id(0));
    const uint head = item / LANES_A_HEAD, lane = item % LANES_A_HEAD;
    float largest = -INFINITY;
    for (uint i = lane; i < n_used; i += LANES_A_HEAD) {
        largest = fmax(largest, maxima[(ulong)min(first_head + head, n_heads - 1) * n_tiles + i]);
    }
    shared[head][lane] = largest;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = 0; i < LANES_A_HEAD; i++) {
        largest = fmax(largest, shared[head][i]);
    }
    if (lane == 0) {
        most[head] = largest;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* P of a tile of keys, and as the values are weighed with it: [HEADS][KEYS], 0 where there is no key or no head. */
static inline void
load_weights(const global float *scores, uint first_head, uint n_heads, uint first_key, uint n_keys, uint max_keys,
             uint native, const local float *most, local float (*weights)[KEYS + 1], local float (*factors)[KEYS + 1])
{
    const uint item = (uint)(get_local_id(1) * KEY_LANES + get_local_id(0));
    for (uint i = item; i < HEADS * KEYS; i += ITEMS) {
        const uint head = i / KEYS, key = first_key + i % KEYS;
        const float score = first_head + head < n_heads && key < n_keys
                                ? scores[(ulong)(first_head + head) * max_keys + key]
                                : -INFINITY;
        const float weight = score == -INFINITY ? 0.0f : exp_difference(score, most[head]);
        weights[head][i % KEYS] = weight;
        factors[head][i % KEYS] = native ? round_bf16(weight) : weight;
    }
}

kernel __attribute__((reqd_work_group_size(KEY_LANES, HEAD_LANES, 1))) void
attend_sums(KEYS_PLACES, PLACE_CONST(scores), PLACE_CONST(maxima), PLACE(parts), PLACE(weights), PLACE(largest),
            uint n_heads, uint max_keys, uint n_tiles, uint n_chunks, uint native)
{
    local float4 key_tile[KEYS * STRIDE];
    local ulong places[KEYS];
    local float tile[HEADS][KEYS + 1], factors[HEADS][KEYS + 1], shared[HEADS][LANES_A_HEAD], most[HEADS];
    const uint lane = (uint)get_local_id(0), head_lane = (uint)get_local_id(1);
    const uint item = head_lane * KEY_LANES + lane;
    const ulong token = get_group_id(2);
    const uint chunk = (uint)get_group_id(0) % n_chunks, quad = (uint)get_group_id(0) / n_chunks * QUADS;
    const uint first_head = (uint)get_group_id(1) * HEADS, head = head_of(item, first_head, n_heads);
    const struct keys keys = KEYS_OF(token);
    const uint n_used = (keys.n_keys + KEYS - 1) / KEYS, end = min((chunk + 1) * CHUNK, keys.n_keys);
    float4 sums[HEAD_STEPS];
    float total = 0.0f;
    if (chunk * CHUNK >= keys.n_keys) {
        return;
    }
    for (uint h = 0; h < HEAD_STEPS; h++) {
        sums[h] = (float4)(0.0f);
    }
    find_maxima(AT_CONST(float, maxima) + token * n_heads * n_tiles, first_head, n_heads, n_tiles, n_used, shared,
                most);
    for (uint first = chunk * CHUNK; first < end; first += KEYS) {
        if (item < KEYS) {
            places[item] = row_of(&keys, first + item);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        load_keys(&keys, places, quad, key_tile);
        load_weights(AT_CONST(float, scores) + token * n_heads * max_keys, first_head, n_heads, first, end, max_keys,
                     native, most, tile, factors);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint k = 0; k < KEYS; k++) {
            const float4 value = key_tile[k * STRIDE + lane];
            for (uint h = 0; h < HEAD_STEPS; h++) {
                sums[h] = fma((float4)(factors[head_lane + h * HEAD_LANES][k]), value, sums[h]);
            }
        }
        for (uint k = 0; k < KEYS; k++) {
            total += tile[head][k];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    for (uint h = 0; h < HEAD_STEPS; h++) {
        const uint to = first_head + head_lane + h * HEAD_LANES;
        const float values[4] = {sums[h].x, sums[h].y, sums[h].z, sums[h].w};
        for (uint i = 0; to < n_heads && i < 4 && 4 * (quad + lane) + i < head_dim; i++) {
            const ulong at = ((token * n_chunks + chunk) * n_heads + to) * head_dim + 4 * (quad + lane) + i;
            AT(float, parts)[at] = values[i];
        }
    }
    if (quad == 0) {
        AT(float, weights)[(token * n_chunks + chunk) * n_heads + first_head + head] = total;
        AT(float, largest)[token * n_heads + first_head + head] = most[head]; /* every chunk writes the same */
    }
}

/* n_rows: heads that parts, weights and largest have room for.  row: [head_dim] */
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
attend_finish(PLACE_CONST(parts), PLACE_CONST(weights), PLACE_CONST(largest), PLACE_CONST(sinks), PLACE_CONST(inv_freq),
              PLACE(o), ulong position, uint window, uint ratio, uint top_k, uint entries, uint n_heads, uint n_rows,
              uint head_dim, uint rope_dim, uint n_chunks, uint native, local float *row)
{
    const uint item = (uint)get_local_id(0), head = (uint)get_group_id(0), nope = head_dim - rope_dim;
    const ulong token = get_group_id(1), at = position + token;
    const uint n_window = at + 1 < window ? (uint)at + 1 : window;
    const uint n_entries = entries == 0 ? 0 : (entries == 1 ? (uint)((at + 1) / ratio) : top_k);
    const uint n_used = (n_window + n_entries + CHUNK - 1) / CHUNK;
    const global float *part = AT_CONST(float, parts) + (token * n_chunks * n_rows + head) * head_dim;
    const global float *weight = AT_CONST(float, weights) + token * n_chunks * n_rows + head;
    const float sink = AT_CONST(float, sinks)[head], most = AT_CONST(float, largest)[token * n_rows + head];
    global float *out = AT(float, o) + (token * n_heads + head) * head_dim;
    float total = 0.0f;
    UNROLL_LOADS
    for (uint c = 0; c < n_used; c++) {
        total += weight[(ulong)c * n_rows];
    }
    const float2 divisor = head_divisor(total, sink, most);
    for (uint d = item; d < head_dim; d += ITEMS) {
        float sum = 0.0f;
        UNROLL_LOADS
        for (uint c = 0; c < n_used; c++) {
            sum += part[(ulong)c * n_rows * head_dim + d];
        }
        const float value = divide_head(sum, divisor);
        row[d] = native ? round_bf16(value) : value;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint d = item; d < nope; d += ITEMS) {
        out[d] = row[d];
    }
    for (uint i = item; i < rope_dim / 2; i += ITEMS) {
        const float2 pair = (float2)(row[nope + 2 * i], row[nope + 2 * i + 1]);
        const float2 turned = rotate_pair(pair, at, AT_CONST(float, inv_freq)[i], -1, native);
        out[nope + 2 * i] = turned.x;
        out[nope + 2 * i + 1] = turned.y;
    }
}
