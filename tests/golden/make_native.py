"""make_native.py - logits of the official semantics for the golden tests: make_native.py [case ...]

Runs official.py's native numerics as a prefill and token by token, which must agree to the last bit of float32, and adds
native_logits.<i> to golden.safetensors.  Prints, for each prompt, the distance from the exact logits and, as a measure of how
much an implementation with another order of summation may differ, the distance of a run whose sums are plain fp32.
"""
import sys

import numpy as np

import cases
import official
import store


def distances(a, b):
    """|a - b| / |b| at each position (Euclidean norms over the vocabulary)."""
    return np.linalg.norm(a - b, axis=-1) / np.linalg.norm(b, axis=-1)


def describe(a, b):
    d = distances(a, b)
    return f"median {np.median(d):.1e} max {d.max():.1e} top-1 differs {int((a.argmax(-1) != b.argmax(-1)).sum())}"


def make(name):
    golden = cases.DATA / name / "golden.safetensors"
    probe = official.Probe()
    model = official.Model(cases.DATA / name, official.Native(), probe)
    reordered = official.Model(cases.DATA / name, official.Shaken(np.random.default_rng(0)))
    tensors = store.read(golden)
    for i in range(len(cases.shape(name).lengths)):
        ids = tensors[f"input_ids.{i}"][1]
        exact = tensors[f"exact_logits.{i}"][1].astype(np.float64)
        logits = official.prefill(model, ids)
        assert np.array_equal(logits, official.decode(model, ids)), f"{name}.{i}: prefill and decode differ"
        print(f"{name}.{i}: {len(ids)} tokens; from exact: {describe(logits, exact)}; "
              f"fp32 sums: {describe(official.prefill(reordered, ids), logits)}", flush=True)
        store.update(golden, {f"native_logits.{i}": ("F32", logits)})
    print(f"{name}: SwiGLU clamp acted on {100 * probe.clamped / (probe.clamped + probe.unclamped):.1f} % of its inputs")


if __name__ == "__main__":
    for case in sys.argv[1:] or cases.CASES:
        make(case)
