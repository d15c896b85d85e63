"""Muon for matrices, AdamW for everything else, as the V4 report describes."""
import torch


def orthogonalise(m):
    """Hybrid Newton-Schulz: eight fast iterations, then two that settle. m [count, rows, cols]."""
    x = m.bfloat16()
    flip = x.shape[-2] > x.shape[-1]
    x = x.transpose(-1, -2) if flip else x
    x = x / (x.float().norm(dim=(-2, -1), keepdim=True) + 1e-20).to(x.dtype)
    for a, b, c in [(3.4445, -4.7750, 2.0315)] * 8 + [(2.0, -1.5, 0.5)] * 2:
        s = x @ x.transpose(-1, -2)
        x = a * x + (b * s + c * s @ s) @ x
    return (x.transpose(-1, -2) if flip else x).float()


class Muon:
    """Matrices of one shape are updated together; a stack of experts counts as many matrices."""

    def __init__(self, parameters, momentum=0.95, decay=0.1):
        self.groups, self.momentum, self.decay = {}, momentum, decay
        for p in parameters:
            self.groups.setdefault(tuple(p.shape[-2:]), []).append(p)
        self.moments = {}

    @torch.no_grad()
    def step(self, lr):
        for shape, group in self.groups.items():
            grad = torch.cat([p.grad.reshape(-1, *shape) for p in group])
            moment = self.moments.setdefault(shape, torch.zeros_like(grad))
            moment.mul_(self.momentum).add_(grad)
            update = orthogonalise(grad.add_(moment, alpha=self.momentum))
            update *= 0.18 * max(shape) ** 0.5 * lr
            for p, u in zip(group, update.split([p.numel() // (shape[0] * shape[1]) for p in group])):
                p.mul_(1 - lr * self.decay).sub_(u.view_as(p))


def split(model):
    """(matrices for Muon, other parameters for AdamW)."""
    matrices, others = [], []
    for name, value in model.named().items():
        plain = name in ("embed.weight", "head.weight") or name.endswith("ape") or value.dim() < 2
        (others if plain else matrices).append(value)
    return matrices, others
