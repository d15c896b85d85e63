#!/usr/bin/env python3
"""Compare model.py with transformers' DeepseekV4ForCausalLM in float32 on a small random model."""
import argparse
import sys

import torch
from transformers import DeepseekV4Config, DeepseekV4ForCausalLM

import model as m
from config import hf_config

RENAME = [("embed.", "model.embed_tokens."), ("head.", "lm_head."), ("norm.weight", "model.norm.weight"),
          ("hc_head_", "model.hc_head.hc_")]
LAYER = [("attn.indexer.compressor.", "self_attn.compressor.indexer."),
         ("attn.indexer.wq_b.", "self_attn.compressor.indexer.q_b_proj."),
         ("attn.indexer.weights_proj.", "self_attn.compressor.indexer.scorer.weights_proj."),
         ("attn.compressor.", "self_attn.compressor."), ("attn.wq_a.", "self_attn.q_a_proj."),
         ("attn.q_norm.", "self_attn.q_a_norm."), ("attn.wq_b.", "self_attn.q_b_proj."),
         ("attn.wkv.", "self_attn.kv_proj."), ("attn.kv_norm.", "self_attn.kv_norm."),
         ("attn.wo_a.", "self_attn.o_a_proj."), ("attn.wo_b.", "self_attn.o_b_proj."),
         ("attn.attn_sink", "self_attn.sinks"), ("attn_norm.", "input_layernorm."),
         ("ffn_norm.", "post_attention_layernorm."), ("hc_attn_", "attn_hc."), ("hc_ffn_", "ffn_hc."),
         ("ffn.shared_experts.w1.", "mlp.shared_experts.gate_proj."),
         ("ffn.shared_experts.w3.", "mlp.shared_experts.up_proj."),
         ("ffn.shared_experts.w2.", "mlp.shared_experts.down_proj."), ("ffn.gate.", "mlp.gate.")]
INNER = [("wkv.weight", "kv_proj.weight"), ("wgate.weight", "gate_proj.weight"), ("ape", "position_bias"),
         ("norm.weight", "kv_norm.weight")]


def hf_names(model, known):
    """Our tensors under transformers' names."""
    out = {}
    for name, value in model.named().items():
        value = value.detach()
        if not name.startswith("layers."):
            for old, new in RENAME:
                if name.startswith(old):
                    name = new + name[len(old):]
                    break
            out[name] = value
            continue
        _, n, rest = name.split(".", 2)
        if rest.startswith("ffn.experts."):
            out[f"model.layers.{n}.{rest}"] = value
            continue
        old, new = next(pair for pair in LAYER if rest.startswith(pair[0]))
        tail = rest[len(old):]
        if "compressor." in old:
            tail = dict(INNER)[tail]
        name = f"model.layers.{n}.{new}{tail}"
        out[name if name in known else name.replace("scorer.", "")] = value
    for n in range(model.cfg.layers):
        p = f"model.layers.{n}."
        w1, w3, w2 = (out.pop(f"{p}ffn.experts.w{i}") for i in (1, 3, 2))
        out[p + "mlp.experts.gate_up_proj"] = torch.cat([w1, w3], 1)
        out[p + "mlp.experts.down_proj"] = w2
        if n < model.cfg.hash_layers:
            out[p + "mlp.gate.tid2eid"] = model.tid2eid[n]
        else:
            out[p + "mlp.gate.e_score_correction_bias"] = model.bias[n]
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=700)
    parser.add_argument("--sparse", action="store_true", help="let the indexer select; equal scores may differ")
    args = parser.parse_args()
    torch.manual_seed(0)
    cfg = m.Config(vocab=300, dim=64, heads=4, head_dim=128, q_rank=32, o_rank=32, experts=8, expert_dim=32,
                   ratios=(0, 4, 128, 4), hash_layers=1, yarn_factor=16, yarn_original=4096,
                   index_topk=32 if args.sparse else args.tokens)
    model = m.Model(cfg)
    with torch.no_grad():
        for name, value in model.named().items():
            value.add_(torch.randn_like(value) * (0.3 if value.dim() == 1 or "ape" in name else 0.02))
        model.bias.normal_(0, 0.1)
    settings = hf_config(cfg)
    settings.pop("quantization_config")
    settings.pop("torch_dtype")
    hf = DeepseekV4ForCausalLM(DeepseekV4Config(**settings, attn_implementation="eager")).float().eval()
    state = hf.state_dict()
    ours = hf_names(model, state)
    missing, unexpected = hf.load_state_dict(ours, strict=False)
    if unexpected or [k for k in missing if "inv_freq" not in k]:
        sys.exit(f"names differ: missing {missing}, unexpected {unexpected}")
    ids = torch.randint(0, cfg.vocab, (1, args.tokens))
    with torch.no_grad():
        a, b = model.logits(ids, m.EXACT), hf(ids).logits
    error = ((a - b).norm(dim=-1) / b.norm(dim=-1)).max().item()
    print(f"relative error at the worst of {args.tokens} positions: {error:.2e}")
    sys.exit(error > 1e-4 and not args.sparse)


if __name__ == "__main__":
    main()
