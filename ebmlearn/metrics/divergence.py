"""How far two clouds of points, or two densities on a grid, are apart."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

ROWS = 2048  # rows of a distance matrix held at once


def _clouds(x: Tensor, y: Tensor, least: int = 2) -> tuple[Tensor, Tensor]:
    """Both clouds flattened to `[n, D]` in float64, checked."""
    if x.ndim < 2 or y.ndim < 2 or x.shape[1:] != y.shape[1:]:
        raise ValueError(f"expected x[n, *event] and y[m, *event] of one event shape; got {tuple(x.shape)} and {tuple(y.shape)}")
    if min(len(x), len(y)) < least:
        raise ValueError(f"expected at least {least} points in each cloud; got {len(x)} and {len(y)}")
    a, b = (t.detach().to(torch.float64).flatten(1) for t in (x, y))
    if not bool(torch.isfinite(a).all()) or not bool(torch.isfinite(b).all()):
        raise ValueError("expected finite points; got NaN or infinity")
    return a, b


def _mean_of_pairs(f: Callable[[Tensor], Tensor], a: Tensor, b: Tensor | None = None) -> Tensor:
    """Mean of f(|a_i - b_j|) over all pairs, or, without b, over all pairs of distinct points of a."""
    other = a if b is None else b
    # exact differences, not |a|² + |b|² - 2ab, whose rounding hurts where points are close
    mode = "donot_use_mm_for_euclid_dist"
    total = a.new_zeros(())
    for start in range(0, len(a), ROWS):
        values = f(torch.cdist(a[start : start + ROWS], other, compute_mode=mode))
        total = total + values.sum()
        if b is None:
            total = total - values.diagonal(start).sum()
    return total / (len(a) * (len(a) - 1) if b is None else len(a) * len(other))


def energy_distance(x: Tensor, y: Tensor) -> Tensor:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'|, estimated without bias; 0 in expectation when the laws are the same.

    Being unbiased it can be slightly negative. It needs no bandwidth. float64.

    Args:
        x: `[n, *event]`.
        y: `[m, *event]`.

    References:
        Energy statistics: a class of statistics based on distances (Székely, Rizzo, 2013).

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> x, y = torch.randn(500, 2, generator=g), torch.randn(500, 2, generator=g)
        >>> bool(energy_distance(x, y).abs() < 0.02), bool(energy_distance(x, y + 1) > 0.3)
        (True, True)
    """
    a, b = _clouds(x, y)
    same = lambda d: d
    return 2 * _mean_of_pairs(same, a, b) - _mean_of_pairs(same, a) - _mean_of_pairs(same, b)


def median_distance(x: Tensor, y: Tensor, *, most: int = 1000) -> float:
    """Median distance between points of both clouds together (the first `most` of each): a bandwidth for `mmd`."""
    a, b = _clouds(x[:most], y[:most])
    return float(torch.pdist(torch.cat([a, b])).median())


def mmd(x: Tensor, y: Tensor, *, bandwidth: float | None = None) -> Tensor:
    """Squared maximum mean discrepancy with k(x, y) = exp(-|x - y|²/(2 h²)), estimated without bias.

    E k(X, X') + E k(Y, Y') - 2 E k(X, Y) over distinct points; 0 in expectation when the laws are the same, so it can be
    slightly negative. float64.

    Args:
        x: `[n, *event]`.
        y: `[m, *event]`.
        bandwidth: h > 0; default the median distance. Fix it when several clouds are to be compared.

    References:
        A kernel two-sample test (Gretton, Borgwardt, Rasch, Schölkopf, Smola, 2012), lemma 6.
    """
    a, b = _clouds(x, y)
    h = median_distance(a, b) if bandwidth is None else bandwidth
    if not 0 < h < math.inf:
        raise ValueError(f"expected bandwidth > 0 and finite; got {h}")
    kernel = lambda d: torch.exp(d.square() / (-2 * h * h))
    return _mean_of_pairs(kernel, a) + _mean_of_pairs(kernel, b) - 2 * _mean_of_pairs(kernel, a, b)


