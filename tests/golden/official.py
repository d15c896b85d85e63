"""official.py - DeepSeek-V4's forward pass in NumPy: the independent oracle of the golden tests.

Two numerics.  Native makes every rounding of the official reference (bf16 values, e4m3 activations, e4m3 cached keys,
Hadamard and e2m1 in the indexer, bf16 scores and probabilities); sums run in float64 and are rounded to fp32 once, where
the reference accumulates in fp32.  Exact rounds nothing: dequantised weights, float64 throughout.

Two forms.  prefill() treats the whole prompt at once; Decoder takes one token at a time through the ring, the compressor
states and the entry lists.  They share the pointwise blocks and nothing of attention; make_native.py checks them equal.
"""
import copy
import json
import math
import pathlib

import numpy as np

import numfmt
import store

LINEAR_BLOCK = 128  # act_quant block of linear inputs
KV_BLOCK = 64       # act_quant block of cached keys


class Exact:
    """Nothing is rounded."""
    name = "exact"

    def identity(self, x, *_):
        return x

    f32 = near = bf16 = act = kv_sim = rotate = identity

    def dot(self, x, weight):
        return x @ weight.T

    def query_scale(self, q, eps):
        return q / np.sqrt((q * q).mean(-1, keepdims=True) + eps)


class Native:
    """The roundings of the reference."""
    name = "native"

    def __init__(self):
        self.hadamard = {}

    def f32(self, x):
        """The result of one fp32 operation."""
        return numfmt.round_f32(x)

    def near(self, x):
        """The fp32 result of a function or a sum, where another implementation's last bit may differ."""
        return numfmt.round_f32(x)

    def bf16(self, x):
        return numfmt.round_bf16(x)

    def act(self, x):
        return numfmt.act_quant(x, LINEAR_BLOCK)

    def kv_sim(self, kv, n_nope):
        out = kv.copy()
        out[..., :n_nope] = self.bf16(numfmt.act_quant(kv[..., :n_nope], KV_BLOCK))
        return out

    def rotate(self, x):
        """Hadamard rotation and e2m1 simulation of an indexer query or key."""
        n = x.shape[-1]
        if n not in self.hadamard:
            self.hadamard[n] = numfmt.hadamard_matrix(n)
        y = self.bf16(self.dot(x, self.hadamard[n]) * self.f32(n**-0.5))
        return self.bf16(numfmt.fp4_act_quant(y))

    def dot(self, x, weight):
        return self.near(x @ weight.T)

    def query_scale(self, q, eps):
        b = self.bf16
        variance = b(b(self.near(b(q * q).mean(-1, keepdims=True))) + eps)
        return b(q * b(self.near(1 / np.sqrt(variance))))


class Shaken(Native):
    """Native with sums in plain fp32 in a random order, with more or less of the fp32 rounding between two operations, and
    with the last bit of every function value left to chance: what right implementations may differ in, force times over.
    A prompt whose results stand this comes near no rounding boundary.  What is exact in fp32 stays exact."""

    def __init__(self, rng, force=1):
        super().__init__()
        self.rng, self.force = rng, force

    def f32(self, x):
        rounded = numfmt.round_f32(x)
        lost = np.subtract(x, rounded, out=np.zeros(np.shape(x)), where=np.isfinite(x))
        return rounded + self.force * self.rng.uniform(-1, 1, np.shape(x)) * lost

    def near(self, x):
        exact = numfmt.round_f32(x)
        moved = numfmt.round_f32(x * (1 + self.force * 2.0**-23 * self.rng.uniform(-1, 1, np.shape(x))))
        return np.where(exact == x, exact, moved)

    def dot(self, x, weight):
        order = self.rng.permutation(x.shape[-1])
        shuffled = x[..., order].astype(np.float32) @ weight.T[order].astype(np.float32)
        true = x @ weight.T
        return numfmt.round_f32(true + self.force * (shuffled - true))


class Probe:
    """Collects how narrow each discrete decision was, and how often the SwiGLU clamp acted."""

    def __init__(self):
        self.margins = {}
        self.clamped = self.unclamped = 0

    def narrow(self, kind, margin):
        self.margins[kind] = min(self.margins.get(kind, math.inf), float(margin))

    def clamp(self, n_hit, n_all):
        self.clamped += int(n_hit)
        self.unclamped += int(n_all - n_hit)


