"""make_units.py - vectors for the formats and blocks of DeepSeek-V4, written to data/units.safetensors.

Tensors are named <topic>.<what>; README.md lists the topics.  Where a block differs between the two numerics there is an
.exact and a .native result.  The formats are checked here against ml_dtypes, an implementation of their own.
"""
import types

import ml_dtypes
import numpy as np

import cases
import numfmt
import official
import store

NUMERICS = {"exact": official.Exact(), "native": official.Native()}


def bare_model(numerics, weights=None, **config):
    """official.Model without a checkpoint: only what the block under test reads."""
    model = official.Model.__new__(official.Model)
    model.n, model.w, model.probe = numerics, weights or {}, None
    model.c = types.SimpleNamespace(**config)
    return model


def f32(x):
    return ("F32", np.asarray(x, np.float32))


def bf16_normal(rng, shape, std=1.0):
    return numfmt.round_bf16(std * rng.standard_normal(shape))


def around(points, rng):
    """The points, their float32 neighbours, and their negatives."""
    points = np.asarray(points, np.float32)
    both = np.concatenate([points, np.nextafter(points, np.float32(np.inf)), np.nextafter(points, np.float32(-np.inf))])
    return rng.permutation(np.unique(np.concatenate([both, -both, [0.0]]).astype(np.float32)))


def formats(rng):
    e4m3 = numfmt.e4m3_value(np.arange(256))
    positive = e4m3[:127]
    x4 = np.clip(around(np.concatenate([positive, (positive[1:] + positive[:-1]) / 2]), rng), -448, 448)
    small = numfmt.E2M1_VALUES[:8]
    x2 = np.clip(around(np.concatenate([small, (small[1:] + small[:-1]) / 2]), rng), -6, 6)
    xb = (rng.standard_normal(200) * np.exp2(rng.integers(-30, 30, 200))).astype(np.float32)
    ties = ((xb[:60].view(np.uint32) & np.uint32(0xFFFF0000)) | np.uint32(0x8000)).view(np.float32)
    xb = np.concatenate([xb, ties])
    codes = {"e4m3": numfmt.e4m3_code(numfmt.round_e4m3(x4)), "e2m1": numfmt.e2m1_code(numfmt.round_e2m1(x2)),
             "bf16": numfmt.bf16_bits(xb)}
    assert np.array_equal(codes["e4m3"], x4.astype(ml_dtypes.float8_e4m3fn).view(np.uint8))
    assert np.array_equal(codes["e2m1"], x2.astype(ml_dtypes.float4_e2m1fn).view(np.uint8) & 15)
    assert np.array_equal(codes["bf16"], xb.astype(ml_dtypes.bfloat16).view(np.uint16))
    assert np.array_equal(e4m3, np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(float), equal_nan=True)
    return {"e4m3.values": f32(e4m3), "e4m3.in": f32(x4), "e4m3.codes": ("U8", codes["e4m3"]),
            "e2m1.values": f32(numfmt.E2M1_VALUES), "e2m1.in": f32(x2), "e2m1.codes": ("U8", codes["e2m1"]),
            "bf16.in": f32(xb), "bf16.codes": ("U16", codes["bf16"])}


def scales(rng):
    """amax and the exponents of its fp8 and fp4 scales, floors applied."""
    amax = np.concatenate([[0, 1e-4, 0.4375, 0.875, 1, 2, 3.5, 7, 447.9, 448, 450], 448 * np.exp2(np.arange(-12.0, 4)),
                           6 * np.exp2(np.arange(-20.0, 4)), np.exp2(rng.uniform(-20, 12, 200))]).astype(np.float32)
    fp8 = numfmt.pow2_ceil_exponent(np.maximum(amax, numfmt.MIN_ACT_AMAX), numfmt.INV_448)
    fp4 = numfmt.pow2_ceil_exponent(np.maximum(amax, numfmt.MIN_FP4_AMAX), numfmt.INV_6)
    assert list(fp8[:11]) == [-22, -22, -10, -9, -8, -7, -7, -6, 0, 0, 1]
    assert list(fp4[:11]) == [-126, -15, -3, -2, -2, -1, 0, 1, 7, 7, 7]
    return {"scale.amax": f32(amax), "scale.fp8_exponent": ("I32", fp8), "scale.fp4_exponent": ("I32", fp4)}


