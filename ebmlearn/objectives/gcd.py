"""Losses of generalised contrastive divergence: an energy and a diffusion sampler, as functions of energies and log-probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

from .likelihood import energy_l2


def path_log_weight(e: Tensor, log_backward: Tensor, log_path: Tensor, *, temperature: float = 1.0) -> Tensor:
    """log w of a sampler's path: -E(x_0)/tau + log q(x_1..x_T | x_0) - log pi(x_0..x_T).

    For every backward kernel q, E_pi[w] = Z = ∫ exp(-E/tau), and so E_pi[log w] <= log Z with the gap KL(pi(path) || target path).

    Args:
        e: energies of the end points, `[*batch]`.
        log_backward: log q of the path given its end point, `[*batch]`.
        log_path: log pi of the whole path, start included, `[*batch]`.
        temperature: tau > 0.

    Example:
        >>> path_log_weight(torch.tensor([1.0]), torch.tensor([-2.0]), torch.tensor([-2.5])).item()
        -0.5
    """
    if temperature <= 0:
        raise ValueError(f"expected temperature > 0; got {temperature}")
    return -e / temperature + log_backward - log_path


def gcd_energy(
    e_pos: Tensor,
    e_neg: Tensor,
    *,
    log_weights: Tensor | None = None,
    gamma: float = 0.0,
    everyone: Tensor | None = None,
) -> Tensor:
    """The energy's loss: mean E(x+) - sum_i v_i E(x_i-) + gamma (mean E(x+)² + mean E(x-)²).

    Plain negatives, v = 1/n, are the papers' step: they descend E_p[E] - E_pi[E], the energy's side of the game. With
    log-weights of the paths, v = softmax(log w), the surrogate has the self-normalised gradient of the exact log-likelihood. With gamma > 0 and
    plain negatives the optimum for a fixed sampler is not -tau log p but E* = -(p - pi) / (2 gamma (p + pi)), a critic that
    lies in [-1/(2 gamma), 1/(2 gamma)] and vanishes at pi = p.

    Args:
        e_pos: energies of data, `[n]`.
        e_neg: energies of the sampler's points, detached from the sampler, `[m]`.
        log_weights: of `path_log_weight`, `[m]`, detached; None for plain negatives.
        gamma: >= 0.
        everyone: log-weights of all processes, `[M]`, M a multiple of m: the weights are normalised over them, and the mean of the
            processes' losses is the loss of all points at once. None: those of this process are all there are.

    References:
        Generalized contrastive divergence (Yoon et al., 2023).
        Maximum entropy inverse reinforcement learning of diffusion models with energy-based models (Yoon et al., 2024), for gamma.

    Example:
        >>> gcd_energy(torch.tensor([1.0, 2.0]), torch.tensor([3.0])).item()
        -1.5
    """
    if gamma < 0:
        raise ValueError(f"expected gamma >= 0; got {gamma}")
    if log_weights is None:
        negative = e_neg.mean()
    elif everyone is None:
        negative = (torch.softmax(log_weights, 0) * e_neg).sum()
    else:
        share = len(everyone) / len(log_weights)
        negative = share * ((log_weights - torch.logsumexp(everyone, 0)).exp() * e_neg).sum()
    loss = e_pos.mean() - negative
    return loss + gamma * energy_l2(e_pos, e_neg) if gamma else loss


def gcd_sampler(log_weight: Tensor) -> Tensor:
    """The sampler's loss through reparametrised paths: -mean log w, an upper bound of KL(pi(x_0) || exp(-E/tau)/Z) - log Z.

    References:
        Generalized contrastive divergence (Yoon et al., 2023), for the game; the path bound with a learned kernel is this package's.
    """
    return -log_weight.mean()


def cost_to_go(e: Tensor, log_policy: Tensor, log_backward: Tensor, *, temperature: float = 1.0) -> Tensor:
    """C_k = E(x_0)/tau + sum_{j <= k} [log pi(x_{j-1} | x_j) - log q(x_j | x_{j-1})]: what the actions from level k on cost.

    Args:
        e: `[n]`.
        log_policy, log_backward: `[T, n]`, row k - 1 for the step between the levels k and k - 1.

    Returns:
        `[T, n]`, row k - 1 the cost of the actions k, k - 1, ..., 1.
    """
    if temperature <= 0:
        raise ValueError(f"expected temperature > 0; got {temperature}")
    return e / temperature + (log_policy - log_backward).cumsum(0)


def policy_gradient(log_policy: Tensor, advantage: Tensor, *, everyone: Tensor | None = None) -> Tensor:
    """mean over paths of sum_k A_k log pi(x_{k-1} | x_k), whose gradient estimates that of the expected cost.

    The advantages are detached and centred over the batch at each step, so a constant added to the energy changes nothing.
    The centring divides by n - 1, so the estimate stays unbiased.

    Args:
        log_policy: `[T, n]`, with gradients to the policy and none to the path.
        advantage: `[T, n]`, cost minus baseline.
        everyone: advantages of all processes, `[T, N]`, N a multiple of n: they are centred over these, and the mean of the
            processes' losses is the loss of all paths at once. None: those of this process are all there are.

    References:
        Simple statistical gradient-following algorithms for connectionist reinforcement learning (Williams, 1992).
    """
    a = advantage.detach()
    every = a if everyone is None else everyone.detach()
    n = every.shape[-1]
    if n < 2:
        raise ValueError(f"expected at least two paths to centre advantages over; got {n}")
    total = ((a - every.mean(-1, keepdim=True)) * log_policy).sum() / (n - 1)
    return total if everyone is None else total * (n / a.shape[-1])


def effective_fraction(log_weights: Tensor) -> Tensor:
    """(sum w)² / (n sum w²): 1 for equal weights, 1/n when one path carries all.

    Example:
        >>> effective_fraction(torch.zeros(5)).item()
        1.0
    """
    return torch.exp(2 * torch.logsumexp(log_weights, 0) - torch.logsumexp(2 * log_weights, 0)) / len(log_weights)