class Config:
    """config.json by the names the formulas use."""

    def __init__(self, directory):
        c = json.loads((pathlib.Path(directory) / "config.json").read_text())
        self.dim, self.n_layers, self.vocab = c["hidden_size"], c["num_hidden_layers"], c["vocab_size"]
        self.n_heads, self.head_dim, self.rope_dim = c["num_attention_heads"], c["head_dim"], c["qk_rope_head_dim"]
        self.n_nope = self.head_dim - self.rope_dim
        self.n_groups, self.o_rank = c["o_groups"], c["o_lora_rank"]
        self.n_experts, self.top_experts = c["n_routed_experts"], c["num_experts_per_tok"]
        self.n_hash, self.route_scale = c["num_hash_layers"], c["routed_scaling_factor"]
        self.limit = c["swiglu_limit"]
        self.index_heads, self.index_dim, self.index_topk = c["index_n_heads"], c["index_head_dim"], c["index_topk"]
        self.window, self.ratios = c["sliding_window"], c["compress_ratios"]
        self.n_streams, self.n_sinkhorn, self.hc_eps = c["hc_mult"], c["hc_sinkhorn_iters"], c["hc_eps"]
        self.eps = c["rms_norm_eps"]
        yarn = c["rope_scaling"]
        self.freqs_window = rope_freqs(self.rope_dim, c["rope_theta"])
        self.freqs_compressed = rope_freqs(self.rope_dim, c["compress_rope_theta"], yarn["factor"], yarn["beta_fast"],
                                           yarn["beta_slow"], yarn["original_max_position_embeddings"])

    def freqs(self, ratio):
        return self.freqs_compressed if ratio else self.freqs_window


