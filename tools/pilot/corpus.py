#!/usr/bin/env python3
"""Turn the documentation of the Debian packages in sources.txt into clean plain text.

Writes OUT/<package>.txt (documents separated by a NUL byte) and OUT/versions.tsv.
Needs lxml, dpkg-deb and man; the packages come from `apt-get download`.
"""
import argparse
import gzip
import hashlib
import multiprocessing
import os
import re
import subprocess
import tempfile

from lxml import etree, html

HERE = os.path.dirname(os.path.abspath(__file__))
SKIP_PATH = re.compile(
    r"genindex|py-modindex|/search\.|changelog|NEWS|copyright|README\.Debian|/_static/|/examples?/|"
    r"AUTHORS|THANKS|/idx|_index\.html|doxygen|hierarchy|functions_|globals_|/_modules/|"
    r"-members\.html|LICENSE|COPYING|ChangeLog|release[-_]?notes?/|whats_?new|whatsnew|/TODO|"
    r"/(std|core|alloc|proc_macro|test|src)/|/translations/|/libraries/ghc|/doc-index|/mini_",
    re.I)
OTHER_LANGUAGE = re.compile(
    r"/(ar|bg|ca|cs|da|de|el|es|fa|fi|fr|gl|hr|hu|id|it|ja|ko|lt|lv|nb|nl|nn|pl|pt|pt-BR|pt_BR|ro|ru|"
    r"sk|sl|sr|sv|ta|th|tr|uk|vi|zh|zh-CN|zh-TW|zh_CN|zh_TW|[a-z]{2}-[A-Z]{2}(?<!en-US))(/|\.)|"
    r"\.(de|es|fr|ja|ko|pt-br|tr|zh-cn|ru|it)\b|_(de|es|fr|ja|ru|it|pt|zh)\.")
PLAIN = str.maketrans({
    "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": " - ",
    "\u2012": "-", "\u2010": "-", "\u2011": "-", "\u2212": "-", "\u00a0": " ", "\u2022": "-",
    "\u2026": "...", "\u00ad": None, "\u200b": None, "\u00b6": None, "\ufeff": None,
    "\u2192": "->", "\u21d2": "=>", "\u00d7": "x", "\u2003": " ", "\u2009": " ", "\t": "    "})
BLOCK = {"p", "div", "section", "article", "table", "tr", "ul", "ol", "dl", "dd", "blockquote",
         "body", "main", "figure", "caption", "form", "center", "details", "summary", "tbody"}
DROP = {"script", "style", "nav", "footer", "head", "noscript", "button", "svg", "form", "select"}
DROP_CLASS = re.compile(r"sphinxsidebar|navheader|navfooter|related|headerlink|toc\b|breadcrumb|"
                        r"sidebar|footer|toctree-wrapper|nav-|linenos|menu|search")


def text_of(node):
    return re.sub(r"\s+", " ", "".join(node.itertext())).strip()


class Renderer:
    """Walks an HTML tree and writes markdown-like text, one paragraph per line."""

    def __init__(self):
        self.blocks, self.line, self.prefix = [], [], ""

    def flush(self):
        text = re.sub(r"\s+", " ", "".join(self.line)).strip()
        self.line = []
        if text:
            self.blocks.append(self.prefix + text)
            self.prefix = ""

    def walk(self, node):
        if not isinstance(node.tag, str):
            return
        tag, marks = node.tag, (node.get("class") or "") + " " + (node.get("id") or "")
        if tag in DROP or DROP_CLASS.search(marks):
            return
        if tag in ("h1", "h2", "h3", "h4", "h5"):
            self.flush()
            self.prefix = ""
            title = text_of(node)
            if title:
                self.blocks.append("#" * int(tag[1]) + " " + title)
            return
        if tag == "pre":
            self.flush()
            code = "".join(node.itertext()).strip("\n")
            self.blocks.append("\n".join("    " + l.rstrip() for l in code.split("\n")))
            return
        inline_code = tag in ("code", "tt", "kbd", "samp") and len(text_of(node)) < 60
        if inline_code and text_of(node):
            self.line.append("`" + text_of(node) + "`")
            return
        if tag in BLOCK or tag in ("li", "dt"):
            self.flush()
            if tag == "li":
                self.prefix = "- "
        elif tag == "br":
            self.line.append(" ")
        elif tag in ("td", "th"):
            self.line.append("  ")
        if node.text:
            self.line.append(node.text)
        for child in node:
            self.walk(child)
            if child.tail:
                self.line.append(child.tail)
        if tag in BLOCK or tag in ("li", "dt"):
            self.flush()


def from_html(data):
    tree = html.fromstring(data)
    for path in ("//*[@role='main']", "//main", "//article", "//body"):
        found = tree.xpath(path)
        if found:
            tree = found[0]
            break
    renderer = Renderer()
    renderer.walk(tree)
    renderer.flush()
    out = []
    for block in renderer.blocks:
        near = out and block.startswith("- ") and out[-1].startswith("- ")
        out.append(block) if not near else out.__setitem__(-1, out[-1] + "\n" + block)
    return "\n\n".join(out)


