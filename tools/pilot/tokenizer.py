#!/usr/bin/env python3
"""Train the pilot's byte-level BPE with V4's pre-tokenisation and write tokenizer.json.

The vocabulary holds every number of one to three digits, so that a six-digit value is two tokens,
and whole tokens for the words of passkey keys at a line's start and after a hyphen.
"""
import argparse
import glob
import json
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from words import WORDS

BAR, LOW = "\uff5c", "\u2581"
BOS = f"<{BAR}begin{LOW}of{LOW}sentence{BAR}>"
EOS = f"<{BAR}end{LOW}of{LOW}sentence{BAR}>"
PAD = f"<{BAR}{LOW}pad{LOW}{BAR}>"
FIRST = [BOS, EOS, PAD]
LAST = [f"<{BAR}fim{LOW}hole{BAR}>", f"<{BAR}fim{LOW}begin{BAR}>", f"<{BAR}fim{LOW}end{BAR}>",
        f"<{BAR}User{BAR}>", f"<{BAR}Assistant{BAR}>", "<think>", "</think>", f"{BAR}DSML{BAR}",
        f"<{BAR}latest_reminder{BAR}>", f"<{BAR}action{BAR}>", f"<{BAR}query{BAR}>",
        f"<{BAR}authority{BAR}>", f"<{BAR}domain{BAR}>", f"<{BAR}title{BAR}>",
        f"<{BAR}extracted_url{BAR}>", f"<{BAR}read_url{BAR}>"]
# Tokens the official file marks special; the others are ordinary added tokens.
SPECIAL = set(FIRST)

DIGITS = r"\p{N}{1,3}"
KANA = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
WORD = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def pre_tokenizer():
    splits = [pre_tokenizers.Split(Regex(p), "isolated") for p in (DIGITS, KANA, WORD)]
    return pre_tokenizers.Sequence(
        splits + [pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)])


def digit_merges():
    """Two-digit merges, then one merge per three-digit number.

    Of the two pairs inside "abc" BPE takes the one of lower rank, the left one when they are equal;
    the third merge must continue from there.
    """
    pairs = [(a, b) for a in "0123456789" for b in "0123456789"]
    for n in range(1000):
        a, b, c = f"{n:03d}"
        pairs.append((a + b, c) if (a, b) <= (b, c) else (a, b + c))
    return pairs


def training_text(files, size):
    rng = random.Random(1)
    for path in files:
        text = open(path).read().replace("\0", "\n\n")
        start = rng.randrange(max(1, len(text) - size))
        for offset in range(start, min(len(text), start + size), 10_000):
            yield text[offset:offset + 10_000]


def train(files, sample, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\p{N}"), "removed"), pre_tokenizer()])
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator(training_text(files, sample), trainer)
    return bpe


def word_merges(bpe):
    """Lowest-ranked merges that make one token of every key word, alone and after a hyphen."""
    merges = []
    for text in [w for w in WORDS] + ["-" + w for w in WORDS]:
        pieces = apply(bpe.encode(text).tokens, merges)
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces = apply(pieces, merges)
    return merges


def apply(pieces, merges):
    pieces = list(pieces)
    for left, right in merges:
        i = 0
        while i + 1 < len(pieces):
            if (pieces[i], pieces[i + 1]) == (left, right):
                pieces[i:i + 2] = [left + right]
            i += 1
    return pieces


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", required=True, help="folder written by corpus.py")
    parser.add_argument("--out", required=True, help="model folder: tokenizer.json, tokenizer_config.json")
    parser.add_argument("--vocab", type=int, default=5120)
    parser.add_argument("--sample", type=int, default=200_000, help="characters taken of each package")
    args = parser.parse_args()

    digits = digit_merges()
    files = sorted(glob.glob(args.text + "/*.txt"))
    size = args.vocab - len(FIRST) - len(LAST) - len(digits)
    bpe = train(files, args.sample, size - 2 * len(WORDS))
    words = word_merges(bpe)
    while len(set(a + b for a, b in words)) != size - bpe.get_vocab_size():
        bpe = train(files, args.sample, size - len(set(a + b for a, b in words)))
        words = word_merges(bpe)
    model = json.loads(bpe.to_str())["model"]
    added = list(dict.fromkeys(a + b for a, b in words))

    tokens = FIRST + sorted(model["vocab"], key=model["vocab"].get) + added + [a + b for a, b in digits]
    vocab = {token: i for i, token in enumerate(tokens)}
    merges = [tuple(m) for m in model["merges"]] + words + digits
    full = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    full.pre_tokenizer = pre_tokenizer()
    full.decoder = decoders.ByteLevel()
    for name in FIRST + LAST:
        token = AddedToken(name, normalized=False, special=name in SPECIAL)
        (full.add_special_tokens if name in SPECIAL else full.add_tokens)([token])
    assert full.get_vocab_size() == args.vocab, full.get_vocab_size()
    assert all(full.token_to_id(t) == i for i, t in enumerate(FIRST))
    for n in range(1000):
        assert len(full.encode(f"{n:03d}").ids) == 1, n
    full.save(args.out + "/tokenizer.json")
    config = {"add_bos_token": False, "add_eos_token": False, "bos_token": BOS, "eos_token": EOS,
              "pad_token": EOS, "unk_token": None, "clean_up_tokenization_spaces": False,
              "model_max_length": 1048576, "tokenizer_class": "PreTrainedTokenizerFast"}
    with open(args.out + "/tokenizer_config.json", "w") as file:
        json.dump(config, file, indent=2, ensure_ascii=False)
        file.write("\n")
    whole = sum(len(full.encode(f"{w}-{w}").ids) == 2 for w in WORDS)
    print(f"{full.get_vocab_size()} tokens; {whole} of 256 words are whole tokens in both forms")


if __name__ == "__main__":
    main()