def rope_freqs(dim, base, factor=1, beta_fast=32, beta_slow=1, original=0):
    """Inverse frequencies in fp32 arithmetic; original = 0: no YaRN."""
    exponent = np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)
    freqs = np.float32(1) / np.power(np.float32(base), exponent)
    if original:
        def correction(n_turns):
            return dim * math.log(original / (n_turns * 2 * math.pi)) / (2 * math.log(base))
        low = max(math.floor(correction(beta_fast)), 0)
        high = min(math.ceil(correction(beta_slow)), dim - 1)
        if low == high:
            high += 0.001
        ramp = np.clip((np.arange(dim // 2, dtype=np.float32) - np.float32(low)) / np.float32(high - low), 0, 1)
        keep = np.float32(1) - ramp
        freqs = freqs / np.float32(factor) * (np.float32(1) - keep) + freqs * keep
    return freqs.astype(np.float32)


class Weights:
    """A checkpoint's tensors, dequantised to float64 (every format here is exact in it)."""

    def __init__(self, directory):
        self.raw = store.read_checkpoint(directory)
        self.cache = {}

    def __getitem__(self, name):
        if name not in self.cache:
            self.cache[name] = self._dequantise(name)
        return self.cache[name]

    def _dequantise(self, name):
        dtype, array = self.raw[name]
        if dtype == "BF16":
            return numfmt.bf16_value(array)
        if dtype == "F32":
            return array.astype(np.float64)
        if dtype == "I64":
            return array
        scale = numfmt.e8m0_value(self.raw[name.replace(".weight", ".scale")][1])
        if dtype == "I8":
            return numfmt.unpack_e2m1(array) * np.repeat(scale, 32, 1)
        tiled = np.repeat(np.repeat(scale, 128, 0), 128, 1)[:array.shape[0], :array.shape[1]]
        return numfmt.e4m3_value(array) * tiled


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(n, x, axis):
    e = n.near(np.exp(n.f32(x - x.max(axis, keepdims=True))))
    return n.f32(e / n.near(e.sum(axis, keepdims=True)))


def rope(n, x, positions, freqs, inverse=False):
    """Rotates interleaved pairs of the last 2 * len(freqs) elements.  positions broadcasts over x's leading axes; the
    angle is a single fp32 product in either numerics."""
    angle = (np.asarray(positions, np.float32)[..., None] * freqs).astype(np.float64)
    cos, sin = n.near(np.cos(angle)), n.near(np.sin(angle))
    if inverse:
        sin = -sin
    out = x.copy()
    tail = out[..., x.shape[-1] - 2 * len(freqs):]
    u, v = tail[..., 0::2].copy(), tail[..., 1::2].copy()
    tail[..., 0::2] = n.bf16(n.f32(u * cos) - n.f32(v * sin))
    tail[..., 1::2] = n.bf16(n.f32(u * sin) + n.f32(v * cos))
    return out


class Model:
    """The blocks that act on each token by itself."""

    def __init__(self, directory, numerics, probe=None):
        self.c, self.w, self.n = Config(directory), Weights(directory), numerics
        self.c.eps, self.c.hc_eps = float(numerics.f32(self.c.eps)), float(numerics.f32(self.c.hc_eps))
        self.probe = probe

    def rmsnorm(self, x, name):
        n = self.n
        scale = n.near(1 / np.sqrt(n.f32(n.near((x * x).mean(-1, keepdims=True)) + self.c.eps)))
        return n.bf16(n.f32(self.w[name] * n.f32(x * scale)))

    def linear(self, x, name):
        """An FP8 or FP4 weight: quantised input, bf16 output."""
        return self.n.bf16(self.n.dot(self.n.act(x), self.w[name]))

    def embed(self, ids):
        return np.repeat(self.w["embed.weight"][ids][:, None, :], self.c.n_streams, 1)

    def _mixes(self, streams, fn):
        n = self.n
        flat = streams.reshape(len(streams), -1)
        rho = n.near(1 / np.sqrt(n.f32(n.near((flat * flat).mean(-1, keepdims=True)) + self.c.eps)))
        return n.f32(n.dot(flat, self.w[fn]) * rho)

    def _gate(self, mix, scale, base):
        return self.n.near(sigmoid(self.n.f32(self.n.f32(mix * scale) + base)))

    def _collapse(self, pre, streams):
        return self.n.bf16(self.n.near(np.einsum("ns,nsd->nd", pre, streams)))

    def hc_pre(self, streams, prefix):
        """(sublayer input [n][D], post [n][S], comb [n][S][S])"""
        c, n, size = self.c, self.n, self.c.n_streams
        mix = self._mixes(streams, prefix + "_fn")
        scale, base = self.w[prefix + "_scale"], self.w[prefix + "_base"]
        pre = n.f32(self._gate(mix[:, :size], scale[0], base[:size]) + c.hc_eps)
        post = 2 * self._gate(mix[:, size:2 * size], scale[1], base[size:2 * size])
        comb = n.f32(n.f32(mix[:, 2 * size:] * scale[2]) + base[2 * size:]).reshape(-1, size, size)
        return self._collapse(pre, streams), post, self.sinkhorn(comb)

    def sinkhorn(self, comb):
        n, eps = self.n, self.c.hc_eps
        comb = n.f32(softmax(n, comb, 2) + eps)
        comb = n.f32(comb / n.f32(n.near(comb.sum(1, keepdims=True)) + eps))
        for _ in range(self.c.n_sinkhorn - 1):
            comb = n.f32(comb / n.f32(n.near(comb.sum(2, keepdims=True)) + eps))
            comb = n.f32(comb / n.f32(n.near(comb.sum(1, keepdims=True)) + eps))
        return comb

    def hc_post(self, result, streams, post, comb):
        n = self.n
        mixed = n.near(np.einsum("njk,njd->nkd", comb, streams))
        return n.bf16(n.f32(n.f32(post[:, :, None] * result[:, None, :]) + mixed))

    def logits(self, streams):
        n = self.n
        mix = self._mixes(streams, "hc_head_fn")
        pre = n.f32(self._gate(mix, self.w["hc_head_scale"][0], self.w["hc_head_base"]) + self.c.hc_eps)
        logits = n.dot(self.rmsnorm(self._collapse(pre, streams), "norm.weight"), self.w["head.weight"])
        if self.probe:
            top = np.sort(logits, -1)
            self.probe.narrow("top1", ((top[:, -1] - top[:, -2]) / np.sqrt((logits**2).mean(-1))).min())
        return logits

    def queries(self, x, prefix, positions, freqs):
        """(compressed query, rotated heads [n][H][hd])"""
        c, n = self.c, self.n
        low = self.rmsnorm(self.linear(x, prefix + "wq_a.weight"), prefix + "q_norm.weight")
        q = self.linear(low, prefix + "wq_b.weight").reshape(len(x), c.n_heads, c.head_dim)
        return low, rope(n, n.query_scale(q, c.eps), positions[:, None], freqs)

    def window_kv(self, x, prefix, positions, freqs):
        kv = self.rmsnorm(self.linear(x, prefix + "wkv.weight"), prefix + "kv_norm.weight")
        return self.n.kv_sim(rope(self.n, kv, positions, freqs), self.c.n_nope)

    def compressor_inputs(self, x, prefix, positions):
        """(values, scores) of each token, fp32"""
        n, ape = self.n, self.w[prefix + "ape"]
        values = n.dot(x, self.w[prefix + "wkv.weight"])
        return values, n.f32(n.dot(x, self.w[prefix + "wgate.weight"]) + ape[positions % len(ape)])

    def pool(self, values, scores):
        """Softmax-weighted mean over the slot axis (the last but one)."""
        n = self.n
        return n.bf16(n.near((n.f32(values * softmax(n, scores, -2))).sum(-2)))

    def finish_entries(self, pooled, prefix, positions, freqs, is_key):
        n = self.n
        entry = rope(n, self.rmsnorm(pooled, prefix + "norm.weight"), positions, freqs)
        return n.rotate(entry) if is_key else n.kv_sim(entry, self.c.n_nope)

    def index_queries(self, x, low, prefix, positions, freqs):
        """(rotated indexer queries [n][IH][ID], head weights [n][IH])"""
        c, n = self.c, self.n
        q = self.linear(low, prefix + "wq_b.weight").reshape(len(x), c.index_heads, c.index_dim)
        factor = c.index_dim**-0.5 * c.index_heads**-0.5
        weights = n.bf16(n.bf16(n.dot(x, self.w[prefix + "weights_proj.weight"])) * n.f32(factor))
        return n.rotate(rope(n, q, positions[:, None], freqs)), weights

    def index_scores(self, q, weights, keys):
        """Scores of one query against [n_entries][ID] keys."""
        n = self.n
        dots = np.maximum(n.bf16(n.dot(q, keys)), 0)
        return n.bf16(n.near(n.bf16(dots * weights[:, None]).sum(0)))

    def choose(self, scores):
        """The top-k entries; the lower index wins a tie."""
        order = np.argsort(-scores, kind="stable")
        k = self.c.index_topk
        if self.probe and k < len(scores):
            self.probe.narrow("index", (scores[order[k - 1]] - scores[order[k]]) / np.abs(scores).max())
        return np.sort(order[:k])

    def attend(self, q, keys, sinks):
        """One query [H][hd] against its visible keys [m][hd]."""
        n = self.n
        z = n.f32(n.dot(q, keys) * n.f32(self.c.head_dim**-0.5))
        top = z.max(-1, keepdims=True)
        p = n.near(np.exp(n.f32(z - top)))
        total = n.f32(n.near(p.sum(-1, keepdims=True)) + n.near(np.exp(n.f32(sinks[:, None] - top))))
        return n.bf16(n.f32(n.dot(n.bf16(p), keys.T) / total))

    def output(self, o, prefix, positions, freqs):
        c, n = self.c, self.n
        o = rope(n, o, positions[:, None], freqs, inverse=True).reshape(len(o), c.n_groups, -1)
        wo_a = self.w[prefix + "wo_a.weight"].reshape(c.n_groups, c.o_rank, -1)
        low = np.stack([n.bf16(n.dot(o[:, g], wo_a[g])) for g in range(c.n_groups)], 1)
        return self.linear(low.reshape(len(o), -1), prefix + "wo_b.weight")

    def route(self, x, ids, layer):
        """(experts [n][K], weights [n][K])"""
        c, n, prefix = self.c, self.n, f"layers.{layer}.ffn.gate."
        scores = n.dot(x, self.w[prefix + "weight"])
        scores = n.f32(np.sqrt(n.near(np.where(scores > 20, scores, np.log1p(np.exp(np.minimum(scores, 20)))))))
        if layer < c.n_hash:
            chosen = self.w[prefix + "tid2eid"][ids]
        else:
            biased = n.f32(scores + self.w[prefix + "bias"])
            order = np.argsort(-biased, -1, kind="stable")
            chosen = order[:, :c.top_experts]
            if self.probe and c.top_experts < c.n_experts:
                ranked = np.take_along_axis(biased, order, -1)
                self.probe.narrow("route", (ranked[:, c.top_experts - 1] - ranked[:, c.top_experts]).min())
        picked = np.take_along_axis(scores, chosen, -1)
        return chosen, n.f32(n.f32(picked / n.near(picked.sum(-1, keepdims=True))) * c.route_scale)

    def expert(self, x, prefix, weights=None):
        n, limit = self.n, self.c.limit
        gate, up = self.linear(x, prefix + "w1.weight"), self.linear(x, prefix + "w3.weight")
        if self.probe:
            self.probe.clamp((gate > limit).sum() + (np.abs(up) > limit).sum(), 2 * gate.size)
        gate, up = np.minimum(gate, limit), np.clip(up, -limit, limit)
        inner = n.f32(n.f32(gate * n.near(sigmoid(gate))) * up)
        if weights is not None:
            inner = n.f32(inner * weights[:, None])
        return self.linear(n.bf16(inner), prefix + "w2.weight")

    def moe(self, x, ids, layer):
        n, prefix = self.n, f"layers.{layer}.ffn."
        chosen, weights = self.route(x, ids, layer)
        y = np.zeros_like(x)
        for e in range(self.c.n_experts):
            token, slot = np.where(chosen == e)
            if len(token):
                y[token] = n.f32(y[token] + self.expert(x[token], f"{prefix}experts.{e}.", weights[token, slot]))
        return n.bf16(n.f32(y + self.expert(x, prefix + "shared_experts.")))

    def layer(self, streams, ids, layer, attention):
        """One block; attention maps the normalised input to the sublayer's output."""
        prefix = f"layers.{layer}."
        y, post, comb = self.hc_pre(streams, prefix + "hc_attn")
        streams = self.hc_post(attention(self.rmsnorm(y, prefix + "attn_norm.weight")), streams, post, comb)
        y, post, comb = self.hc_pre(streams, prefix + "hc_ffn")
        return self.hc_post(self.moe(self.rmsnorm(y, prefix + "ffn_norm.weight"), ids, layer), streams, post, comb)


def _group_slots(values, scores, ratio, width):
    """All full groups' slots: [groups][ratio or 2 * ratio][width]; overlap lays the previous group's first half first."""
    n_groups = len(values) // ratio
    values = values[:n_groups * ratio].reshape(n_groups, ratio, values.shape[1])
    scores = scores[:n_groups * ratio].reshape(n_groups, ratio, scores.shape[1])
    if ratio != 4:
        return values, scores
    old_values = np.zeros((n_groups, ratio, width))
    old_scores = np.full((n_groups, ratio, width), -np.inf)
    old_values[1:], old_scores[1:] = values[:-1, :, :width], scores[:-1, :, :width]
    return (np.concatenate([old_values, values[:, :, width:]], 1),
            np.concatenate([old_scores, scores[:, :, width:]], 1))


def _prefill_entries(model, x, prefix, positions, ratio, width, freqs, is_key):
    values, scores = model.compressor_inputs(x, prefix, positions)
    values, scores = _group_slots(values, scores, ratio, width)
    if not len(values):
        return np.zeros((0, width))
    return model.finish_entries(model.pool(values, scores), prefix, np.arange(len(values)) * ratio, freqs, is_key)


def _prefill_attention(model, x, layer):
    c, prefix, ratio = model.c, f"layers.{layer}.attn.", model.c.ratios[layer]
    freqs, positions = c.freqs(ratio), np.arange(len(x))
    low, q = model.queries(x, prefix, positions, freqs)
    kv = model.window_kv(x, prefix, positions, freqs)
    entries = np.zeros((0, c.head_dim))
    if ratio:
        entries = _prefill_entries(model, x, prefix + "compressor.", positions, ratio, c.head_dim, freqs, False)
    if ratio == 4:
        keys = _prefill_entries(model, x, prefix + "indexer.compressor.", positions, ratio, c.index_dim, freqs, True)
        index_q, head_weights = model.index_queries(x, low, prefix + "indexer.", positions, freqs)
    o = np.empty_like(q)
    for p in positions:
        n_visible = (p + 1) // ratio if ratio else 0
        chosen = np.arange(n_visible)
        if ratio == 4 and n_visible:
            chosen = model.choose(model.index_scores(index_q[p], head_weights[p], keys[:n_visible]))
        visible = np.concatenate([kv[max(0, p - c.window + 1):p + 1], entries[chosen]])
        o[p] = model.attend(q[p], visible, model.w[prefix + "attn_sink"])
    return model.output(o, prefix, positions, freqs)


def prefill(model, ids):
    """Logits [n][V] of a whole prompt."""
    ids = np.asarray(ids)
    streams = model.embed(ids)
    for layer in range(model.c.n_layers):
        streams = model.layer(streams, ids, layer, lambda x, at=layer: _prefill_attention(model, x, at))
    return model.logits(streams)


class CompressorState:
    """The running state of one compressor: the slots of the open group and, with overlap, of the one before."""

    def __init__(self, ratio, width):
        self.ratio, self.width, self.overlap = ratio, width, ratio == 4
        coefficient = 2 if self.overlap else 1
        self.values = np.zeros((coefficient * ratio, coefficient * width))
        self.scores = np.full((coefficient * ratio, coefficient * width), -np.inf)
        self.entries = []

    def push(self, values, scores, position):
        """Stores a token; returns the slots of the group it completes, or None."""
        ratio, width = self.ratio, self.width
        slot = position % ratio + (ratio if self.overlap else 0)
        self.values[slot], self.scores[slot] = values, scores
        if (position + 1) % ratio:
            return None
        if not self.overlap:
            return self.values.copy(), self.scores.copy()
        slots = tuple(np.concatenate([state[:ratio, :width], state[ratio:, width:]]) for state in
                      (self.values, self.scores))
        self.values[:ratio], self.scores[:ratio] = self.values[ratio:], self.scores[ratio:]
        return slots


class LayerState:
    def __init__(self, c, ratio):
        self.ring = np.zeros((c.window, c.head_dim))
        self.main = CompressorState(ratio, c.head_dim) if ratio else None
        self.keys = CompressorState(ratio, c.index_dim) if ratio == 4 else None


class Decoder:
    """One sequence, one token at a time."""

    def __init__(self, model):
        self.model, self.position = model, 0
        self.layers = [LayerState(model.c, ratio) for ratio in model.c.ratios[:model.c.n_layers]]

    def save(self):
        return self.position, copy.deepcopy(self.layers)

    def restore(self, saved):
        self.position, self.layers = saved[0], copy.deepcopy(saved[1])

    def state(self):
        """Everything later tokens depend on, as one vector."""
        parts = []
        for layer in self.layers:
            parts.append(layer.ring.ravel())
            for compressor in filter(None, (layer.main, layer.keys)):
                finite = np.where(np.isfinite(compressor.scores), compressor.scores, 0)
                parts += [compressor.values.ravel(), finite.ravel(), np.array(compressor.entries).ravel()]
        return np.concatenate(parts)

    def step(self, token):
        """Logits [V] after one more token."""
        model, ids = self.model, np.array([token])
        streams = model.embed(ids)
        for layer in range(model.c.n_layers):
            streams = model.layer(streams, ids, layer, lambda x, at=layer: self._attention(x, at))
        self.position += 1
        return model.logits(streams)[0]

    def _compress(self, x, state, prefix, freqs, is_key):
        model, at = self.model, np.array([self.position])
        values, scores = model.compressor_inputs(x, prefix, at)
        slots = state.push(values[0], scores[0], self.position)
        if slots is not None:
            pooled = model.pool(*slots)[None]
            entry = model.finish_entries(pooled, prefix, at + 1 - state.ratio, freqs, is_key)
            state.entries.append(entry[0])

    def _attention(self, x, layer):
        model, c, state, p = self.model, self.model.c, self.layers[layer], self.position
        prefix, ratio, at = f"layers.{layer}.attn.", c.ratios[layer], np.array([p])
        freqs = c.freqs(ratio)
        low, q = model.queries(x, prefix, at, freqs)
        chosen = None
        if ratio == 4:
            index_q, head_weights = model.index_queries(x, low, prefix + "indexer.", at, freqs)
            self._compress(x, state.keys, prefix + "indexer.compressor.", freqs, True)
            if state.keys.entries:
                chosen = model.choose(model.index_scores(index_q[0], head_weights[0], np.array(state.keys.entries)))
        state.ring[p % c.window] = model.window_kv(x, prefix, at, freqs)[0]
        keys = state.ring[:p + 1] if p < c.window else np.roll(state.ring, -(p % c.window) - 1, 0)
        if ratio:
            self._compress(x, state.main, prefix + "compressor.", freqs, False)
            if state.main.entries:
                entries = np.array(state.main.entries)
                keys = np.concatenate([keys, entries if chosen is None else entries[chosen]])
        o = model.attend(q[0], keys, model.w[prefix + "attn_sink"])[None]
        return model.output(o, prefix, at, freqs)


def decode(model, ids):
    """Logits [n][V] of a prompt fed token by token."""
    decoder = Decoder(model)
    return np.array([decoder.step(token) for token in ids])
