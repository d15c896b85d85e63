/* lanes.h - the vector words that the kernels are written in: W lanes of 32 bits, W = 8 with AVX2 and 16 with AVX-512.
 *
 * Every kernel file is compiled once for each tier (local.mk), with that tier's flags and CPU_TIER set to its name.
 * Only such files may include this header: its functions are static, so no tier's instructions leak into another's
 * objects. */
#ifndef BACKENDS_CPU_LANES_H
#define BACKENDS_CPU_LANES_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define CPU_PASTE2(name, tier) name##_##tier
#define CPU_PASTE(name, tier) CPU_PASTE2(name, tier)
#define TIERED(name) CPU_PASTE(name, CPU_TIER)

#define LANE static inline __attribute__((always_inline, unused))
#define NOT_INLINED __attribute__((noinline))

/* Of struct cpu_digits: what the tier's dot product of bytes can sum over a block without overflow. */
#ifdef __AVX512VNNI__
#define DIGIT_BITS 8
#else
#define DIGIT_BITS 7
#endif

/* Loops over a constant few registers are laid out in full; others must stay loops. */
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#define ONE_BY_ONE _Pragma("clang loop unroll(disable)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#define ONE_BY_ONE _Pragma("GCC unroll 1")
#endif

/* A sum stays in its register here: without it gcc puts off additions, and runs out of registers for what is to be
 * added. */
#ifndef KEEP
#define KEEP(word) __asm__("" : "+v"(word))
#endif

#ifdef __AVX512F__
#include "backends/cpu/lanes512.h"
#else
#include "backends/cpu/lanes256.h"
#endif

LANE vf
vf_abs(vf x)
{
    return vf_from_bits(vi_and(vf_to_bits(x), vi_set1(0x7FFFFFFF)));
}

LANE vf
vf_negative(vf x)
{
    return vf_from_bits(vi_xor(vf_to_bits(x), vi_set1((int)0x80000000u)));
}

/* to the nearest bf16, ties to even; a NaN stays one */
LANE vf
vf_round_bf16(vf x)
{
    const vi bits = vf_to_bits(x);
    const vi odd = vi_and(vi_srl(bits, 16), vi_set1(1));
    const vi rounded = vi_and(vi_add(bits, vi_add(odd, vi_set1(0x7FFF))), vi_set1((int)0xFFFF0000u));
    return vf_keep_nan(vf_from_bits(rounded), x);
}

LANE vf
vf_round(vf x, int native)
{
    return native ? vf_round_bf16(x) : x;
}

/* hearth_exp, the same operations in the same order */
LANE vf
vf_exp(vf x)
{
    const vf rounder = vf_set1(0x1.8p+23f);
    const vf held = vf_max(vf_set1(-87.0f), vf_min(vf_set1(87.0f), x)); /* NaN: the second operand, x */
    const vf shifted = vf_fma(held, vf_set1(0x1.715476p+0f), rounder);
    const vf n = vf_sub(shifted, rounder);
    const vf r = vf_fma(n, vf_set1(0x1.05c610p-29f), vf_fma(n, vf_set1(-0x1.62e43p-1f), held));
    const vi exponent = vi_add(vi_sub(vf_to_bits(shifted), vf_to_bits(rounder)), vi_set1(127));
    vf p = vf_set1(0x1.6a23dp-10f);
    p = vf_fma(p, r, vf_set1(0x1.123a2p-7f));
    p = vf_fma(p, r, vf_set1(0x1.5558f2p-5f));
    p = vf_fma(p, r, vf_set1(0x1.555492p-3f));
    p = vf_fma(p, r, vf_set1(0x1.fffffcp-2f));
    p = vf_fma(p, r, vf_set1(1.0f));
    p = vf_fma(p, r, vf_set1(1.0f));
    return vf_mul(p, vf_from_bits(vi_sll(exponent, 23)));
}

/* x, |x| below 2^22 steps, to the nearest multiple of its e4m3 step, held to 448: the value of hearth_e4m3_from_f32 */
LANE vf
vf_round_e4m3(vf x)
{
    const vi sign = vi_and(vf_to_bits(x), vi_set1((int)0x80000000u));
    const vf magnitude = vf_abs(x);
    const vi exponent = vi_max(vi_and(vf_to_bits(magnitude), vi_set1(0x7F800000)), vi_set1(121 << 23));
    const vf shifter = vf_from_bits(vi_or(vi_add(exponent, vi_set1(20 << 23)), vi_set1(0x400000)));
    const vf rounded = vf_min(vf_set1(448.0f), vf_sub(vf_add(magnitude, shifter), shifter));
    return vf_from_bits(vi_or(vf_to_bits(rounded), sign));
}

/* Four bytes, in every lane. */
LANE vi
vi_set4(const void *bytes)
{
    int32_t word;
    memcpy(&word, bytes, sizeof word);
    return vi_set1(word);
}

/* The first n of W elements; the rest are 0. */
LANE vf
vf_load_tail(const float *x, uint64_t n)
{
    return n >= W ? vf_load(x) : vf_load_some(x, (unsigned)n);
}

LANE void
vf_store_tail(float *x, vf value, uint64_t n)
{
    if (n >= W) {
        vf_store(x, value);
    } else {
        vf_store_some(x, value, (unsigned)n);
    }
}

#endif
