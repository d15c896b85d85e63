#!/usr/bin/env python3
"""Read an exported model folder back and write reference logits in native numerics (.npz).

The file holds, per prompt i, `ids_i` and `logits_i` (float32, every position), to compare a runtime with.
"""
import argparse
import json
import os
import struct

import numpy as np
import torch
from tokenizers import Tokenizer

import model as m
import numerics as nu
from chat import ASSISTANT, BOS, USER
from export import FP4_CODES

TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "I64": torch.int64, "I8": torch.uint8,
         "F8_E4M3": torch.float8_e4m3fn, "F8_E8M0": torch.uint8}


def read_folder(folder):
    out = {}
    with open(os.path.join(folder, "model.safetensors.index.json")) as file:
        files = sorted(set(json.load(file)["weight_map"].values()))
    for name in files:
        data = open(os.path.join(folder, name), "rb").read()
        size = struct.unpack_from("<Q", data)[0]
        for key, entry in json.loads(data[8:8 + size]).items():
            if key != "__metadata__":
                a, b = (8 + size + o for o in entry["data_offsets"])
                out[key] = torch.frombuffer(bytearray(data[a:b]), dtype=TYPES[entry["dtype"]]).view(entry["shape"])
    return out


def dequantised(tensors, name):
    """The float32 value of a stored tensor."""
    w = tensors[name]
    if name.endswith(".weight") and name[:-6] + "scale" in tensors:
        scale = nu.exp2(tensors[name[:-6] + "scale"].int() - 127)
        if w.dtype == torch.uint8:
            table = torch.cat([FP4_CODES, -FP4_CODES])
            values = torch.stack([table[(w & 15).long()], table[(w >> 4).long()]], -1).flatten(-2)
            return values * scale.repeat_interleave(32, -1)
        spread = scale.repeat_interleave(128, 0).repeat_interleave(128, 1)
        return w.float() * spread[:w.shape[0], :w.shape[1]]
    return w.float()


def load_folder(folder):
    """A model whose parameters are the stored values; rounding them again changes nothing."""
    tensors, net = read_folder(folder), m.Model(m.Config())
    cfg, used = net.cfg, set()
    with torch.no_grad():
        for name, value in net.named().items():
            if net.shapes[name][1] == m.FP4:
                base, which = name.rsplit(".", 1)
                names = [f"{base}.{e}.{which}.weight" for e in range(cfg.experts)]
                value.copy_(torch.stack([dequantised(tensors, n) for n in names]))
            else:
                names = [name]
                value.copy_(dequantised(tensors, name))
            used |= set(names) | {n[:-6] + "scale" for n in names if n[:-6] + "scale" in tensors}
        for n in range(cfg.layers):
            kind, target = ("tid2eid", net.tid2eid) if n < cfg.hash_layers else ("bias", net.bias)
            target[n] = tensors[f"layers.{n}.ffn.gate.{kind}"]
            used.add(f"layers.{n}.ffn.gate.{kind}")
    assert used == set(tensors), used ^ set(tensors)
    # the stored values are final: the scale rule is not applied a second time
    values = {k: v.detach() for k, v in net.named().items()}
    small = ("embed.weight", "weights_proj.weight", "head.weight")
    net.effective = lambda num: {
        k: v.to(num.dtype) if net.shapes[k][1] in (m.FP8, m.FP4) or k.endswith(small) else v
        for k, v in values.items()}
    return net


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="exported model folder")
    parser.add_argument("--out", required=True, help=".npz to write")
    parser.add_argument("--checkpoint", help="check the folder against this checkpoint's rounded weights")
    parser.add_argument("--held", type=int, nargs="*", default=[150, 700], help="prompt lengths from heldout.txt")
    args = parser.parse_args()
    net = load_folder(args.model)
    if args.checkpoint:
        from train import load_state
        other = m.Model(m.Config())
        load_state(other, args.checkpoint)
        with torch.no_grad():
            ours, theirs = net.effective(m.NATIVE), other.effective(m.NATIVE)
        different = [k for k in ours if not torch.equal(ours[k], theirs[k])]
        assert not different, different
        print(f"all {len(ours)} tensors equal the checkpoint's rounded weights")
    tok = Tokenizer.from_file(args.model + "/tokenizer.json")
    text = open(args.model + "/heldout.txt").read()
    prompts = [tok.encode(BOS + USER + "Who are you?" + ASSISTANT + "</think>").ids,
               tok.encode(BOS + USER + "What does ls do?" + ASSISTANT + "</think>").ids]
    prompts += [[0] + tok.encode(text[i * 9000:]).ids[:n - 1] for i, n in enumerate(args.held)]
    out = {}
    for i, ids in enumerate(prompts):
        with torch.no_grad():
            out[f"logits_{i}"] = net.logits(torch.tensor([ids]), m.NATIVE)[0].numpy()
        out[f"ids_{i}"] = np.array(ids)
        print(len(ids), "tokens; then", repr(tok.decode([int(out[f'logits_{i}'][-1].argmax())])), flush=True)
    np.savez(args.out, **out)


if __name__ == "__main__":
    main()
