"""Out-of-distribution detection: AUROC and FPR with errors, and sets that tell methods apart beside those that everything detects."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Detection(NamedTuple):
    """AUROC and the false positive rate at 95 % true positives, each with its bootstrap standard error."""

    auroc: float
    auroc_error: float
    fpr95: float
    fpr95_error: float


def auroc(inside: Tensor, outside: Tensor) -> float:
    """P(score inside > score outside) + P(equal)/2: the area under the ROC curve, 1/2 for a score that knows nothing.

    Args:
        inside: scores of in-distribution points, `[N]`; higher = more in-distribution.
        outside: scores of the others, `[M]`.

    Example:
        >>> auroc(torch.tensor([2.0, 3.0]), torch.tensor([1.0, 2.0]))
        0.875
    """
    if inside.ndim != 1 or outside.ndim != 1 or not len(inside) or not len(outside):
        raise ValueError(f"expected two non-empty tensors of scores [N]; got {tuple(inside.shape)} and {tuple(outside.shape)}")
    if not bool(torch.isfinite(inside).all() and torch.isfinite(outside).all()):
        raise ValueError("expected finite scores; some are NaN or infinite")
    ordered = outside.double().sort().values
    below = torch.searchsorted(ordered, inside.double(), right=False).double()
    upto = torch.searchsorted(ordered, inside.double(), right=True).double()
    return float((0.5 * (below + upto)).mean() / len(outside))


def fpr_at_tpr(inside: Tensor, outside: Tensor, *, tpr: float = 0.95) -> float:
    """The share of `outside` that passes the threshold which lets a share `tpr` of `inside` pass.

    Example:
        >>> fpr_at_tpr(torch.arange(100.0), torch.arange(100.0) - 50, tpr=0.95)
        0.45
    """
    if not 0 < tpr <= 1:
        raise ValueError(f"expected 0 < tpr <= 1; got {tpr}")
    keep = max(1, -int(-tpr * len(inside) // 1))
    threshold = inside.sort(descending=True).values[keep - 1]
    return float((outside >= threshold).double().mean())


def detection(inside: Tensor, outside: Tensor, *, resamples: int = 200, generator: torch.Generator | None = None) -> Detection:
    """AUROC and FPR95 with standard errors from resampling both sets with replacement.

    References:
        An introduction to the bootstrap (Efron, Tibshirani, 1993).
    """
    a, f = [], []
    for _ in range(resamples):
        i = inside[torch.randint(len(inside), (len(inside),), generator=generator)]
        o = outside[torch.randint(len(outside), (len(outside),), generator=generator)]
        a.append(auroc(i, o))
        f.append(fpr_at_tpr(i, o))
    errors = [float(torch.tensor(v, dtype=torch.float64).std()) for v in (a, f)]
    return Detection(auroc(inside, outside), errors[0], fpr_at_tpr(inside, outside), errors[1])


def swapped_patch(x: Tensor, *, size: int, generator: torch.Generator | None = None) -> Tensor:
    """Each image with its centre `size` x `size` square taken from another image: every patch is real, the whole is not."""
    n, _, h, w = x.shape
    if n < 2:
        raise ValueError("expected at least two images to swap patches between")
    other = (torch.arange(n) + 1 + torch.randint(n - 1, (n,), generator=generator)) % n
    top, left = (h - size) // 2, (w - size) // 2
    y = x.clone()
    y[:, :, top : top + size, left : left + size] = x[other, :, top : top + size, left : left + size]
    return y


def mirrored(x: Tensor) -> Tensor:
    """Each image left-right reversed."""
    return x.flip(-1)


def interpolated(x: Tensor, y: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """The mean of each image and a random one of another class."""
    if len(y.unique()) < 2:
        raise ValueError("expected images of at least two classes to interpolate between")
    other = torch.randint(len(x), (len(x),), generator=generator)
    while bool((same := y[other] == y).any()):
        other[same] = torch.randint(len(x), (int(same.sum()),), generator=generator)
    return 0.5 * (x + x[other])


def shuffled(x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Each image with its pixels in a random order of its own."""
    n, c, h, w = x.shape
    order = torch.rand(n, 1, h * w, generator=generator).argsort(-1).expand(n, c, h * w)
    return x.flatten(2).gather(-1, order).reshape(x.shape)


def standard_sets(x: Tensor, y: Tensor, *, generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """The sets made from test images: patch, mirrored and interpolation separate methods; shuffled, inverted and noise are saturated.

    Args:
        x: images `[N, C, H, W]` in [0, 1].
        y: their classes `[N]`.
    """
    return {
        "patch": swapped_patch(x, size=x.shape[-1] // 2, generator=generator),
        "mirrored": mirrored(x),
        "interpolation": interpolated(x, y, generator=generator),
        "shuffled": shuffled(x, generator=generator),
        "inverted": 1 - x,
        "noise": torch.rand(x.shape, generator=generator),
    }
