"""The partition function: quadrature on a grid, importance sampling, annealed importance sampling."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..functional import EnergyFunction, value_and_grad
from ..samplers import Kernel


class Quadrature(NamedTuple):
    """A density on a grid: centres of cells `[n, ..., n, dim]`, normalised log density there `[n, ..., n]`, and log Z.

    `log_volume` is log of the volume of a cell, so that `log_density.exp().sum() * exp(log_volume)` is 1.
    """

    x: Tensor
    log_density: Tensor
    log_partition: Tensor
    log_volume: float

    @property
    def entropy(self) -> Tensor:
        """-∫ p log p, in nats."""
        p = (self.log_density + self.log_volume).exp()
        return -torch.where(p > 0, p * self.log_density, torch.zeros_like(p)).sum()


def quadrature(
    energy: EnergyFunction,
    *,
    low: float | Sequence[float] = -4.0,
    high: float | Sequence[float] = 4.0,
    cells: int = 400,
    dim: int = 2,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Quadrature:
    """log Z and p(x) = exp(-E(x))/Z on a box, by the midpoint rule: the known answer in one to three dimensions.

    For a smooth density that has died out at the faces of the box the error falls faster than any power of 1/cells;
    mass outside the box is not seen, so look whether log Z still moves when the box grows.

    Args:
        energy: maps `[*batch, dim]` to `[*batch]`.
        low, high: corners of the box, a number or one for each axis.
        cells: along each axis.
        dim: number of axes.
        dtype, device: of the grid; default those of the energy's first parameter or buffer, else PyTorch's default.

    Example:
        >>> q = quadrature(lambda x: 0.5 * (x**2).sum(-1), low=-8, high=8, cells=100)
        >>> round(q.log_partition.item(), 4)  # log 2π
        1.8379
    """
    lows = [float(low)] * dim if isinstance(low, (int, float)) else [float(v) for v in low]
    highs = [float(high)] * dim if isinstance(high, (int, float)) else [float(v) for v in high]
    if not len(lows) == len(highs) == dim or any(a >= b for a, b in zip(lows, highs, strict=True)):
        raise ValueError(f"expected low < high with {dim} numbers each; got {lows} and {highs}")
    if cells < 1 or cells**dim > 50_000_000:
        raise ValueError(
            f"expected 1 <= cells and at most 5e7 cells in all; got {cells} along each of {dim} axes. Use AIS in high dimension"
        )
    like = _like(energy, dtype, device)
    widths = [(b - a) / cells for a, b in zip(lows, highs, strict=True)]
    centre = torch.arange(cells, dtype=like.dtype, device=like.device) + 0.5
    axes = [a + w * centre for a, w in zip(lows, widths, strict=True)]
    x = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    with torch.no_grad():
        e = torch.cat([energy(part) for part in x.reshape(-1, dim).split(1 << 16)]).reshape(x.shape[:-1])
    if bool(torch.isnan(e).any()):
        raise ValueError(f"the energy is NaN at {int(torch.isnan(e).sum())} of {e.numel()} grid points")
    log_volume = sum(math.log(w) for w in widths)
    log_z = torch.logsumexp(-e.flatten(), 0) + log_volume
    return Quadrature(x, -e - log_z, log_z, log_volume)


def _like(energy: EnergyFunction, dtype: torch.dtype | None, device: torch.device | str | None) -> Tensor:
    found = None
    if isinstance(energy, torch.nn.Module):
        tensors = itertools.chain(energy.parameters(), energy.buffers())
        found = next((t for t in tensors if t.is_floating_point()), None)
    return torch.empty(
        0,
        dtype=dtype or (torch.get_default_dtype() if found is None else found.dtype),
        device=device or ("cpu" if found is None else found.device),
    )


class KnownEnergy(Protocol):
    """An energy whose log Z and independent samples are known, e.g. `Gaussian`."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def log_partition(self) -> Tensor: ...

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor: ...


class Estimate(NamedTuple):
    """An estimate of log Z from weighted points, with what it takes to judge it.

    log_partition: log of the mean weight. Z is estimated without bias, so log Z is biased low, by about
    standard_error²/2 when that is small. standard_error: by the delta method, of log Z, only to be trusted while `ess` is
    a good part of n. ess: (sum w)²/sum w². log_weights: `[n]`. x: the weighted points, `[n, *event]`.
    """

    log_partition: Tensor
    standard_error: Tensor
    ess: Tensor
    log_weights: Tensor
    x: Tensor


def _estimate(log_w: Tensor, x: Tensor) -> Estimate:
    if not bool((log_w < math.inf).all()):  # also catches NaN
        raise ValueError("a weight is NaN or infinite: the energy is not finite where the base distribution puts its points")
    n = len(log_w)
    log_z = torch.logsumexp(log_w, 0) - math.log(n)
    w = (log_w - log_z).exp()  # mean 1
    return Estimate(log_z, w.std() / math.sqrt(n), w.sum() ** 2 / (w * w).sum(), log_w, x)


