"""How much a set of chains is worth: effective sample size and split R-hat."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def _split(x: Tensor, owner: str) -> Tensor:
    """Chains cut in half, flattened: `[steps, chains, *event] -> [steps // 2, 2 chains, events]`, in float64."""
    if x.ndim < 2:
        raise ValueError(f"{owner} expected x of shape [steps, chains, *event]; got {tuple(x.shape)}. One chain is x[:, None]")
    if len(x) < 8:
        raise ValueError(f"{owner} expected at least 8 steps; got {len(x)}")
    if not bool(torch.isfinite(x).all()):
        raise ValueError(f"{owner} expected finite chains; got NaN or infinity")
    half = len(x) // 2
    flat = x.detach().to(torch.float64).reshape(len(x), x.shape[1], -1)
    return torch.cat([flat[:half], flat[-half:]], dim=1)


def autocovariance(x: Tensor) -> Tensor:
    """Autocovariance of each series along axis 0, by FFT: entry t is sum_i (x_i - m)(x_{i+t} - m) / n, the same shape as x."""
    n = len(x)
    d = x - x.mean(0)
    f = torch.fft.rfft(d, n=2 * n, dim=0)
    return torch.fft.irfft(f * f.conj(), n=2 * n, dim=0)[:n] / n


def ess(x: Tensor) -> Tensor:
    """Effective sample size of the mean: how many independent draws would know E[x] as well as these chains do.

    n m / tau with tau = 1 + 2 sum_t rho_t, over split chains; rho_t counts disagreement between chains as correlation,
    and the sum stops by Geyer's initial monotone sequence. Exact zeros of variance give NaN.

    Args:
        x: `[steps, chains, *event]`, as `trajectory(...).x`; every number of an event is judged on its own.

    Returns:
        `[*event]`, float64; at most n m log10(n m), which antithetic chains reach.

    References:
        Practical Markov chain Monte Carlo (Geyer, 1992).
        Rank-normalization, folding, and localization: an improved R-hat (Vehtari, Gelman, Simpson, Carpenter, Bürkner, 2021).

    Example:
        >>> x = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
        >>> 3000 < ess(x).item() < 5000
        True
    """
    s = _split(x, "ess")
    n, m = s.shape[:2]
    cov = autocovariance(s).mean(1)
    within = cov[0] * n / (n - 1)
    plus = cov[0] + s.mean(0).var(0)
    # rho_t = 1 - (W - mean covariance at lag t) / var+, with rho_0 = 1 by definition
    rho = 1 - (within - cov) / plus
    rho[0] = 1.0
    last = (n - 1) // 2 * 2
    even, odd = rho[0:last:2], rho[1:last:2]
    pairs = even + odd
    positive = (pairs > 0).to(rho.dtype).cumprod(0)
    positive[-1] = 0.0  # the sum stops somewhere
    tau = -1 + 2 * (torch.cummin(pairs, 0).values * positive).sum(0)
    stop = positive.sum(0).long()  # the first pair left out; its even half still counts when it is positive
    tau = tau + even.gather(0, stop[None])[0].clamp(min=0)
    tau = tau.clamp(min=1 / math.log10(n * m))
    return (n * m / tau).reshape(x.shape[2:])


def split_rhat(x: Tensor) -> Tensor:
    """Split R-hat: sqrt(var+ / W), 1 when halves of all chains agree; above 1.01 they do not yet.

    W is the mean variance within half chains and var+ = W (n-1)/n + variance of their means. It sees chains that differ,
    not a mode that none of them has visited.

    Args:
        x: `[steps, chains, *event]`.

    Returns:
        `[*event]`, float64.

    References:
        Inference from iterative simulation using multiple sequences (Gelman, Rubin, 1992).
        Rank-normalization, folding, and localization: an improved R-hat (Vehtari, Gelman, Simpson, Carpenter, Bürkner, 2021).

    Example:
        >>> x = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
        >>> bool(split_rhat(x) < 1.01), bool(split_rhat(x + torch.tensor([0.0, 0.0, 3.0, 3.0])) > 1.5)
        (True, True)
    """
    s = _split(x, "split_rhat")
    n = len(s)
    within = s.var(0).mean(0)
    plus = within * (n - 1) / n + s.mean(0).var(0)
    return (plus / within).sqrt().reshape(x.shape[2:])
