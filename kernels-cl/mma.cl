/* mma.cl - products of small matrices by the 32 work items of a warp, and what feeds them.  The text stands between
 * common.cl and a family that says so in program.c.
 *
 * On NVIDIA from compute capability 8.0 these are single instructions, written as PTX: OpenCL C has no other name for
 * them.  Elsewhere they are emulated through local memory, so that the same kernels run, and are tested, on any device.
 *
 * A warp is 32 work items with consecutive local numbers in a one-dimensional work-group.  `words` is local memory,
 * declared by the kernel as `local uint words[MMA_WORDS(n)]` for n warps, which nothing else writes.  A call that takes
 * it is a meeting of the whole work-group: all items make the same calls, none of them in a branch.
 *
 * Operands of the lane with g = lane / 4, t = lane % 4 (PTX: mma.m16n8k16); a word holds the lower k, or column, in its
 * lower half:
 *
 *     a, rows x k        (g, 2t .. 2t + 1)   (g + 8, 2t ..)   (g, 2t + 8 ..)   (g + 8, 2t + 8 ..)
 *     b, k x columns     (2t .. 2t + 1, g)   (2t + 8 .. 2t + 9, g)
 *     c, rows x columns  (g, 2t)   (g, 2t + 1)   (g + 8, 2t)   (g + 8, 2t + 1)
 *
 * Sums are f32.  How they are rounded is the device's business: they are exact where every partial sum in every order
 * is a multiple of one number and less than 2^24 times it. */
#if defined(OCL_NVIDIA) && OCL_NVIDIA >= 80
#define MMA_PTX
#endif

#define WARP 32u

/* Before a loop: its turns are written out where the instructions are, so that they fill registers; emulated, they
 * would only be much text. */
#ifdef MMA_PTX
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("unroll 1")
#endif

static inline uint
warp_lane(void)
{
    return (uint)get_local_id(0) % WARP;
}

#ifdef MMA_PTX

#define MMA_WORDS(n_warps) 1

/* c + a b */
static inline float4
mma_f16(uint4 a, uint2 b, float4 c, local uint *words)
{
    float x = c.x, y = c.y, z = c.z, w = c.w;
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(x), "+f"(y), "+f"(z), "+f"(w)
                 : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y));
    return (float4)(x, y, z, w);
}

static inline float4
mma_bf16(uint4 a, uint2 b, float4 c, local uint *words)
{
    float x = c.x, y = c.y, z = c.z, w = c.w;
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(x), "+f"(y), "+f"(z), "+f"(w)
                 : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y));
    return (float4)(x, y, z, w);
}

/* Four matrices of 8 x 8 halves: lanes 8 i .. 8 i + 7 name the rows of matrix i, 16 bytes each.  Word i of the answer:
 * row g, columns 2t, 2t + 1 of matrix i. */
static inline uint4
mma_load(const local void *row, local uint *words)
{
    uint x, y, z, w;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x), "=r"(y), "=r"(z), "=r"(w)
                 : "r"((uint)(size_t)row)
                 : "memory");
    return (uint4)(x, y, z, w);
}

/* The same, each matrix transposed: rows 2t, 2t + 1, column g. */
static inline uint4
mma_load_transposed(const local void *row, local uint *words)
{
    uint x, y, z, w;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x), "=r"(y), "=r"(z), "=r"(w)
                 : "r"((uint)(size_t)row)
                 : "memory");
    return (uint4)(x, y, z, w);
}

/* The value of lane (own lane ^ mask) of the warp. */
static inline uint
warp_swap(uint value, uint mask, local uint *words)
{
    uint other;
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 31, 0xFFFFFFFF;" : "=r"(other) : "r"(value), "r"(mask));
    return other;
}

/* Whether all lanes of a warp say so.  All of them come here. */
static inline bool
warp_all(bool value, local uint *words)
{
    uint all;
    asm volatile("{ .reg .pred p; setp.ne.u32 p, %1, 0; vote.sync.all.pred p, p, 0xFFFFFFFF; selp.u32 %0, 1, 0, p; }"
                 : "=r"(all)
                 : "r"((uint)value));
    return all != 0u;
}

/* Four bytes of the eight in low and high: a nibble of the selector names one, or with its upper bit eight copies of
 * that one's sign. */
static inline uint
select_bytes(uint low, uint high, uint selector)
{
    uint bytes;
    asm volatile("prmt.b32 %0, %1, %2, %3;" : "=r"(bytes) : "r"(low), "r"(high), "r"(selector));
    return bytes;
}

/* 16 bytes that are read once: they take no place in the first cache. */
static inline uint4
load_once(const global uint4 *from)
{
    uint x, y, z, w;
    asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x), "=r"(y), "=r"(z), "=r"(w)
                 : "l"(from));
    return (uint4)(x, y, z, w);
}

