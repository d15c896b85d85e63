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
def passkey(net, corpus, num, context, records, trials, asked, seed):
    """Share of questions whose three continuation tokens are all the most likely ones."""
    builder, right, done = Builder(corpus, seed, held=True), 0, 0
    while done < trials:
        ids, at, answers = question(builder, context, records, min(asked, records))
        x = torch.from_numpy(ids)[None].to(net.bias.device)
        z, head, _, _ = net(F.pad(x, (0, -ids.size % net.cfg.window)), num, True)
        rows = z[0, torch.from_numpy(at)[:, None] + torch.arange(3)]
        best = F.linear(rows.float(), head.float()).argmax(-1).cpu().numpy()
        right += int((best == answers).all(-1).sum())
        done += len(answers)
    return right, done


def freeze(net):
    """Rounds the weights once per numerics instead of in every pass."""
    made, make = {}, net.effective

    def effective(num):
        if num not in made:
            with torch.no_grad():
                made[num] = make(num)
        return made[num]

    net.effective = effective


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--data", required=True, help="folder written by prepare.py")
    parser.add_argument("--model", required=True, help="model folder (tokenizer.json)")
    parser.add_argument("--contexts", type=int, nargs="+", default=[1024, 4096, 16384])
    parser.add_argument("--records", type=int, nargs="+", default=[8, 32, 64])
    parser.add_argument("--trials", type=int, default=128, help="questions per context and record count")
    parser.add_argument("--asked", type=int, default=1, help="questions at the end of one context")
    parser.add_argument("--tokens", type=int, default=400_000, help="held-out tokens for perplexity; 0: none")
    parser.add_argument("--out", help="file for the results as JSON")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = True        # exact for bf16 operands
    net = m.Model(m.Config(), torch.from_numpy(load(args.data + "/tid2eid.xz")))
    load_state(net, args.checkpoint)
    net.to(device)
    freeze(net)
    corpus, results, start = Corpus(args.data, args.model), {}, time.time()
    for name, num in (("float", m.FLOAT), ("native", m.NATIVE)) if args.tokens else ():
        results[f"perplexity_{name}"] = perplexity(net, corpus.held, num, 1024, args.tokens)
        print(name, results[f"perplexity_{name}"], f"{time.time() - start:.0f} s", flush=True)
    for context in args.contexts:
        for records in args.records:
            if records * 12 > context:
                continue
            right, done = passkey(net, corpus, m.NATIVE, context, records, args.trials, args.asked, 99)
            results[f"passkey_{context}_{records}"] = right / done
            print(context, records, f"{right} of {done}", f"{time.time() - start:.0f} s", flush=True)
    if args.out:
        with open(args.out, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
