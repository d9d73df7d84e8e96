"""Langevin kernels: unadjusted (ULA), Metropolis-adjusted (MALA), random-walk Metropolis, and two wrappers that change the target."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..functional import EnergyFunction, check_values, expand_as, value_and_grad
from .base import Info, NotFinite, State, check_positive, normal_like, per_event, start

Size = float | tuple[float, ...]


def _each(fn: Callable[[float], float], value: Size) -> Size:
    return tuple(fn(v) for v in value) if isinstance(value, tuple) else fn(value)


def accept(state: State, proposal: State, log_ratio: Tensor, generator: torch.Generator | None) -> tuple[State, Info]:
    """One Metropolis decision for each chain: keep `proposal` with probability min(1, exp(log_ratio)).

    A NaN or infinite proposal energy is a rejection, so energies may be +inf outside their domain.
    """
    assert state.energy is not None and proposal.energy is not None
    log_ratio = torch.where(torch.isfinite(proposal.energy) & ~torch.isnan(log_ratio), log_ratio, -math.inf)
    prob = log_ratio.clamp(max=0).exp()
    u = torch.rand(prob.shape, dtype=prob.dtype, device=prob.device, generator=generator)
    yes = u < prob

    def pick(new: Tensor | None, old: Tensor | None) -> Tensor | None:
        return None if new is None or old is None else torch.where(expand_as(yes, new), new, old)

    x = torch.where(expand_as(yes, proposal.x), proposal.x, state.x)
    return State(x, pick(proposal.energy, state.energy), pick(proposal.grad, state.grad), state.aux), Info(prob)


@dataclass(frozen=True, kw_only=True)
class Langevin:
    """Unadjusted Langevin: x <- x - eta grad E(x) + noise N(0, I).

    With `noise=None` the noise is sqrt(2 eta) and the chain samples exp(-E) up to a bias of order eta: on N(0, 1) its
    variance is 1/(1 - eta/2). Any other noise samples at the temperature noise²/(2 eta), see `.temperature`.

    Args:
        step_size: eta > 0, a number or one for each entry of the last axis.
        noise: standard deviation of the noise; 0 is gradient descent.

    References:
        Exponential convergence of Langevin distributions and their discrete approximations (Roberts, Tweedie, 1996).
    """

    step_size: Size
    noise: Size | None = None

    def __post_init__(self) -> None:
        check_positive("step_size", self.step_size)
        for v in self.noise if isinstance(self.noise, tuple) else (self.noise,):
            if v is not None and not 0 <= v < math.inf:
                raise ValueError(f"expected noise >= 0 and finite; got {self.noise}")

    @classmethod
    def at_temperature(cls, *, step_size: Size, temperature: float) -> Langevin:
        """The kernel that samples exp(-E/T): noise = sqrt(2 eta T)."""
        if not 0 <= temperature < math.inf:
            raise ValueError(f"expected temperature >= 0 and finite; got {temperature}")
        check_positive("step_size", step_size)
        return cls(step_size=step_size, noise=_each(lambda s: math.sqrt(2 * s * temperature), step_size))

    @property
    def temperature(self) -> float:
        """T = noise²/(2 eta), what a paper's pair of step and noise means."""
        if self.noise is None:
            return 1.0
        steps = self.step_size if isinstance(self.step_size, tuple) else (self.step_size,)
        noises = self.noise if isinstance(self.noise, tuple) else (self.noise,) * len(steps)
        steps = steps if len(steps) == len(noises) else steps * len(noises)
        values = [n * n / (2 * s) for s, n in zip(steps, noises, strict=True)]
        if max(values) - min(values) > 1e-9 * max(1e-300, max(values)):
            raise ValueError(f"the entries have different temperatures: {values}")
        return values[0]

    def init(self, energy: EnergyFunction, x: Tensor) -> State:
        return start(energy, x)

    def move(self, state: State, generator: torch.Generator | None) -> Tensor:
        """The next position; one gradient, already in the state, is all it takes."""
        assert state.grad is not None
        x = state.x
        y = x - per_event(self.step_size, x) * state.grad
        noise = _each(lambda s: math.sqrt(2 * s), self.step_size) if self.noise is None else self.noise
        return y if noise == 0 else y + per_event(noise, x) * normal_like(x, generator)

    def step(self, energy: EnergyFunction, state: State, *, generator: torch.Generator | None = None) -> tuple[State, Info]:
        y = self.move(state, generator)
        e, g = value_and_grad(energy, y)
        return State(y, e, g), Info(torch.ones_like(e))