def quantisers(rng):
    """Rows with loud and quiet blocks, an all-zero block, and a ragged last block."""
    x = bf16_normal(rng, (6, 200)) * np.exp2(rng.integers(-12, 12, (6, 200 // 8))).repeat(8, 1)
    x[1, :128] = 0
    x[2] *= 2.0**-30
    return {"act_quant.in": f32(x), "act_quant.out_128": f32(numfmt.act_quant(x, 128)),
            "act_quant.out_64": f32(numfmt.act_quant(x, 64)), "fp4_quant.in": f32(x[:, :192]),
            "fp4_quant.out_32": f32(numfmt.fp4_act_quant(x[:, :192]))}


def rotations(rng):
    result = {}
    for width in 32, 64, 128:
        x = bf16_normal(rng, (4, width))
        y = numfmt.round_bf16(numfmt.round_f32(x @ numfmt.hadamard_matrix(width)) * numfmt.round_f32(width**-0.5))
        result.update({f"hadamard.in_{width}": f32(x), f"hadamard.out_{width}": f32(y),
                       f"hadamard.out_fp4_{width}": f32(numfmt.round_bf16(numfmt.fp4_act_quant(y)))})
    tables = {"flash": official.rope_freqs(64, 160000, 16, 32, 1, 65536), "window": official.rope_freqs(64, 10000),
              "short": official.rope_freqs(16, 160000, 16, 32, 1, 64)}
    positions = np.array([0, 1, 2, 127, 128, 4095, 65536, 1048575])
    for name, table in tables.items():
        x = bf16_normal(rng, (len(positions), 2 * len(table) + 8))
        result.update({f"rope.freqs_{name}": f32(table), f"rope.in_{name}": f32(x)})
        for kind, numerics in NUMERICS.items():
            for direction in (False, True):
                suffix = "inverse" if direction else "forward"
                result[f"rope.{suffix}_{name}.{kind}"] = f32(official.rope(numerics, x, positions, table, direction))
    result["rope.positions"] = ("I64", positions)
    return result


def hyper_connections(rng):
    """Mixes to pre, post and comb; 4 streams: the vector of the specification."""
    result = {}
    for size in 1, 2, 3, 4:
        rows = (2 + size) * size
        mix, base, scale = rng.standard_normal(rows), 0.5 * rng.standard_normal(rows), rng.uniform(0.5, 1.5, 3)
        if size == 4:
            k = np.arange(24)
            mix, base, scale = ((7 * k) % 11 - 5) / 4, ((5 * k) % 7 - 3) / 8, np.array([0.8, 1.1, 1.3])
        mix, base, scale = (numfmt.round_f32(part) for part in (mix, base, scale))
        model = bare_model(NUMERICS["exact"], hc_eps=1e-6, n_sinkhorn=20)
        gate = official.sigmoid(mix[:2 * size] * np.repeat(scale[:2], size) + base[:2 * size])
        comb = model.sinkhorn((mix[2 * size:] * scale[2] + base[2 * size:]).reshape(1, size, size))
        result.update({f"sinkhorn.mixes_{size}": f32(mix), f"sinkhorn.base_{size}": f32(base),
                       f"sinkhorn.scale_{size}": f32(scale), f"sinkhorn.pre_{size}": f32(gate[:size] + 1e-6),
                       f"sinkhorn.post_{size}": f32(2 * gate[size:]), f"sinkhorn.comb_{size}": f32(comb[0])})
    assert np.allclose(result["sinkhorn.comb_4"][1][0], [0.1432073, 0.5179352, 0.1956490, 0.1432075], atol=2e-7)
    return result


def norms(rng):
    x, w = bf16_normal(rng, (5, 80), 2.0), numfmt.round_bf16(1 + 0.2 * rng.standard_normal(80))
    x[3] *= 2.0**-10
    result = {"rmsnorm.in": f32(x), "rmsnorm.weight": f32(w)}
    for kind, numerics in NUMERICS.items():
        result[f"rmsnorm.out.{kind}"] = f32(bare_model(numerics, {"w": w}, eps=1e-6).rmsnorm(x, "w"))
        result[f"query_norm.out.{kind}"] = f32(numerics.query_scale(x, 1e-6))
    values = np.array([-90, -30, -10, -2, -1, -0.25, 0, 0.5, 1, 3, 10, 19.5, 20, 20.5, 50], np.float32)
    result["sqrtsoftplus.in"] = f32(values)
    result["sqrtsoftplus.out"] = f32(np.sqrt(np.log1p(np.exp(values.astype(np.float64)))))
    return result


def linears(rng):
    """Two FP8 tiles and a ragged one each way; FP4 with a ragged activation block."""
    rows, n_out, n_in = 3, 200, 160
    x = bf16_normal(rng, (rows, n_in))
    fp8 = numfmt.e4m3_code(numfmt.round_e4m3(np.clip(rng.standard_normal((n_out, n_in)) * 100, -448, 448)))
    fp8_scale = rng.integers(110, 122, (2, 2)).astype(np.uint8)
    fp4 = rng.integers(0, 16, (n_out, n_in)).astype(np.uint8)
    fp4_scale = rng.integers(118, 126, (n_out, n_in // 32)).astype(np.uint8)
    raw = {"fp8.weight": ("F8_E4M3", fp8), "fp8.scale": ("F8_E8M0", fp8_scale),
           "fp4.weight": ("I8", numfmt.pack_e2m1(fp4)), "fp4.scale": ("F8_E8M0", fp4_scale)}
    weights = official.Weights.__new__(official.Weights)
    weights.raw, weights.cache = raw, {}
    result = {f"linear.{name}": tensor for name, tensor in raw.items()}
    result["linear.in"] = f32(x)
    for kind, numerics in NUMERICS.items():
        model = bare_model(numerics, weights)
        for which in "fp8", "fp4":
            result[f"linear.{which}_out.{kind}"] = f32(model.linear(x, which + ".weight"))
    return result


def attention(rng):
    """One query's indexer scores with tied keys, their selection, and the sink softmax (head_dim 80, 16 rotated).  Keys are
    values that the packed caches hold exactly."""
    n_heads, width, n_keys, top_k = 4, 32, 23, 7
    q, keys = (numfmt.fp4_act_quant(bf16_normal(rng, (rows, width))) for rows in (n_heads, n_keys))
    keys[15:] = keys[[3, 3, 8, 0, 1, 2, 4, 5]]
    weights = bf16_normal(rng, n_heads, 0.1)
    heads, entries = bf16_normal(rng, (4, 80)), NUMERICS["native"].kv_sim(bf16_normal(rng, (70, 80)), 64)
    sinks = numfmt.round_f32(rng.standard_normal(4))
    result = {"index.q": f32(q), "index.head_weights": f32(weights), "index.keys": f32(keys), "attend.q": f32(heads),
              "attend.keys": f32(entries), "attend.sinks": f32(sinks)}
    for kind, numerics in NUMERICS.items():
        model = bare_model(numerics, index_topk=top_k, head_dim=80)
        scores = model.index_scores(q, weights, keys)
        result[f"index.scores.{kind}"] = f32(scores)
        result[f"index.chosen.{kind}"] = ("I32", model.choose(scores))
        result[f"attend.out.{kind}"] = f32(model.attend(heads, entries, sinks))
    return result


if __name__ == "__main__":
    tensors = {}
    for block in formats, scales, quantisers, rotations, hyper_connections, norms, linears, attention:
        tensors.update(block(np.random.default_rng(len(tensors))))
    cases.DATA.mkdir(exist_ok=True)
    store.write(cases.DATA / "units.safetensors", tensors)
    print(f"{len(tensors)} tensors, {sum(array.nbytes for _, array in tensors.values())} bytes")
