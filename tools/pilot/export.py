#!/usr/bin/env python3
"""Write a trained checkpoint as a model folder in the official on-disk format."""
import argparse
import json
import os
import struct

import torch

import model as m
import numerics as nu
from config import hf_config
from train import load_state

FP4_CODES = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])


def raw(tensor):
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


def e8m0(k):
    return ("F8_E8M0", list(k.shape), (k + 127).to(torch.uint8).numpy().tobytes())


def encode_fp8(w):
    k, spread = nu.fp8_weight_scale(w)
    codes = (w / nu.exp2(spread)).clamp(-448, 448).to(torch.float8_e4m3fn)
    return ("F8_E4M3", list(w.shape), raw(codes)), e8m0(k)


def encode_fp4(w):
    k = nu.fp4_weight_scale(w)
    values = nu.round_e2m1(w.unflatten(-1, (-1, 32)) / nu.exp2(k)).flatten(-2)
    codes = torch.searchsorted(FP4_CODES, values.abs()) + 8 * torch.signbit(values)
    packed = (codes[..., 0::2] + 16 * codes[..., 1::2]).to(torch.uint8)
    return ("I8", list(packed.shape), raw(packed)), e8m0(k.squeeze(-1))


def tensors(net):
    """name -> (dtype, shape, bytes) of the whole checkpoint."""
    out, cfg = {}, net.cfg
    for name, value in net.named().items():
        value, storage = value.detach().float().cpu(), net.shapes[name][1]
        if storage == m.FP4:
            base, which = name.rsplit(".", 1)
            for e in range(cfg.experts):
                weight, scale = encode_fp4(value[e])
                out[f"{base}.{e}.{which}.weight"], out[f"{base}.{e}.{which}.scale"] = weight, scale
        elif storage == m.FP8:
            out[name], out[name.replace(".weight", ".scale")] = encode_fp8(value)
        elif storage == m.BF16:
            out[name] = ("BF16", list(value.shape), raw(value.bfloat16()))
        else:
            out[name] = ("F32", list(value.shape), raw(value))
    for n in range(cfg.layers):
        if n < cfg.hash_layers:
            table = net.tid2eid[n].cpu()
            out[f"layers.{n}.ffn.gate.tid2eid"] = ("I64", list(table.shape), raw(table))
        else:
            bias = net.bias[n].float().cpu()
            out[f"layers.{n}.ffn.gate.bias"] = ("F32", list(bias.shape), raw(bias))
    return out


def write_shard(path, entries):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    # widest elements first keeps every tensor aligned
    width = {"I64": 8, "F32": 4, "BF16": 2}
    order = sorted(entries, key=lambda k: (-width.get(entries[k][0], 1), k))
    for name in order:
        dtype, shape, data = entries[name]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path + ".part", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            file.write(entries[name][2])
    os.replace(path + ".part", path)
    return offset


def save_json(path, value):
    with open(path, "w") as file:
        json.dump(value, file, indent=2)
        file.write("\n")


def write(net, folder, shards):
    entries, cfg = tensors(net), net.cfg
    home = {}
    for name in entries:
        layer = 0 if name == "embed.weight" else cfg.layers - 1
        if name.startswith("layers."):
            layer = int(name.split(".")[1])
        home[name] = layer * shards // cfg.layers
    total, names = 0, {}
    for s in range(shards):
        file = f"model-{s + 1:05d}-of-{shards:05d}.safetensors"
        mine = {k: v for k, v in entries.items() if home[k] == s}
        total += write_shard(os.path.join(folder, file), mine)
        names |= {k: file for k in mine}
    save_json(os.path.join(folder, "model.safetensors.index.json"),
              {"metadata": {"total_size": total}, "weight_map": dict(sorted(names.items()))})
    save_json(os.path.join(folder, "config.json"), hf_config(cfg))
    save_json(os.path.join(folder, "generation_config.json"),
              {"_from_model_config": True, "bos_token_id": 0, "eos_token_id": 1, "do_sample": True,
               "temperature": 1.0, "top_p": 1.0})
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True, help="written by train.py")
    parser.add_argument("--out", required=True, help="model folder (tokenizer.json is there already)")
    parser.add_argument("--shards", type=int, default=2)
    args = parser.parse_args()
    net = m.Model(m.Config())
    load_state(net, args.checkpoint)
    print(f"{write(net, args.out, args.shards)} bytes of tensors in {args.shards} shards")


if __name__ == "__main__":
    main()