def from_man(path):
    run = subprocess.run(["man", "--nh", "--nj", "-E", "UTF-8", "-Tutf8", "-l", path],
                         capture_output=True, timeout=20,
                         env={**os.environ, "MANWIDTH": "96", "MAN_KEEP_FORMATTING": "0"})
    text = run.stdout.decode("utf-8", "replace")
    text = re.sub(r".\x08", "", text)
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    lines = text.strip().split("\n")
    return "\n".join(lines[1:-1]).strip()       # without the running header and footer


def from_pod(text):
    out = []
    for part in re.split(r"\n\s*\n", text):
        if re.match(r"=(begin|for)\b", part) or re.match(r"=(end|cut|over|back|encoding|pod)\b", part):
            continue
        part = re.sub(r"^=head(\d)\s+", lambda m: "#" * int(m[1]) + " ", part)
        part = re.sub(r"^=item\s*\*?\s*", "- ", part)
        for _ in range(2):
            part = re.sub(r"[CF]<+ ?([^<>]*?) ?>+", r"`\1`", part)
            part = re.sub(r"[BISLX]<+(?:[^<>|]*\|)?([^<>]*)>+", r"\1", part)
        part = part.replace("E<gt>", ">").replace("E<lt>", "<")
        out.append(part if part.startswith(" ") else re.sub(r"\s*\n\s*", " ", part))
    return "\n\n".join(out)


def clean(text):
    text = text.translate(PLAIN)
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", text)
    text = re.sub(r"[ ]+\n", "\n", text)
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    # tables and diagrams waste the model: long runs of one character are shortened
    text = re.sub(r"([-=_*~.+#])\1{8,}", r"\1\1\1\1\1\1\1\1", text)
    return re.sub(r" {25,}", " " * 12, text)


def convert(path):
    """The document text of one file, or None when the file is not documentation."""
    name = path[:-3] if path.endswith(".gz") else path
    try:
        if re.search(r"/man/man\d/", path):
            text = from_man(path) if not os.path.islink(path) else ""
        else:
            with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
                data = file.read(3_000_000)
            if re.search(r"\.(x?html?|page)$", name):
                text = from_html(data)
            elif name.endswith(".pod"):
                text = from_pod(data.decode("utf-8", "replace"))
            elif re.search(r"\.(txt|rst|md|text|info(-\d+)?|me|FAQ|HOWTO)$", name):
                text = data.decode("utf-8", "replace")
            else:
                return None
    except (OSError, ValueError, etree.LxmlError, subprocess.TimeoutExpired, RecursionError):
        return None
    text = clean(text)
    odd = sum(ord(c) > 126 for c in text)
    letters = sum(c.isalpha() or c == " " for c in text)
    if len(text) < 300 or odd > len(text) * 0.02 or letters < len(text) * 0.65:
        return None
    return text


def collect(job):
    deb, limit = job
    with tempfile.TemporaryDirectory() as root:
        subprocess.run(["dpkg-deb", "-x", deb, root], check=True)
        files = []
        for folder, _, names in os.walk(os.path.join(root, "usr/share")):
            files += [os.path.join(folder, n) for n in names]
        files = [f for f in files if not SKIP_PATH.search(f[len(root):])
                 and not OTHER_LANGUAGE.search(f[len(root):])]
        # a sphinx tree holds its source beside the HTML: keep the HTML
        files = sorted(f for f in files if "/_sources/" not in f)
        files.sort(key=lambda f: hashlib.md5(os.path.basename(f).encode()).digest())
        documents, seen, size = [], set(), 0
        for path in files:
            if size > limit:
                break
            text = convert(path)
            if text is None:
                continue
            kept = []
            for block in text.split("\n\n"):
                key = hash(block)
                if len(block) > 60 and key in seen:
                    continue
                seen.add(key)
                kept.append(block)
            text = "\n\n".join(kept)
            if len(text) >= 300:
                documents.append(text)
                size += len(text)
    return deb, documents


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--debs", required=True, help="folder of downloaded .deb files")
    parser.add_argument("--out", required=True, help="folder for the text")
    parser.add_argument("--limit", type=int, default=6_000_000, help="characters per package")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    wanted = [l.split()[0] for l in open(os.path.join(HERE, "sources.txt")) if l[0] not in "#\n"]
    debs = {f.split("_")[0]: os.path.join(args.debs, f) for f in os.listdir(args.debs)}
    jobs = [(debs[p], args.limit) for p in wanted if p in debs and not p.startswith("dict-")]
    total = 0
    with multiprocessing.Pool(args.jobs) as pool, open(args.out + "/versions.tsv", "w") as table:
        for deb, documents in pool.imap_unordered(collect, jobs):
            package, version = os.path.basename(deb).split("_")[:2]
            with open(f"{args.out}/{package}.txt", "w") as file:
                file.write("\0".join(documents))
            size = sum(map(len, documents))
            total += size
            print(f"{package}\t{len(documents)} documents\t{size / 1e6:.1f} MB\t{total / 1e6:.0f}", flush=True)
            table.write(f"{package}\t{version.replace('%3a', ':')}\t{len(documents)}\t{size}\n")


if __name__ == "__main__":
    main()
