"""Tempering: heat flattens barriers. An annealed path of energies, and parallel tempering (replica exchange)."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..functional import EnergyFunction, check_values, value_and_grad
from ..schedules import Schedule
from .base import Annealed, Info, Kernel, State, check_positive


class Tempered:
    """x -> E(x)/T for a fixed T, with the gradient of E scaled alike; any callable, whether or not it has operators."""

    def __init__(self, energy: EnergyFunction, temperature: float) -> None:
        check_positive("temperature", temperature)
        self.energy = energy
        self.temperature = temperature
        if hasattr(energy, "event_ndim"):
            self.event_ndim = energy.event_ndim

    def __call__(self, x: Tensor) -> Tensor:
        return self.energy(x) / self.temperature

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        e, g = value_and_grad(self.energy, x)
        return e / self.temperature, g / self.temperature


def annealed(energy: EnergyFunction, temperature: Schedule) -> Annealed:
    """The path of energies E/T(t), t = 0, 1, 2, ...: run any kernel on it while it cools, or heats.

    With temperatures that fall to 1 the chains start where barriers are low and end, if cooling is slow, in the modes
    in proportion to their mass. Below 1 it is simulated annealing: the chains collect in the minima.
    One more gradient a step is spent while T changes. For Langevin alone the schedule
    `lambda t: Langevin.at_temperature(step_size=..., temperature=T(t))` spends none.

    Args:
        energy: E.
        temperature: step -> T > 0, e.g. from `ebmlearn.schedules`.

    References:
        Optimization by simulated annealing (Kirkpatrick, Gelatt, Vecchi, 1983).

    Example:
        >>> from ebmlearn.samplers import MALA, sample
        >>> from ebmlearn.schedules import geometric
        >>> path = annealed(lambda x: ((x**2 - 1) ** 2).sum(-1), geometric(1.0, 0.01, steps=200))
        >>> x = sample(path, MALA(step_size=1e-3), torch.randn(50, 1), 300, generator=torch.Generator().manual_seed(0))
        >>> bool(((x.abs() - 1).abs() < 0.3).all())
        True
    """
    last = Tempered(energy, temperature(0))

    def at(step: int) -> EnergyFunction:
        nonlocal last
        t = temperature(step)
        if t != last.temperature:  # the same object while T stands still, so that the kernel is not started again
            last = Tempered(energy, t)
        return last

    return Annealed(at)


class Replicas(NamedTuple):
    """What parallel tempering keeps beside the cold chain; axis 0 runs over the temperatures, coldest first.

    x: positions `[R, *batch, *event]`; energy: E at them (not divided by T), `[R, *batch]`; grad: of E;
    swap_sum: the acceptance probabilities of all swaps proposed so far between neighbours, summed, `[R - 1, *batch]`.
    """

    x: Tensor
    energy: Tensor
    grad: Tensor | None
    swap_sum: Tensor
    step: int

    @property
    def swap_prob(self) -> Tensor:
        """Mean acceptance of swaps between neighbours r and r + 1 since the start, `[R - 1, *batch]`; aim at 0.2 or more."""
        pairs = torch.arange(len(self.swap_sum), device=self.energy.device)
        proposed = torch.where(pairs % 2 == 0, (self.step + 1) // 2, self.step // 2).clamp(min=1)
        return self.swap_sum / proposed.reshape(-1, *(1,) * (self.swap_sum.ndim - 1))


class _Scaled:
    """All replicas as one batch, in coordinates u = x/√T: U(u) = E(√T u)/T, so that one step size suits every T."""

    def __init__(self, energy: EnergyFunction, root: Tensor, x: Tensor, e: Tensor) -> None:
        self.energy = energy
        self.root_x = root.to(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))
        self.t_e = root.to(e.dtype).square().reshape(-1, *(1,) * (e.ndim - 1))

    def __call__(self, u: Tensor) -> Tensor:
        return self.energy(self.root_x * u) / self.t_e

    def value_and_grad(self, u: Tensor) -> tuple[Tensor, Tensor]:
        e, g = value_and_grad(self.energy, self.root_x * u)
        return e / self.t_e, g / self.root_x


@dataclass(frozen=True, kw_only=True)
class ParallelTempering:
    """Replica exchange: chains at temperatures 1 = T_1 < ... < T_R that swap places; hot ones cross barriers for cold ones.

    Each step moves every replica by `kernel`, then proposes to swap neighbours r and r + 1 (even pairs and odd pairs by
    turns), accepted with probability min(1, exp((1/T_r - 1/T_{r+1}) (E(x_r) - E(x_{r+1})))). With an exact kernel (MALA,
    HMC, RandomWalk) the product of the exp(-E/T_r) is exactly stationary.

    A replica at temperature T moves with steps √T times as long: the kernel runs on u = x/√T, that is with step size
    eta T for Langevin and MALA, epsilon √T for HMC. All replicas are one batch of R times as many points. `State.x` and
    `State.energy` are the cold chain's, `State.aux` is a `Replicas`; the hot replicas start where the cold one does.

    Args:
        kernel: moves the replicas; not a Gibbs kernel.
        temperatures: increasing, the first one is the temperature sampled at, usually 1.

    References:
        Replica Monte Carlo simulation of spin-glasses (Swendsen, Wang, 1986).
        Markov chain Monte Carlo maximum likelihood (Geyer, 1991).
        Non-reversible parallel tempering: a scalable highly parallel MCMC scheme (Syed et al., 2022).

    Example:
        >>> from ebmlearn.samplers import MALA, sample
        >>> wells = lambda x: 8 * ((x**2 - 1) ** 2).sum(-1)
        >>> ladder = ParallelTempering(kernel=MALA(step_size=0.02), temperatures=(1.0, 2.0, 4.0, 8.0))
        >>> x = sample(wells, ladder, torch.ones(200, 1), 300, generator=torch.Generator().manual_seed(0))
        >>> bool((x < 0).float().mean() > 0.3)
        True
    """

    kernel: Kernel
    temperatures: tuple[float, ...]

    def __post_init__(self) -> None:
        t = self.temperatures
        if not isinstance(t, tuple) or len(t) < 2:
            raise ValueError(f"expected a tuple of at least two temperatures; got {t!r}")
        check_positive("temperatures", t)
        if any(b <= a for a, b in itertools.pairwise(t)):
            raise ValueError(f"expected increasing temperatures, coldest first; got {t}")
        if not (hasattr(self.kernel, "init") and hasattr(self.kernel, "step")):
            raise ValueError(f"expected a kernel, e.g. MALA(step_size=0.1); got {type(self.kernel).__name__}")

    def _root(self, x: Tensor) -> Tensor:
        return torch.tensor([math.sqrt(t) for t in self.temperatures], dtype=torch.float64, device=x.device)

    def init(self, energy: EnergyFunction, x: Tensor) -> State:
        cold = self.kernel.init(energy, x)
        if cold.energy is None or cold.aux is not None:
            raise ValueError(
                f"{type(self.kernel).__name__} cannot be tempered: expected a kernel whose state is x, energy and grad"
            )
        check_values(energy, x, cold.energy)
        r = len(self.temperatures)

        def copies(a: Tensor | None) -> Any:
            return None if a is None else a.expand(r, *a.shape).clone()

        swaps = cold.energy.new_zeros(r - 1, *cold.energy.shape)
        return cold._replace(aux=Replicas(copies(cold.x), copies(cold.energy), copies(cold.grad), swaps, 0))

    def step(self, energy: EnergyFunction, state: State, *, generator: torch.Generator | None = None) -> tuple[State, Info]:
        old: Replicas = state.aux
        scaled = _Scaled(energy, self._root(old.x), old.x, old.energy)
        grad = None if old.grad is None else old.grad / scaled.root_x
        moved, info = self.kernel.step(scaled, State(old.x / scaled.root_x, old.energy / scaled.t_e, grad), generator=generator)
        assert moved.energy is not None
        x, e = moved.x * scaled.root_x, moved.energy * scaled.t_e
        g = None if moved.grad is None else moved.grad * scaled.root_x

        first = old.step % 2
        pairs = (len(self.temperatures) - first) // 2
        swap_sum = old.swap_sum.clone()
        if pairs:
            low = torch.arange(first, first + 2 * pairs, 2, device=e.device)
            beta = 1 / scaled.t_e
            log_ratio = (beta[low] - beta[low + 1]) * (e[low] - e[low + 1])
            prob = torch.nan_to_num(log_ratio, nan=-math.inf).clamp(max=0).exp()
            yes = torch.rand(prob.shape, dtype=prob.dtype, device=prob.device, generator=generator) < prob
            swap_sum[low] += prob
            e, x = _exchange(e, low, yes), _exchange(x, low, yes)
            g = None if g is None else _exchange(g, low, yes)
        replicas = Replicas(x, e, g, swap_sum, old.step + 1)
        return State(x[0], e[0], None if g is None else g[0], replicas), Info(info.accept_prob[0])


def _exchange(a: Tensor, low: Tensor, yes: Tensor) -> Tensor:
    """Exchange rows r and r + 1 of `a`, r in `low`, at the chains where `yes[len(low), *batch]`."""
    mask = yes.reshape(*yes.shape, *(1,) * (a.ndim - yes.ndim))
    here, there = a[low], a[low + 1]
    out = a.clone()
    out[low] = torch.where(mask, there, here)
    out[low + 1] = torch.where(mask, here, there)
    return out
