"""Compiled energies: value and gradient as one `torch.compile`d function, eager where nothing can be compiled."""

from __future__ import annotations

import contextlib
import types
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..functional import EnergyFunction, value_and_grad

_functions: weakref.WeakKeyDictionary[Any, Callable[..., tuple[Tensor, Tensor]]] = weakref.WeakKeyDictionary()
Shape = tuple[torch.Size, torch.dtype, torch.device]
_usable = True  # False once compilation has failed in this process


def _value_and_grad(energy: EnergyFunction, x: Tensor) -> tuple[Tensor, Tensor]:
    def total(y: Tensor) -> tuple[Tensor, Tensor]:
        e = energy(y)
        return e.sum(), e

    grad, e = torch.func.grad(total, has_aux=True)(x)
    return e, grad


def _function_of(energy: EnergyFunction) -> Callable[..., tuple[Tensor, Tensor]]:
    """One compiled function for each energy, kept as long as the energy lives; it takes the energy as an argument."""
    try:
        found = _functions.get(energy)
    except TypeError:  # not hashable, or not weakly referable
        found = None
    if found is None:
        # A code object of its own: torch.compile keeps its cache, and the limit on recompilations, with the code.
        own = types.FunctionType(_value_and_grad.__code__.replace(), globals(), closure=_value_and_grad.__closure__)
        found = torch.compile(own, dynamic=False)
        with contextlib.suppress(TypeError):
            _functions[energy] = found
    return found


class Compiled:
    """An energy whose `value_and_grad` is compiled; see `compiled`."""

    def __init__(self, energy: EnergyFunction) -> None:
        self.energy = energy
        self.checked: set[Shape] = set()
        self.built: set[Shape] = set()
        if hasattr(energy, "event_ndim"):
            self.event_ndim = energy.event_ndim

    def __call__(self, x: Tensor) -> Tensor:
        return self.energy(x)

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """E(x) and its gradient, both detached; the first call with a shape is eager and checks the energy."""
        global _usable
        key = (x.shape, x.dtype, x.device)
        if not _usable or key not in self.checked:
            self.checked.add(key)
            return value_and_grad(self.energy, x)
        try:
            with torch.no_grad():  # parameters are constants here; torch.func.grad differentiates in x all the same
                if key in self.built:
                    return _function_of(self.energy)(self.energy, x.detach())
                with warnings.catch_warnings():  # PyTorch's own modules warn when the compiler is first imported
                    warnings.simplefilter("ignore")
                    result = _function_of(self.energy)(self.energy, x.detach())
                self.built.add(key)
                return result
        except Exception as error:
            e, g = value_and_grad(self.energy, x)  # a mistake of the energy itself is raised here, plainly
            _usable = False
            reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
            warnings.warn(
                f"torch.compile is not available here ({type(error).__name__}: {reason}); going on without it. "
                "It needs a C++ compiler and, on some systems, Python's headers",
                RuntimeWarning,
                stacklevel=2,
            )
            return e, g


def compiled(energy: EnergyFunction) -> EnergyFunction:
    """The same energy with a compiled `value_and_grad`, for long runs: the first call takes 1-17 s, later ones are faster.

    The compiled function is kept for each energy as long as that lives, so `compiled(energy)` may be called again and
    again; parameters may change in between, being inputs of the compiled function. Where compilation is not available
    there is one warning, and everything goes on without it. An energy with its own `value_and_grad` comes back as it is.

    Args:
        energy: maps `[*batch, *event]` to `[*batch]`; of ordinary torch operations.

    Example:
        >>> from ebmlearn.energies import Gaussian
        >>> g = Gaussian([0.0, 0.0])
        >>> compiled(g) is g  # has a closed-form gradient
        True
    """
    return energy if hasattr(energy, "value_and_grad") else Compiled(energy)
