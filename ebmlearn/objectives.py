"""Losses: plain functions of energies (numbers for each point) or of a callable energy."""

from __future__ import annotations

import torch
from torch import Tensor

from .functional import EnergyFunction, check_values


def contrastive_divergence(e_pos: Tensor, e_neg: Tensor) -> Tensor:
    """mean E(x+) - mean E(x-): its gradient in the parameters is that of the negative log-likelihood.

    d/dθ (-log p) = E_data[dE/dθ] - E_model[dE/dθ]. With x- from p exactly, this surrogate has that gradient; its value
    is not a likelihood and says nothing about the fit. Detach the samples x-.

    Args:
        e_pos: energies of data, `[*batch]`.
        e_neg: energies of the model's samples.

    References:
        Training products of experts by minimizing contrastive divergence (Hinton, 2002).

    Example:
        >>> contrastive_divergence(torch.tensor([1.0, 2.0]), torch.tensor([3.0])).item()
        -1.5
    """
    return e_pos.mean() - e_neg.mean()


def energy_l2(e_pos: Tensor, e_neg: Tensor) -> Tensor:
    """mean E(x+)² + mean E(x-)²: keeps energies near zero, which pins their level and limits their growth.

    References:
        Implicit generation and modeling with energy-based models (Du, Mordatch, 2019).
    """
    return e_pos.square().mean() + e_neg.square().mean()


def gradient_penalty(energy: EnergyFunction, x: Tensor) -> Tensor:
    """mean |grad_x E(x)|²: a smooth landscape. Second order, so not under a compiled energy.

    Args:
        energy: differentiable twice.
        x: `[*batch, *event]`, e.g. points between data and samples.
    """
    leaf = x.detach().requires_grad_(True)
    e = energy(leaf)
    check_values(energy, leaf, e)
    (grad,) = torch.autograd.grad(e.sum(), leaf, create_graph=True)
    return grad.flatten(e.ndim).square().sum(-1).mean()


def hinge(e_pos: Tensor, e_neg: Tensor, *, margin: float = 1.0) -> Tensor:
    """mean max(0, margin + E(x+) - E(x-)) over pairs: data must lie `margin` below their contrast.

    Args:
        e_pos, e_neg: energies that broadcast against each other; `e_pos[:, None]` and `e_neg[None]` give all pairs.

    References:
        A tutorial on energy-based learning (LeCun et al., 2006), section 2.2.3.

    Example:
        >>> hinge(torch.tensor([0.0, 0.0]), torch.tensor([0.25, 3.0])).item()
        0.375
    """
    if margin <= 0:
        raise ValueError(f"expected margin > 0; got {margin}")
    return (margin + e_pos - e_neg).clamp(min=0).mean()


def square_square(e_pos: Tensor, e_neg: Tensor, *, margin: float = 1.0) -> Tensor:
    """mean E(x+)² + mean max(0, margin - E(x-))²: pins both levels, so energies cannot drift together.

    References:
        A tutorial on energy-based learning (LeCun et al., 2006), section 2.2.3.
    """
    if margin <= 0:
        raise ValueError(f"expected margin > 0; got {margin}")
    return e_pos.square().mean() + (margin - e_neg).clamp(min=0).square().mean()
