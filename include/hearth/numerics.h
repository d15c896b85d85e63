/* hearth/numerics.h - the arithmetic whose bits are part of the contract (docs/numerics.md).
 *
 * Inline, so that a plugin needs no symbol of the core.  Built from correctly rounded f32 operations only (+, *, /,
 * fma), each rounded to nearest, ties to even: another language with the same operations gives the same bits.  Compile
 * without contraction (-ffp-contract=off) and without -ffast-math. */
#ifndef HEARTH_NUMERICS_H
#define HEARTH_NUMERICS_H

#include <hearth/dtype.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A routed expert's dot product is a sum of sums: K is cut in pieces of this many elements. */
#define HEARTH_EXPERT_CHUNK 512

/* The product of two e8m0 scales as a power of two, its exponent held within these limits.  With them no product or sum
 * of the contract is subnormal or infinite, so that a machine that flushes subnormals gives the same bits. */
#define HEARTH_SCALE_MIN_EXPONENT (-104)
#define HEARTH_SCALE_MAX_EXPONENT 96

/* The limited exponent of scale code x times scale code y; neither is HEARTH_E8M0_NAN. */
static inline int
hearth_scale_exponent(uint8_t x, uint8_t y)
{
    const int exponent = (int)x + (int)y - 254;
    if (exponent < HEARTH_SCALE_MIN_EXPONENT) {
        return HEARTH_SCALE_MIN_EXPONENT;
    }
    return exponent > HEARTH_SCALE_MAX_EXPONENT ? HEARTH_SCALE_MAX_EXPONENT : exponent;
}

/* 2^(exponent of x times y, limited) * 2^shift.  NaN if either code is.  -22 <= shift <= 0. */
static inline float
hearth_scale_product(uint8_t x, uint8_t y, int shift)
{
    if (x == HEARTH_E8M0_NAN || y == HEARTH_E8M0_NAN) {
        return hearth_f32_from_bits(0x7FC00000u);
    }
    return hearth_f32_from_bits((uint32_t)(hearth_scale_exponent(x, y) + shift + 127) << 23);
}

/* e^x.  x is first held within [-87, 87], so the result and its reciprocal are normal; NaN gives NaN.  Less than 0.9
 * ulp from the true value within these limits.
 *
 * n = x / ln 2 rounded to an integer by adding 1.5 * 2^23; r = x - n ln 2, with ln 2 in two parts; e^r by Horner's rule
 * with a minimax polynomial of degree 6 on |r| <= 0.3467 (relative error 2^-28); the result is scaled by 2^n, exactly.
 */
static inline float
hearth_exp(float x)
{
    const float log2_e = 0x1.715476p+0f;
    const float ln2_high = 0x1.62e43p-1f;
    const float ln2_low = -0x1.05c610p-29f;
    const float rounder = 0x1.8p+23f;
    const float held = x < -87.0f ? -87.0f : (x > 87.0f ? 87.0f : x);
    const float shifted = fmaf(held, log2_e, rounder);
    const float n = shifted - rounder;
    const float r = fmaf(n, -ln2_low, fmaf(n, -ln2_high, held));
    const uint32_t exponent = hearth_f32_bits(shifted) - hearth_f32_bits(rounder) + 127u;
    float p = 0x1.6a23dp-10f;
    p = fmaf(p, r, 0x1.123a2p-7f);
    p = fmaf(p, r, 0x1.5558f2p-5f);
    p = fmaf(p, r, 0x1.555492p-3f);
    p = fmaf(p, r, 0x1.fffffcp-2f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    return p * hearth_f32_from_bits(exponent << 23);
}

/* 1 / (1 + e^-x), the division rounded to nearest */
static inline float
hearth_sigmoid(float x)
{
    return 1.0f / (1.0f + hearth_exp(-x));
}

/* The expert's gated activation without the routing weight: the gate held from above, the other factor on both sides.
 */
static inline float
hearth_swiglu(float gate, float up, float limit)
{
    const float g = gate > limit ? limit : gate;
    const float u = up < -limit ? -limit : (up > limit ? limit : up);
    return g * hearth_sigmoid(g) * u;
}

#ifdef __cplusplus
}
#endif
#endif
