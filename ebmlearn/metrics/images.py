"""Sets of images compared in a feature space: Frechet and kernel distance, precision and recall, class entropy, one honest report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

Features = Callable[[Tensor], Tensor]


def extract(x: Tensor | Iterable[Tensor], features: Features, *, batch_size: int = 500) -> Tensor:
    """The features of images in batches, without gradients: `[N, *event] -> [N, L]`, on the CPU.

    Args:
        x: images, or an iterable of batches of images.
        features: any callable from a batch of images to `[N, L]`, e.g. `load_pretrained("digits-classifier").features`.
    """
    batches = x.split(batch_size) if isinstance(x, Tensor) else x
    with torch.no_grad():
        out = [features(b).flatten(1).cpu() for b in batches]
    if not out:
        raise ValueError("expected at least one batch of images; got none")
    return torch.cat(out)


class Moments:
    """Number, mean and covariance of features that come in batches, in float64; what a Frechet distance needs.

    Updated by the pairwise formula, so that adding batch by batch equals all at once, up to rounding.

    References:
        Updating formulae and a pairwise algorithm for computing sample variances (Chan, Golub, LeVeque, 1979).

    Example:
        >>> m = Moments()
        >>> for batch in torch.arange(12.0).reshape(3, 2, 2):
        ...     m.update(batch)
        >>> m.n, m.mean.tolist()
        (6, [5.0, 6.0])
    """

    def __init__(self) -> None:
        self.n = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self.scatter = torch.zeros(0, 0, dtype=torch.float64)

    def update(self, f: Tensor) -> None:
        """Add features `[N, L]`."""
        _check_features(f)
        f = f.detach().double().cpu()
        n, mean = len(f), f.mean(0)
        d = f - mean
        scatter = d.T @ d
        if self.n == 0:
            self.n, self.mean, self.scatter = n, mean, scatter
            return
        if mean.shape != self.mean.shape:
            raise ValueError(f"expected {len(self.mean)} features as before; got {len(mean)}")
        gap, total = mean - self.mean, self.n + n
        self.scatter = self.scatter + scatter + torch.outer(gap, gap) * (self.n * n / total)
        self.mean = self.mean + gap * (n / total)
        self.n = total

    @property
    def cov(self) -> Tensor:
        """Unbiased covariance `[L, L]`."""
        if self.n < 2:
            raise ValueError(f"expected at least 2 points for a covariance; got {self.n}")
        return self.scatter / (self.n - 1)


def _check_features(f: Tensor) -> None:
    if f.ndim != 2 or len(f) == 0:
        raise ValueError(f"expected features of shape [N, L]; got {tuple(f.shape)}. Images go through extract(x, features)")
    if not bool(torch.isfinite(f).all()):
        raise ValueError("expected finite features; some are NaN or infinite")


def _moments(f: Tensor | Moments) -> Moments:
    if isinstance(f, Moments):
        return f
    m = Moments()
    m.update(f)
    return m


def gaussian_frechet(mean_x: Tensor, cov_x: Tensor, mean_y: Tensor, cov_y: Tensor) -> float:
    """The squared Frechet (2-Wasserstein) distance of two Gaussians: |m - m'|² + tr(C + C' - 2 (C^½ C' C^½)^½).

    References:
        The Frechet distance between multivariate normal distributions (Dowson, Landau, 1982).

    Example:
        >>> eye = torch.eye(2)
        >>> gaussian_frechet(torch.zeros(2), eye, torch.ones(2), 4 * eye)
        4.0
    """
    mean_x, cov_x, mean_y, cov_y = (a.double() for a in (mean_x, cov_x, mean_y, cov_y))
    values, vectors = torch.linalg.eigh(cov_x)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum()
    return float((mean_x - mean_y).square().sum() + cov_x.trace() + cov_y.trace() - 2 * cross)


def frechet_distance(fx: Tensor | Moments, fy: Tensor | Moments) -> float:
    """The squared Frechet distance between two sets of features, each taken as a Gaussian.

    It falls as the sets grow (the covariances are estimated), so compare values at one size and print the floor,
    the distance of held-out data, beside them: `report` does both.

    Args:
        fx, fy: features `[N, L]`, or `Moments` that were filled batch by batch.

    References:
        GANs trained by a two time-scale update rule converge to a local Nash equilibrium (Heusel et al., 2017).
    """
    a, b = _moments(fx), _moments(fy)
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"expected features of one length; got {len(a.mean)} and {len(b.mean)}")
    return gaussian_frechet(a.mean, a.cov, b.mean, b.cov)


def kernel_distance(fx: Tensor, fy: Tensor, *, block: int = 2048) -> float:
    """The unbiased squared maximum mean discrepancy with the cubic kernel k(a, b) = (a·b/L + 1)³; may be negative.

    Its mean is 0 when both sets come from one law, at every size, unlike the Frechet distance's.

    Args:
        fx, fy: features `[N, L]` and `[M, L]`, N, M >= 2.
        block: rows at a time.

    References:
        Demystifying MMD GANs (Binkowski, Sutherland, Arbel, Gretton, 2018).
    """
    for f in (fx, fy):
        _check_features(f)
    if fx.shape[1] != fy.shape[1] or min(len(fx), len(fy)) < 2:
        raise ValueError(f"expected at least 2 features each, of one length; got {tuple(fx.shape)} and {tuple(fy.shape)}")
    a, b = fx.double(), fy.double()
    n, m, length = len(a), len(b), a.shape[1]

    def total(p: Tensor, q: Tensor) -> float:
        return float(sum(((rows @ q.T) / length + 1).pow(3).sum() for rows in p.split(block)))

    def diagonal(p: Tensor) -> float:
        return float((p.square().sum(1) / length + 1).pow(3).sum())

    within = (total(a, a) - diagonal(a)) / (n * (n - 1)) + (total(b, b) - diagonal(b)) / (m * (m - 1))
    return within - 2 * total(a, b) / (n * m)


class PrecisionRecall(NamedTuple):
    """Share of samples that lie among the data, and share of the data that lie among the samples."""

    precision: float
    recall: float


def _radii(f: Tensor, k: int, block: int) -> Tensor:
    return torch.cat([torch.cdist(rows, f).kthvalue(k + 1, dim=1).values for rows in f.split(block)])  # itself is the first


def _covered(points: Tensor, centres: Tensor, radii: Tensor, block: int) -> float:
    hits = sum(int((torch.cdist(rows, centres) <= radii).any(1).sum()) for rows in points.split(block))
    return hits / len(points)


def precision_recall(fx: Tensor, fy: Tensor, *, k: int = 3, block: int = 1024) -> PrecisionRecall:
    """Precision and recall by k nearest neighbours: a set covers the balls around its points that reach their k-th neighbour.

    Args:
        fx: features of the samples `[N, L]`.
        fy: features of the data `[M, L]`.
        k: neighbours, 1 <= k < min(N, M).

    References:
        Improved precision and recall metric for assessing generative models (Kynkaanniemi et al., 2019).
    """
    for f in (fx, fy):
        _check_features(f)
    if not 1 <= k < min(len(fx), len(fy)):
        raise ValueError(f"expected 1 <= k < {min(len(fx), len(fy))}, the smaller set; got {k}")
    a, b = fx.double(), fy.double()
    return PrecisionRecall(_covered(a, b, _radii(b, k, block), block), _covered(b, a, _radii(a, k, block), block))


class Classes(NamedTuple):
    """What a classifier sees in a set of images.

    entropy: of the mean class probabilities, in nats; log(number of classes) when all classes are equally common.
    confidence: mean probability of the likeliest class; low for blurs and mixtures.
    """

    entropy: float
    confidence: float


def class_statistics(logits: Tensor) -> Classes:
    """Class entropy and confidence from logits `[N, n_classes]`.

    Example:
        >>> class_statistics(torch.tensor([[20.0, 0.0], [0.0, 20.0]])).entropy == math.log(2)
        True
    """
    _check_features(logits)
    p = logits.double().softmax(-1)
    return Classes(float(torch.special.entr(p.mean(0)).sum()), float(p.max(-1).values.mean()))


@dataclass(frozen=True)
class Row:
    """The scores of one set of images against the training set; NaN where there was nothing to compute it from."""

    name: str
    n: int
    frechet: float
    kernel: float
    precision: float
    recall: float
    entropy: float
    confidence: float


@dataclass(frozen=True)
class Report:
    """Scores of samples with the floor beside them; prints as a Markdown table."""

    rows: tuple[Row, ...]

    def __getitem__(self, name: str) -> Row:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"no row {name!r}; there are {[row.name for row in self.rows]}")

    def __str__(self) -> str:
        head = ["| images | n | Frechet | kernel | precision | recall | class entropy | confidence |", "|" + "---|" * 8]

        def number(v: float, form: str) -> str:
            return "-" if math.isnan(v) else format(v, form)

        for r in self.rows:
            cells = [r.name, str(r.n), number(r.frechet, ".1f"), number(r.kernel, ".3f")]
            cells += [number(v, ".2f") for v in (r.precision, r.recall, r.entropy, r.confidence)]
            head.append("| " + " | ".join(cells) + " |")
        return "\n".join(head)


FLOOR = "held-out data (floor)"


def report(
    samples: dict[str, Tensor],
    *,
    train: Tensor,
    test: Tensor,
    features: Features,
    logits: Features | None = None,
    n: int | None = None,
    k: int = 3,
) -> Report:
    """Every set of samples, and held-out data, against the training data: no value without its floor.

    All sets are cut to one size, since a Frechet distance depends on it.

    Args:
        samples: name -> images `[N, *event]`.
        train: the reference.
        test: held-out data; their distance is the floor, the value of a perfect model at this size.
        features: images -> `[N, L]`.
        logits: images -> `[N, n_classes]`, for class entropy and confidence; None leaves them out.
        n: size of the sets; default the smallest of them.
        k: neighbours for precision and recall.

    Returns:
        A `Report`, the floor last.
    """
    sets = {**samples, FLOOR: test}
    size = min(len(x) for x in sets.values()) if n is None else n
    short = {name: len(x) for name, x in sets.items() if len(x) < size}
    if short or size < 2:
        raise ValueError(
            f"expected sets of at least n = {max(size, 2)} images; got {short or {name: len(x) for name, x in sets.items()}}"
        )
    reference = extract(train, features)
    moments = _moments(reference)
    rows = []
    for name, images in sets.items():
        f = extract(images[:size], features)
        near = precision_recall(f, reference, k=k)
        seen = Classes(math.nan, math.nan) if logits is None else class_statistics(extract(images[:size], logits))
        rows.append(Row(name, size, frechet_distance(f, moments), kernel_distance(f, reference), *near, *seen))
    return Report(tuple(rows))
