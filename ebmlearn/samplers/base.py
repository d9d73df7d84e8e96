"""What a sampler is (a kernel with `init` and `step`) and the three ways to run one: iterate, sample, trajectory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ..functional import EnergyFunction, check_generator, check_points, value_and_grad

CHECK_EVERY = 25  # steps between looks for NaN where a look would stall the device


class State(NamedTuple):
    """What the next step of a chain needs; parts a kernel does not use are None."""

    x: Tensor
    energy: Tensor | None = None
    grad: Tensor | None = None
    aux: Any = None


class Info(NamedTuple):
    """What only the reader of a chain needs: the probability with which the move was accepted, `[*batch]`."""

    accept_prob: Tensor


class Trace(NamedTuple):
    """A stored run: positions `[steps, *batch, *event]`, energies and acceptance `[steps, *batch]`."""

    x: Tensor
    energy: Tensor
    accept_prob: Tensor


class Kernel(Protocol):
    """A frozen dataclass of hyperparameters with two pure methods."""

    def init(self, energy: Any, x: Tensor) -> State: ...

    def step(self, energy: Any, state: State, *, generator: torch.Generator | None = None) -> tuple[State, Info]: ...


class Annealed:
    """An energy that changes with the step number: `fn(step)` is the energy of step 0, 1, 2, ...

    Example:
        >>> from ebmlearn.schedules import geometric
        >>> beta = geometric(0.1, 1.0, steps=100)
        >>> path = Annealed(lambda t: lambda x: beta(t) * (x**2).sum(-1))
    """

    def __init__(self, fn: Callable[[int], EnergyFunction]) -> None:
        self.fn = fn

    def at(self, step: int) -> EnergyFunction:
        """The energy of one step."""
        return self.fn(step)


def per_event(value: float | tuple[float, ...], x: Tensor) -> float | Tensor:
    """A hyperparameter as a number, or, given as a tuple, as a tensor along the last axis of x."""
    if isinstance(value, tuple):
        if len(value) != x.shape[-1]:
            raise ValueError(f"expected one number for each of the {x.shape[-1]} entries of the last axis; got {len(value)}")
        return torch.tensor(value, dtype=x.dtype, device=x.device)
    return value


def check_positive(name: str, value: float | tuple[float, ...]) -> None:
    """Raise a ValueError unless every number is finite and > 0."""
    for v in value if isinstance(value, tuple) else (value,):
        if not 0 < v < float("inf"):
            raise ValueError(f"expected {name} > 0 and finite; got {value}")


def normal_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers of the shape, dtype and device of x."""
    return torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)


class NotFinite(ValueError):
    """An energy, or its gradient, that is not finite where a chain starts."""


def start(energy: EnergyFunction, x: Tensor) -> State:
    """The state of a gradient kernel at x: energy and gradient, checked to be finite."""
    e, g = value_and_grad(energy, x)
    if not bool(torch.isfinite(e).all()):
        raise NotFinite(
            f"the energy is not finite at {int((~torch.isfinite(e)).sum())} of {e.numel()} starting points; start where it is"
        )
    if not bool(torch.isfinite(g).all()):
        raise NotFinite("the gradient of the energy is not finite at the start; start elsewhere or smooth the energy")
    return State(x.detach(), e, g)


def _check_finite(x: Tensor, step: int) -> None:
    if not bool(torch.isfinite(x).all()):
        where = f"at step {step}" if x.device.type == "cpu" else f"at or within {CHECK_EVERY} steps before step {step}"
        raise FloatingPointError(
            f"the chain left the finite numbers {where}: the step is too large for this energy, or the energy is not "
            "bounded below. Lower step_size, or use MALA or HMC, which reject such moves"
        )


