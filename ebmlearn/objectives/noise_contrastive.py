"""Noise-contrastive estimation: the energy and log Z learned by telling data from noise of known density."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def noise_contrastive(e_pos: Tensor, e_neg: Tensor, log_q_pos: Tensor, log_q_neg: Tensor, log_z: Tensor | float = 0.0) -> Tensor:
    """-mean log sigmoid(G(x+)) - nu mean log sigmoid(-G(x-)), G(x) = -E(x) - log Z - log q(x) - log nu.

    nu = noise points for each data point. The optimum is E = -log p - log Z with the learned log Z, however the
    energy's level drifts: only E + log Z is determined, so fix one of them or read their sum.

    Args:
        e_pos, log_q_pos: energy and log-density under the noise of data, `[n]`.
        e_neg, log_q_neg: the same for noise, `[m]`.
        log_z: a learned scalar parameter; 0 where the energy normalises itself.

    References:
        Noise-contrastive estimation: a new estimation principle for unnormalized statistical models (Gutmann, Hyvärinen, 2010).

    Example:
        >>> zero = torch.zeros(4)
        >>> round(noise_contrastive(zero, zero, zero, zero).item(), 4)  # 2 log 2 when nothing tells them apart
        1.3863
    """
    if e_pos.shape != log_q_pos.shape or e_neg.shape != log_q_neg.shape:
        raise ValueError(
            f"expected one log-density for each energy; got {tuple(e_pos.shape)} with {tuple(log_q_pos.shape)} "
            f"and {tuple(e_neg.shape)} with {tuple(log_q_neg.shape)}"
        )
    nu = e_neg.numel() / e_pos.numel()
    g_pos = -e_pos - log_z - log_q_pos - math.log(nu)
    g_neg = -e_neg - log_z - log_q_neg - math.log(nu)
    return F.softplus(-g_pos).mean() + nu * F.softplus(g_neg).mean()


def info_nce(e_pos: Tensor, e_neg: Tensor) -> Tensor:
    """mean -log [ exp(-E+) / (exp(-E+) + sum_j exp(-E_j-)) ]: pick the true one out of K + 1 candidates.

    At equal energies the loss is log(K + 1), which also bounds the information it can certify.

    Args:
        e_pos: `[*batch]`.
        e_neg: `[*batch, K]`.

    References:
        Representation learning with contrastive predictive coding (van den Oord, Li, Vinyals, 2018), equation 4.

    Example:
        >>> round(info_nce(torch.zeros(3), torch.zeros(3, 16)).item(), 3)
        2.833
    """
    if e_neg.shape[:-1] != e_pos.shape:
        raise ValueError(f"expected e_neg of shape {(*e_pos.shape, 'K')}; got {tuple(e_neg.shape)}")
    return (e_pos + torch.logsumexp(-torch.cat([e_pos.unsqueeze(-1), e_neg], -1), -1)).mean()
