/* prepare.cl - rows of activations made ready for product.cl: quantised (act_quant of docs/numerics.md, blocks of 128),
 * and before that, with SWIGLU, the gated activation of an expert's two products.
 *
 * 32 work items make a block of 128 elements, a quad each; a work-group is 32 x BLOCKS of one row.
 *
 * x: f32 [rows][cols]; with SWIGLU it is the gates and `up` the other factor, same shape.  With ROUTES row i is route
 * i, whose weight joins the product; rows whose expert is absent, or has a w2 of another type than DTYPE, are left
 * alone. y: with HALVES f16 as tensor.cl reads them, and y_scales e8m0 [rows][blocks].  Else with UNIT (16 or 32
 * elements) quads as product.cl reads them, int4 with BLOCK_SUMS (their digits with DIGITS), else float4, and y_scales
 * e8m0 [rows][blocks]; without UNIT f32 [rows][cols], not quantised.  NATIVE: the activation is rounded to bf16. */

#define BLOCK 128u
#define BLOCK_QUADS (BLOCK / 4u)
#define FLOOR 1e-4f

/* Elements at .. + 3 of a row; what is beyond the row is 0. */
static inline float4
row_quad(const global float *row, uint at, uint cols)
{
    return (float4)(at < cols ? row[at] : 0.0f, at + 1u < cols ? row[at + 1u] : 0.0f,
                    at + 2u < cols ? row[at + 2u] : 0.0f, at + 3u < cols ? row[at + 3u] : 0.0f);
}

#ifdef SWIGLU
static inline float
activation(float gate, float up, float weight, float limit)
{
#ifdef NATIVE
    const float value = exact_swiglu(gate, up, limit);
#ifdef ROUTES
    return round_bf16(value * weight);
#else
    return round_bf16(value);
#endif
#else
    const float g = gate > limit ? limit : gate;
    const float u = up < -limit ? -limit : (up > limit ? limit : up);
    return g / (1.0f + exp(-g)) * u * weight;
#endif
}
#endif

#ifdef UNIT
/* The largest of the bits of a block's magnitudes and of act_quant's floor: they order as the floats do, infinities and
 * NaNs last. */
static inline uint
largest_bits(const local uint *magnitudes)
{
    uint largest = as_uint(FLOOR);
    for (uint i = 0; i < BLOCK_QUADS; i++) {
        largest = max(largest, magnitudes[i]);
    }
    return largest;
}

