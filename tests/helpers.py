"""What several tests share: equality of nested states, and an energy that counts how often it is asked."""

import torch

from ebmlearn.functional import value_and_grad


def same(a, b):
    """Whether two trees of dicts, lists, tensors and plain values are equal, bit for bit."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


class Counting:
    """Counts how often the energy, and the energy with its gradient, are asked for."""

    def __init__(self, energy):
        self.energy, self.energies, self.gradients = energy, 0, 0

    def __call__(self, x):
        self.energies += 1
        return self.energy(x)

    def value_and_grad(self, x):
        self.gradients += 1
        return value_and_grad(self.energy, x)
