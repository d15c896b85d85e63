#!/usr/bin/env python3
"""Perplexity on held-out text and passkey accuracy of a checkpoint, in float and in native numerics."""
import argparse
import json
import time

import numpy as np
import torch
import torch.nn.functional as F

import model as m
from data import Builder, Corpus, load, question
from train import load_state


@torch.no_grad()
def perplexity(net, ids, num, context, limit):
    """Independent windows of `context` tokens, every position counted but the first."""
    count = min(limit, ids.size - 1) // context
    rows = torch.from_numpy(ids[:count * context + 1].astype(np.int64)).to(net.bias.device)
    x, y = rows[:-1].view(count, context), rows[1:].view(count, context)
    total = 0.0
    for a in range(0, count, max(1, 16384 // context)):
        b = a + max(1, 16384 // context)
        logits = net.logits(x[a:b], num)
        total += F.cross_entropy(logits.flatten(0, 1), y[a:b].flatten(), reduction="sum").item()
    return float(np.exp(total / (count * context)))


@torch.no_grad()
def passkey(net, corpus, num, context, records, trials, seed):
    """Share of questions whose three continuation tokens are all the most likely ones."""
    builder, right, done = Builder(corpus, seed, held=True), 0, 0
    size = max(1, min(trials, 32768 // context))
    while done < trials:
        pairs = [question(builder, context, records) for _ in range(min(size, trials - done))]
        longest = max(q.size + 2 for q, _ in pairs)
        ids = np.zeros((len(pairs), longest), np.int64)
        for row, (q, a) in zip(ids, pairs):
            row[:q.size], row[q.size:q.size + 2] = q, a[:2]
        best = net_argmax(net, torch.from_numpy(ids).to(net.bias.device), num,
                          [q.size - 1 for q, _ in pairs])
        right += sum((b == a).all() for b, (_, a) in zip(best, pairs))
        done += len(pairs)
    return right / done


def net_argmax(net, ids, num, first):
    """Most likely tokens at positions first..first+2 of every row."""
    n = ids.shape[1]
    z, head, _, _ = net(F.pad(ids, (0, -n % net.cfg.window)), num, True)
    rows = torch.stack([z[i, f:f + 3] for i, f in enumerate(first)])
    return F.linear(rows.float(), head.float()).argmax(-1).cpu().numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--data", required=True, help="folder written by prepare.py")
    parser.add_argument("--model", required=True, help="model folder (tokenizer.json)")
    parser.add_argument("--contexts", type=int, nargs="+", default=[1024, 4096, 16384])
    parser.add_argument("--records", type=int, nargs="+", default=[8, 32, 64])
    parser.add_argument("--trials", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=400_000, help="held-out tokens for perplexity")
    parser.add_argument("--out", help="file for the results as JSON")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = True        # exact for bf16 operands
    net = m.Model(m.Config(), torch.from_numpy(load(args.data + "/tid2eid.xz")))
    load_state(net, args.checkpoint)
    net.to(device)
    corpus, results, start = Corpus(args.data, args.model), {}, time.time()
    for name, num in (("float", m.FLOAT), ("native", m.NATIVE)):
        results[f"perplexity_{name}"] = perplexity(net, corpus.held, num, 1024, args.tokens)
        print(name, results[f"perplexity_{name}"], f"{time.time() - start:.0f} s", flush=True)
    for context in args.contexts:
        for records in args.records:
            if records * 12 > context:
                continue
            value = passkey(net, corpus, m.NATIVE, context, records, args.trials, 99)
            results[f"passkey_{context}_{records}"] = value
            print(context, records, value, f"{time.time() - start:.0f} s", flush=True)
    if args.out:
        with open(args.out, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