def iterate(
    energy: EnergyFunction | Annealed | Any,
    kernel: Kernel | Callable[[int], Kernel],
    x: Tensor,
    *,
    generator: torch.Generator | None = None,
) -> Iterator[tuple[State, Info]]:
    """Run a chain for ever, one `(State, Info)` a step; the body of your `for` is the callback.

    Args:
        energy: any callable `[*batch, *event] -> [*batch]`, a joint energy for Gibbs kernels, or an `Annealed`.
        kernel: a kernel, or a function of the step number that returns one (annealed hyperparameters).
        x: starting points, `[*batch, *event]`; every point of the batch is its own chain.
        generator: source of randomness, on the device of x; the same seed gives the same chain.

    Raises:
        ValueError: x empty, of integers or not finite; a generator on another device; a bad energy.
        FloatingPointError: the chain left the finite numbers; names the step.

    Example:
        >>> from ebmlearn.samplers import Langevin
        >>> for step, (state, info) in enumerate(iterate(lambda x: (x**2).sum(-1), Langevin(step_size=0.1), torch.zeros(4, 2))):
        ...     if step == 9:
        ...         break
        >>> state.x.shape
        torch.Size([4, 2])
    """
    check_points(x)
    check_generator(generator, x)
    return _iterate(energy, kernel, x, generator)


def _iterate(energy: Any, kernel: Any, x: Tensor, generator: torch.Generator | None) -> Iterator[tuple[State, Info]]:
    kernel_at = kernel if not hasattr(kernel, "step") else (lambda step: kernel)
    annealed = isinstance(energy, Annealed)
    current = energy.at(0) if annealed else energy
    state = kernel_at(0).init(current, x)
    step = 0
    while True:
        if annealed and step > 0:
            following = energy.at(step)
            if following is not current:
                current = following
                state = kernel_at(step).init(current, state.x)
        state, info = kernel_at(step).step(current, state, generator=generator)
        step += 1
        if x.device.type == "cpu" or step % CHECK_EVERY == 0:
            _check_finite(state.x, step)
        yield state, info


def sample(
    energy: EnergyFunction | Annealed | Any,
    kernel: Kernel | Callable[[int], Kernel],
    x: Tensor,
    steps: int,
    *,
    generator: torch.Generator | None = None,
    compile: bool = False,
) -> Tensor:
    """The positions after `steps` steps, `[*batch, *event]`; arguments as for `iterate`.

    Args:
        compile: compile the energy's gradient with `torch.compile` (first call 1-17 s); where no compiler is found,
            one warning, then the ordinary path.

    Example:
        >>> from ebmlearn.samplers import MALA
        >>> g = torch.Generator().manual_seed(0)
        >>> x = sample(lambda x: 0.5 * (x**2).sum(-1), MALA(step_size=0.5), torch.zeros(2000, 2), 50, generator=g)
        >>> bool((x.var() - 1).abs() < 0.1)
        True
    """
    if steps < 0:
        raise ValueError(f"expected steps >= 0; got {steps}")
    if compile:
        from .compiled import compiled

        if isinstance(energy, Annealed):
            raise ValueError(
                "compile=True expects one energy that stays; for an Annealed use Annealed(lambda t: compiled(fn(t)))"
            )
        energy = compiled(energy)  # type: ignore[arg-type]
    chain = iterate(energy, kernel, x, generator=generator)
    for step, (state, _) in zip(range(steps), chain, strict=False):
        if step == steps - 1:
            _check_finite(state.x, steps)
            return state.x
    return x.detach().clone()


def trajectory(
    energy: EnergyFunction | Annealed | Any,
    kernel: Kernel | Callable[[int], Kernel],
    x: Tensor,
    steps: int,
    *,
    thin: int = 1,
    generator: torch.Generator | None = None,
) -> Trace:
    """The whole run: every `thin`-th of `steps` steps, as a `Trace`; arguments as for `iterate`.

    Example:
        >>> from ebmlearn.samplers import Langevin
        >>> trajectory(lambda x: (x**2).sum(-1), Langevin(step_size=0.1), torch.zeros(4, 2), 10, thin=2).x.shape
        torch.Size([5, 4, 2])
    """
    if steps < thin or thin < 1:
        raise ValueError(f"expected steps >= thin >= 1; got steps={steps}, thin={thin}")
    xs, energies, accepts = [], [], []
    for step, (state, info) in zip(range(1, steps + 1), iterate(energy, kernel, x, generator=generator), strict=False):
        if step % thin == 0:
            if state.energy is None:
                raise ValueError(f"{type(kernel).__name__} keeps no energy in its state; use iterate and compute what you need")
            xs.append(state.x.clone())
            energies.append(state.energy.clone())
            accepts.append(info.accept_prob.clone())
    return Trace(torch.stack(xs), torch.stack(energies), torch.stack(accepts))
