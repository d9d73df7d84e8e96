"""VICReg: joint embedding without negatives, kept from collapse by variance and covariance."""

from __future__ import annotations

import torch
from torch import Tensor


def vicreg(
    a: Tensor, b: Tensor, *, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0, eps: float = 1e-4
) -> Tensor:
    """i mean(a - b)² + v sum over views of mean_d relu(1 - std_d)/2 + c sum over views of sum_{i != j} C_ij²/d.

    The first term is the energy of a pair of views; alone it is smallest where every embedding is the same. The second
    keeps each coordinate's standard deviation near 1, the third keeps coordinates from repeating each other.

    Args:
        a, b: embeddings of two views, `[n, d]`, n >= 2.
        invariance, variance, covariance: weights i, v, c >= 0.

    References:
        VICReg: variance-invariance-covariance regularization for self-supervised learning (Bardes, Ponce, LeCun, 2022).

    Example:
        >>> z = torch.zeros(8, 4)
        >>> round(vicreg(z, z, invariance=1.0, variance=1.0, covariance=1.0).item(), 2)  # collapsed: 0.99 from the variances
        0.99
    """
    if a.shape != b.shape or a.ndim != 2 or len(a) < 2:
        raise ValueError(f"expected two embeddings [n, d] of one shape with n >= 2; got {tuple(a.shape)} and {tuple(b.shape)}")
    n, d = a.shape
    loss = invariance * (a - b).square().mean()
    for z in (a, b):
        std = (z.var(0) + eps).sqrt()
        centred = z - z.mean(0)
        c = centred.T @ centred / (n - 1)
        off = c - torch.diag(torch.diagonal(c))
        loss = loss + variance * torch.relu(1 - std).mean() / 2 + covariance * off.square().sum() / d
    return loss
