"""cases.py - the golden cases: shapes of the tiny checkpoints and lengths of their prompts.

Each case names what it varies; README.md says what it covers.  config() gives the config.json of a case.
"""
import pathlib

DATA = pathlib.Path(__file__).parent / "data"

BASE = dict(
    seed=1, lengths=(37,), n_shards=1, n_mtp=0,
    vocab=96, dim=64, n_heads=4, head_dim=80, rope_dim=16, q_rank=32, o_groups=2, o_rank=24,
    inner=64, n_experts=6, top_experts=2, n_hash=0, route_scale=1.5, limit=10.0, expert_gain=1.5,
    index_heads=4, index_dim=32, index_topk=8, window=16, ratios=(0,), n_streams=2, n_sinkhorn=20,
    eps=1e-6, hc_eps=1e-6, rope_theta=10000, compress_theta=160000, yarn_factor=16, yarn_original=64)

CASES = {
    "window": dict(seed=11, lengths=(5, 131), ratios=(0, 0), n_streams=1, n_heads=2, o_groups=1, n_experts=4,
                   limit=2.0),
    "sparse": dict(seed=12, lengths=(3, 259), ratios=(4, 4), n_streams=2, n_hash=1, n_experts=8, top_experts=3,
                   q_rank=48, eps=1e-5, hc_eps=1e-3, n_shards=2),
    "dense": dict(seed=13, lengths=(127, 397), ratios=(128, 0, 128), n_streams=3, dim=32, inner=96, window=32,
                  o_groups=4, o_rank=16, yarn_factor=4, limit=2.5),
    "flash": dict(seed=14, lengths=(131, 259), ratios=(0, 0, 4, 128, 4), n_streams=4, dim=32, inner=32, n_hash=3,
                  o_groups=4, o_rank=16, window=128, index_topk=16, expert_gain=5.0, n_shards=2),
    "pro": dict(seed=15, lengths=(7, 397), ratios=(128, 128, 4, 128, 4), n_streams=4, dim=32, inner=32, n_hash=3,
                head_dim=64, route_scale=2.5, limit=1.5, window=32, index_topk=12, n_experts=8, top_experts=3),
    "wide": dict(seed=16, lengths=(150,), ratios=(4,), vocab=64, n_streams=2, dim=160, inner=160, q_rank=136, n_heads=2,
                 head_dim=144, o_rank=72, n_experts=3, index_dim=64, index_heads=2, window=64, n_sinkhorn=5),
    "mtp": dict(seed=17, lengths=(5, 77), ratios=(4, 0, 0), n_mtp=1, n_streams=2, dim=32, inner=64, n_hash=1,
                o_groups=1, o_rank=48, expert_gain=5.0, rope_theta=50000, n_shards=2),
    "far": dict(seed=18, lengths=(519,), ratios=(128, 4), n_streams=1, dim=32, inner=32, vocab=64, head_dim=96,
                rope_dim=32, window=8, yarn_factor=8, yarn_original=32, n_experts=5, top_experts=1),
}


def shape(name):
    """Every parameter of a case, by attribute."""
    class Shape:
        pass
    result = Shape()
    result.__dict__.update(BASE, **CASES[name])
    result.name = name
    result.n_layers = len(result.ratios) - result.n_mtp
    return result


def config(s):
    """config.json of the published style."""
    return {
        "architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4",
        "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 1,
        "expert_dtype": "fp4", "hc_eps": s.hc_eps, "hc_mult": s.n_streams, "hc_sinkhorn_iters": s.n_sinkhorn,
        "head_dim": s.head_dim, "hidden_act": "silu", "hidden_size": s.dim,
        "index_head_dim": s.index_dim, "index_n_heads": s.index_heads, "index_topk": s.index_topk,
        "initializer_range": 0.02, "max_position_embeddings": 1024,
        "moe_intermediate_size": s.inner, "n_routed_experts": s.n_experts, "n_shared_experts": 1,
        "norm_topk_prob": True, "num_attention_heads": s.n_heads, "num_experts_per_tok": s.top_experts,
        "num_hidden_layers": s.n_layers, "num_hash_layers": s.n_hash, "num_key_value_heads": 1,
        "num_nextn_predict_layers": s.n_mtp, "o_groups": s.o_groups, "o_lora_rank": s.o_rank,
        "q_lora_rank": s.q_rank, "qk_rope_head_dim": s.rope_dim,
        "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                                "scale_fmt": "ue8m0", "weight_block_size": [128, 128]},
        "rms_norm_eps": s.eps,
        "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": s.yarn_factor,
                         "original_max_position_embeddings": s.yarn_original, "type": "yarn"},
        "rope_theta": s.rope_theta, "routed_scaling_factor": s.route_scale, "scoring_func": "sqrtsoftplus",
        "sliding_window": s.window, "swiglu_limit": s.limit, "tie_word_embeddings": False, "topk_method": "noaux_tc",
        "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": s.vocab,
        "compress_rope_theta": s.compress_theta, "compress_ratios": list(s.ratios),
    }