#ifndef HALVES
/* The same of what a block's lanes have of it.  magnitudes: of all items of the work-group.  All lanes come here. */
static inline uint
block_largest(uint own, local uint *magnitudes)
{
#if defined(SUBGROUP) && SUBGROUP < 32
    local uint *mine = magnitudes + get_local_id(1) * BLOCK_QUADS;
    own = lanes_max(own, SUBGROUP, magnitudes);
    if (get_local_id(0) % SUBGROUP == 0u) {
        mine[get_local_id(0) / SUBGROUP] = own;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    uint largest = as_uint(FLOOR);
    for (uint i = 0; i < BLOCK_QUADS / SUBGROUP; i++) {
        largest = max(largest, mine[i]);
    }
    return largest;
#elif defined(SUBGROUP)
    return max(lanes_max(own, BLOCK_QUADS, magnitudes), as_uint(FLOOR));
#else
    local uint *mine = magnitudes + get_local_id(1) * BLOCK_QUADS;
    mine[get_local_id(0)] = own;
    barrier(CLK_LOCAL_MEM_FENCE);
    return largest_bits(mine);
#endif
}

static inline float
quantised(float value, float reciprocal)
{
    return e4m3_to_f32(e4m3_from_f32(value * reciprocal));
}

/* All lanes come here; those of a block that is not wanted only meet the others at the barrier. */
static inline void
store_quantised(float4 value, bool is_wanted, local uint *magnitudes, uint n_blocks, uint row, uint block,
                global uchar *y, global uchar *y_scales)
{
    const uint lane = get_local_id(0), quads = UNIT / 4u, unit = (block * BLOCK_QUADS + lane) / quads;
    const uint4 bits = as_uint4(fabs(value));
    const uint largest = block_largest(max(max(bits.x, bits.y), max(bits.z, bits.w)), magnitudes);
    if (!is_wanted) {
        return;
    }
    const uint code = block_code(largest, E4M3_RECIPROCAL);
    const float reciprocal = code == E8M0_NAN ? 0.0f : as_float((254u - code) << 23);
    float4 out = (float4)(0.0f);
    if (code != E8M0_NAN) {
        out = (float4)(quantised(value.x, reciprocal), quantised(value.y, reciprocal), quantised(value.z, reciprocal),
                       quantised(value.w, reciprocal));
    }
    const ulong at = ((ulong)row * quads + lane % quads) * (n_blocks * (BLOCK / UNIT)) + unit;
#ifdef DIGITS
    ((global uint4 *)y)[at] = digits_of(out);
#elif defined(BLOCK_SUMS)
    ((global int4 *)y)[at] = convert_int4(out * 512.0f);
#else
    ((global float4 *)y)[at] = out;
#endif
    if (lane == 0u) {
        y_scales[(ulong)row * n_blocks + block] = (uchar)code;
    }
}

#else
#if DTYPE == DTYPE_E2M1X2

#define STEP_QUADS 8u
#define SPLIT 0x20u         /* the code of 2^-3 */
#define MOST_WHOLE 1398101u /* (2^24 - 1) / 12 */
#define LOWEST_SHIFT 28u    /* of a pair: its sum is below 2^19 */

/* The code's magnitude in units of 2^-9. */
static inline uint
code_magnitude(uint code)
{
    const uint exponent = code >> 3 & 0xFu, mantissa = code & 7u;
    return exponent == 0u ? mantissa : (8u + mantissa) << (exponent - 1u);
}

/* Room for a block's quads on their way into order. */
struct quads {
    uint magnitudes[2u * BLOCK_QUADS];
    ushort halves[BLOCK], low[BLOCK];
    uint flags;
};

static inline bool
is_small(uint code)
{
    return (code & 0x7Fu) < SPLIT && (code & 0x7Fu) != 0u;
}

/* Two codes' magnitudes, and above their sum the lowest bits of either. */
static inline uint
pair_magnitude(uint code, uint other)
{
    const uint first = code_magnitude(code), second = code_magnitude(other);
    return (first + second) | (first | second) << LOWEST_SHIFT;
}

/* Whether the step's half, elements 0 and 1 or 2 and 3 of its quads, is too loud for the lowest bit of its codes. */
static inline bool
is_split(const local uint *magnitudes)
{
    uint sum = 0u, bits = 1u << (LOWEST_SHIFT + 3u);
    for (uint i = 0; i < STEP_QUADS; i++) {
        sum += magnitudes[2u * i] & ((1u << LOWEST_SHIFT) - 1u);
        bits |= magnitudes[2u * i];
    }
    bits >>= LOWEST_SHIFT;
    return sum > MOST_WHOLE * (bits & (0u - bits));
}

/* tensor.cl adds up each half of a step, 16 products, in 24 bits, and then the two.  With weights up to 6 in halves a
 * half is exact if its magnitudes add up to MOST_WHOLE times the lowest bit that one of them has; beyond eight it
 * always is.  Where one is louder, the step keeps codes below SPLIT, which all of the lower bits are of, in a part of
 * its own: the others' products are multiples of 2^-7, and all of them add up to less than 2^17.  A place is 8
 * elements; i and i + 4 share a word. */
static inline void
store_codes(uint4 codes, bool is_wanted, local struct quads *quads, uint n_blocks, uint row, uint block, ulong low,
            global uchar *y)
{
    const uint lane = get_local_id(0), step = lane / STEP_QUADS, all[4] = {codes.x, codes.y, codes.z, codes.w};
    quads->magnitudes[2u * lane] = pair_magnitude(codes.x, codes.y);
    quads->magnitudes[2u * lane + 1u] = pair_magnitude(codes.z, codes.w);
    if (lane == 0u) {
        quads->flags = 0u;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    const local uint *magnitudes = quads->magnitudes + step * STEP_QUADS * 2u;
    const bool is_first = is_split(magnitudes), is_second = is_split(magnitudes + 1u);
    const uint flags = is_first || is_second ? 1u << step : 0u;
    for (uint i = 0; i < 4u; i++) {
        const bool is_low = flags != 0u && is_small(all[i]);
        const uint at = lane / 2u * 8u + i * 2u + lane % 2u, bits = e4m3_to_half(all[i]);
        quads->halves[at] = (ushort)(is_low ? 0u : bits);
        quads->low[at] = (ushort)(is_low ? bits : 0u);
    }
    atomic_or(&quads->flags, flags);
    barrier(CLK_LOCAL_MEM_FENCE);
    const ulong at = ((ulong)row * n_blocks + block) * BLOCK_QUADS + lane;
    if (is_wanted) {
        ((global uint2 *)y)[at] = ((local uint2 *)quads->halves)[lane];
        ((global uint2 *)(y + low))[at] = ((local uint2 *)quads->low)[lane];
    }
}

#else

struct quads {
    uint magnitudes[BLOCK_QUADS];
    uint flags;
};

/* Where a quad goes: a place is 8 elements of a lane's 16, which are its share of two steps. */
static inline ulong
quad_place(uint n_blocks, uint row, uint block)
{
    const uint lane = get_local_id(0);
    const uint step = block * 4u + lane / 16u * 2u + lane / 2u % 2u, place = lane % 16u / 4u;
    return (((ulong)row * n_blocks * 4u + step) * 4u + place) * 2u + lane % 2u;
}

static inline void
store_codes(uint4 codes, bool is_wanted, local struct quads *quads, uint n_blocks, uint row, uint block, ulong low,
            global uchar *y)
{
    if (is_wanted) {
        ((global uint2 *)y)[quad_place(n_blocks, row, block)] =
            (uint2)(e4m3_to_half(codes.x) | e4m3_to_half(codes.z) << 16, e4m3_to_half(codes.y) | e4m3_to_half(codes.w)
                                                                                                     << 16);
    }
}

#endif

/* As store_quantised, for tensor.cl.  low: where the low parts begin in y. */
static inline void
store_halves(float4 value, bool is_wanted, local struct quads *quads, uint n_blocks, uint row, uint block, ulong low,
             global uchar *y, global uchar *y_scales)
{
    const uint lane = get_local_id(0);
    const uint4 bits = as_uint4(fabs(value));
    quads->magnitudes[lane] = max(max(bits.x, bits.y), max(bits.z, bits.w));
    barrier(CLK_LOCAL_MEM_FENCE);
    const uint code = block_code(largest_bits(quads->magnitudes), E4M3_RECIPROCAL);
    const float reciprocal = code == E8M0_NAN ? 0.0f : as_float((254u - code) << 23);
    uint4 codes = (uint4)(0u);
    if (code != E8M0_NAN) {
        codes = (uint4)(e4m3_from_f32(value.x * reciprocal), e4m3_from_f32(value.y * reciprocal),
                        e4m3_from_f32(value.z * reciprocal), e4m3_from_f32(value.w * reciprocal));
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    store_codes(codes, is_wanted, quads, n_blocks, row, block, low, y);
    if (lane == 0u && is_wanted) {
#if DTYPE == DTYPE_E2M1X2
        ((global ushort *)y_scales)[(ulong)row * n_blocks + block] = (ushort)(code | quads->flags << 8);
#else
        y_scales[(ulong)row * n_blocks + block] = (uchar)code;
#endif
    }
}

#ifdef WHOLE
/* What is not quantised, as two f16 of a sum: of bf16 numbers the second is 0.  y_scales: the block's scale, and above
 * it whether one is not. */
static inline void
store_whole(float4 value, bool is_wanted, local struct quads *quads, uint n_blocks, uint row, uint block, ulong low,
            global uchar *y, global uchar *y_scales)
{
    const uint lane = get_local_id(0);
    const uint4 bits = as_uint4(fabs(value));
    quads->magnitudes[lane] = max(max(bits.x, bits.y), max(bits.z, bits.w));
    if (lane == 0u) {
        quads->flags = 0u;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    const uint code = whole_code(largest_bits(quads->magnitudes));
    const float4 scaled = whole_scaled(value, code), first = whole_first(scaled), rest = scaled - first;
    atomic_or(&quads->flags, any(rest != 0.0f) ? 1u : 0u);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (is_wanted) {
        const ulong at = quad_place(n_blocks, row, block);
        ((global uint2 *)y)[at] = (uint2)(pair_f16(first.x, first.z), pair_f16(first.y, first.w));
        ((global uint2 *)(y + low))[at] = (uint2)(pair_f16(rest.x, rest.z), pair_f16(rest.y, rest.w));
    }
    if (lane == 0u && is_wanted) {
        ((global ushort *)y_scales)[(ulong)row * n_blocks + block] = (ushort)(code | quads->flags << 8);
    }
}
#endif
#endif
#endif

static inline void
store_plain(float4 value, uint at, uint cols, global float *row)
{
    const float values[4] = {value.x, value.y, value.z, value.w};
    for (uint i = 0; i < 4u && at + i < cols; i++) {
        row[at + i] = values[i];
    }
}

kernel __attribute__((reqd_work_group_size(32, BLOCKS, 1))) WITH_SUBGROUPS void
prepare(PLACE_CONST(x), PLACE_CONST(up), PLACE_CONST(routes), PLACE_CONST(experts), PLACE(y), PLACE(y_scales),
        uint cols, uint n_experts, float limit)
{
    const uint row = get_group_id(1), block = get_group_id(0) * BLOCKS + get_local_id(1);
    const uint at = block * BLOCK + get_local_id(0) * 4u;
    const uint n_blocks = (cols + BLOCK - 1u) / BLOCK;
    const ulong first = (ulong)row * cols;
    bool is_wanted = block < n_blocks;
#ifdef ROUTES
    const struct route route = AT_CONST(struct route, routes)[row];
    is_wanted = is_wanted && route.expert < n_experts &&
                AT_CONST(struct expert, experts)[min(route.expert, n_experts - 1u)].dtypes[2] == DTYPE;
    const float weight = route.weight;
#elif defined(SWIGLU)
    const float weight = 1.0f;
#endif
    const uint end = is_wanted ? cols : 0u; /* an absent expert's row was not written */
    float4 value = row_quad(AT_CONST(float, x) + first, at, end);
#ifdef SWIGLU
    const float4 other = row_quad(AT_CONST(float, up) + first, at, end);
    value = (float4)(activation(value.x, other.x, weight, limit), activation(value.y, other.y, weight, limit),
                     activation(value.z, other.z, weight, limit), activation(value.w, other.w, weight, limit));
#endif
#ifdef HALVES
    local struct quads quads[BLOCKS];
    const ulong low = (ulong)get_num_groups(1) * n_blocks * BLOCK * 2u;
#ifdef WHOLE
    store_whole(value, is_wanted, quads + get_local_id(1), n_blocks, row, block, low, AT(uchar, y),
                AT(uchar, y_scales));
#else
    store_halves(value, is_wanted, quads + get_local_id(1), n_blocks, row, block, low, AT(uchar, y),
                 AT(uchar, y_scales));
#endif
#elif defined(UNIT)
    local uint magnitudes[BLOCKS * BLOCK_QUADS];
    store_quantised(value, is_wanted, magnitudes, n_blocks, row, block, AT(uchar, y), AT(uchar, y_scales));
#else
    store_plain(value, at, end, AT(float, y) + first);
#endif
}
