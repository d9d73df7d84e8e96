"""Maximum likelihood with samples from the model: contrastive divergence and what keeps it stable."""

from __future__ import annotations

import torch
from torch import Tensor

from ..functional import EnergyFunction, check_values


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


def sampler_kl(e: Tensor, log_q: Tensor | None = None) -> Tensor:
    """mean [E(x_K) + log q(x_K)]: KL(q || p) of the chain's law q up to log Z, as a function of how x_K was made.

    Contrastive divergence is KL(data || p) - KL(q || p); its usual gradient holds x_K fixed and so neglects how q
    changes with the parameters. Give x_K with its graph through the sampler and the energy with frozen parameters, and
    the neglected term is **minus** the gradient of this number. Adding it with a plus sign, as released code does, is
    another objective: it trains the energy so that its own short chains reach low energy.

    Args:
        e: energies of x_K under the energy with frozen parameters, `[n]`.
        log_q: log-density of the chain's law at x_K; None leaves the entropy out.

    References:
        Improved contrastive divergence training of energy based models (Du, Li, Tenenbaum, Mordatch, 2021).
    """
    return e.mean() if log_q is None else (e + log_q).mean()


def joint_energy_model(logits_pos: Tensor, y: Tensor, e_neg: Tensor) -> Tensor:
    """Cross-entropy of p(y | x) plus contrastive divergence of E(x) = -log sum_y exp(f(x)[y]): a classifier as an energy.

    Args:
        logits_pos: f(x+), `[n, classes]`.
        y: classes of the data, `[n]`.
        e_neg: E of samples, detached from the sampler, `[m]`.

    References:
        Your classifier is secretly an energy based model and you should treat it like one (Grathwohl et al., 2020).
    """
    return torch.nn.functional.cross_entropy(logits_pos, y) + contrastive_divergence(-torch.logsumexp(logits_pos, -1), e_neg)
