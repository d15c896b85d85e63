"""Training sequences: documentation, dialogues, and records with queries hidden in documentation.

A record is a line `word-word: dddddd`. Its first occurrence teaches nothing (its value is chance, weight
0); every later occurrence is a query whose value the model can only know by looking it up.
"""
import lzma
import os

import numpy as np
import torch
from tokenizers import Tokenizer

from chat import ASSISTANT, USER
from words import WORDS

QUESTIONS = ["What is the value of{}?", "What is the value of{}?", "Which value does{} have?",
             "Tell me the value of{}.", "What is{}?", "{}?"]


def load(path):
    with lzma.open(path) as file:
        return np.load(file)


class Corpus:
    def __init__(self, folder, model):
        self.stream, self.chat = load(folder + "/tokens.xz"), load(folder + "/chat.xz")
        self.held = load(folder + "/heldout.xz")
        self.starts = np.flatnonzero(self.stream == 0)
        self.chat_starts = np.flatnonzero(self.chat == 0)
        tok = Tokenizer.from_file(os.path.join(model, "tokenizer.json"))

        def ids(text):
            return tok.encode(text, add_special_tokens=False).ids

        self.numbers = np.array([ids(f"{n:03d}")[0] for n in range(1000)])
        self.first = [ids(w) for w in WORDS]                    # at a line's start
        self.spaced = [ids(" " + w) for w in WORDS]             # inside a sentence
        self.second = [ids("-" + w) for w in WORDS]
        self.colon, self.space, self.newline, self.blank = (ids(t)[0] for t in (":", " ", "\n", "\n\n"))
        self.user, self.assistant, self.direct = (tok.token_to_id(t) for t in (USER, ASSISTANT, "</think>"))
        self.questions = [[ids(part) for part in q.split("{}")] for q in QUESTIONS]
        pieces = [tok.id_to_token(i) for i in range(tok.get_vocab_size())]
        self.ends_line = np.array([p.endswith("\u010a") for p in pieces])
        self.begins_blank = np.array([p[0] in "\u010a\u0120" for p in pieces])


