"""Small functions of energies that every floor above uses: gradients, scores, shapes, temperature, budgets. Torch only."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

EnergyFunction = Callable[[Tensor], Tensor]


def expand_as(a: Tensor, x: Tensor) -> Tensor:
    """Append axes of length one to `a` until it broadcasts against `x` from the left.

    Args:
        a: `[*batch]`, one number for each point.
        x: `[*batch, *event]`.

    Returns:
        `a` viewed as `[*batch, 1, ..., 1]` with as many axes as `x`.

    Example:
        >>> expand_as(torch.ones(5), torch.ones(5, 3, 8, 8)).shape
        torch.Size([5, 1, 1, 1])
    """
    if a.ndim > x.ndim or x.shape[: a.ndim] != a.shape:
        raise ValueError(f"expected x to begin with the axes of a, {tuple(a.shape)}; got x of shape {tuple(x.shape)}")
    return a.reshape(a.shape + (1,) * (x.ndim - a.ndim))


def check_event(x: Tensor, event_shape: Sequence[int], owner: str) -> None:
    """Raise a ValueError unless `x` ends with `event_shape`; `owner` names who asks."""
    event = tuple(event_shape)
    if tuple(x.shape[x.ndim - len(event) :]) != event or x.ndim < len(event):
        raise ValueError(
            f"{owner} expected x of shape [*batch, {', '.join(map(str, event))}]; got {tuple(x.shape)}. "
            f"Put the event last, e.g. x.reshape(-1, {', '.join(map(str, event))})"
        )


def check_values(energy: EnergyFunction, x: Tensor, e: Tensor) -> None:
    """Raise a ValueError unless `e` is one number for each point of `x`.

    An `Energy` says with `event_ndim` how many of the last axes are one point. For a bare function the batch is read
    off its output, which must equal the leading axes of `x`, be shorter than `x`, and be empty only for a single 1-D
    point; so an output `(N, 1)` and a sum over the batch are errors.
    """
    event_ndim = getattr(energy, "event_ndim", None)
    if isinstance(event_ndim, int):
        expected = x.shape[: x.ndim - event_ndim]
        right = e.shape == expected
        hint = f"one number for each point: {tuple(expected)}"
    else:
        right = e.ndim < x.ndim and x.shape[: e.ndim] == e.shape and (e.ndim > 0 or x.ndim == 1)
        hint = f"one number for each point, e.g. {tuple(x.shape[:-1])}"
    if not right:
        raise ValueError(
            f"an energy maps x[*batch, *event] to energy[*batch]; got x of shape {tuple(x.shape)} and an energy of shape "
            f"{tuple(e.shape)}, expected {hint}. Sum over the event axes only, e.g. (x**2).sum(-1), or squeeze a last axis of 1"
        )


def check_points(x: Tensor) -> None:
    """Raise a ValueError unless `x` is a non-empty floating tensor of finite numbers."""
    if not isinstance(x, Tensor):
        raise ValueError(f"expected a torch tensor of points; got {type(x).__name__}. Use torch.as_tensor(x)")
    if not x.is_floating_point():
        raise ValueError(f"expected floating points, energies are differentiated in x; got {x.dtype}. Use x.float()")
    if x.ndim == 0 or x.numel() == 0:
        raise ValueError(f"expected at least one point; got an empty batch, shape {tuple(x.shape)}")
    if not bool(torch.isfinite(x).all()):
        bad = int((~torch.isfinite(x)).sum())
        raise ValueError(f"expected finite points; {bad} of {x.numel()} numbers are NaN or infinite")


def check_generator(generator: torch.Generator | None, x: Tensor) -> None:
    """Raise a ValueError when `generator` lives on another kind of device than `x`."""
    if generator is not None and generator.device.type != x.device.type:
        raise ValueError(
            f"expected a generator on {x.device}, where x is; got one on {generator.device}. "
            f"Use torch.Generator({str(x.device)!r}).manual_seed(0)"
        )


def value_and_grad(energy: EnergyFunction, x: Tensor) -> tuple[Tensor, Tensor]:
    """E(x) and its gradient in x, for each point of the batch.

    An energy that defines `value_and_grad(x)` (a closed form) is asked; every other goes through autograd.

    Args:
        energy: maps `[*batch, *event]` to `[*batch]`.
        x: points, `[*batch, *event]`.

    Returns:
        The energies `[*batch]` and the gradients `[*batch, *event]`, both detached.

    Raises:
        ValueError: wrong output shape; an energy that does not depend differentiably on x.
        RuntimeError: under `torch.inference_mode()`, where autograd is off for good.

    Example:
        >>> e, g = value_and_grad(lambda x: 0.5 * (x**2).sum(-1), torch.tensor([[3.0, 4.0]]))
        >>> e.item(), g.tolist()
        (12.5, [[3.0, 4.0]])
    """
    own = getattr(energy, "value_and_grad", None)
    if own is not None:
        return own(x)
    if torch.is_inference_mode_enabled():
        raise RuntimeError("gradients cannot be taken under torch.inference_mode(); use torch.no_grad() instead")
    with torch.enable_grad():
        leaf = x.detach().requires_grad_(True)
        e = energy(leaf)
        check_values(energy, leaf, e)
        if not e.requires_grad:
            raise ValueError(
                "the energy is not differentiable in x: its output does not depend on x through differentiable operations. "
                "Look for .detach(), .item(), .round(), comparisons or NumPy inside the energy"
            )
        (grad,) = torch.autograd.grad(e.sum(), leaf, allow_unused=True)
    if grad is None:
        raise ValueError("the energy ignores x: its output depends on parameters only")
    return e.detach(), grad


def score(energy: EnergyFunction, x: Tensor) -> Tensor:
    """The score of p(x) ∝ exp(-E(x)): grad log p(x) = -grad E(x), shape `[*batch, *event]`.

    Example:
        >>> score(lambda x: 0.5 * (x**2).sum(-1), torch.tensor([[3.0, 4.0]])).tolist()
        [[-3.0, -4.0]]
    """
    return -value_and_grad(energy, x)[1]


def log_mean_exp(a: Tensor, dim: int = -1) -> Tensor:
    """log(mean(exp(a))) along `dim`, without overflow."""
    return torch.logsumexp(a, dim) - math.log(a.shape[dim])


def implied_temperature(step_size: float, noise: float) -> float:
    """The temperature that `x - step_size * grad E + noise * N(0, I)` samples at: T = noise² / (2 step_size).

    The chain targets exp(-E/T), up to a bias of the order of step_size.

    References:
        On the Anatomy of MCMC-based Maximum Likelihood Learning of Energy-Based Models (Nijkamp et al., 2020).

    Example:
        >>> implied_temperature(step_size=10.0, noise=0.005)
        1.25e-06
    """
    if step_size <= 0:
        raise ValueError(f"expected step_size > 0; got {step_size}")
    return noise**2 / (2 * step_size)


def budget(full: int, *, smoke: int) -> int:
    """`full`, or `smoke` when the environment variable EBMLEARN_SMOKE is set (as CI sets it).

    Args:
        full: the size at which the text's numbers were measured.
        smoke: a size just large enough that the cell runs.
    """
    return smoke if os.environ.get("EBMLEARN_SMOKE", "") not in ("", "0") else full