@dataclass(frozen=True, kw_only=True)
class MALA:
    """Metropolis-adjusted Langevin: a Langevin proposal, accepted so that exp(-E) is exactly stationary.

    Proposal y = x - eta grad E(x) + sqrt(2 eta) N; accepted with probability
    min(1, exp(E(x) - E(y)) q(x|y)/q(y|x)), log q(y|x) = -|y - x + eta grad E(x)|²/(4 eta). One energy and one gradient a step.

    Args:
        step_size: eta > 0, a number or one for each entry of the last axis. Aim at an acceptance near 0.57.

    References:
        Exponential convergence of Langevin distributions and their discrete approximations (Roberts, Tweedie, 1996).
        Optimal scaling of discrete approximations to Langevin diffusions (Roberts, Rosenthal, 1998).
    """

    step_size: Size

    def __post_init__(self) -> None:
        check_positive("step_size", self.step_size)

    def init(self, energy: EnergyFunction, x: Tensor) -> State:
        return start(energy, x)

    def step(self, energy: EnergyFunction, state: State, *, generator: torch.Generator | None = None) -> tuple[State, Info]:
        x, e, g, _ = state
        assert e is not None and g is not None
        eta = per_event(self.step_size, x)
        z = normal_like(x, generator)
        y = x - eta * g + (2 * eta) ** 0.5 * z
        ey, gy = value_and_grad(energy, y)
        event = tuple(range(e.ndim, x.ndim))
        # forward residual is sqrt(2 eta) z, so its term is |z|²/2
        log_forward = -0.5 * (z * z).sum(event)
        log_backward = -((x - y + eta * gy) ** 2 / (4 * eta)).sum(event)
        return accept(state, State(y, ey, gy), e - ey + log_backward - log_forward, generator)


@dataclass(frozen=True, kw_only=True)
class RandomWalk:
    """Random-walk Metropolis: y = x + scale N(0, I), accepted with probability min(1, exp(E(x) - E(y))). No gradient.

    References:
        Equation of state calculations by fast computing machines (Metropolis et al., 1953).
    """

    scale: Size

    def __post_init__(self) -> None:
        check_positive("scale", self.scale)

    def init(self, energy: EnergyFunction, x: Tensor) -> State:
        with torch.no_grad():
            e = energy(x)
        check_values(energy, x, e)
        if not bool(torch.isfinite(e).all()):
            raise NotFinite("the energy is not finite at the start; start where it is")
        return State(x.detach(), e)

    def step(self, energy: EnergyFunction, state: State, *, generator: torch.Generator | None = None) -> tuple[State, Info]:
        assert state.energy is not None
        y = state.x + per_event(self.scale, state.x) * normal_like(state.x, generator)
        with torch.no_grad():
            ey = energy(y)
        return accept(state, State(y, ey), state.energy - ey, generator)


@dataclass(frozen=True, kw_only=True)
class Clamped:
    """Langevin with its positions clamped to [low, high] after each step. This changes the target.

    Mass piles up on the faces of the box, where exp(-E) restricted to the box has none. One gradient a step. For an
    exact restriction let the energy be +inf outside the box and use MALA, HMC or RandomWalk, which reject.
    """

    kernel: Langevin
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.kernel, Langevin):
            raise ValueError(f"expected a Langevin kernel to clamp; got {type(self.kernel).__name__}")
        if not self.low < self.high:
            raise ValueError(f"expected low < high; got {self.low} and {self.high}")

    def init(self, energy: EnergyFunction, x: Tensor) -> State:
        return self.kernel.init(energy, x.clamp(self.low, self.high))

    def step(self, energy: EnergyFunction, state: State, *, generator: torch.Generator | None = None) -> tuple[State, Info]:
        y = self.kernel.move(state, generator).clamp(self.low, self.high)
        e, g = value_and_grad(energy, y)
        return State(y, e, g), Info(torch.ones_like(e))


class ClippedGradient:
    """An energy whose gradient is clipped to norm `max_norm` at each point. This changes the target.

    Langevin on it samples a law with exponential tails: for E = x²/2 the clipped gradient is that of the Huber function.
    """

    def __init__(self, energy: EnergyFunction, max_norm: float) -> None:
        check_positive("max_norm", max_norm)
        self.energy = energy
        self.max_norm = max_norm
        if hasattr(energy, "event_ndim"):
            self.event_ndim = energy.event_ndim

    def __call__(self, x: Tensor) -> Tensor:
        return self.energy(x)

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        e, g = value_and_grad(self.energy, x)
        norm = g.flatten(e.ndim).norm(dim=-1)
        return e, g * expand_as((self.max_norm / norm.clamp(min=1e-30)).clamp(max=1.0), g)
