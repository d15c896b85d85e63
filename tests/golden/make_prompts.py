"""make_prompts.py - chooses the prompts of the golden tests: make_prompts.py [case ...]

Routing, index selection and the greatest logit are discrete, and in native numerics so is every rounding: where a value comes
within an fp32 rounding error of a boundary, two right implementations may part for good.  Prompts are therefore grown token by
token.  A random next token is taken only if every decision at its position is clear by the margins below, in exact and
in native numerics, and if the native step gives the same when its fp32 sums and functions are shaken; if no token of the
vocabulary is, the clearest is taken.  Adds input_ids.<i> to golden.safetensors and prints the narrowest decisions.
"""
import sys

import numpy as np

import cases
import official
import store

# route: difference of biased scores; index: difference of scores over the largest; top1: difference of logits over their rms
WANTED = {"exact": {"route": 1e-3, "index": 1e-3, "top1": 1e-2},
          "native": {"route": 2e-2, "index": 1e-2, "top1": 0.2}}
N_SHAKES = 6
SHAKE_FORCE = 4


def is_near(a, b):
    """Nothing but fp32 noise between them: no bf16 has flipped, save in values too small to matter."""
    return np.allclose(a, b, rtol=1e-5, atol=5e-6)


class Track:
    """One numerics' sequence, with the margins of its latest step."""

    def __init__(self, name, numerics):
        self.model = official.Model(cases.DATA / name, numerics)
        self.decoder, self.wanted = official.Decoder(self.model), WANTED[numerics.name]
        self.saved = self.decoder.save()

    def clearness(self, token):
        """Steps from the accepted state; the smallest margin over its wanted value, and the margins."""
        self.decoder.restore(self.saved)
        self.model.probe = official.Probe()
        self.logits = self.decoder.step(token)
        margins = self.model.probe.margins
        return min(margins[kind] / self.wanted[kind] for kind in margins), margins

    def accept(self):
        self.saved = self.decoder.save()


class Native(Track):
    """The native track; a step that does not survive shaking is never quite clear."""

    def __init__(self, name, rng):
        super().__init__(name, official.Native())
        self.shaken = official.Decoder(official.Model(cases.DATA / name, official.Shaken(rng, SHAKE_FORCE)))

    def is_steady(self, token):
        logits, state = self.logits, self.decoder.state()
        for _ in range(N_SHAKES):
            self.shaken.restore(self.saved)
            if not (is_near(self.shaken.step(token), logits) and is_near(self.shaken.state(), state)):
                return False
        return True

    def clearness(self, token):
        clearness, margins = super().clearness(token)
        if clearness >= 1 and not self.is_steady(token):
            clearness = 0.5
        return clearness, margins


def pick(tracks, rng, vocab):
    """Appends one token to every track; returns it, its clearness and the margins of each."""
    best = (-1.0, None)
    for token in rng.permutation(vocab):
        clearness, margins = np.inf, []
        for track in tracks:
            of_track = track.clearness(token)
            clearness, margins = min(clearness, of_track[0]), margins + [of_track[1]]
            if clearness <= best[0]:
                break
        if clearness > best[0]:
            best = (clearness, token)
        if clearness >= 1:
            break
    else:
        margins = [track.clearness(best[1])[1] for track in tracks]
    for track in tracks:
        track.accept()
    return best[1], best[0], margins


def make(name):
    shape = cases.shape(name)
    for i, length in enumerate(shape.lengths):
        rng = np.random.default_rng([shape.seed, i])
        tracks = [Track(name, official.Exact()), Native(name, rng)]
        ids, n_unclear, narrowest = [], 0, [{} for _ in tracks]
        for _ in range(length):
            token, clearness, margins = pick(tracks, rng, shape.vocab)
            ids.append(token)
            n_unclear += clearness < 1
            for known, new in zip(narrowest, margins):
                known.update({kind: min(known.get(kind, np.inf), new[kind]) for kind in new})
        store.update(cases.DATA / name / "golden.safetensors", {f"input_ids.{i}": ("I64", np.array(ids))})
        text = "; ".join(track.model.n.name + " " + ", ".join(f"{kind} {value:.1e}" for kind, value in known.items())
                         for track, known in zip(tracks, narrowest))
        print(f"{name}.{i}: {length} tokens, {n_unclear} unclear, narrowest: {text}", flush=True)


if __name__ == "__main__":
    for case in sys.argv[1:] or cases.CASES:
        make(case)
