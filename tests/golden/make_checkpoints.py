"""make_checkpoints.py - writes the tiny random checkpoints of the golden tests: make_checkpoints.py [case ...]

The names, dtypes, shapes and packing are those of the published checkpoints.  Every tile of an FP8 weight and every
block of an FP4 weight has its own magnitude, and some scales are larger than they need be, so that a scale read from the
wrong place shows.
"""
import json
import sys

import numpy as np

import cases
import numfmt
import store


class Writer:
    """Draws the tensors of one checkpoint in the order of its layers."""

    def __init__(self, shape):
        self.s, self.rng, self.tensors = shape, np.random.default_rng(shape.seed), {}

    def f32(self, name, values):
        self.tensors[name] = ("F32", np.asarray(values, np.float32))

    def bf16(self, name, values):
        self.tensors[name] = ("BF16", numfmt.bf16_bits(values))

    def normal(self, shape, std=1.0, mean=0.0):
        return mean + std * self.rng.standard_normal(shape)

    def norm_weight(self, name, width):
        self.bf16(name, self.normal(width, 0.2, 1.0))

    def fp8(self, name, n_out, n_in, gain=1.0):
        """An e4m3 matrix with one e8m0 scale per 128 x 128 tile; rows of about unit gain."""
        values = self.normal((n_out, n_in), gain / np.sqrt(n_in))
        tiles = (-(-n_out // 128), -(-n_in // 128))
        loudness = np.exp2(self.rng.uniform(-1, 0.5, tiles))
        codes, scales = np.empty((n_out, n_in), np.uint8), np.empty(tiles, np.uint8)
        for row in range(tiles[0]):
            for column in range(tiles[1]):
                tile = np.s_[row * 128:(row + 1) * 128, column * 128:(column + 1) * 128]
                part = values[tile] * loudness[row, column]
                exponent = int(numfmt.pow2_ceil_exponent(np.abs(part).max(), numfmt.INV_448))
                exponent += int(self.rng.integers(0, 3))
                codes[tile] = numfmt.e4m3_code(numfmt.round_e4m3(part / 2.0**exponent))
                scales[row, column] = exponent + 127
        self.tensors[name + ".weight"] = ("F8_E4M3", codes)
        self.tensors[name + ".scale"] = ("F8_E8M0", scales)

    def fp4(self, name, n_out, n_in, gain=1.0):
        """An e2m1 matrix with one e8m0 scale per 32 elements of a row."""
        values = self.normal((n_out, n_in // 32, 32), gain / np.sqrt(n_in))
        values *= np.exp2(self.rng.uniform(-1, 0.5, (n_out, n_in // 32, 1)))
        exponent = numfmt.pow2_ceil_exponent(np.abs(values).max(-1), numfmt.INV_6)
        exponent = exponent + (self.rng.random(exponent.shape) < 0.1)
        codes = numfmt.e2m1_code(numfmt.round_e2m1(values / np.exp2(exponent)[..., None]))
        self.tensors[name + ".weight"] = ("I8", numfmt.pack_e2m1(codes.reshape(n_out, n_in)))
        self.tensors[name + ".scale"] = ("F8_E8M0", (exponent + 127).astype(np.uint8))

    def hyper_connection(self, prefix, n_rows, n_scales):
        width = self.s.n_streams * self.s.dim
        self.f32(prefix + "_fn", self.normal((n_rows, width), 1 / np.sqrt(width)))
        self.f32(prefix + "_base", self.normal(n_rows, 0.5))
        self.f32(prefix + "_scale", self.rng.uniform(0.6, 1.4, n_scales))

    def compressor(self, prefix, ratio, width):
        coefficient = 2 if ratio == 4 else 1
        self.f32(prefix + "ape", self.normal((ratio, coefficient * width), 0.7))
        for part in "wkv", "wgate":
            self.bf16(prefix + part + ".weight", self.normal((coefficient * width, self.s.dim), 1 / np.sqrt(self.s.dim)))
        self.norm_weight(prefix + "norm.weight", width)

    def attention(self, prefix, ratio):
        s = self.s
        self.f32(prefix + "attn_sink", self.normal(s.n_heads, 1.0))
        self.fp8(prefix + "wq_a", s.q_rank, s.dim)
        self.norm_weight(prefix + "q_norm.weight", s.q_rank)
        self.fp8(prefix + "wq_b", s.n_heads * s.head_dim, s.q_rank)
        self.fp8(prefix + "wkv", s.head_dim, s.dim)
        self.norm_weight(prefix + "kv_norm.weight", s.head_dim)
        self.fp8(prefix + "wo_a", s.o_groups * s.o_rank, s.n_heads * s.head_dim // s.o_groups, 2.0)
        self.fp8(prefix + "wo_b", s.dim, s.o_groups * s.o_rank)
        if ratio:
            self.compressor(prefix + "compressor.", ratio, s.head_dim)
        if ratio == 4:
            self.fp8(prefix + "indexer.wq_b", s.index_heads * s.index_dim, s.q_rank)
            self.bf16(prefix + "indexer.weights_proj.weight",
                      self.normal((s.index_heads, s.dim), 1 / np.sqrt(s.dim)))
            self.compressor(prefix + "indexer.compressor.", ratio, s.index_dim)

    def ffn(self, prefix, is_hash):
        s = self.s
        self.bf16(prefix + "gate.weight", self.normal((s.n_experts, s.dim), 1.5 / np.sqrt(s.dim)))
        if is_hash:
            table = np.array([self.rng.permutation(s.n_experts)[:s.top_experts] for _ in range(s.vocab)])
            self.tensors[prefix + "gate.tid2eid"] = ("I64", table.astype(np.int64))
        else:
            self.f32(prefix + "gate.bias", self.normal(s.n_experts, 0.3))
        down = 1.5 / (s.expert_gain * min(s.expert_gain, s.limit))
        for part in [f"experts.{e}" for e in range(s.n_experts)] + ["shared_experts"]:
            matrix = self.fp8 if part == "shared_experts" else self.fp4
            matrix(f"{prefix}{part}.w1", s.inner, s.dim, s.expert_gain)
            matrix(f"{prefix}{part}.w2", s.dim, s.inner, down)
            matrix(f"{prefix}{part}.w3", s.inner, s.dim, s.expert_gain)

    def layer(self, prefix, ratio, is_hash):
        rows = (2 + self.s.n_streams) * self.s.n_streams
        self.norm_weight(prefix + "attn_norm.weight", self.s.dim)
        self.norm_weight(prefix + "ffn_norm.weight", self.s.dim)
        self.hyper_connection(prefix + "hc_attn", rows, 3)
        self.hyper_connection(prefix + "hc_ffn", rows, 3)
        self.attention(prefix + "attn.", ratio)
        self.ffn(prefix + "ffn.", is_hash)

    def mtp(self, prefix):
        self.layer(prefix, 0, False)
        self.fp8(prefix + "e_proj", self.s.dim, self.s.dim)
        self.fp8(prefix + "h_proj", self.s.dim, self.s.dim)
        for part in "enorm", "hnorm", "norm":
            self.norm_weight(f"{prefix}{part}.weight", self.s.dim)
        self.hyper_connection(prefix + "hc_head", self.s.n_streams, 1)

    def checkpoint(self):
        s = self.s
        self.bf16("embed.weight", self.normal((s.vocab, s.dim)))
        for layer in range(s.n_layers):
            self.layer(f"layers.{layer}.", s.ratios[layer], layer < s.n_hash)
        for block in range(s.n_mtp):
            self.mtp(f"mtp.{block}.")
        self.hyper_connection("hc_head", s.n_streams, 1)
        self.norm_weight("norm.weight", s.dim)
        self.bf16("head.weight", self.normal((s.vocab, s.dim), 3 / np.sqrt(s.dim)))
        return self.tensors


def make(name):
    shape = cases.shape(name)
    directory = cases.DATA / name
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("*"):
        old.unlink()
    (directory / "config.json").write_text(json.dumps(cases.config(shape), indent=2) + "\n")
    tensors = Writer(shape).checkpoint()
    store.write_checkpoint(directory, tensors, shape.n_shards)
    print(f"{name}: {len(tensors)} tensors, {sum(t[1].nbytes for t in tensors.values())} bytes")


if __name__ == "__main__":
    for case in sys.argv[1:] or cases.CASES:
        make(case)
