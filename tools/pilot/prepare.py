#!/usr/bin/env python3
"""Tokenise the text: training stream, dialogues, expert table of the hash layers, held-out text.

Writes OUT/{tokens,heldout,chat,tid2eid}.xz (NumPy arrays compressed by xz) and the held-out
text into the model folder.
"""
import argparse
import glob
import hashlib
import json
import lzma
import os
import random
import re

import numpy as np
from tokenizers import Tokenizer

import chat
from model import Config

NAVIGATION = re.compile(r"^(- )?(Prev|Next|Up|Home|Download the ebook|Table of Contents|Contents)\b.{0,80}\n?", re.M)


def save(path, array):
    with lzma.open(path, "wb", preset=3) as file:
        np.save(file, array)
    print(f"{path}: {array.size} items, {os.path.getsize(path) / 1e6:.1f} MB")


def hash_table(counts, cfg, rng):
    """tid2eid: per hash layer, top_k experts for every token so that every expert's load is equal."""
    table = np.zeros((cfg.hash_layers, cfg.vocab, cfg.top_k), np.int64)
    for layer in range(cfg.hash_layers):
        load = np.zeros(cfg.experts)
        for token in np.argsort(-counts, kind="stable"):
            order = np.argsort(load + rng.random(cfg.experts) * (counts.mean() + 1), kind="stable")
            table[layer, token] = np.sort(order[:cfg.top_k])
            load[order[:cfg.top_k]] += counts[token]
        share = load / load.mean()
        print(f"hash layer {layer}: load from {share.min():.3f} to {share.max():.3f} of the mean")
    return table


def held_out_text(documents, size):
    """Pieces of the held-out documents, round robin over packages, up to `size` bytes."""
    out, total = [], 0
    for text in documents:
        text = text[:6000].rsplit("\n\n", 1)[0]
        if total + len(text.encode()) + 2 > size:
            break
        out.append(text)
        total += len(text.encode()) + 2
    return "\n\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", required=True, help="folder written by corpus.py")
    parser.add_argument("--debs", required=True, help="folder of .deb contents: the dictionaries (*.dict.dz)")
    parser.add_argument("--model", required=True, help="model folder (tokenizer.json; held-out text goes there)")
    parser.add_argument("--out", required=True)
    parser.add_argument("--limit", type=int, default=4_000_000, help="characters per package")
    args = parser.parse_args()
    cfg, rng = Config(), random.Random(7)
    tokenizer = Tokenizer.from_file(args.model + "/tokenizer.json")
    os.makedirs(args.out, exist_ok=True)

    train, held, seen = [], [], set()
    for path in sorted(glob.glob(args.text + "/*.txt")):
        documents = [NAVIGATION.sub("", d) for d in open(path).read().split("\0")]
        size, first = 0, True
        for text in documents:
            digest = hashlib.md5(text.encode()).digest()
            if digest in seen or size > args.limit:
                continue
            seen.add(digest)
            size += len(text)
            if digest[0] < 3:                    # 1.2 % of all documents
                held.append((not first, digest, text))
                first = False
            else:
                train.append(text)
    rng.shuffle(train)
    held = [text for _, _, text in sorted(held)]
    with open(args.model + "/heldout.txt", "w") as file:
        file.write(held_out_text(held, 360_000))
    print(f"{len(train)} documents, {sum(map(len, train)) / 1e6:.1f} MB; held out {len(held)}, "
          f"{sum(map(len, held)) / 1e6:.1f} MB")

    stream = []
    for start in range(0, len(train), 512):
        for item in tokenizer.encode_batch(train[start:start + 512], add_special_tokens=False):
            stream.append(np.array([0] + item.ids + [1], np.uint16))
    stream = np.concatenate(stream)
    save(args.out + "/tokens.xz", stream)
    ids = [np.array([0] + e.ids, np.uint16) for e in tokenizer.encode_batch(held, add_special_tokens=False)]
    save(args.out + "/heldout.xz", np.concatenate(ids))

    texts = [open(p).read().replace("\0", "\n\n") for p in sorted(glob.glob(args.text + "/*.txt"))]
    dialogues = chat.pairs(texts, sorted(glob.glob(args.debs + "/*.dict.dz")), rng)
    encoded = [np.array(e.ids, np.uint16) for e in tokenizer.encode_batch(dialogues, add_special_tokens=False)]
    print(f"{len(dialogues)} dialogues, e.g. {dialogues[0]!r} {dialogues[1]!r}")
    save(args.out + "/chat.xz", np.concatenate(encoded))

    counts = np.bincount(stream, minlength=cfg.vocab).astype(float)
    save(args.out + "/tid2eid.xz", hash_table(counts, cfg, np.random.default_rng(3)))
    print(json.dumps({"tokens": int(stream.size), "bytes_per_token": sum(map(len, train)) / stream.size}))


if __name__ == "__main__":
    main()
