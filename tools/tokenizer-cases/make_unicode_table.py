#!/usr/bin/env python3
"""Writes the rows of core/model/unicode_standin.c.

A tokenizer.json means the Unicode version of HF tokenizers (16.0 as of 0.23); the PCRE2 of Debian 12 knows 14.0.  This script asks
tokenizers for the category of every code point, compares with a Python whose unicodedata is of the older version, and
prints one row per run of code points that differ: first, last, and a stand-in, an older code point of the same category
and the same length in UTF-8.  U+180E gets one too: white space to PCRE2, but not to Unicode since 6.3.

    make_unicode_table.py > rows        (needs the tokenizers package and unicodedata 14.0, Python 3.11)
"""
import sys
import unicodedata

from tokenizers import Regex, pre_tokenizers

CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf".split()
BLOCK = 4096


def members(category):
    split = pre_tokenizers.Split(Regex(r"\p{%s}" % category), "removed")
    found = []
    for base in range(0, 0x110000, BLOCK):
        points = [c for c in range(base, base + BLOCK) if not 0xD800 <= c < 0xE000]
        text = "".join(map(chr, points))
        left = {ord(c) for piece, _ in split.pre_tokenize_str(text) for c in piece} if text else set()
        found += [c for c in points if c not in left]
    return found


def stand_in(category, point):
    low, high = (0x800, 0x10000) if point < 0x10000 else (0x10000, 0x110000)
    for candidate in range(low, high):
        if unicodedata.category(chr(candidate)) == category and candidate != point:
            return candidate
    raise SystemExit("no stand-in for U+%04X, category %s" % (point, category))


def main():
    if unicodedata.unidata_version != "14.0.0":
        raise SystemExit("unicodedata 14.0.0 wanted, %s found" % unicodedata.unidata_version)
    changed = [(0x180E, "Cf")]
    for category in CATEGORIES:
        changed += [(c, category) for c in members(category) if unicodedata.category(chr(c)) != category]
    runs = []
    for point, category in sorted(changed):
        if point < 0x800:
            raise SystemExit("U+%04X: code points above U+07FF wanted" % point)
        if runs and runs[-1][1] == point - 1 and runs[-1][2] == category:
            runs[-1][1] = point
        else:
            runs.append([point, point, category])
    for first, last, category in runs:
        sys.stdout.write("    {0x%04X, 0x%04X, 0x%04X}, /* %s */\n" % (first, last, stand_in(category, first), category))


main()
