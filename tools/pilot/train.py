#!/usr/bin/env python3
"""Train the pilot within a given time, on one GPU or several (start with torchrun), or on a CPU.

Progress runs from 0 to 1 over the whole training, measured in time; it decides the phase (context
length, mixture, dense or sparse attention) and the learning rate. A run can cover a part of it
(--begin, --end) and continue from the checkpoint of an earlier part (--resume).
"""
import argparse
import json
import os
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F

import model as m
import optim
from data import Batches, Corpus, load

# until progress, context, sparse, mixture of documents / look-ups / asked look-ups / dialogues
PHASES = [(0.06, 512, False, (0.62, 0.22, 0.08, 0.08)),
          (0.50, 1024, False, (0.62, 0.22, 0.08, 0.08)),
          (0.78, 4096, True, (0.55, 0.25, 0.12, 0.08)),
          (1.01, 16384, True, (0.45, 0.32, 0.15, 0.08))]
VALUE_WEIGHT = 3.0      # loss weight of a looked-up value's tokens against 1 of text


def rate(progress):
    """Linear warm-up, constant, linear decay over the last half."""
    return min(1.0, progress / 0.01 + 0.02) * min(1.0, (1.0 - progress) / 0.5 + 0.01)


def cross_entropy(z, head, targets, weight):
    logits = F.linear(z, head).float().flatten(0, 1)
    each = F.cross_entropy(logits, targets.flatten(), reduction="none").view_as(weight)
    return (each * weight).sum() / weight.sum(), each


