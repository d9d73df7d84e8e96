"""Ratios of partition functions from samples along a path: thermodynamic integration and bridge sampling."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..functional import EnergyFunction
from ..samplers import Kernel, sample
from .partition import KnownEnergy


class LogRatio(NamedTuple):
    """log(Z_b / Z_a) and its standard error (independent points; correlated chains have a larger one)."""

    log_ratio: Tensor
    standard_error: Tensor


def bridge_sampling(a: EnergyFunction, x_a: Tensor, b: EnergyFunction, x_b: Tensor, *, tolerance: float = 1e-10) -> LogRatio:
    """log(Z_b / Z_a) from points of both densities, with the optimal bridge (Bennett's acceptance ratio).

    The root r of sum_a sigmoid(s - W - r) = sum_b sigmoid(W + r - s), W = E_b - E_a, s = log(n_b/n_a), found by bisection. Its error depends on the overlap of the two densities; between distant ones chain several bridges.

    Args:
        a, b: energies.
        x_a, x_b: independent points of p_a and p_b, `[n_a, *event]`, `[n_b, *event]`.

    References:
        Efficient estimation of free energy differences from Monte Carlo data (Bennett, 1976).
        Simulating ratios of normalizing constants via a simple identity: a theoretical exploration (Meng, Wong, 1996).
    """
    with torch.no_grad():
        w_a = (b(x_a) - a(x_a)).double()
        w_b = (b(x_b) - a(x_b)).double()
    n_a, n_b = len(w_a), len(w_b)
    if n_a < 2 or n_b < 2:
        raise ValueError(f"expected at least two points of each density; got {n_a} and {n_b}")
    shift = math.log(n_b / n_a)  # of the two log-odds

    def balance(r: Tensor) -> Tensor:  # falls with r
        return torch.sigmoid(-(w_a + r - shift)).sum() - torch.sigmoid(w_b + r - shift).sum()

    low = -torch.cat([w_a, w_b]).max() - 50 - abs(shift)
    high = -torch.cat([w_a, w_b]).min() + 50 + abs(shift)
    while float(high - low) > tolerance * max(1.0, float(high.abs())):
        middle = 0.5 * (low + high)
        if float(balance(middle)) > 0:
            low = middle
        else:
            high = middle
    r = 0.5 * (low + high)
    # variance of the two sums by the delta method
    f_a, f_b = torch.sigmoid(-(w_a + r - shift)), torch.sigmoid(w_b + r - shift)
    slope = (f_a * (1 - f_a)).sum() + (f_b * (1 - f_b)).sum()
    error = (n_a * f_a.var() + n_b * f_b.var()).sqrt() / slope
    return LogRatio(r, error)


def thermodynamic_integration(
    base: KnownEnergy,
    energy: EnergyFunction,
    kernel: Kernel,
    *,
    n: int,
    betas: Sequence[float],
    steps: int,
    generator: torch.Generator | None = None,
) -> LogRatio:
    """log(Z / Z_base) = -∫_0^1 E_beta[E - E_base] d beta along E_beta = (1 - beta) E_base + beta E, by the trapezium rule.

    Chains start at exact points of the base and move `steps` steps at each beta, so a short run carries a bias from
    chains that lag behind; the standard error holds the Monte Carlo part only.

    Args:
        base: an energy with exact `sample`.
        betas: from 0 to 1, rising.
        n: chains.
        steps: kernel steps at each beta.

    References:
        Statistical mechanics of fluid mixtures (Kirkwood, 1935).
        Simulating normalizing constants: from importance sampling to bridge sampling to path sampling (Gelman, Meng, 1998).
    """
    b = list(betas)
    if len(b) < 2 or b[0] != 0 or b[-1] != 1 or any(p >= q for p, q in itertools.pairwise(b)):
        raise ValueError(f"expected betas to rise from 0 to 1; got {b[:3]} ... {b[-1:]}")
    if n < 2:
        raise ValueError(f"expected n >= 2 chains; got {n}")
    x = base.sample(n, generator=generator)
    per_chain = torch.zeros(n, dtype=torch.float64, device=x.device)
    for i, beta in enumerate(b):
        if i > 0:
            x = sample(lambda y, t=beta: (1 - t) * base(y) + t * energy(y), kernel, x, steps, generator=generator)  # type: ignore[misc]
        weight = 0.5 * ((b[i + 1] - beta if i + 1 < len(b) else 0.0) + (beta - b[i - 1] if i > 0 else 0.0))
        with torch.no_grad():
            per_chain -= weight * (energy(x) - base(x)).double()
    return LogRatio(per_chain.mean(), per_chain.std() / math.sqrt(n))
