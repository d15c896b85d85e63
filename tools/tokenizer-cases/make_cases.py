#!/usr/bin/env python3
"""Makes the expected values of the tokenizer tests with HF tokenizers.

    make_cases.py train                     tests/data/tokenizer/small.json, a tokenizer of our own
    make_cases.py cases                     tests/data/tokenizer/small.cases: strings and their ids
    make_cases.py digests FILE.json NAME    tests/data/tokenizer/NAME.digests for any tokenizer.json
    make_cases.py corpus                    tests/fuzz/corpus/tokenizer/: the files the fuzzer starts from
    make_cases.py compare FILE.json SEED N PROGRAM
                                            N more strings: PROGRAM FILE.json reads each as a line of hex digits and
                                            prints its ids

The strings come from a seed and strings.txt, exactly as in tests/unit/tokenizer_strings.c.  A line of a .digests file is the
64-bit FNV-1a of the ids of GROUP strings (the number of ids, then the ids, all 32 bits little-endian); the first line is
that of all strings' bytes.  Needs the tokenizers package (0.23 was used).
"""
import json
import pathlib
import re
import struct
import subprocess
import sys

from tokenizers import Tokenizer, models, trainers, pre_tokenizers, decoders, Regex

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parents[1] / "tests" / "data" / "tokenizer"
MASK = (1 << 64) - 1
SEED = 0x6865617274680001
N_STRINGS, GROUP = 20000, 10
N_CASES, CASE_CHARACTERS = 2200, 22

# The three splits of DeepSeek-V3 and V4, with the ASCII symbols written as ranges.
SPLITS = [
    r"\p{N}{1,3}",
    "[一-龥\u3040-\u309F\u30A0-\u30FF]+",
    r"[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
]
# name, normalized; the zq names overlap within a set and across the two sets
ADDED = [("<｜begin▁of▁sentence｜>", False), ("<｜end▁of▁sentence｜>", False), ("<｜▁pad▁｜>", False)]
ADDED_LATER = [("<｜User｜>", True), ("<｜Assistant｜>", True), ("<think>", True), ("</think>", True), ("｜DSML｜", True),
               ("<｜image｜>", False), ("zqone", True), ("zqonetwo", True), ("zqtwothree", False), ("zqthree", True)]


class Random:
    """splitmix64"""

    def __init__(self, state):
        self.state = state & MASK

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        value = self.state
        value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & MASK
        value = ((value ^ value >> 27) * 0x94D049BB133111EB) & MASK
        return (value ^ value >> 31) % n


class Parts:
    def __init__(self):
        lists = {}
        current = None
        for line in (DATA / "strings.txt").read_bytes().decode().split("\n")[:-1]:
            if line.startswith("= "):
                current = lists.setdefault(line[2:], [])
            elif current is not None:
                current.append(line)
        self.fragments = list(map(self.unescape, lists["fragments"]))
        self.runs = list(map(self.unescape, lists["runs"]))
        self.ranges = [tuple(int(x, 16) for x in line.split()) for line in lists["ranges"]]

    @staticmethod
    def unescape(line):
        def one(found):
            if found[1]:
                return chr(int(found[1], 16))
            return {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}[found[2]]
        return re.sub(r"\\(?:u\{([0-9A-F]+)\}|(.))", one, line)

    def string(self, seed, index):
        random = Random(seed ^ (index * 0xD1342543DE82EF95 & MASK))
        return "".join(self.part(random) for _ in range(1 + random.below(8)))

    def part(self, random):
        kind = random.below(10)
        if kind < 4:
            return self.fragments[random.below(len(self.fragments))]
        if kind == 4:
            fragment = self.fragments[random.below(len(self.fragments))]
            start = random.below(len(fragment))
            return fragment[start:start + 1 + random.below(len(fragment) - start)]
        if kind == 5:
            run = self.runs[random.below(len(self.runs))]
            n = 1 + random.below(24)
            return run * (n * 40 if random.below(64) == 0 else n)
        if kind in (6, 7):
            first, last = self.ranges[random.below(len(self.ranges))]
            return "".join(chr(first + random.below(last - first + 1)) for _ in range(1 + random.below(6)))
        if kind == 8:
            return "".join(chr(0x20 + random.below(95)) for _ in range(1 + random.below(12)))
        points = (random.below(0x110000 - 0x800) for _ in range(1 + random.below(4)))
        return "".join(chr(point if point < 0xD800 else point + 0x800) for point in points)


def fnv(digest, data):
    for byte in data:
        digest = (digest ^ byte) * 0x100000001B3 & MASK
    return digest


FNV_START = 0xCBF29CE484222325


def encode(tokenizer, strings):
    return [e.ids for e in tokenizer.encode_batch(strings, add_special_tokens=False)]


