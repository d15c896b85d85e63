/* common.cl - what every kernel family begins with: the build's promises, places in memory, formats and their rounding.
 * Formats and arithmetic are those of hearth/dtype.h and hearth/numerics.h, bit by bit (docs/numerics.md).
 *
 * Sizes come as arguments or as -D of the host; no constant of a model stands in these files. */
#pragma OPENCL FP_CONTRACT OFF
#ifdef OCL_HAS_FP64
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#endif
#ifdef OCL_HAS_FP16
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#endif

/* Functions are parts of their kernels: arrays that they are given stay in registers.  PoCL drops the word, and then
 * lets its threads share the number of the work item in a function that is called twice.  OCL_CALLS: not so, for
 * Oclgrind, which does not know what clang says of a struct that such a function returns. */
#ifndef OCL_CALLS
#undef inline
#define inline inline __attribute__((always_inline))
#endif

#ifndef __has_builtin
#define __has_builtin(name) 0
#endif

/* Loads of several turns are under way together. */
#ifdef OCL_NVIDIA
#define UNROLL_LOADS _Pragma("unroll 4")
#else
#define UNROLL_LOADS
#endif

/* The place that arguments `global uchar *x_mem, ulong x_at` name, as elements of a type. */
#define AT(type, x) ((global type *)(x##_mem + x##_at))
#define AT_CONST(type, x) ((const global type *)(x##_mem + x##_at))
/* The two arguments themselves. */
#define PLACE(x) global uchar *x##_mem, ulong x##_at
#define PLACE_CONST(x) const global uchar *restrict x##_mem, ulong x##_at

/* enum hearth_dtype */
#define DTYPE_F32 1
#define DTYPE_BF16 2
#define DTYPE_E4M3 3
#define DTYPE_E8M0 4
#define DTYPE_E2M1X2 5

/* struct hearth_route */
struct route {
    uint token, slot, expert;
    float weight;
};

/* An expert on this device, as op_expert.c tells it: where in its slab w1, w3 and w2 lie.  dtypes 0: absent. */
struct expert {
    ulong data[3], scales[3]; /* bytes */
    uint slab;
    uint dtypes[3];
};

/* Four slabs as arguments, and the one of a number among them: null for any other. */
#define SLABS                                                                                                          \
    const global uchar *restrict slab_0, const global uchar *restrict slab_1, const global uchar *restrict slab_2,     \
        const global uchar *restrict slab_3
#define SLAB(i) slab_of(i, slab_0, slab_1, slab_2, slab_3)

static inline const global uchar *
slab_of(uint i, const global uchar *first, const global uchar *second, const global uchar *third,
        const global uchar *fourth)
{
    return i < 2u ? (i == 0u ? first : second) : i < 4u ? (i == 2u ? third : fourth) : 0;
}

/* Routes order[first] .. + n - 1, all of one expert; n 0: none. */
struct tile {
    uint expert, first, n;
};

/* ---- bf16 ---- */

static inline float
bf16_to_f32(ushort bits)
{
    return as_float((uint)bits << 16);
}