def wasserstein(x: Tensor, y: Tensor) -> Tensor:
    """W2 between two clouds of equal size: the root mean squared distance of the best matching, exact, O(n³).

    Biased up as a distance between laws: two clouds of one law are not at distance 0. Print the value of two such clouds
    beside it.

    Args:
        x, y: `[n, *event]`, a few thousand points at most.

    References:
        The Hungarian method for the assignment problem (Kuhn, 1955).
    """
    from scipy.optimize import linear_sum_assignment

    a, b = _clouds(x, y, least=1)
    if len(a) != len(b):
        raise ValueError(f"expected clouds of equal size; got {len(a)} and {len(b)} points")
    cost = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()
    rows, columns = linear_sum_assignment(cost.cpu().numpy())
    return cost[torch.as_tensor(rows), torch.as_tensor(columns)].mean().sqrt()


def _quantile_gaps(a: Tensor, b: Tensor) -> Tensor:
    """∫ (F_a⁻¹ - F_b⁻¹)² for sorted `a[n, K]` and `b[m, K]`, exactly, also for n != m: `[K]`."""
    n, m = len(a), len(b)
    if n == m:
        return (a - b).square().mean(0)
    ends = torch.cat([torch.arange(1, n + 1, device=a.device) * m, torch.arange(1, m + 1, device=a.device) * n]).unique()
    widths = torch.diff(ends, prepend=ends.new_zeros(1)).to(a.dtype) / (n * m)
    return (widths[:, None] * (a[(ends - 1) // m] - b[(ends - 1) // n]).square()).sum(0)


def sliced_wasserstein(x: Tensor, y: Tensor, *, n_projections: int = 128, generator: torch.Generator | None = None) -> Tensor:
    """Sliced W2: the root of the mean squared W2 of the clouds' shadows on random directions.

    Args:
        x: `[n, *event]`.
        y: `[m, *event]`.
        n_projections: random directions.
        generator: of the directions; default a CPU generator of seed 0, so that two calls look along the same ones.

    References:
        Sliced and Radon Wasserstein barycenters of measures (Bonneel, Rabin, Peyré, Pfister, 2015).
    """
    a, b = _clouds(x, y, least=1)
    if n_projections < 1:
        raise ValueError(f"expected n_projections >= 1; got {n_projections}")
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    directions = torch.randn(a.shape[1], n_projections, dtype=a.dtype, device=generator.device, generator=generator).to(a.device)
    directions = directions / directions.norm(dim=0)
    return _quantile_gaps((a @ directions).sort(0).values, (b @ directions).sort(0).values).mean().sqrt()


def _cells(log_p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    if log_p.shape != log_q.shape or log_p.numel() == 0:
        raise ValueError(f"expected log densities on the same grid; got shapes {tuple(log_p.shape)} and {tuple(log_q.shape)}")
    p, q = (torch.log_softmax(t.detach().to(torch.float64).flatten(), 0) for t in (log_p, log_q))
    if bool(torch.isnan(p).any()) or bool(torch.isnan(q).any()):
        raise ValueError("expected log densities without NaN that are not -infinity everywhere")
    return p, q


def kl_on_grid(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p ‖ q) of two densities known up to a constant on the same grid of equal cells; float64.

    Args:
        log_p: log density up to a constant at the cells, any shape; -E(x) will do, -infinity where p is 0.
        log_q: the same for q. The KL is infinite where q is 0 and p is not.

    Example:
        >>> x = torch.linspace(-12, 12, 2001, dtype=torch.float64)
        >>> round(kl_on_grid(-0.5 * x**2, -0.5 * (x - 1) ** 2).item(), 6)  # (difference of means)²/2
        0.5
    """
    p, q = _cells(log_p, log_q)
    return torch.where(p == -math.inf, 0.0, p.exp() * (p - q)).sum()


def total_variation_on_grid(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Total variation, half of sum |p - q| over cells, between 0 and 1; arguments as for `kl_on_grid`."""
    p, q = _cells(log_p, log_q)
    return 0.5 * (p.exp() - q.exp()).abs().sum()
