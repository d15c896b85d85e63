/* rows.cl - the last part of what every family begins with: what a work-group does together with a row in local
 * memory, rotation, softmax, the indexer's scores, and rows as they are stored. */

/* ---- what the items of a one-dimensional work-group do together; its size is a power of two ----
 *
 * These hold barriers; group.cl says where they may stand.  A count of 0 leaves a step out. */

/* row = rmsnorm(row) * norm, in place.  row: [n]; parts: [group size] */
static inline void
group_normalise(local float *row, const global float *norm, uint n, float eps, uint native, local float *parts)
{
    float squares = 0.0f;
    for (uint i = (uint)get_local_id(0); i < n; i += (uint)get_local_size(0)) {
        squares = fma(row[i], row[i], squares);
    }
    const float factor = 1.0f / sqrt(group_sum(squares, parts) / (float)n + eps);
    for (uint i = (uint)get_local_id(0); i < n; i += (uint)get_local_size(0)) {
        const float value = row[i] * factor * norm[i];
        row[i] = native ? round_bf16(value) : value;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* The largest magnitude of each block, as bits: of these, an infinity and a NaN are above all numbers.
 * row: [n]; maxima: [ceil(n / block)] */
static inline void
group_maxima(const local float *row, uint n, uint block, float least, local uint *maxima)
{
    for (uint i = (uint)get_local_id(0); i * block < n; i += (uint)get_local_size(0)) {
        maxima[i] = as_uint(least);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = (uint)get_local_id(0); i < n; i += (uint)get_local_size(0)) {
        atomic_max(&maxima[i / block], as_uint(fabs(row[i])));
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* row = H row * width^-1/2, rounded to bf16: log2(width) rounds of sums and differences.
 * width: a power of two, or 0 */
static inline void
group_hadamard(local float *row, uint width, float factor)
{
    for (uint reach = 1; reach < width; reach *= 2) {
        for (uint i = (uint)get_local_id(0); i < width / 2; i += (uint)get_local_size(0)) {
            const uint at = (i & ~(reach - 1)) * 2 + (i & (reach - 1));
            const float a = row[at];
            const float b = row[at + reach];
            row[at] = a + b;
            row[at + reach] = a - b;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    for (uint i = (uint)get_local_id(0); i < width; i += (uint)get_local_size(0)) {
        row[i] = round_bf16(row[i] * factor);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* ---- rotation ---- */

/* a + b; ret_low: what the sum lost */
static inline float
two_sum(float a, float b, float *ret_low)
{
    const float sum = a + b;
    const float part = sum - a;
    *ret_low = (a - (sum - part)) + (b - part);
    return sum;
}

/* Cosine and sine of an angle in radians, within one unit in the last place up to a million.
 *
 * Quarter turns are taken away in three parts of pi / 2, every product and difference with what its rounding lost; then
 * Taylor's series, whose first missing terms are below 2^-29.  Beyond 2^22 the device's own functions answer. */
static inline float2
turn_of(float angle)
{
    if (!(fabs(angle) < 0x1p22f)) {
        return (float2)(cos(angle), sin(angle));
    }
    const float n = rint(angle * 0x1.45f306p-1f);
    const float first = n * 0x1.921fb6p+0f;
    const float first_low = fma(n, 0x1.921fb6p+0f, -first);
    const float second = n * -0x1.777a5cp-25f;
    const float second_low = fma(n, -0x1.777a5cp-25f, -second) + n * -0x1.ee59dap-50f;
    float a_low, b_low;
    const float a = two_sum(angle - first, -first_low, &a_low); /* angle - first is exact: they are close */
    const float b = two_sum(a, -second, &b_low);
    const float low = b_low + (a_low - second_low);
    const float r = b + low;
    const float r_low = (b - r) + low;
    const float square = r * r;
    const float square_low = fma(r, r, -square);
    const float s3 = fma(square, fma(square, fma(square, 0x1.71de3ap-19f, -0x1.a01a02p-13f), 0x1.111112p-7f),
                         -0x1.555556p-3f);
    const float c4 = fma(square, fma(square, fma(square, -0x1.27e4fcp-22f, 0x1.a01a02p-16f), -0x1.6c16c2p-10f),
                         0x1.555556p-5f);
    const float sine = r + fma(square * r, s3, r_low);
    const float most = 1.0f - 0.5f * square;
    const float rest = fma(square * square, c4, -fma(r, r_low, 0.5f * square_low));
    const float cosine = most + (((1.0f - most) - 0.5f * square) + rest);
    const int quarter = (int)n & 3;
    const float x = quarter & 1 ? sine : cosine;
    const float y = quarter & 1 ? cosine : sine;
    return (float2)(quarter == 1 || quarter == 2 ? -x : x, quarter >= 2 ? -y : y);
}

/* A pair of rotary elements turned by an angle, of which cosine and sine are given; direction 1, or -1 to turn back. */
static inline float2
turn_pair(float2 pair, float2 turn, int direction, uint native)
{
    const float sine = direction < 0 ? -turn.y : turn.y;
    const float x = fma(pair.x, turn.x, -(pair.y * sine));
    const float y = fma(pair.x, sine, pair.y * turn.x);
    return native ? (float2)(round_bf16(x), round_bf16(y)) : (float2)(x, y);
}

/* The same by the angle (float)position * inv_freq. */
static inline float2
rotate_pair(float2 pair, ulong position, float inv_freq, int direction, uint native)
{
    return turn_pair(pair, turn_of(convert_float_rte(position) * inv_freq), direction, native);
}

/* The last rope_dim of n elements turned, in place.  row: [n] */
static inline void
group_rotate(local float *row, uint n, uint rope_dim, const global float *inv_freq, ulong position, uint native)
{
    local float *tail = row + (n - rope_dim);
    for (uint i = (uint)get_local_id(0); i < rope_dim / 2; i += (uint)get_local_size(0)) {
        const float2 pair = (float2)(tail[2 * i], tail[2 * i + 1]);
        const float2 turned = rotate_pair(pair, position, inv_freq[i], 1, native);
        tail[2 * i] = turned.x;
        tail[2 * i + 1] = turned.y;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* ---- softmax ---- */

/* e^(a - b), what the difference loses to rounding included, unless it is next to nothing. */
static inline float
exp_difference(float a, float b)
{
    float low;
    const float high = two_sum(a, -b, &low);
    const float power = exact_exp(high);
    return high < -80.0f ? power : fma(power, low, power);
}

/* What a head's sums are divided by, weights + e^(sink - largest).  A loud sink makes that larger than f32 holds: then
 * y is not 0, and sums are multiplied with it twice. */
static inline float2
head_divisor(float weights, float sink, float largest)
{
    const float above = sink - largest;
    /* the weights, at most n_keys, do not show beside e^80 */
    return above > 80.0f ? (float2)(1.0f, exact_exp(-0.5f * above))
                         : (float2)(weights + exp_difference(sink, largest), 0.0f);
}

static inline float
divide_head(float sum, float2 divisor)
{
    return divisor.y != 0.0f ? sum * divisor.y * divisor.y : sum / divisor.x;
}

/* ---- scores of the indexer ---- */

/* A number of the same order as the score; of a native score, which is a bf16, the upper half says all.  NaN is the
 * worst, -0 and 0 are one score.  NO_ORDER, which is below all of them, fills up the last block. */
#define SCORE_BLOCK 32u
#define NO_ORDER 0u
#ifdef NATIVE
typedef ushort order_t;
#define ORDER_BITS 16u
#else
typedef uint order_t;
#define ORDER_BITS 32u
#endif

static inline uint
order_of(float score)
{
    const uint known = score == score ? as_uint(score) : 0xFF800000u;
    const uint bits = known == 0x80000000u ? 0u : known;
    return ((bits & 0x80000000u) ? ~bits : bits | 0x80000000u) >> (32u - ORDER_BITS);
}

/* ---- stored rows: hearth/command.h, enum hearth_kv_format ---- */

#define KV_F32 0
#define KV_PACKED 1
#define KV_BLOCK 64u
#define INDEX_BLOCK 32u
/* The least magnitude that a block's scale is made for: docs/numerics.md, act_quant and fp4_quant. */
#define KV_LEAST 1e-4f
#define INDEX_LEAST 0x1.8p-124f

/* The scale code of a block whose largest magnitude has these bits. */
static inline uint
block_code(uint maximum, float reciprocal)
{
    return maximum >= 0x7F800000u ? E8M0_NAN : scale_code(as_float(maximum), reciprocal);
}

/* value / the scale of code, exactly; 0 in a block that is NaN */
static inline float
unscale(float value, uint code)
{
    return code == E8M0_NAN ? 0.0f : value * e8m0_to_f32(254u - code);
}

/* Byte i of a packed KV row. */
static inline uint
kv_byte(const local float *row, const local uint *maxima, uint i, uint head_dim, uint rope_dim)
{
    const uint nope = head_dim - rope_dim;
    const uint scales = nope + 2 * rope_dim;
    if (i < nope) {
        return e4m3_from_f32(unscale(row[i], block_code(maxima[i / KV_BLOCK], E4M3_RECIPROCAL)));
    }
    if (i < scales) {
        const uint bits = bf16_from_f32(row[nope + (i - nope) / 2]);
        return ((i - nope) & 1) ? bits >> 8 : bits & 0xFFu;
    }
    return (i - scales) * KV_BLOCK < nope ? block_code(maxima[i - scales], E4M3_RECIPROCAL) : 0u;
}

/* row[i] rounded to e4m3 with its block's scale. */
static inline float
kv_value(const local float *row, const local uint *maxima, uint i)
{
    const uint code = block_code(maxima[i / KV_BLOCK], E4M3_RECIPROCAL);
    return e4m3_to_f32(e4m3_from_f32(unscale(row[i], code))) * e8m0_to_f32(code);
}

/* row[i] rounded to e2m1 with its block's scale. */
static inline float
index_value(const local float *row, const local uint *maxima, uint i)
{
    const uint code = block_code(maxima[i / INDEX_BLOCK], E2M1_RECIPROCAL);
    return e2m1_to_f32(e2m1_from_f32(unscale(row[i], code))) * e8m0_to_f32(code);
}

/* Byte i of a packed indexer key. */
static inline uint
index_byte(const local float *row, const local uint *maxima, uint i, uint width)
{
    const uint scales = (width + 1) / 2;
    uint byte = 0;
    if (i >= scales) {
        return (i - scales) * INDEX_BLOCK < width ? block_code(maxima[i - scales], E2M1_RECIPROCAL) : 0u;
    }
    for (uint k = 2 * i; k < width && k < 2 * i + 2; k++) {
        const uint code = block_code(maxima[k / INDEX_BLOCK], E2M1_RECIPROCAL);
        byte |= e2m1_from_f32(unscale(row[k], code)) << 4 * (k & 1);
    }
    return byte;
}

/* Stores a KV row, or an indexer key (then rope_dim is 0), quantised in native numerics.  row: [width]; maxima:
 * [ceil(quantised elements / block)] */
static inline void
group_store(const local float *row, global uchar *bytes, uint is_index, uint format, uint native, uint width,
            uint rope_dim, uint row_bytes, local uint *maxima)
{
    const uint nope = width - rope_dim;
    global uint *words = (global uint *)bytes;
    group_maxima(row, nope, is_index ? INDEX_BLOCK : KV_BLOCK, is_index ? INDEX_LEAST : KV_LEAST, maxima);
    for (uint i = (uint)get_local_id(0); i < row_bytes / 4; i += (uint)get_local_size(0)) {
        uint word = 0;
        for (uint k = 4 * i; format == KV_PACKED && k < 4 * i + 4; k++) {
            const uint byte = is_index ? index_byte(row, maxima, k, width) : kv_byte(row, maxima, k, width, rope_dim);
            word |= byte << 8 * (k & 3);
        }
        if (format == KV_F32) {
            const float value = is_index ? index_value(row, maxima, i) : (i < nope ? kv_value(row, maxima, i) : row[i]);
            word = as_uint(native ? value : row[i]);
        }
        words[i] = word;
    }
}
