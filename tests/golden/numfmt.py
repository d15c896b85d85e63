"""numfmt.py - the number formats of a DeepSeek-V4 checkpoint, in NumPy.

bf16, e4m3, e8m0 and e2m1: rounding (to nearest, ties to even), decoding, encoding and the power-of-two scales of the
activation quantisers.  Values are carried as float64 arrays that hold exactly representable numbers, so every operation
followed by one of the rounding functions below is the correctly rounded operation of the narrow format.
"""
import numpy as np

E4M3_MAX = 448.0
E2M1_MAX = 6.0
E2M1_VALUES = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
INV_448 = np.float32(1.0 / 448.0)
INV_6 = np.float32(1.0 / 6.0)
MIN_ACT_AMAX = np.float32(1e-4)
MIN_FP4_AMAX = np.float32(6 * 2.0**-126)


def round_f32(x):
    """x to the nearest float32, as float64."""
    return np.asarray(x, np.float32).astype(np.float64)


def bf16_bits(x):
    """The bf16 code (uint16) of x, rounded first to float32, then to bf16."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)


def bf16_value(code):
    return (np.asarray(code, np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)


def round_bf16(x):
    """x to the nearest bf16 (by way of float32, as an fp32 accumulator stored to bf16), as float64."""
    return bf16_value(bf16_bits(x))


def _round_grid(x, exponent_min, mantissa_bits):
    """x to the nearest multiple of its binade's step; below 2^exponent_min the step stays that of the subnormals."""
    x = np.asarray(x, np.float64)
    exponent = np.frexp(x)[1] - 1
    step = np.ldexp(1.0, np.maximum(exponent, exponent_min) - mantissa_bits)
    return np.rint(x / step) * step


def round_e4m3(x):
    """x, which must lie in [-448, 448], to the nearest e4m3."""
    return _round_grid(x, -6, 3)


def round_e2m1(x):
    """x, which must lie in [-6, 6], to the nearest e2m1."""
    return _round_grid(x, 0, 1)


def e4m3_value(code):
    code = np.asarray(code, np.uint8)
    sign = np.where(code & 0x80, -1.0, 1.0)
    exponent = ((code >> 3) & 15).astype(np.int64)
    mantissa = (code & 7).astype(np.float64)
    value = np.where(exponent == 0, np.ldexp(mantissa / 8, -6), np.ldexp(1 + mantissa / 8, exponent - 7))
    return np.where((code & 0x7F) == 0x7F, np.nan, sign * value)


_E4M3_TABLE = e4m3_value(np.arange(0x7F))


def e4m3_code(x):
    """The code of an e4m3 value (already rounded); the sign of zero is kept."""
    x = np.asarray(x, np.float64)
    code = np.searchsorted(_E4M3_TABLE, np.abs(x)).astype(np.uint8)
    assert np.array_equal(_E4M3_TABLE[code], np.abs(x)), "not an e4m3 value"
    return np.where(np.signbit(x), code | 0x80, code).astype(np.uint8)


def e2m1_code(x):
    """The code 0..15 of an e2m1 value (already rounded); the sign of zero is kept."""
    x = np.asarray(x, np.float64)
    code = np.searchsorted(E2M1_VALUES[:8], np.abs(x)).astype(np.uint8)
    assert np.array_equal(E2M1_VALUES[code], np.abs(x)), "not an e2m1 value"
    return np.where(np.signbit(x), code | 8, code).astype(np.uint8)


def e8m0_value(code):
    return np.ldexp(1.0, np.asarray(code, np.int64) - 127)


def pack_e2m1(codes):
    """[rows][n] codes to [rows][n / 2] bytes, the even element in the low nibble."""
    return (codes[:, 0::2] | (codes[:, 1::2] << 4)).astype(np.uint8)


def unpack_e2m1(packed):
    packed = np.asarray(packed).view(np.uint8)
    codes = np.empty((packed.shape[0], 2 * packed.shape[1]), np.uint8)
    codes[:, 0::2] = packed & 15
    codes[:, 1::2] = packed >> 4
    return E2M1_VALUES[codes]


def pow2_ceil_exponent(amax, factor):
    """ceil(log2(fp32(amax * factor))) read from the bits of the fp32 product."""
    bits = (np.asarray(amax, np.float32) * factor).view(np.uint32)
    exponent = ((bits >> np.uint32(23)) & np.uint32(0xFF)).astype(np.int64) - 127
    return exponent + ((bits & np.uint32(0x7FFFFF)) != 0)


def _quantise_blocks(x, block, amax_floor, factor, limit, rounder):
    """rounder(clamp(x / s)) * s over blocks of the last axis, the last block possibly shorter."""
    x = np.asarray(x, np.float64)
    out = np.empty_like(x)
    for start in range(0, x.shape[-1], block):
        part = x[..., start:start + block]
        amax = np.maximum(np.abs(part).max(-1, keepdims=True), np.float64(amax_floor))
        scale = np.ldexp(1.0, pow2_ceil_exponent(amax, factor))
        out[..., start:start + block] = rounder(np.clip(part / scale, -limit, limit)) * scale
    return out


def act_quant(x, block):
    """e4m3 activation quantisation followed by dequantisation."""
    return _quantise_blocks(x, block, MIN_ACT_AMAX, INV_448, E4M3_MAX, round_e4m3)


def fp4_act_quant(x, block=32):
    """e2m1 activation quantisation followed by dequantisation."""
    return _quantise_blocks(x, block, MIN_FP4_AMAX, INV_6, E2M1_MAX, round_e2m1)


def hadamard_matrix(n):
    """Sylvester's matrix, natural order, entries +-1."""
    index = np.arange(n)
    parity = np.array([[bin(i & j).count("1") & 1 for j in index] for i in index])
    return 1.0 - 2.0 * parity
