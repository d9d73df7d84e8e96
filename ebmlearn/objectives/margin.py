"""The family of losses of LeCun et al. (2006): what each asks of the energy of the right answer and of the wrong ones.

`e_pos` is the energy of the right answer, `e_neg` that of the most offending wrong one, `energies` those of all answers on
a grid or in a finite set. Energies alone and the perceptron have no positive margin, so a flat energy is a minimum of both.

References:
    A tutorial on energy-based learning (LeCun, Chopra, Hadsell, Ranzato, Huang, 2006), section 2.2 and table 1.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def _check_margin(margin: float) -> None:
    if not 0 < margin < math.inf:
        raise ValueError(f"expected margin > 0; got {margin}")


def energy_loss(e_pos: Tensor) -> Tensor:
    """mean E+: pushes down on right answers and up on nothing, so a flat energy is as good as any."""
    return e_pos.mean()


def perceptron(e_pos: Tensor, energies: Tensor) -> Tensor:
    """mean (E+ - min_y E(y)): never negative, zero on a flat energy.

    Args:
        e_pos: `[*batch]`.
        energies: of all answers, the right one among them, `[*batch, answers]`.
    """
    return (e_pos - energies.min(-1).values).mean()


def hinge(e_pos: Tensor, e_neg: Tensor, *, margin: float = 1.0) -> Tensor:
    """mean max(0, margin + E(x+) - E(x-)) over pairs: data must lie `margin` below their contrast.

    Args:
        e_pos, e_neg: energies that broadcast against each other; `e_pos[:, None]` and `e_neg[None]` give all pairs.

    Example:
        >>> hinge(torch.tensor([0.0, 0.0]), torch.tensor([0.25, 3.0])).item()
        0.375
    """
    _check_margin(margin)
    return (margin + e_pos - e_neg).clamp(min=0).mean()


def log_loss(e_pos: Tensor, e_neg: Tensor) -> Tensor:
    """mean log(1 + exp(E+ - E-)): a soft hinge whose margin is infinite."""
    return F.softplus(e_pos - e_neg).mean()


def lvq2(e_pos: Tensor, e_neg: Tensor, *, delta: float = 0.5) -> Tensor:
    """mean min(1, max(0, (E+ - E-) / (delta E-))): saturates at both ends; energies must be positive.

    Raises:
        ValueError: delta <= 0, or an energy E- <= 0.
    """
    if delta <= 0 or bool((e_neg <= 0).any()):
        raise ValueError("LVQ2 divides by delta E-: expected delta > 0 and positive energies. Use a softplus or squared output")
    return ((e_pos - e_neg) / (delta * e_neg)).clamp(0, 1).mean()


def minimum_classification_error(e_pos: Tensor, e_neg: Tensor) -> Tensor:
    """mean sigmoid(E+ - E-): a smooth count of the wrong answers that win.

    Example:
        >>> minimum_classification_error(torch.zeros(1), torch.zeros(1)).item()
        0.5
    """
    return torch.sigmoid(e_pos - e_neg).mean()


def square_square(e_pos: Tensor, e_neg: Tensor, *, margin: float = 1.0) -> Tensor:
    """mean E+² + mean max(0, margin - E-)²: pins both levels, so energies cannot drift together."""
    _check_margin(margin)
    return e_pos.square().mean() + (margin - e_neg).clamp(min=0).square().mean()


def square_exponential(e_pos: Tensor, e_neg: Tensor, *, gamma: float = 1.0) -> Tensor:
    """mean E+² + gamma mean exp(-E-): pins the right answer at zero and pushes the wrong one up for ever."""
    if gamma <= 0:
        raise ValueError(f"expected gamma > 0; got {gamma}")
    return e_pos.square().mean() + gamma * torch.exp(-e_neg).mean()


def negative_log_likelihood(e_pos: Tensor, energies: Tensor, *, beta: float = 1.0, log_volume: float | Tensor = 0.0) -> Tensor:
    """mean [E+ + 1/beta log sum_y exp(-beta E(y)) v]: the exact likelihood over a finite set or a grid.

    Args:
        e_pos: `[*batch]`.
        energies: of all answers, `[*batch, answers]`.
        beta: inverse temperature; as it grows, the perceptron loss.
        log_volume: log v of one grid cell, 0 for a finite set; a tensor `[answers]` for cells of different size.
    """
    if beta <= 0:
        raise ValueError(f"expected beta > 0; got {beta}")
    return (e_pos + torch.logsumexp(-beta * energies + log_volume, -1) / beta).mean()


def minimum_empirical_error(e_pos: Tensor, energies: Tensor, *, beta: float = 1.0) -> Tensor:
    """mean [1 - p(right answer)], with p = softmax(-beta E) over the answers."""
    return (1 - torch.exp(-beta * e_pos - torch.logsumexp(-beta * energies, -1))).mean()