/* Two f32 rounded to f16 or bf16; `low` goes to the lower half. */
static inline uint
pair_f16(float low, float high)
{
    uint pair;
    asm volatile("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

static inline uint
pair_bf16(float low, float high)
{
    uint pair;
    asm volatile("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

/* Whether any lane's is true.  There is no emulation: it answers what else would be a branch around a meeting. */
static inline bool
warp_any(bool is)
{
    uint any;
    asm volatile("{ .reg .pred p, q; setp.ne.u32 p, %1, 0; vote.sync.any.pred q, p, 0xFFFFFFFF; selp.u32 %0, 1, 0, q; }"
                 : "=r"(any)
                 : "r"((uint)is));
    return any != 0;
}

/* Products of two pairs of bf16, each rounded to bf16. */
static inline uint
multiply_bf16(uint a, uint b)
{
    uint pair;
    asm volatile("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(pair) : "r"(a), "r"(b), "r"(0x80008000u));
    return pair;
}

/* The larger of 0 and each of a pair; a NaN becomes 0. */
static inline uint
relu_bf16(uint a)
{
    uint pair;
    asm volatile("max.bf16x2 %0, %1, %2;" : "=r"(pair) : "r"(a), "r"(0u));
    return pair;
}

/* 16 bytes from global to local memory, on their way until copy_wait; both at multiples of 16. */
static inline void
copy_start(local void *to, const global void *from)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((uint)(size_t)to), "l"(from) : "memory");
}

/* The same where what follows in global memory will be asked for soon. */
static inline void
copy_start_ahead(local void *to, const global void *from)
{
    asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16;" ::"r"((uint)(size_t)to), "l"(from) : "memory");
}

/* The same, or 16 bytes of 0, which read nothing. */
static inline void
copy_start_or_zero(local void *to, const global void *from, bool is_there)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((uint)(size_t)to), "l"(from),
                 "r"(is_there ? 16u : 0u)
                 : "memory");
}

/* Ends a batch of copies. */
static inline void
copy_commit(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Waits until at most `n_left` batches of this work item, the last ones, are on their way.  What the others copied is
 * there after a barrier. */
#define copy_wait(n_left) asm volatile("cp.async.wait_group " #n_left ";" ::: "memory")

#else

#define MMA_WORDS(n_warps) ((n_warps) * WARP * 6u)

/* The warp's words. */
static inline local uint *
warp_words(local uint *words)
{
    return words + get_local_id(0) / WARP * (WARP * 6u);
}

static inline float
half_of(uint word, uint index, bool is_f16)
{
    const ushort bits = (ushort)(word >> (16u * index));
    return is_f16 ? vload_half(0, (const private half *)&bits) : bf16_to_f32(bits);
}

static inline float4
mma_emulated(uint4 a, uint2 b, float4 c, bool is_f16, local uint *words)
{
    const uint lane = warp_lane(), row = lane / 4u, column = lane % 4u * 2u;
    local uint *all = warp_words(words);
    vstore4(a, lane, all);
    vstore2(b, lane, all + WARP * 4u);
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint k = 0; k < 16u; k++) {
        const uint at = k % 8u / 2u, upper = k / 8u;
        const uint left = all[(row * 4u + at) * 4u + upper * 2u];
        const uint lower_left = all[(row * 4u + at) * 4u + upper * 2u + 1u];
        const float x = half_of(left, k % 2u, is_f16), y = half_of(lower_left, k % 2u, is_f16);
        const float p = half_of(all[WARP * 4u + (column * 4u + at) * 2u + upper], k % 2u, is_f16);
        const float q = half_of(all[WARP * 4u + ((column + 1u) * 4u + at) * 2u + upper], k % 2u, is_f16);
        c = (float4)(fma(x, p, c.x), fma(x, q, c.y), fma(y, p, c.z), fma(y, q, c.w));
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return c;
}

static inline float4
mma_f16(uint4 a, uint2 b, float4 c, local uint *words)
{
    return mma_emulated(a, b, c, true, words);
}

static inline float4
mma_bf16(uint4 a, uint2 b, float4 c, local uint *words)
{
    return mma_emulated(a, b, c, false, words);
}

/* Every lane leaves its 16 bytes: four words of row lane % 8 of matrix lane / 8. */
static inline uint4
mma_load(const local void *row, local uint *words)
{
    const uint lane = warp_lane();
    local uint *all = warp_words(words);
    vstore4(*(const local uint4 *)row, lane, all);
    barrier(CLK_LOCAL_MEM_FENCE);
    const uint4 found = (uint4)(all[lane], all[32u + lane], all[64u + lane], all[96u + lane]);
    barrier(CLK_LOCAL_MEM_FENCE);
    return found;
}

static inline uint4
mma_load_transposed(const local void *row, local uint *words)
{
    const uint lane = warp_lane(), shift = lane / 4u % 2u * 16u;
    local uint *all = warp_words(words);
    uint found[4];
    vstore4(*(const local uint4 *)row, lane, all);
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = 0; i < 4u; i++) {
        const uint at = i * 32u + lane % 4u * 8u + lane / 8u;
        found[i] = (all[at] >> shift & 0xFFFFu) | (all[at + 4u] >> shift & 0xFFFFu) << 16;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return (uint4)(found[0], found[1], found[2], found[3]);
}

static inline uint
warp_swap(uint value, uint mask, local uint *words)
{
    local uint *all = warp_words(words);
    all[warp_lane()] = value;
    barrier(CLK_LOCAL_MEM_FENCE);
    const uint other = all[warp_lane() ^ mask];
    barrier(CLK_LOCAL_MEM_FENCE);
    return other;
}

static inline bool
warp_all(bool value, local uint *words)
{
    local uint *all = warp_words(words);
    uint n = 0u;
    all[warp_lane()] = value ? 1u : 0u;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = 0; i < WARP; i++) {
        n += all[i];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return n == WARP;
}

static inline uint
select_bytes(uint low, uint high, uint selector)
{
    uint bytes = 0u;
    for (uint i = 0; i < 4u; i++) {
        const uint name = selector >> 4u * i & 0xFu;
        const uint byte = ((name & 4u ? high : low) >> (name & 3u) * 8u) & 0xFFu;
        bytes |= (name & 8u ? (byte >> 7) * 0xFFu : byte) << 8u * i;
    }
    return bytes;
}

static inline uint4
load_once(const global uint4 *from)
{
    return *from;
}

static inline uint
pair_f16(float low, float high)
{
    ushort bits[2];
    vstore_half_rte(low, 0, (private half *)&bits[0]);
    vstore_half_rte(high, 0, (private half *)&bits[1]);
    return (uint)bits[0] | (uint)bits[1] << 16;
}

static inline uint
pair_bf16(float low, float high)
{
    return (uint)bf16_from_f32(low) | (uint)bf16_from_f32(high) << 16;
}

static inline uint
multiply_bf16(uint a, uint b)
{
    return pair_bf16(bf16_to_f32((ushort)a) * bf16_to_f32((ushort)b),
                     bf16_to_f32((ushort)(a >> 16)) * bf16_to_f32((ushort)(b >> 16)));
}

static inline uint
relu_bf16(uint a)
{
    const float low = bf16_to_f32((ushort)a), high = bf16_to_f32((ushort)(a >> 16));
    return (low > 0.0f ? a & 0xFFFFu : 0u) | (high > 0.0f ? a & 0xFFFF0000u : 0u);
}

static inline void
copy_start(local void *to, const global void *from)
{
    *(local uint4 *)to = *(const global uint4 *)from;
}

static inline void
copy_start_ahead(local void *to, const global void *from)
{
    copy_start(to, from);
}

static inline void
copy_start_or_zero(local void *to, const global void *from, bool is_there)
{
    *(local uint4 *)to = is_there ? *(const global uint4 *)from : (uint4)(0u);
}

static inline void
copy_commit(void)
{
}

#define copy_wait(n_left) ((void)0)

#endif

/* Sums 0 .. 3 of a lane: rows g, g, g + 8, g + 8, columns 2t, 2t + 1, 2t, 2t + 1. */
static inline float
tile_sum(float4 sums, uint i)
{
    return i < 2u ? (i == 0u ? sums.x : sums.y) : (i == 2u ? sums.z : sums.w);
}

/* ---- packed elements as pairs of bf16 ---- */

/* Both halves of a factor. */
static inline uint
twice(uint bits)
{
    return bits << 16 | bits;
}

/* Bits of e4m3 put into a bf16 are values times 2^-120.  What undoes this and scales, in two factors: the second is 1
 * but for scales beyond 2^7. */
#define ONES 0x3F803F80u

static inline uint2
e4m3_factors(uint scale)
{
    const uint exponent = min(scale + 120u, 254u);
    return (uint2)(twice(scale == E8M0_NAN ? 0x7FC0u : exponent << 7), twice((scale + 120u - exponent + 127u) << 7));
}

/* Elements 0 and 2 of four codes, and 1 and 3, each pair in a word. */
static inline uint2
e4m3_pairs(uint codes, uint factor)
{
    const uint even = (codes << 8 & 0x80008000u) | (codes << 4 & 0x07F007F0u);
    const uint odd = (codes & 0x80008000u) | (codes >> 4 & 0x07F007F0u);
    return (uint2)(multiply_bf16(even, factor), multiply_bf16(odd, factor));
}

static inline uint2
multiply_pairs(uint2 pairs, uint factor)
{
    return (uint2)(multiply_bf16(pairs.x, factor), multiply_bf16(pairs.y, factor));
}

/* ---- f32 as two f16, by a scale for a block ---- */

/* The code of the scale that brings magnitudes with these highest bits below 2^15.  Below 2^-66 they lose bits. */
static inline uint
whole_code(uint largest)
{
    return largest >= 0x7F800000u ? E8M0_NAN : max(largest >> 23, 61u) - 14u;
}

static inline float4
whole_scaled(float4 value, uint code)
{
    return code == E8M0_NAN ? (float4)(0.0f) : value * as_float((254u - code) << 23);
}

/* The first of the two: 11 bits; the rest has at most 12. */
static inline float4
whole_first(float4 scaled)
{
    return as_float4((as_uint4(scaled) + 0x1000u) & 0xFFFFE000u);
}