def train():
    tokenizer = Tokenizer(models.BPE())
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in SPLITS]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        splits + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=1000, show_progress=False, special_tokens=[name for name, _ in ADDED],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    text = (HERE / "training.txt").read_text().split("\n") + Parts().fragments
    tokenizer.train_from_iterator([line for line in text if "｜" not in line], trainer)
    file = json.loads(tokenizer.to_str())
    for name, normalized in ADDED_LATER:
        file["added_tokens"].append({
            "id": len(file["model"]["vocab"]) + len(file["added_tokens"]) - len(ADDED), "content": name,
            "single_word": False, "lstrip": False, "rstrip": False, "normalized": normalized, "special": not normalized})
    lines = json.dumps(file, ensure_ascii=False, separators=(",", ":"))
    (DATA / "small.json").write_text(lines + "\n")


def escape(string):
    plain = string.replace("\\", "\\\\")
    return re.sub("[\\x00-\\x1f\\x7f\\u0085\\u2028\\u2029]", lambda found: "\\u{%X}" % ord(found[0]), plain)


def cases():
    tokenizer = Tokenizer.from_file(str(DATA / "small.json"))
    parts = Parts()
    strings = parts.fragments + [parts.string(SEED + 1, i)[:CASE_CHARACTERS] for i in range(N_CASES - len(parts.fragments))]
    with open(DATA / "small.cases", "w", newline="\n") as out:
        for string, ids in zip(strings, encode(tokenizer, strings)):
            out.write("%s\t%s\n" % (escape(string), " ".join(map(str, ids))))


def digests(path, name):
    tokenizer = Tokenizer.from_file(path)
    parts = Parts()
    strings = [parts.string(SEED, i) for i in range(N_STRINGS)]
    all_strings = FNV_START
    for string in strings:
        all_strings = fnv(all_strings, string.encode())
    lines = ["%016x" % all_strings]
    all_ids = encode(tokenizer, strings)
    for start in range(0, N_STRINGS, GROUP):
        digest = FNV_START
        for ids in all_ids[start:start + GROUP]:
            digest = fnv(digest, struct.pack("<%dI" % (len(ids) + 1), len(ids), *ids))
        lines.append("%016x" % digest)
    (DATA / (name + ".digests")).write_text("\n".join(lines) + "\n")


def compare(path, seed, n, program):
    tokenizer = Tokenizer.from_file(path)
    parts = Parts()
    strings = [parts.string(int(seed, 0), i) for i in range(int(n))]
    lines = "".join(string.encode().hex() + "\n" for string in strings)
    found = subprocess.run([program, path], input=lines, capture_output=True, text=True, check=True).stdout.split("\n")
    wrong = 0
    for string, ids, line in zip(strings, encode(tokenizer, strings), found):
        if " ".join(map(str, ids)) != line:
            wrong += 1
            if wrong <= 5:
                print("%s\n  wanted %s\n  found  %s" % (ascii(string), ids, line))
    print("%d strings, %d differ" % (len(strings), wrong))
    return wrong > 0


def corpus():
    """Tiny tokenizers, each with a text behind a NUL."""
    folder = DATA.parents[1] / "fuzz" / "corpus" / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    small = json.loads((DATA / "small.json").read_text())
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [["a", "b"], ["Ġ", "a"], ["ab", "c"], ["Ġa", "bc"], ["Ċ", "Ċ"], ["Ã", "©"]]
    tokens = letters + [left + right for left, right in pairs]
    small["model"].update(vocab={token: i for i, token in enumerate(tokens)}, merges=pairs)
    added = [("<x>", False), ("<x>y", True), ("yz", True)]
    small["added_tokens"] = [{"id": len(tokens) + i, "content": name, "normalized": normalized}
                             for i, (name, normalized) in enumerate(added)]

    def write(name, text):
        file = json.dumps(small, ensure_ascii=False, separators=(",", ":")).encode()
        (folder / name).write_bytes(file + b"\0" + text)

    write("pairs", " abc ab  \n\n12345<x>yz<x\u00e9 a\u0301\u4e2d\u6587\U0001fae8".encode() + b"\xff\xe4\xb8 a")
    small["model"].update(merges=[" ".join(pair) for pair in pairs], ignore_merges=True)
    write("strings", b"abc" * 30 + b"   \r\n\t x")
    small["pre_tokenizer"]["pretokenizers"] = [
        {"type": "Split", "pattern": {"Regex": r"(?i:b|[^a\s])?(?=c)|\s+$|^ {1,2}"}, "behavior": "Isolated",
         "invert": False}, small["pre_tokenizer"]["pretokenizers"][-1]]
    write("groups", b"aBc bcc\n  c \nab")


COMMANDS = {"train": train, "cases": cases, "corpus": corpus, "digests": digests, "compare": compare}
sys.exit(COMMANDS[sys.argv[1]](*sys.argv[2:]))
