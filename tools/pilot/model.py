"""DeepSeek-V4 in PyTorch, whole sequences at once: the forward pass that trains and checks the pilot.

One code path serves three numerics: EXACT (float32, nothing rounded), FLOAT (bf16 activations, weights
as trained) and NATIVE (what the exported checkpoint means: quantised weights, activations, KV and
indexer). Tensors are [batch, tokens, ...]; queries are kept in blocks of one window, [B, blocks, H,
window, d], so that window attention is a product of each block with itself and its predecessor.
"""
import dataclasses
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

import numerics as nu


@dataclasses.dataclass
class Config:
    vocab: int = 5120
    dim: int = 256
    heads: int = 4
    head_dim: int = 192
    rope_dim: int = 64
    q_rank: int = 128
    o_groups: int = 2
    o_rank: int = 128
    ratios: tuple = (0, 0, 4, 128, 4, 128, 4, 0)
    hash_layers: int = 2
    experts: int = 24
    top_k: int = 4
    expert_dim: int = 128
    route_scale: float = 1.5
    swiglu_limit: float = 10.0
    index_heads: int = 4
    index_dim: int = 128
    index_topk: int = 256
    window: int = 128
    streams: int = 4
    sinkhorn: int = 20
    hc_eps: float = 1e-6
    eps: float = 1e-6
    theta: float = 10000.0
    compress_theta: float = 160000.0
    yarn_factor: float = 128.0
    yarn_original: int = 8192
    beta_fast: float = 32.0
    beta_slow: float = 1.0

    @property
    def layers(self):
        return len(self.ratios)


class Numerics(NamedTuple):
    dtype: torch.dtype      # of activations
    weights: bool           # weights rounded to their checkpoint formats
    acts: bool              # inputs of FP8/FP4 linears rounded to e4m3
    kv: bool                # cached keys rounded to e4m3
    index: bool             # Hadamard rotation and FP4 in the indexer
    reference: bool         # float32 products and the roundings of the official script between them


EXACT = Numerics(torch.float32, False, False, False, False, True)
FLOAT = Numerics(torch.bfloat16, False, False, False, False, False)
TRAIN = Numerics(torch.bfloat16, True, True, True, True, False)
NATIVE = TRAIN._replace(reference=True)


