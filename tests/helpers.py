"""What several tests share: equality of nested states, a CIFAR-10 archive of noise, and an energy that counts how often it is asked."""

import hashlib
import io
import json
import pickle
import tarfile

import numpy as np
import torch

from ebmlearn.functional import value_and_grad


def fake_cifar(root, *, train=40, test=20, seed=0):
    """A CIFAR-10 archive of noise in the official format, vouched for by the root's checksums.json."""
    rng = np.random.RandomState(seed)
    archive = io.BytesIO()
    sizes = {**{f"data_batch_{i}": train // 5 for i in range(1, 6)}, "test_batch": test}
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, n in sizes.items():
            batch = {"data": rng.randint(0, 256, (n, 3072)).astype(np.uint8), "labels": [i % 10 for i in range(n)]}
            body = pickle.dumps(batch, protocol=2)
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    name = "cifar10/cifar-10-python.tar.gz"
    (root / "cifar10").mkdir(parents=True)
    (root / name).write_bytes(archive.getvalue())
    (root / "checksums.json").write_text(json.dumps({name: hashlib.sha256(archive.getvalue()).hexdigest()}))


def same(a, b):
    """Whether two trees of dicts, lists, tensors and plain values are equal, bit for bit."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def same_checkpoint(a, b):
    """Whether two payloads of `read_checkpoint` hold the same run, whoever trained it: sessions are compared by nobody."""
    return same({k: v for k, v in a.items() if k != "sessions"}, {k: v for k, v in b.items() if k != "sessions"})


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
