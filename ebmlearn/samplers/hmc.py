"""Hamiltonian Monte Carlo: follow the dynamics of E for a while, then accept or reject."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..functional import EnergyFunction, value_and_grad
from .base import Info, State, check_positive, normal_like, per_event, start
from .langevin import Size, accept


@dataclass(frozen=True, kw_only=True)
class HMC:
    """Hamiltonian Monte Carlo: fresh momentum p ~ N(0, I), `n_leapfrog` leapfrog steps, one Metropolis decision.

    The move follows H(x, p) = E(x) + |p|²/2 and is accepted with probability min(1, exp(H(x, p) - H(x', p'))). The last
    gradient of one proposal is the first of the next, so a proposal costs `n_leapfrog` evaluations of energy and gradient.
    With one leapfrog step it is MALA with eta = step_size²/2.

    A trajectory of length step_size * n_leapfrog near half a period of the slowest oscillation comes back on itself:
    the chain is still exact and hardly mixes. Change the length and look again before you look for a bias.

    Args:
        step_size: leapfrog step epsilon > 0, a number or one for each entry of the last axis (a diagonal mass matrix
            with mass epsilon^-2, up to a common factor). Aim at an acceptance near 0.65 to 0.9.
        n_leapfrog: leapfrog steps in one proposal, >= 1.
        adjusted: False accepts every proposal (unadjusted HMC): biased, like Langevin without Metropolis.

    References:
        Hybrid Monte Carlo (Duane, Kennedy, Pendleton, Roweth, 1987).
        MCMC using Hamiltonian dynamics (Neal, 2011), section 3.

    Example:
        >>> from ebmlearn.samplers import sample
        >>> g = torch.Generator().manual_seed(0)
        >>> x = sample(lambda x: 0.5 * (x**2).sum(-1), HMC(step_size=0.3, n_leapfrog=5), torch.zeros(2000, 2), 20, generator=g)
        >>> bool((x.var() - 1).abs() < 0.1)
        True
    """

    step_size: Size
    n_leapfrog: int
    adjusted: bool = True

    def __post_init__(self) -> None:
        check_positive("step_size", self.step_size)
        if not isinstance(self.n_leapfrog, int) or self.n_leapfrog < 1:
            raise ValueError(f"expected n_leapfrog to be an integer >= 1; got {self.n_leapfrog!r}")

    def init(self, energy: EnergyFunction, x: Tensor) -> State:
        return start(energy, x)

    def step(self, energy: EnergyFunction, state: State, *, generator: torch.Generator | None = None) -> tuple[State, Info]:
        x, e, g, _ = state
        assert e is not None and g is not None
        eps = per_event(self.step_size, x)
        event = tuple(range(e.ndim, x.ndim))  # kinetic energy is summed over every event axis
        momentum = normal_like(x, generator)
        p = momentum - 0.5 * eps * g
        y, ey, gy = x, e, g
        for i in range(self.n_leapfrog):
            y = y + eps * p
            ey, gy = value_and_grad(energy, y)
            p = p - (eps if i < self.n_leapfrog - 1 else 0.5 * eps) * gy
        if not self.adjusted:
            return State(y, ey, gy), Info(torch.ones_like(ey))
        kinetic_lost = 0.5 * (momentum**2).sum(event) - 0.5 * (p**2).sum(event)
        return accept(state, State(y, ey, gy), e - ey + kinetic_lost, generator)