static inline ushort
bf16_from_f32(float value)
{
    const uint bits = as_uint(value);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) { /* keep a NaN a NaN */
        return (ushort)((bits >> 16) | 0x40u);
    }
    return (ushort)((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

/* value rounded to the nearest bf16 */
static inline float
round_bf16(float value)
{
    return bf16_to_f32(bf16_from_f32(value));
}

/* An output: ROUND makes it a bf16. */
static inline float
finished(float value)
{
#ifdef ROUND
    return round_bf16(value);
#else
    return value;
#endif
}

/* ---- e8m0 ---- */

#define E8M0_NAN 0xFFu

static inline float
e8m0_to_f32(uint code)
{
    return code == E8M0_NAN ? as_float(0x7FC00000u) : as_float(code ? code << 23 : 0x00400000u);
}

/* 2^(exponent of x times y, limited to -104 .. 96) * 2^shift, -22 <= shift <= 30; NaN if either code is. */
static inline float
scale_product(uint x, uint y, int shift)
{
    const int exponent = clamp((int)x + (int)y - 254, -104, 96);
    return x == E8M0_NAN || y == E8M0_NAN ? as_float(0x7FC00000u) : as_float((uint)(exponent + shift + 127) << 23);
}

/* The code of the smallest power of two not below amax * reciprocal; amax is positive and normal. */
#define E4M3_RECIPROCAL 0x1.24924ap-9f
#define E2M1_RECIPROCAL 0x1.555556p-3f

static inline uint
scale_code(float amax, float reciprocal)
{
    const uint bits = as_uint(amax * reciprocal);
    return ((bits >> 23) & 0xFFu) + ((bits & 0x7FFFFFu) ? 1u : 0u);
}

/* ---- e4m3 ---- */

static inline float
e4m3_to_f32(uint code)
{
    const uint sign = (code & 0x80u) << 24;
    const uint exponent = (code >> 3) & 0xFu;
    const uint mantissa = code & 7u;
    if ((code & 0x7Fu) == 0x7Fu) {
        return as_float(sign | 0x7FC00000u);
    }
    if (exponent == 0u) { /* subnormal: mantissa * 2^-9 */
        return as_float(sign | as_uint((float)mantissa * 0.001953125f));
    }
    return as_float(sign | ((exponent + 120u) << 23) | (mantissa << 20));
}

/* Saturates at 448; NaN becomes 0x7F. */
static inline uint
e4m3_from_f32(float value)
{
    const uint bits = as_uint(value);
    const uint sign = (bits >> 24) & 0x80u;
    const uint m = bits & 0x7FFFFFFFu;
    if (m > 0x7F800000u) {
        return 0x7Fu;
    }
    if (m >= 0x43E00000u) { /* 448 */
        return sign | 0x7Eu;
    }
    if (m < 0x3C800000u) { /* below 2^-6 the step is 2^-9; adding 1.5 * 2^14 rounds to it */
        return sign | (as_uint(as_float(m) + 24576.0f) - 0x46C00000u);
    }
    return sign | (((m + 0x7FFFFu + ((m >> 20) & 1u)) >> 20) - (120u << 3));
}

/* The value times 2^-8 as an f16: exponent and mantissa are moved to where f16 has them. */
static inline uint
e4m3_to_half(uint code)
{
    return (code & 0x80u) << 8 | (code & 0x7Fu) << 7;
}

/* ---- e2m1 ---- */

/* code: the low four bits, bit 3 the sign.  Twice the value, an integer. */
static inline int
e2m1_to_int(uint code)
{
    const int magnitude = (int)(0xC8643210u >> ((code & 7u) * 4u) & 0xFu);
    return (code & 8u) ? -magnitude : magnitude;
}

static inline float
e2m1_to_f32(uint code)
{
    const float magnitude = 0.5f * (float)(0xC8643210u >> ((code & 7u) * 4u) & 0xFu);
    return as_float(as_uint(magnitude) | (code & 8u) << 28);
}

/* Saturates at 6.  Keeps the sign of zero. */
static inline uint
e2m1_from_f32(float value)
{
    const float x = fabs(value);
    const uint code = (uint)(x > 0.25f) + (uint)(x >= 0.75f) + (uint)(x > 1.25f) + (uint)(x >= 1.75f) +
                      (uint)(x > 2.5f) + (uint)(x >= 3.5f) + (uint)(x > 5.0f);
    return (as_uint(value) >> 28 & 8u) | (x == x ? code : 7u);
}

/* ---- dot products of four signed bytes ---- */

/* a . b + sum */
static inline int
dot_bytes(uint a, uint b, int sum)
{
#if defined(OCL_HAS_INT_DOT) && !defined(cl_intel_subgroups) /* Intel's compiler finds the instruction by itself */
    return dot_4x8packed_ss_int(a, b) + sum;
#elif defined(OCL_NVIDIA) && OCL_NVIDIA >= 61
    int out;
    __asm__("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(out) : "r"(a), "r"(b), "r"(sum));
    return out;
#elif defined(__AMDGCN__) && __has_builtin(__builtin_amdgcn_sdot4)
    return __builtin_amdgcn_sdot4(as_int(a), as_int(b), sum, false);
#else
    const char4 x = as_char4(a), y = as_char4(b);
    return x.x * y.x + (x.y * y.y + (x.z * y.z + (x.w * y.w + sum)));
#endif
}

/* The low bytes of four integers. */
static inline uint
low_bytes(int4 values)
{
    const uint4 bytes = as_uint4(values) & 0xFFu;
    return bytes.x | bytes.y << 8 | bytes.z << 16 | bytes.w << 24;
}

/* Four e4m3 values as integers of 2^-9, each in three digits d0 + 2^8 d1 + 2^16 d2 of signed bytes: a word for each digit,
 * and 64 times their sum. */
static inline uint4
digits_of(float4 values)
{
    const int4 whole = convert_int4(values * 512.0f), rest = (whole + 128) >> 8; /* whole = d0 + 2^8 rest, |d0| <= 128 */
    const uint sum = (uint)(whole.x + whole.y + whole.z + whole.w);
    return (uint4)(low_bytes(whole), low_bytes(rest), low_bytes((rest + 128) >> 8), 64u * sum);
}

/* Four codes as signed bytes, each twice the value: code i in bits 4 i .. 4 i + 3.  A byte holds its number until the
 * last step with 128 added, so that nothing is borrowed from its neighbour. */
static inline uint
e2m1_to_bytes(uint codes)
{
    const uint pairs = (codes | codes << 8) & 0x00FF00FFu;
    const uint spread = (pairs | pairs << 4) & 0x0F0F0F0Fu;
#if defined(__AMDGCN__) && __has_builtin(__builtin_amdgcn_perm)
    const uint magnitudes = __builtin_amdgcn_perm(0x0C080604u, 0x03020100u, spread & 0x07070707u);
#else
    const uint fours = spread >> 2 & 0x01010101u; /* from 4 on the steps are 2, 2 and 4 */
    const uint low = spread & (fours | fours << 1);
    const uint magnitudes = (spread & 0x07070707u) + low + ((low & low >> 1 & 0x01010101u) << 1);
#endif
    const uint signs = spread >> 3 & 0x01010101u, negative = (signs << 8) - signs;
    return (0x80808080u + magnitudes - ((magnitudes & negative) << 1)) ^ 0x80808080u;
}

/* ---- e^x, sigma, SwiGLU: hearth/numerics.h ---- */

static inline float
exact_exp(float x)
{
    const float held = x < -87.0f ? -87.0f : (x > 87.0f ? 87.0f : x);
    const float shifted = fma(held, 0x1.715476p+0f, 0x1.8p+23f);
    const float n = shifted - 0x1.8p+23f;
    const float r = fma(n, 0x1.05c610p-29f, fma(n, -0x1.62e43p-1f, held));
    const uint exponent = as_uint(shifted) - as_uint(0x1.8p+23f) + 127u;
    float p = 0x1.6a23dp-10f;
    p = fma(p, r, 0x1.123a2p-7f);
    p = fma(p, r, 0x1.5558f2p-5f);
    p = fma(p, r, 0x1.555492p-3f);
    p = fma(p, r, 0x1.fffffcp-2f);
    p = fma(p, r, 1.0f);
    p = fma(p, r, 1.0f);
    return p * as_float(exponent << 23);
}

static inline float
exact_sigmoid(float x)
{
    return 1.0f / (1.0f + exact_exp(-x));
}

/* The expert's gated activation without the routing weight. */
static inline float
exact_swiglu(float gate, float up, float limit)
{
    const float g = gate > limit ? limit : gate;
    const float u = up < -limit ? -limit : (up > limit ? limit : up);
    return g * exact_sigmoid(g) * u;
}
