"""make_exact.py - logits of HF transformers' DeepseekV4ForCausalLM for the golden tests: make_exact.py [case ...]

The checkpoint is dequantised to float32 under its published names, loaded by transformers' own converter, and run in
float32 with eager attention over each prompt at once, without a cache.  The same prompt is then fed again through the
cache, a first chunk and then single tokens, and both must agree.  Adds exact_logits.<i> to golden.safetensors and checks them
against official.py's exact numerics.
"""
import json
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import DeepseekV4ForCausalLM
from transformers.utils import logging

import cases
import official
import store

MAX_CACHE_ERROR = 1e-5
MAX_ORACLE_ERROR = 1e-4


def write_dequantised(name, directory):
    """The checkpoint of a case as plain float32 in one file, with a config that claims no quantisation."""
    weights = official.Weights(cases.DATA / name)
    tensors = {}
    for tensor in weights.raw:
        if not tensor.endswith(".scale") and not tensor.startswith("mtp."):
            value = weights[tensor]
            value = value if value.dtype == np.int64 else value.astype(np.float32)
            tensors[tensor] = torch.from_numpy(np.array(value))
    save_file(tensors, f"{directory}/model.safetensors", metadata={"format": "pt"})
    config = json.loads((cases.DATA / name / "config.json").read_text())
    del config["quantization_config"], config["expert_dtype"]
    config["torch_dtype"] = "float32"
    with open(f"{directory}/config.json", "w") as file:
        json.dump(config, file)


def load(name):
    """The HF model of a case; every tensor must have found its parameter."""
    with tempfile.TemporaryDirectory() as directory:
        write_dequantised(name, directory)
        model, info = DeepseekV4ForCausalLM.from_pretrained(
            directory, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager",
            output_loading_info=True)
    problems = {what: found for what, found in info.items() if found}
    assert not problems, f"{name}: {problems}"
    return model.eval()


@torch.no_grad()
def logits_at_once(model, ids):
    return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].numpy()


@torch.no_grad()
def logits_by_cache(model, ids):
    first = max(1, len(ids) // 2)
    result = model(input_ids=torch.tensor([ids[:first]]), use_cache=True)
    parts, cache = [result.logits[0]], result.cache
    for token in ids[first:]:
        result = model(input_ids=torch.tensor([[token]]), cache=cache, use_cache=True)
        parts.append(result.logits[0])
        cache = result.cache
    return torch.cat(parts).numpy()


def error(a, b):
    """The largest, over the positions, of |a - b| / |b| (Euclidean norms over the vocabulary)."""
    return (np.linalg.norm(a - b, axis=-1) / np.linalg.norm(b, axis=-1)).max()


def make(name):
    golden = cases.DATA / name / "golden.safetensors"
    model, oracle = load(name), official.Model(cases.DATA / name, official.Exact())
    tensors = store.read(golden)
    for i in range(len(cases.shape(name).lengths)):
        ids = tensors[f"input_ids.{i}"][1].tolist()
        logits = logits_at_once(model, ids)
        by_cache = error(logits_by_cache(model, ids), logits)
        by_oracle = error(official.prefill(oracle, ids), logits)
        print(f"{name}.{i}: {len(ids)} tokens, HF cache {by_cache:.1e}, official.py exact {by_oracle:.1e}")
        assert by_cache <= MAX_CACHE_ERROR and by_oracle <= MAX_ORACLE_ERROR
        store.update(golden, {f"exact_logits.{i}": ("F32", logits)})


if __name__ == "__main__":
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    for case in sys.argv[1:] or cases.CASES:
        make(case)
