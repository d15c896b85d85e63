"""Number formats of DeepSeek-V4: the roundings the checkpoint format and the kernels perform.

Every function works on float32 values and returns values that the target format holds exactly; the
straight-through estimator lets gradients pass as if nothing had been rounded.
"""
import torch


class Straight(torch.autograd.Function):
    """Forward: the rounded value. Backward: the gradient goes to the value before rounding."""

    @staticmethod
    def forward(ctx, value, rounded):
        ctx.dtype = value.dtype
        return rounded

    @staticmethod
    def backward(ctx, grad):
        return grad.to(ctx.dtype), None


def exponent_ceil(t):
    """ceil(log2 t) of positive normal float32 numbers, from their bits."""
    bits = t.contiguous().view(torch.int32)
    return ((bits + 0x7FFFFF) >> 23) - 127


def exp2(k):
    return ((k + 127) << 23).to(torch.int32).view(torch.float32)


def round_e4m3(x):
    return x.clamp(-448, 448).to(torch.float8_e4m3fn).float()


def round_e2m1(x):
    """Ties go to the even code: the steps are 0.5 below 2, 1 below 4 and 2 up to 6."""
    a = x.abs().clamp(max=6)
    step = torch.where(a < 2, 0.5, torch.where(a < 4, 1.0, 2.0))
    return torch.copysign(torch.round(a / step) * step, x)


def act_quant(x, block):
    """Simulated e4m3 storage of activations, one power-of-two scale per block of the last axis."""
    blocks = x.float().unflatten(-1, (-1, block))
    amax = blocks.abs().amax(-1, keepdim=True).clamp_min(1e-4)
    scale = exp2(exponent_ceil(amax * (1 / 448)))
    return Straight.apply(x, (round_e4m3(blocks / scale) * scale).flatten(-2).to(x.dtype))


def fp4_act_quant(x):
    """Simulated e2m1 storage of indexer queries and keys, blocks of 32."""
    blocks = x.float().unflatten(-1, (-1, 32))
    amax = blocks.abs().amax(-1, keepdim=True).clamp_min(6 * 2.0 ** -126)
    scale = exp2(exponent_ceil(amax * (1 / 6)))
    return Straight.apply(x, (round_e2m1(blocks / scale) * scale).flatten(-2).to(x.dtype))


def fp8_weight_scale(w):
    """Exponents of the 128x128 tile scales of a matrix, and the same spread over its elements."""
    rows, cols = w.shape[-2:]
    padded = torch.nn.functional.pad(w, (0, -cols % 128, 0, -rows % 128))
    tiles = padded.unflatten(-1, (-1, 128)).unflatten(-3, (-1, 128)).abs().amax((-3, -1))
    k = exponent_ceil(tiles.clamp_min(1e-6) * (1 / 448))
    spread = k.repeat_interleave(128, -1).repeat_interleave(128, -2)[..., :rows, :cols]
    return k, spread


def fp8_weight(w):
    scale = exp2(fp8_weight_scale(w)[1])
    return round_e4m3(w / scale) * scale


def fp4_weight_scale(w):
    """Exponents of the 1x32 block scales: the one of the two nearest with the smaller square error."""
    blocks = w.unflatten(-1, (-1, 32))
    k = exponent_ceil(blocks.abs().amax(-1, keepdim=True).clamp_min(1e-6) * (1 / 6))

    def error(k):
        return (round_e2m1(blocks / exp2(k)) * exp2(k) - blocks).square().sum(-1, keepdim=True)

    return k - (error(k - 1) < error(k)).to(k.dtype)


def fp4_weight(w):
    scale = exp2(fp4_weight_scale(w))
    return (round_e2m1(w.unflatten(-1, (-1, 32)) / scale) * scale).flatten(-2)


def hadamard(n):
    """Sylvester's matrix of order n, entries +-1."""
    h = torch.ones(1, 1)
    while h.shape[0] < n:
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)], 0)
    return h
