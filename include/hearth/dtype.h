/* hearth/dtype.h - element types, and the exact meaning of their bits.
 *
 * The conversions are inline so that a plugin needs no symbol of the core.  Rounding is to nearest, ties to even.
 * Source: OCP FP8 and MX specifications; DeepSeek-V4 kernel.py (act_quant, fp4_act_quant). */
#ifndef HEARTH_DTYPE_H
#define HEARTH_DTYPE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, bits per stored element, safetensors name).  E2M1X2 is one byte holding two e2m1 values, the even one in the
 * low nibble; safetensors calls it I8. */
#define HEARTH_DTYPE_MAP(X)                                                                        \
    X(F32, 32, "F32")                                                                              \
    X(BF16, 16, "BF16")                                                                            \
    X(E4M3, 8, "F8_E4M3")                                                                          \
    X(E8M0, 8, "F8_E8M0")                                                                          \
    X(E2M1X2, 8, "I8")                                                                             \
    X(I32, 32, "I32")                                                                              \
    X(I64, 64, "I64")

enum hearth_dtype {
    HEARTH_DTYPE_NONE = 0,
#define HEARTH_DTYPE_ENUM(name, bits, text) HEARTH_##name,
    HEARTH_DTYPE_MAP(HEARTH_DTYPE_ENUM)
#undef HEARTH_DTYPE_ENUM
    HEARTH_N_DTYPES
};

#define HEARTH_E4M3_MAX 448.0f
#define HEARTH_E2M1_MAX 6.0f
#define HEARTH_E8M0_NAN 0xFFu

static inline uint32_t
hearth_f32_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float
hearth_f32_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float
hearth_bf16_to_f32(uint16_t bits)
{
    return hearth_f32_from_bits((uint32_t)bits << 16);
}

static inline uint16_t
hearth_bf16_from_f32(float value)
{
    uint32_t bits = hearth_f32_bits(value);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) { /* keep a NaN a NaN */
        return (uint16_t)((bits >> 16) | 0x40u);
    }
    return (uint16_t)((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

/* value rounded to the nearest bf16, as f32 */
static inline float
hearth_round_bf16(float value)
{
    return hearth_bf16_to_f32(hearth_bf16_from_f32(value));
}

/* 2^(code-127).  Code 0 is 2^-127, a subnormal; code 255 is NaN. */
static inline float
hearth_e8m0_to_f32(uint8_t code)
{
    if (code == HEARTH_E8M0_NAN) {
        return hearth_f32_from_bits(0x7FC00000u);
    }
    return hearth_f32_from_bits(code ? (uint32_t)code << 23 : 0x00400000u);
}

static inline float
hearth_e4m3_to_f32(uint8_t code)
{
    const uint32_t sign = (uint32_t)(code & 0x80u) << 24;
    const uint32_t exponent = (code >> 3) & 0xFu;
    const uint32_t mantissa = code & 7u;
    if ((code & 0x7Fu) == 0x7Fu) {
        return hearth_f32_from_bits(sign | 0x7FC00000u);
    }
    if (exponent == 0) { /* subnormal: mantissa * 2^-9 */
        const float magnitude = (float)mantissa * 0.001953125f;
        return sign ? -magnitude : magnitude;
    }
    return hearth_f32_from_bits(sign | ((exponent + 120u) << 23) | (mantissa << 20));
}

/* Saturates at 448; NaN becomes 0x7F. */
static inline uint8_t
hearth_e4m3_from_f32(float value)
{
    const uint32_t bits = hearth_f32_bits(value);
    const uint8_t sign = (uint8_t)((bits >> 24) & 0x80u);
    const float magnitude = hearth_f32_from_bits(bits & 0x7FFFFFFFu);
    if (magnitude != magnitude) {
        return 0x7Fu;
    }
    if (magnitude >= HEARTH_E4M3_MAX) {
        return (uint8_t)(sign | 0x7Eu);
    }
    if (magnitude < 0.015625f) { /* below 2^-6 the step is 2^-9; adding 1.5 * 2^14 rounds to it */
        const float shifted = magnitude + 24576.0f;
        return (uint8_t)(sign | (hearth_f32_bits(shifted) - hearth_f32_bits(24576.0f)));
    }
    const uint32_t m = bits & 0x7FFFFFFFu;
    const uint32_t rounded = m + 0x7FFFFu + ((m >> 20) & 1u);
    return (uint8_t)(sign | ((rounded >> 20) - (120u << 3)));
}

/* code: the low four bits, bit 3 the sign */
static inline float
hearth_e2m1_to_f32(uint8_t code)
{
    static const float magnitudes[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
    const float magnitude = magnitudes[code & 7u];
    return (code & 8u) ? -magnitude : magnitude;
}

/* Saturates at 6.  Keeps the sign of zero. */
static inline uint8_t
hearth_e2m1_from_f32(float value)
{
    const uint32_t bits = hearth_f32_bits(value);
    const uint8_t sign = (uint8_t)((bits >> 28) & 8u);
    const float x = hearth_f32_from_bits(bits & 0x7FFFFFFFu);
    uint8_t code = 7;
    if (x <= 0.25f) {
        code = 0;
    } else if (x < 0.75f) {
        code = 1;
    } else if (x <= 1.25f) {
        code = 2;
    } else if (x < 1.75f) {
        code = 3;
    } else if (x <= 2.5f) {
        code = 4;
    } else if (x < 3.5f) {
        code = 5;
    } else if (x <= 5.0f) {
        code = 6;
    }
    return (uint8_t)(sign | code);
}

/* The e8m0 code of the smallest power of two not below amax * reciprocal; amax is positive and normal.  reciprocal is
 * fp32(1/448) for e4m3 and fp32(1/6) for e2m1: one fp32 product, as the reference kernels do it, never a division. */
#define HEARTH_E4M3_RECIPROCAL 0x1.24924ap-9f
#define HEARTH_E2M1_RECIPROCAL 0x1.555556p-3f

static inline uint8_t
hearth_scale_code(float amax, float reciprocal)
{
    const uint32_t bits = hearth_f32_bits(amax * reciprocal);
    const uint32_t exponent = (bits >> 23) & 0xFFu;
    return (uint8_t)(exponent + ((bits & 0x7FFFFFu) ? 1u : 0u));
}

#ifdef __cplusplus
}
#endif
#endif