def _check_n(n: int) -> None:
    if n < 2:
        raise ValueError(f"expected n >= 2 points, or there is no standard error; got {n}")


def importance_sampling(
    energy: EnergyFunction, base: KnownEnergy, n: int, *, generator: torch.Generator | None = None
) -> Estimate:
    """log Z by importance sampling: the mean of exp(E_0(x) - E(x)) Z_0 over x ~ exp(-E_0)/Z_0.

    The base must have heavier tails than exp(-E), or the weights have no variance and the standard error no meaning.

    Args:
        energy: E.
        base: E_0, with `log_partition()` and `sample(n, generator=)`.
        n: points.
        generator: source of randomness.

    Example:
        >>> from ebmlearn.energies import Gaussian
        >>> g = torch.Generator().manual_seed(0)
        >>> z = importance_sampling(lambda x: 2 * (x**2).sum(-1), Gaussian([0.0]), 10_000, generator=g)
        >>> bool((z.log_partition - 0.5 * math.log(math.pi / 2)).abs() < 5 * z.standard_error)
        True
    """
    _check_n(n)
    x = base.sample(n, generator=generator)
    with torch.no_grad():
        log_w = base(x) - energy(x) + base.log_partition()
    return _estimate(log_w, x)


class _Between:
    """E_beta = (1 - beta) E_0 + beta E."""

    def __init__(self, base: EnergyFunction, energy: EnergyFunction, beta: float) -> None:
        self.base, self.energy, self.beta = base, energy, beta
        self.event_ndim = getattr(base, "event_ndim", 1)

    def __call__(self, x: Tensor) -> Tensor:
        return (1 - self.beta) * self.base(x) + self.beta * self.energy(x)

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        e0, g0 = value_and_grad(self.base, x)
        e1, g1 = value_and_grad(self.energy, x)
        return torch.lerp(e0, e1, self.beta), torch.lerp(g0, g1, self.beta)


def annealed_importance_sampling(
    energy: EnergyFunction,
    base: KnownEnergy,
    *,
    kernel: Kernel | Callable[[int], Kernel],
    betas: int | Sequence[float] = 200,
    n: int = 1000,
    generator: torch.Generator | None = None,
) -> Estimate:
    """log Z by annealed importance sampling: walk from a known energy to E, and weigh what the walk finds.

    Points start as draws of exp(-E_0)/Z_0 and move by `kernel` on E_beta = (1 - beta) E_0 + beta E as beta goes from 0 to
    1; log w = log Z_0 + sum_k (beta_k - beta_{k-1}) (E_0 - E)(x_{k-1}). The mean weight is exactly Z in expectation for
    every kernel that leaves each exp(-E_beta) invariant (MALA, HMC, RandomWalk), well mixed or not; Langevin does not.

    Args:
        energy: E.
        base: E_0, with `log_partition()` and `sample(n, generator=)`; wider than exp(-E).
        kernel: moves the points, one step at each beta; or a function of the step number that returns one.
        betas: a number K of equal steps from 0 to 1, or the increasing values themselves, from 0 to 1.
        n: independent walks.
        generator: source of randomness.

    References:
        Annealed importance sampling (Neal, 2001).
        On the quantitative analysis of deep belief networks (Salakhutdinov, Murray, 2008).

    Example:
        >>> from ebmlearn.energies import DoubleWell, Gaussian
        >>> from ebmlearn.samplers import HMC
        >>> z = annealed_importance_sampling(
        ...     DoubleWell(2), Gaussian([0.0, 0.0], 2.0), kernel=HMC(step_size=0.2, n_leapfrog=3), betas=30, n=500,
        ...     generator=torch.Generator().manual_seed(0),
        ... )
        >>> bool((z.log_partition - DoubleWell(2).log_partition()).abs() < 5 * z.standard_error)
        True
    """
    _check_n(n)
    path = [k / betas for k in range(betas + 1)] if isinstance(betas, int) and betas > 0 else betas
    if (
        isinstance(path, int)
        or len(path) < 2
        or path[0] != 0
        or path[-1] != 1
        or any(b <= a for a, b in itertools.pairwise(path))
    ):
        raise ValueError(f"expected betas to increase from 0 to 1, or a number of steps >= 1; got {betas}")
    kernel_at: Callable[[int], Kernel] = (lambda step: kernel) if hasattr(kernel, "step") else kernel  # type: ignore[assignment,return-value]
    x = base.sample(n, generator=generator)
    log_w = base.log_partition().to(x).expand(n).clone()
    for k, (before, beta) in enumerate(itertools.pairwise(path)):
        with torch.no_grad():
            log_w = log_w + (beta - before) * (base(x) - energy(x))
        if beta < 1:  # a last move would not change the weights
            between = _Between(base, energy, beta)
            state, _ = kernel_at(k).step(between, kernel_at(k).init(between, x), generator=generator)
            x = state.x
    return _estimate(log_w, x)