def frequencies(cfg, compressed):
    base = cfg.compress_theta if compressed else cfg.theta
    d = cfg.rope_dim
    f = 1.0 / base ** (torch.arange(0, d, 2, dtype=torch.float32) / d)
    if not compressed:
        return f

    def corr(turns):
        return d * math.log(cfg.yarn_original / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = max(math.floor(corr(cfg.beta_fast)), 0), min(math.ceil(corr(cfg.beta_slow)), d - 1)
    ramp = ((torch.arange(d // 2) - low) / ((high - low) or 0.001)).clamp(0, 1)
    return f / cfg.yarn_factor * ramp + f * (1 - ramp)


def rotation(positions, f):
    angle = positions.float()[:, None] * f[None].to(positions.device)
    return torch.cos(angle.double()).float(), torch.sin(angle.double()).float()


def rope(x, cos, sin, inverse=False):
    """Rotates the last 2*cos.shape[-1] dimensions, interleaved pairs."""
    nope, tail = x.split([x.shape[-1] - 2 * cos.shape[-1], 2 * cos.shape[-1]], -1)
    u, v = tail.float().unflatten(-1, (-1, 2)).unbind(-1)
    sin = -sin if inverse else sin
    tail = torch.stack([u * cos - v * sin, u * sin + v * cos], -1).flatten(-2)
    return torch.cat([nope, tail.to(x.dtype)], -1)


def rmsnorm(x, w, eps):
    v = x.float()
    return (w.float() * (v * torch.rsqrt(v.square().mean(-1, keepdim=True) + eps))).to(x.dtype)


def head_norm(x, num, eps):
    """Per-head query norm; the official script rounds to bf16 after every operation."""
    if num.reference:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    v = x.float()
    return (v * torch.rsqrt(v.square().mean(-1, keepdim=True) + eps)).to(x.dtype)


def linear(x, w, num):
    if num.reference:
        return F.linear(x.float(), w.float()).to(num.dtype)
    return F.linear(x, w)


def act8(x, num, block=128):
    return nu.act_quant(x, block) if num.acts else x


def kv8(x, cfg, num):
    """e4m3 rounding of the dimensions that are not rotated."""
    if not num.kv:
        return x
    nope, tail = x.split([cfg.head_dim - cfg.rope_dim, cfg.rope_dim], -1)
    return torch.cat([nu.act_quant(nope, 64), tail], -1)


# ---- hyper-connections ----------------------------------------------------------------------

def sinkhorn(c, iters, eps):
    c = torch.softmax(c, -1) + eps
    c = c / (c.sum(-2, keepdim=True) + eps)
    for _ in range(iters - 1):
        c = c / (c.sum(-1, keepdim=True) + eps)
        c = c / (c.sum(-2, keepdim=True) + eps)
    return c


def hc_mix(h, fn, eps):
    x = h.flatten(-2).float()
    return F.linear(x, fn) * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


def hc_pre(h, fn, base, scale, cfg):
    s = cfg.streams
    m = hc_mix(h, fn, cfg.eps)
    pre = torch.sigmoid(m[..., :s] * scale[0] + base[:s]) + cfg.hc_eps
    post = 2 * torch.sigmoid(m[..., s:2 * s] * scale[1] + base[s:2 * s])
    comb = (m[..., 2 * s:] * scale[2] + base[2 * s:]).unflatten(-1, (s, s))
    y = (pre[..., None] * h.float()).sum(-2).to(h.dtype)
    return y, post, sinkhorn(comb, cfg.sinkhorn, cfg.hc_eps)


def hc_post(a, h, post, comb):
    hf = h.float()
    mixed = sum(comb[..., j, :, None] * hf[..., j, None, :] for j in range(h.shape[-2]))
    return (post[..., None] * a.float()[..., None, :] + mixed).to(h.dtype)


def hc_head(h, fn, base, scale, cfg):
    pre = torch.sigmoid(hc_mix(h, fn, cfg.eps) * scale[0] + base) + cfg.hc_eps
    return (pre[..., None] * h.float()).sum(-2).to(h.dtype)


# ---- attention ------------------------------------------------------------------------------

def compress(x, wkv, wgate, ape, norm, ratio, cos, sin, eps, dtype):
    """Entries of all full groups of `ratio` tokens, normalised and rotated to the group's first token."""
    groups = x.shape[1] // ratio
    x = x[:, :groups * ratio].float()
    u = F.linear(x, wkv).unflatten(1, (groups, ratio))
    g = F.linear(x, wgate).unflatten(1, (groups, ratio)) + ape
    if ratio == 4:
        d = u.shape[-1] // 2
        u = torch.cat([F.pad(u[:, :-1, :, :d], (0, 0, 0, 0, 1, 0)), u[..., d:]], 2)
        g = torch.cat([F.pad(g[:, :-1, :, :d], (0, 0, 0, 0, 1, 0), value=float("-inf")), g[..., d:]], 2)
    e = (torch.softmax(g, 2) * u).sum(2).to(dtype)
    return rope(rmsnorm(e, norm, eps), cos[:groups * ratio:ratio], sin[:groups * ratio:ratio])


def attend(q, near, entries, allowed, sink, scale, num):
    """Sink attention of query blocks over the window and the allowed compressed entries.

    Returns the output and, per query, the share of attention of every entry summed over heads.
    """
    b, n, h, w, d = q.shape
    wide = torch.float32 if num.reference else num.dtype
    i, j = torch.arange(w, device=q.device)[:, None], torch.arange(2 * w, device=q.device)[None]
    window = (j > i) & (j <= i + w)
    first = window & (j >= w)
    block = torch.arange(n, device=q.device)[:, None, None, None]
    window = torch.where(block == 0, first, window)
    zw = (q.flatten(2, 3).to(wide) @ near.to(wide).transpose(-1, -2)).view(b, n, h, w, 2 * w)
    zw = (zw.float() * scale).masked_fill(~window, float("-inf"))
    top = zw.amax(-1, keepdim=True)
    if entries is not None:
        zc = (q.flatten(1, 3).to(wide) @ entries.to(wide).transpose(-1, -2)).view(b, n, h, w, -1)
        zc = (zc.float() * scale).masked_fill(~allowed, float("-inf"))
        top = torch.maximum(top, zc.amax(-1, keepdim=True))
    top = top.detach()
    pw = torch.exp(zw - top)
    den = pw.sum(-1, keepdim=True) + torch.exp(sink.view(h, 1, 1) - top)
    out = (pw.to(num.dtype).to(wide).flatten(2, 3) @ near.to(wide)).view(b, n, h, w, d).float()
    if entries is not None:
        pc = torch.exp(zc - top)
        den = den + pc.sum(-1, keepdim=True)
        out = out + (pc.to(num.dtype).to(wide).flatten(1, 3) @ entries.to(wide)).view(b, n, h, w, d)
    return (out / den).to(num.dtype)


def share(q, near, entries, visible, scale, dtype):
    """Head-summed attention over all visible entries, normalised to one: the indexer's target."""
    b, n, h, w, d = q.shape
    z = (q.flatten(1, 3) @ entries.transpose(-1, -2)).view(b, n, h, w, -1).float() * scale
    zw = (q.flatten(2, 3) @ near.transpose(-1, -2)).view(b, n, h, w, -1).float() * scale
    top = torch.maximum(z.amax(-1, keepdim=True), zw.amax(-1, keepdim=True))
    p = torch.exp(z - top).masked_fill(~visible, 0) / torch.exp(zw - top).sum(-1, keepdim=True)
    p = (p / (1 + p.sum(-1, keepdim=True))).sum(2)
    return p / p.sum(-1, keepdim=True).clamp_min(1e-9)


def index_scores(q, k, a, num):
    """[B, blocks, window, entries] scores of the lightning indexer."""
    b, n, h, w, d = q.shape
    wide = torch.float32 if num.reference else num.dtype
    dot = (q.flatten(1, 3).to(wide) @ k.to(wide).transpose(-1, -2)).to(num.dtype).view(b, n, h, w, -1)
    score = (torch.relu(dot) * a[..., None]).float().sum(2)
    return score.to(num.dtype).float()


def select(scores, visible, k):
    """The k best visible entries of every query; of equal ones the earlier wins."""
    scores = scores.masked_fill(~visible, float("-inf"))
    best = torch.sort(scores, dim=-1, descending=True, stable=True).indices[..., :k]
    return torch.zeros_like(visible.expand_as(scores)).scatter(-1, best, True) & visible


def select_fast(scores, visible, k):
    """As select, but nonzero scores equal to the last chosen one may all stay."""
    earlier = torch.arange(scores.shape[-1], device=scores.device) * 1e-7    # breaks ties at zero
    scores = (scores - earlier).masked_fill(~visible, float("-inf"))
    return (scores >= scores.topk(k, -1, sorted=False).values.amin(-1, keepdim=True)) & visible


# ---- experts --------------------------------------------------------------------------------

class Spread(torch.autograd.Function):
    """Rows copied to their experts' order; the backward pass gathers instead of scattering."""

    @staticmethod
    def forward(ctx, x, order, back, k):
        ctx.save_for_backward(back)
        ctx.k = k
        return x[order // k]

    @staticmethod
    def backward(ctx, grad):
        (back,) = ctx.saved_tensors
        return grad[back].unflatten(0, (-1, ctx.k)).sum(1), None, None, None


class Permute(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, order, back):
        ctx.save_for_backward(back)
        return x[order]

    @staticmethod
    def backward(ctx, grad):
        (back,) = ctx.saved_tensors
        return grad[back], None, None


def grouped(x, w, ends, num):
    """Rows x of consecutive groups, group e times w[e] transposed."""
    if x.is_cuda and not num.reference:
        return F.grouped_mm(x, w.transpose(-1, -2), offs=ends)
    starts = [0] + ends.tolist()
    return torch.cat([linear(x[a:b], w[e], num) for e, (a, b) in enumerate(zip(starts, starts[1:]))])


def swiglu(gate, up, limit):
    return F.silu(gate.float().clamp(max=limit)) * up.float().clamp(-limit, limit)


def route(x, gate, bias, fixed, cfg):
    """Chosen experts in ascending order and their weights."""
    a = torch.sqrt(F.softplus(F.linear(x.float(), gate)))
    if fixed is None:
        fixed = (a.detach() + bias).topk(cfg.top_k, -1).indices
    chosen = fixed.sort(-1).values
    w = a.gather(-1, chosen)
    return chosen, w / w.sum(-1, keepdim=True) * cfg.route_scale


def expert_inner(g, u, w, limit, num):
    return act8((swiglu(g, u, limit) * w[:, None]).to(num.dtype), num)


def shared_expert(x8, w1, w2, w3, limit, num):
    v = swiglu(linear(x8, w1, num), linear(x8, w3, num), limit).to(num.dtype)
    return linear(act8(v, num), w2, num)


# ---- the model ------------------------------------------------------------------------------

FP8, FP4, BF16, F32 = "fp8", "fp4", "bf16", "f32"


def layer_shapes(cfg, n):
    """name -> (shape, storage) of layer n's trained tensors; experts are stacked."""
    d, r, s = cfg.dim, cfg.ratios[n], cfg.streams
    qd, mix = cfg.heads * cfg.head_dim, (2 + s) * s
    shapes = {
        "attn_norm.weight": ((d,), BF16), "ffn_norm.weight": ((d,), BF16),
        "attn.attn_sink": ((cfg.heads,), F32),
        "attn.q_norm.weight": ((cfg.q_rank,), BF16), "attn.kv_norm.weight": ((cfg.head_dim,), BF16),
        "attn.wq_a.weight": ((cfg.q_rank, d), FP8), "attn.wq_b.weight": ((qd, cfg.q_rank), FP8),
        "attn.wkv.weight": ((cfg.head_dim, d), FP8),
        "attn.wo_a.weight": ((cfg.o_groups * cfg.o_rank, qd // cfg.o_groups), FP8),
        "attn.wo_b.weight": ((d, cfg.o_groups * cfg.o_rank), FP8),
        "ffn.gate.weight": ((cfg.experts, d), BF16),
        "ffn.experts.w1": ((cfg.experts, cfg.expert_dim, d), FP4),
        "ffn.experts.w3": ((cfg.experts, cfg.expert_dim, d), FP4),
        "ffn.experts.w2": ((cfg.experts, d, cfg.expert_dim), FP4),
        "ffn.shared_experts.w1.weight": ((cfg.expert_dim, d), FP8),
        "ffn.shared_experts.w3.weight": ((cfg.expert_dim, d), FP8),
        "ffn.shared_experts.w2.weight": ((d, cfg.expert_dim), FP8),
    }
    for part in ("hc_attn", "hc_ffn"):
        shapes |= {part + "_fn": ((mix, s * d), F32), part + "_base": ((mix,), F32),
                   part + "_scale": ((3,), F32)}
    if r:
        c = 2 if r == 4 else 1
        shapes |= compressor_shapes("attn.compressor.", c * cfg.head_dim, cfg.head_dim, r, d)
    if r == 4:
        shapes |= {"attn.indexer.wq_b.weight": ((cfg.index_heads * cfg.index_dim, cfg.q_rank), FP8),
                   "attn.indexer.weights_proj.weight": ((cfg.index_heads, d), BF16)}
        shapes |= compressor_shapes("attn.indexer.compressor.", 2 * cfg.index_dim, cfg.index_dim, r, d)
    return shapes


def compressor_shapes(prefix, wide, dim, ratio, d):
    return {prefix + "ape": ((ratio, wide), F32), prefix + "wkv.weight": ((wide, d), BF16),
            prefix + "wgate.weight": ((wide, d), BF16), prefix + "norm.weight": ((dim,), BF16)}


def global_shapes(cfg):
    s, d = cfg.streams, cfg.dim
    return {"embed.weight": ((cfg.vocab, d), BF16), "head.weight": ((cfg.vocab, d), BF16),
            "norm.weight": ((d,), BF16), "hc_head_fn": ((s, s * d), F32), "hc_head_base": ((s,), F32),
            "hc_head_scale": ((1,), F32)}


def all_shapes(cfg):
    shapes = dict(global_shapes(cfg))
    for n in range(cfg.layers):
        shapes |= {f"layers.{n}.{k}": v for k, v in layer_shapes(cfg, n).items()}
    return shapes


def initial(name, shape, cfg):
    s = cfg.streams
    if name.endswith("norm.weight"):
        return torch.ones(shape)
    if name.endswith(("sink", "ape", "hc_head_base")):
        return torch.zeros(shape)
    if name.endswith("_scale"):
        return torch.full(shape, 0.1)
    if name.endswith("_base"):
        base = torch.zeros(shape)
        base[:s] = torch.linspace(-1, 1, s)             # streams that differ from the first step
        base[2 * s:] = 3 * torch.eye(s).flatten()       # and mostly stay themselves
        return base
    if name.endswith("_fn"):
        return torch.randn(shape) * 0.02
    if name == "embed.weight":
        return torch.randn(shape) * 0.3
    if name == "head.weight":
        return torch.randn(shape) * 0.02
    gain = 0.5 if name.endswith(("wo_b.weight", "w2", "w2.weight")) else 1.0
    return torch.randn(shape) * gain * shape[-1] ** -0.5


class Model(nn.Module):
    def __init__(self, cfg, tid2eid=None):
        super().__init__()
        self.cfg = cfg
        self.shapes = all_shapes(cfg)
        self.values = nn.ParameterDict(
            {k.replace(".", "/"): nn.Parameter(initial(k, shape, cfg)) for k, (shape, _) in self.shapes.items()})
        self.register_buffer("bias", torch.zeros(cfg.layers, cfg.experts))
        if tid2eid is None:
            tid2eid = torch.stack([torch.rand(cfg.vocab, cfg.experts).argsort(-1)[:, :cfg.top_k]
                                   for _ in range(cfg.hash_layers)])
        self.register_buffer("tid2eid", tid2eid)
        self.register_buffer("hadamard", nu.hadamard(cfg.index_dim), persistent=False)
        self.compiled = lambda function: function

    def named(self):
        return {k.replace("/", "."): v for k, v in self.values.items()}

    def effective(self, num):
        """The tensors the forward pass multiplies with: rounded to their storage format if asked."""
        out = {}
        for name, value in self.named().items():
            storage = self.shapes[name][1]
            matrix = storage in (FP8, FP4)
            rounded = value.detach()
            if num.weights and storage == FP8:
                rounded = nu.fp8_weight(rounded)
            elif num.weights and storage == FP4:
                rounded = self.compiled(nu.fp4_weight)(rounded)
            elif num.weights and storage == BF16:
                rounded = rounded.bfloat16().float()
            # the official script widens gate, compressor, head and norms to float32
            small = matrix or name.endswith(("embed.weight", "weights_proj.weight", "head.weight"))
            out[name] = nu.Straight.apply(value, rounded.to(num.dtype if small else torch.float32))
        return out

    def forward(self, ids, num, sparse=False, index_rows=None, row_weight=None):
        """ids [B, n], n a multiple of the window. Returns final states, expert loads, indexer loss.

        sparse: CSA layers see only the entries the indexer selects. index_rows: query blocks on which
        the indexer's loss is taken (None: no loss). row_weight [B, n]: weight of each query in it.
        """
        cfg, device = self.cfg, ids.device
        w = self.effective(num)
        n = ids.shape[1]
        pos = torch.arange(n, device=device)
        turns = {c: rotation(pos, frequencies(cfg, c)) for c in (False, True)}
        h = F.embedding(ids, w["embed.weight"])[:, :, None].expand(-1, -1, cfg.streams, -1).contiguous()
        pre, post, norm = (self.compiled(f) for f in (hc_pre, hc_post, rmsnorm))
        loads, loss = [], torch.zeros((), device=device)
        for l in range(cfg.layers):
            p = {k[len(f"layers.{l}."):]: v for k, v in w.items() if k.startswith(f"layers.{l}.")}
            y, po, comb = pre(h, p["hc_attn_fn"], p["hc_attn_base"], p["hc_attn_scale"], cfg)
            x = norm(y, p["attn_norm.weight"], cfg.eps)
            a, extra = self.attention(x, p, cfg.ratios[l], turns[cfg.ratios[l] > 0], num, sparse,
                                      index_rows, row_weight)
            loss = loss + extra
            h = post(a, h, po, comb)
            y, po, comb = pre(h, p["hc_ffn_fn"], p["hc_ffn_base"], p["hc_ffn_scale"], cfg)
            x = norm(y, p["ffn_norm.weight"], cfg.eps)
            fixed = self.tid2eid[l][ids.flatten()] if l < cfg.hash_layers else None
            m, load = self.moe(x.flatten(0, 1), p, self.bias[l], fixed, num)
            loads.append(load)
            h = post(m.view_as(x), h, po, comb)
        z = hc_head(h, w["hc_head_fn"], w["hc_head_base"], w["hc_head_scale"], cfg)
        return rmsnorm(z, w["norm.weight"], cfg.eps), w["head.weight"], torch.stack(loads), loss

    def logits(self, ids, num, sparse=True):
        """Logits of every position, any length (padded behind, which no position can see)."""
        n = ids.shape[1]
        padded = F.pad(ids, (0, -n % self.cfg.window))
        z, head, _, _ = self.forward(padded, num, sparse)
        return F.linear(z[:, :n].float(), head.float())

    # -- attention of one layer

    def attention(self, x, p, ratio, turn, num, sparse, index_rows, row_weight):
        cfg = self.cfg
        cos, sin = turn
        q, qr, near = self.compiled(queries_and_window)(x, p, cos, sin, cfg, num)
        entries, allowed, extra = None, None, 0.0
        if ratio:
            entries = self.compiled(main_entries)(x, p, ratio, cos, sin, cfg, num)
            pos = torch.arange(x.shape[1], device=x.device).view(-1, 1, cfg.window, 1)
            allowed = torch.arange(entries.shape[1], device=x.device) < (pos + 1) // ratio
        if ratio == 4:
            need = sparse and entries.shape[1] > cfg.index_topk
            if need or index_rows is not None:
                extra, chosen = self.indexer(x, qr, q, near, entries, allowed, p, turn, num, need,
                                             index_rows, row_weight)
                allowed = allowed if chosen is None else chosen[:, :, None]
        sink, scale = p["attn.attn_sink"], cfg.head_dim ** -0.5
        if ratio and entries.shape[1] == 0:
            entries, allowed = None, None
        o = self.compiled(attend)(q, near, entries, allowed, sink, scale, num)
        return self.compiled(output)(o, p, cos, sin, cfg, num), extra

    def indexer(self, x, qr, q, near, entries, visible, p, turn, num, need, index_rows, row_weight):
        """(loss, selection). The indexer learns from detached inputs and only from its own loss."""
        cfg = self.cfg
        cos, sin = turn
        qi, ki, a = self.compiled(index_inputs)(x.detach(), qr.detach(), p, cos, sin, self.hadamard, cfg, num)
        loss, chosen = 0.0, None
        if index_rows is not None:
            with torch.no_grad():
                target = self.compiled(share)(q[:, index_rows], near[:, index_rows], entries,
                                              visible[index_rows], cfg.head_dim ** -0.5, num.dtype)
            weight = row_weight.view(x.shape[0], -1, cfg.window)[:, index_rows]
            loss = self.compiled(index_loss)(qi[:, index_rows], ki, a[:, index_rows], target,
                                             visible[index_rows][:, 0], weight, num)
        if need:
            with torch.no_grad():
                pick = select if num.reference else self.compiled(select_fast)
                chosen = pick(self.compiled(index_scores)(qi, ki, a, num), visible[:, 0], cfg.index_topk)
        return loss, chosen

    # -- experts of one layer

    def moe(self, x, p, bias, fixed, num):
        cfg = self.cfg
        chosen, weight = self.compiled(route)(x, p["ffn.gate.weight"], bias, fixed, cfg)
        flat = chosen.flatten()
        order = flat.argsort(stable=True)
        back = order.argsort()
        load = torch.zeros(cfg.experts, dtype=torch.int64, device=x.device).scatter_add_(0, flat, torch.ones_like(flat))
        ends = load.cumsum(0).to(torch.int32)
        x8 = self.compiled(act8)(x, num)
        rows = Spread.apply(x8, order, back, cfg.top_k)
        g = grouped(rows, p["ffn.experts.w1"], ends, num)
        u = grouped(rows, p["ffn.experts.w3"], ends, num)
        v = self.compiled(expert_inner)(g, u, Permute.apply(weight.flatten(), order, back), cfg.swiglu_limit, num)
        out = Permute.apply(grouped(v, p["ffn.experts.w2"], ends, num), back, order)
        shared = self.compiled(shared_expert)(x8, *(p[f"ffn.shared_experts.w{i}.weight"] for i in (1, 2, 3)),
                                              cfg.swiglu_limit, num)
        return self.compiled(join)(out, shared, cfg.top_k), load


def join(out, shared, k):
    rows = out.unflatten(0, (-1, k)).float()
    total = rows[:, 0]
    for i in range(1, k):
        total = total + rows[:, i]
    return (total + shared.float()).to(out.dtype)


def blocks(x, window):
    """[B, n, H, d] -> [B, n/window, H, window, d]"""
    return x.unflatten(1, (-1, window)).transpose(2, 3)


def queries_and_window(x, p, cos, sin, cfg, num):
    x8 = act8(x, num)
    qr = rmsnorm(linear(x8, p["attn.wq_a.weight"], num), p["attn.q_norm.weight"], cfg.eps)
    q = linear(act8(qr, num), p["attn.wq_b.weight"], num).unflatten(-1, (cfg.heads, cfg.head_dim))
    q = rope(head_norm(q, num, cfg.eps), cos[:, None], sin[:, None])
    kv = rmsnorm(linear(x8, p["attn.wkv.weight"], num), p["attn.kv_norm.weight"], cfg.eps)
    kv = kv8(rope(kv, cos, sin), cfg, num).unflatten(1, (-1, cfg.window))
    near = torch.cat([F.pad(kv[:, :-1], (0, 0, 0, 0, 1, 0)), kv], 2)
    return blocks(q, cfg.window), qr, near


def main_entries(x, p, ratio, cos, sin, cfg, num):
    c = "attn.compressor."
    e = compress(x, p[c + "wkv.weight"], p[c + "wgate.weight"], p[c + "ape"], p[c + "norm.weight"],
                 ratio, cos, sin, cfg.eps, num.dtype)
    return kv8(e, cfg, num)


def index_inputs(x, qr, p, cos, sin, hadamard, cfg, num):
    """Queries [B, blocks, IH, window, ID], keys [B, entries, ID], head weights [B, blocks, IH, window]."""
    i = "attn.indexer."
    q = linear(act8(qr, num), p[i + "wq_b.weight"], num).unflatten(-1, (cfg.index_heads, cfg.index_dim))
    q = rope(q, cos[:, None], sin[:, None])
    c = i + "compressor."
    k = compress(x, p[c + "wkv.weight"], p[c + "wgate.weight"], p[c + "ape"], p[c + "norm.weight"],
                 4, cos, sin, cfg.eps, num.dtype)
    if num.index:
        def turn(t):
            return nu.fp4_act_quant((F.linear(t.float(), hadamard) * cfg.index_dim ** -0.5).to(num.dtype))
        q, k = turn(q), turn(k)
    factor = cfg.index_dim ** -0.5 * cfg.index_heads ** -0.5
    a = (linear(x, p[i + "weights_proj.weight"], num) * factor).unflatten(1, (-1, cfg.window))
    return blocks(q, cfg.window), k, a.transpose(-1, -2)


def index_loss(q, k, a, target, visible, weight, num):
    scores = index_scores(q, k, a, num).masked_fill(~visible, -1e30)
    log = torch.log_softmax(scores, -1)
    kl = (target * (torch.log(target.clamp_min(1e-9)) - log)).masked_fill(~visible, 0).sum(-1)
    return (kl * weight).sum() / weight.sum()


def output(o, p, cos, sin, cfg, num):
    """Un-rotates, then the grouped low-rank output projection. o [B, blocks, H, window, d]."""
    o = o.transpose(2, 3).flatten(1, 2)                                         # [B, n, H, d]
    o = rope(o, cos[:, None], sin[:, None], inverse=True)
    o = o.flatten(2).unflatten(-1, (cfg.o_groups, -1))
    wo_a = p["attn.wo_a.weight"].unflatten(0, (cfg.o_groups, -1))
    t = torch.cat([linear(o[:, :, g], wo_a[g], num) for g in range(cfg.o_groups)], -1)
    return linear(act8(t, num), p["attn.wo_b.weight"], num)
