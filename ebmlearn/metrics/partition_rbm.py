"""The partition function of restricted Boltzmann machines by annealed importance sampling, with its error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..energies.rbm import BernoulliRBM, GaussianBernoulliRBM, bernoulli, softplus
from ..samplers.gibbs_langevin import AnnealedPath, annealed_chains
from .partition import Estimate, _estimate


@dataclass(frozen=True, eq=False, kw_only=True)
class BinaryPath:
    """A geometric path from independent bits with log odds `visible` to a Bernoulli RBM; as `AnnealedPath` for the Gaussian one.

    log f_beta(x) = (1 - beta) a0ᵀx + beta aᵀx + sum_j softplus(beta (Wᵀx + b)_j).
    """

    visible: Tensor

    def start(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n draws from the base, `[n, D]`."""
        return bernoulli(torch.sigmoid(self.visible).expand(n, -1), generator)

    def log_partition(self, rbm: Any) -> Tensor:
        """log Z of the base; each hidden unit contributes log 2."""
        return softplus(self.visible).sum() + rbm.n_hidden * math.log(2.0)

    def log_ratio(self, rbm: Any, x: Tensor, a: Tensor, before: float, after: float) -> Tensor:
        """log f_after(x) - log f_before(x), `[*batch]`."""
        return (after - before) * (x @ (rbm.a - self.visible)) + (softplus(after * a) - softplus(before * a)).sum(-1)

    def sweep(self, rbm: Any, a: Tensor, beta: float, generator: torch.Generator | None = None) -> Tensor:
        """One Gibbs sweep that leaves f_beta invariant, from the hidden logits a of the present x."""
        z = bernoulli(torch.sigmoid(beta * a), generator)
        own = beta * (z @ rbm.W.T + rbm.a)
        return bernoulli(torch.sigmoid((1 - beta) * self.visible + own), generator)


def path_from_data(rbm: GaussianBernoulliRBM | BernoulliRBM, x: Tensor) -> AnnealedPath | BinaryPath:
    """A base that fits the data's one-dimensional marginals: a diagonal Gaussian, or independent bits (smoothed by one count).

    Args:
        x: data, `[N, D]`.
    """
    if isinstance(rbm, GaussianBernoulliRBM):
        return AnnealedPath(mean=x.mean(0), variance=x.var(0).clamp(min=1e-6))
    p = (x.sum(0) + 0.5) / (len(x) + 1)
    return BinaryPath(visible=torch.log(p) - torch.log1p(-p))


def rbm_ais(
    rbm: GaussianBernoulliRBM | BernoulliRBM,
    path: AnnealedPath | BinaryPath,
    *,
    sweeps: int = 1000,
    n: int = 200,
    generator: torch.Generator | None = None,
) -> Estimate:
    """log Z of an RBM by annealed importance sampling with Gibbs sweeps along a geometric path.

    The estimate of Z is unbiased; that of log Z is biased low, so log-likelihoods are biased high where the path is too short.
    Believe the standard error only while `ess` is a good part of n: then compare two path lengths.

    Args:
        rbm: the machine.
        path: from its base, e.g. `path_from_data(rbm, x)`.
        sweeps: steps of the path.
        n: independent chains.
        generator: source of randomness, on the machine's device.

    References:
        On the quantitative analysis of deep belief networks (Salakhutdinov, Murray, 2008).

    Example:
        >>> rbm = BernoulliRBM(6, 4, weight_std=0.5, generator=torch.Generator().manual_seed(0))
        >>> z = rbm_ais(rbm, path_from_data(rbm, torch.full((1, 6), 0.5)), sweeps=50, n=200, generator=torch.Generator().manual_seed(1))
        >>> bool((z.log_partition - rbm.log_partition()).abs() < 5 * z.standard_error)
        True
    """
    with torch.no_grad():
        x, log_w = annealed_chains(rbm, path, n, sweeps, generator=generator)  # type: ignore[arg-type]
        return _estimate(log_w + path.log_partition(rbm).to(log_w), x)