class Trainer:
    def __init__(self, args):
        self.args, self.rank = args, int(os.environ.get("RANK", 0))
        self.world = int(os.environ.get("WORLD_SIZE", 1))
        cuda = torch.cuda.is_available()
        self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else torch.device("cpu")
        if cuda:
            torch.cuda.set_device(self.device)
        if self.world > 1:
            dist.init_process_group("nccl" if cuda else "gloo")
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.manual_seed(args.seed)
        self.corpus = Corpus(args.data, args.model)
        self.net = m.Model(m.Config(), torch.from_numpy(load(args.data + "/tid2eid.xz")))
        if args.resume:
            load_state(self.net, args.resume)
        self.net.to(self.device)
        self.cross_entropy = cross_entropy
        if args.compile:
            self.compile()
        matrices, others = optim.split(self.net)
        self.muon = optim.Muon(matrices)
        self.adam = torch.optim.AdamW(others, betas=(0.9, 0.95), eps=1e-20, weight_decay=0.01, fused=cuda)
        self.parameters = matrices + others
        self.start, self.steps, self.log = time.time(), 0, open(args.log, "a") if self.rank == 0 else None

    def compile(self):
        torch._dynamo.config.recompile_limit = 64
        torch._dynamo.config.accumulated_recompile_limit = 1024
        cache = {}

        def compiled(function):
            if function not in cache:
                cache[function] = torch.compile(function, dynamic=False)
            return cache[function]

        self.net.compiled = compiled
        self.cross_entropy = compiled(cross_entropy)

    def progress(self):
        a = self.args
        done = (time.time() - self.start) / (a.minutes * 60)
        value = torch.tensor(a.begin + (a.end - a.begin) * done, device=self.device)
        if self.world > 1:
            dist.broadcast(value, 0)
        return value.item()

    def loss(self, batch, length, sparse):
        ids, weight = (t.to(self.device, non_blocking=True) for t in batch)
        blocks = length // self.net.cfg.window
        rows = torch.randperm(blocks, device=self.device)[:max(blocks // 4, 2)]
        rows[-1] = blocks - 1
        value = weight[:, 1:] == 2.0
        z, head, loads, index = self.net(ids[:, :-1], m.TRAIN, sparse, rows, 1.0 + 15.0 * value)
        text, each = self.cross_entropy(z, head, ids[:, 1:], torch.where(value, VALUE_WEIGHT, weight[:, 1:]))
        with torch.no_grad():
            plain = (weight[:, 1:] == 1.0).float()
            stats = torch.stack([(each * plain).sum() / plain.sum(),
                                 (each * value).sum() / value.sum().clamp_min(1), index.detach()])
        return text + 0.3 * index, loads.float(), stats

    def step(self, batch, length, sparse, progress):
        loss, loads, stats = self.loss(batch, length, sparse)
        loss.backward()
        if self.world > 1:
            flat = torch.cat([p.grad.flatten() for p in self.parameters] + [loads.flatten(), stats])
            dist.all_reduce(flat)
            flat /= self.world
            parts = flat.split([p.numel() for p in self.parameters] + [loads.numel(), stats.numel()])
            for p, g in zip(self.parameters, parts):
                p.grad.copy_(g.view_as(p))
            loads, stats = parts[-2].view_as(loads), parts[-1]
        lr = rate(progress)
        self.muon.step(self.args.muon_lr * lr)
        for group in self.adam.param_groups:
            group["lr"] = self.args.adam_lr * lr
        self.adam.step()
        for p in self.parameters:
            p.grad = None
        self.net.bias += self.args.bias_speed * lr * torch.sign(loads.mean(-1, keepdim=True) - loads)
        self.steps += 1
        return stats, loads

    def report(self, progress, length, stats, loads, tokens):
        text, value, index = stats.tolist()
        spread = (loads.amax(-1) / loads.mean(-1)).max().item()
        row = dict(step=self.steps, progress=round(progress, 4), context=length, loss=round(text, 4),
                   value_loss=round(value, 4), index_kl=round(index, 4), max_load=round(spread, 2),
                   tokens=tokens, seconds=round(time.time() - self.start, 1))
        if self.rank == 0:
            print(json.dumps(row), flush=True)
            self.log.write(json.dumps(row) + "\n")
            self.log.flush()

    def run(self):
        a, tokens, progress, saved = self.args, 0, self.args.begin, time.time()
        for until, length, sparse, mix in PHASES:
            if a.tiny:
                length = min(length, a.tiny)
            until = min(until, a.end)
            if progress >= until:
                continue
            count = max(1, a.batch // length)
            source = iter(torch.utils.data.DataLoader(
                Batches(self.corpus, length, count, mix, a.seed * 1000 + self.rank), batch_size=None,
                num_workers=a.workers, pin_memory=self.device.type == "cuda", prefetch_factor=4 if a.workers else None))
            first = self.steps
            while progress < until and (not a.steps or self.steps - first < a.steps):
                stats, loads = self.step(next(source), length, sparse, progress)
                tokens += count * length * self.world
                if self.steps % a.every == 0 or self.steps <= 3:
                    progress = self.progress()
                    self.report(progress, length, stats, loads, tokens)
                if self.rank == 0 and time.time() - saved > a.save_every:
                    save_state(self.net, a.out)
                    saved = time.time()
        if self.rank == 0:
            save_state(self.net, a.out)
        if self.world > 1:
            dist.barrier()
            dist.destroy_process_group()


def save_state(net, path):
    torch.save({k: v.detach().cpu() for k, v in net.state_dict().items()}, path + ".part")
    os.replace(path + ".part", path)


def load_state(net, path):
    net.load_state_dict({k: v.float() if v.is_floating_point() else v
                         for k, v in torch.load(path, map_location="cpu").items()})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder written by prepare.py")
    parser.add_argument("--model", required=True, help="model folder (tokenizer.json)")
    parser.add_argument("--out", required=True, help="checkpoint to write")
    parser.add_argument("--log", required=True, help="file of JSON lines to append to")
    parser.add_argument("--resume", help="checkpoint to start from")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--begin", type=float, default=0.0, help="progress at the start of this run")
    parser.add_argument("--end", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=65536, help="tokens per step and process")
    parser.add_argument("--muon-lr", type=float, default=4e-3)
    parser.add_argument("--adam-lr", type=float, default=3e-3)
    parser.add_argument("--bias-speed", type=float, default=2e-3)
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--every", type=int, default=20, help="steps between log lines")
    parser.add_argument("--save-every", type=float, default=90, help="seconds between checkpoints")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--tiny", type=int, default=0, help="largest context, for a trial on a CPU")
    parser.add_argument("--steps", type=int, default=0, help="at most this many steps in each phase, for a trial")
    Trainer(parser.parse_args()).run()


if __name__ == "__main__":
    main()
