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
#ifdef OCL_HAS_SUBGROUPS
#pragma OPENCL EXTENSION cl_khr_subgroups : enable
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

/* ---- bf16 ---- */

inline float
bf16_to_f32(ushort bits)
{
    return as_float((uint)bits << 16);
}

inline ushort
bf16_from_f32(float value)
{
    const uint bits = as_uint(value);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) { /* keep a NaN a NaN */
        return (ushort)((bits >> 16) | 0x40u);
    }
    return (ushort)((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

/* value rounded to the nearest bf16 */
inline float
round_bf16(float value)
{
    return bf16_to_f32(bf16_from_f32(value));
}

/* ---- e8m0 ---- */

#define E8M0_NAN 0xFFu

inline float
e8m0_to_f32(uint code)
{
    return code == E8M0_NAN ? as_float(0x7FC00000u) : as_float(code ? code << 23 : 0x00400000u);
}

/* 2^(exponent of x times y, limited to -104 .. 96) * 2^shift, -22 <= shift <= 0; NaN if either code is. */
inline float
scale_product(uint x, uint y, int shift)
{
    const int exponent = clamp((int)x + (int)y - 254, -104, 96);
    return x == E8M0_NAN || y == E8M0_NAN ? as_float(0x7FC00000u) : as_float((uint)(exponent + shift + 127) << 23);
}

/* The code of the smallest power of two not below amax * reciprocal; amax is positive and normal. */
#define E4M3_RECIPROCAL 0x1.24924ap-9f
#define E2M1_RECIPROCAL 0x1.555556p-3f

inline uint
scale_code(float amax, float reciprocal)
{
    const uint bits = as_uint(amax * reciprocal);
    return ((bits >> 23) & 0xFFu) + ((bits & 0x7FFFFFu) ? 1u : 0u);
}

/* ---- e4m3 ---- */

inline float
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
inline uint
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

/* ---- e2m1 ---- */

/* code: the low four bits, bit 3 the sign.  Twice the value, an integer. */
inline int
e2m1_to_int(uint code)
{
    const int magnitude = (int)(0xC8643210u >> ((code & 7u) * 4u) & 0xFu);
    return (code & 8u) ? -magnitude : magnitude;
}

inline float
e2m1_to_f32(uint code)
{
    const float magnitude = 0.5f * (float)(0xC8643210u >> ((code & 7u) * 4u) & 0xFu);
    return as_float(as_uint(magnitude) | (code & 8u) << 28);
}

/* Saturates at 6.  Keeps the sign of zero. */
inline uint
e2m1_from_f32(float value)
{
    const float x = fabs(value);
    const uint code = (uint)(x > 0.25f) + (uint)(x >= 0.75f) + (uint)(x > 1.25f) + (uint)(x >= 1.75f) +
                      (uint)(x > 2.5f) + (uint)(x >= 3.5f) + (uint)(x > 5.0f);
    return (as_uint(value) >> 28 & 8u) | (x == x ? code : 7u);
}

/* ---- e^x, sigma, SwiGLU: hearth/numerics.h ---- */

inline float
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

inline float
exact_sigmoid(float x)
{
    return 1.0f / (1.0f + exact_exp(-x));
}

/* The expert's gated activation without the routing weight. */
inline float
exact_swiglu(float gate, float up, float limit)
{
    const float g = gate > limit ? limit : gate;
    const float u = up < -limit ? -limit : (up > limit ? limit : up);
    return g * exact_sigmoid(g) * u;
}