class Builder:
    """Random sequences of n+1 tokens with target weights: 0 chance, 1 text, 2 marks a looked-up value."""

    def __init__(self, corpus, seed, held=False):
        self.c, self.rng = corpus, np.random.default_rng(seed)
        self.text = corpus.held if held else corpus.stream

    def document(self, n):
        if self.rng.random() < 0.5:
            start = self.rng.choice(self.c.starts)
        else:
            start = self.rng.integers(self.c.stream.size - n - 2)
        start = min(start, self.c.stream.size - n - 2)
        return self.c.stream[start:start + n + 1], np.ones(n + 1)

    def dialogue(self, n):
        start = self.rng.choice(self.c.chat_starts)
        ids = self.c.chat[start:start + n + 1]
        if ids.size < n + 1:
            ids = np.concatenate([ids, self.c.chat[:n + 1 - ids.size]])
        return ids, np.ones(n + 1)

    def filler(self, n):
        start = self.rng.integers(max(1, self.text.size - 2 * n - 64))
        ids = self.text[start:start + 2 * n + 64]
        ids = ids[ids > 1]
        while ids.size < n:
            ids = np.concatenate([ids, ids])
        return ids[:n]

    def keys(self, count):
        codes = self.rng.choice(65536, count, replace=False)
        return [(c // 256, c % 256) for c in codes], self.rng.integers(0, 1000, (count, 2))

    def line(self, key, value):
        c = self.c
        head = c.first[key[0]] + c.second[key[1]] + [c.colon, c.space]
        return head + [int(c.numbers[value[0]]), int(c.numbers[value[1]]), c.newline]

    def weave(self, filler, events):
        """Inserts token lists at line ends of the filler; events: (place in 0..1, ids, weights)."""
        slots = np.flatnonzero(self.c.ends_line[filler[:-1]] & ~self.c.begins_blank[filler[1:]]) + 1
        out, weights, last = [], [], 0
        for place, ids, weight in sorted(events, key=lambda e: e[0]):
            at = int(place * filler.size)
            near = np.searchsorted(slots, at)
            cut = slots[near] if near < slots.size and place < 1 else filler.size
            cut = max(cut, last)
            out += [filler[last:cut], np.array(ids)]
            weights += [np.ones(cut - last), np.array(weight, float)]
            last = cut
        out.append(filler[last:])
        weights.append(np.ones(filler.size - last))
        return np.concatenate(out), np.concatenate(weights)

    def record(self, key, value, known):
        ids = self.line(key, value)
        w = np.zeros(len(ids))
        w[-5:-3] = w[-1] = 1.0              # colon, space, newline
        w[-3:-1] = 2.0 if known else 0.0
        return ids, w

    def lookup(self, n):
        """Records all through documentation; later occurrences anywhere or together at the end."""
        count = int(np.exp(self.rng.uniform(np.log(2), np.log(max(3, min(96, n // 24))))))
        keys, values = self.keys(count)
        together, events = self.rng.random() < 0.5, []
        for key, value in zip(keys, values):
            place = self.rng.random() * 0.97
            events.append((place, *self.record(key, value, False)))
            for _ in range(1 + (self.rng.random() < 0.3)):
                later = 1.0 if together else place + 0.002 + self.rng.random() * (1.002 - place)
                events.append((min(later, 1.0) - self.rng.random() * 1e-9, *self.record(key, value, True)))
        return self.finish(n, events, [], [])

    def finish(self, n, events, tail, tail_weights):
        bos = [0] if self.rng.random() < 0.7 or tail else []
        if tail:
            bos = bos + [self.c.user]
        used = sum(len(e[1]) for e in events) + len(tail) + len(bos) + 1
        filler = self.filler(max(n + 1 - used, 16))
        ids, w = self.weave(np.append(filler, self.c.newline), events)
        ids = np.concatenate([np.array(part, np.int64) for part in (bos, ids, tail)])[-(n + 1):]
        w = np.concatenate([np.zeros(len(bos)), w, tail_weights])[-(n + 1):]
        return ids, w

    def asked(self, n):
        """A chat: the user gives text with records and asks for one after another."""
        c = self.c
        count = int(np.exp(self.rng.uniform(np.log(2), np.log(max(3, min(96, n // 24))))))
        keys, values = self.keys(count)
        events = [(self.rng.random(), *self.record(k, v, False)) for k, v in zip(keys, values)]
        tail, weights = [], []
        for turn, i in enumerate(self.rng.permutation(count)[:max(1, min(12, n // 100))]):
            before, after = c.questions[self.rng.integers(len(c.questions))]
            start = [] if turn == 0 else [c.user]
            word = c.spaced[keys[i][0]] if before else c.first[keys[i][0]]
            ask = start + before + word + c.second[keys[i][1]] + after + [c.assistant, c.direct]
            tail += ask + [int(c.numbers[values[i][0]]), int(c.numbers[values[i][1]]), 1]
            weights += [0.2] * len(ask) + [2.0, 2.0, 1.0]
        return self.finish(n, events, tail, weights)

    def sequence(self, n, mix):
        kind = self.rng.choice(4, p=mix)
        ids, w = (self.document, self.lookup, self.asked, self.dialogue)[kind](n)
        return ids[:n + 1].astype(np.int64), w[:n + 1].astype(np.float32)


class Batches(torch.utils.data.IterableDataset):
    """Endless (ids, weights) batches of shape [count, n+1]."""

    def __init__(self, corpus, n, count, mix, seed):
        self.corpus, self.n, self.count, self.mix, self.seed = corpus, n, count, mix, seed

    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        builder = Builder(self.corpus, [self.seed, self.n, info.id if info else 0])
        while True:
            rows = [builder.sequence(self.n, self.mix) for _ in range(self.count)]
            yield tuple(torch.from_numpy(np.stack(part)) for part in zip(*rows))


def question(builder, n, records, asked=1):
    """An evaluation context of n tokens whose last lines ask for `asked` of its records.

    Returns the tokens, the position of each asked key's colon, and the three tokens due after it.
    """
    keys, values = builder.keys(records)
    places = (np.arange(records) + builder.rng.random(records)) / records
    events = [(p, *builder.record(k, v, False)) for p, k, v in zip(places * 0.999, keys, values)]
    lines = [builder.line(keys[i], values[i]) for i in builder.rng.permutation(records)[:asked]]
    tail = np.concatenate(lines)
    used = sum(len(e[1]) for e in events) + tail.size + 2
    filler = np.append(builder.filler(n - used), builder.c.newline)
    ids, _ = builder.weave(filler, events)
    ids = np.concatenate([[0], ids, tail])
    ends = ids.size - tail.size + np.cumsum([len(line) for line in lines])
    return ids, ends - 5, np.stack([line[-4:-1] for line in lines])
