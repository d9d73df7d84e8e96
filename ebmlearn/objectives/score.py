"""Score matching: fit grad E to the data without samples and without Z; explicit, sliced and denoising.

All three use second derivatives of the energy (in x and then in the parameters), so the energy must be twice
differentiable and not compiled. They see the score only: the relative weights of far-apart modes hardly enter.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..functional import EnergyFunction, check_values, expand_as


def _energy_grad(energy: EnergyFunction, x: Tensor) -> tuple[Tensor, Tensor, int]:
    """A leaf at x, grad E there with its graph, and the number of batch axes."""
    leaf = x.detach().requires_grad_(True)
    with torch.enable_grad():
        e = energy(leaf)
        check_values(energy, leaf, e)
        (grad,) = torch.autograd.grad(e.sum(), leaf, create_graph=True)
    return leaf, grad, e.ndim


def score_matching(energy: EnergyFunction, x: Tensor) -> Tensor:
    """J = mean [ -laplacian E(x) + |grad E(x)|²/2 ], explicit: one backward pass for each dimension.

    Up to a constant of the data this is the Fisher divergence E|s_model - s_data|²/2. For E = |x|²/(2 s²) and data
    N(0, v I) in D dimensions, J = D (v/(2 s⁴) - 1/s²), smallest at s² = v.

    Args:
        energy: twice differentiable.
        x: data, `[*batch, *event]`; few dimensions, since the cost grows with them.

    References:
        Estimation of non-normalized statistical models by score matching (Hyvärinen, 2005), theorem 1.
    """
    leaf, grad, b = _energy_grad(energy, x)
    flat = grad.flatten(b)
    laplacian = torch.zeros_like(flat[..., 0])
    for i in range(flat.shape[-1]):
        (second,) = torch.autograd.grad(flat[..., i].sum(), leaf, create_graph=True)
        laplacian = laplacian + second.flatten(b)[..., i]
    return (0.5 * flat.square().sum(-1) - laplacian).mean()


def sliced_score_matching(
    energy: EnergyFunction, x: Tensor, *, projections: int = 1, generator: torch.Generator | None = None
) -> Tensor:
    """The same J with the Laplacian estimated along random signs: mean [ -v·(H v) + |grad E|²/2 ], E[v v^T] = I.

    Unbiased for `score_matching` in any dimension; nothing is divided by the dimension. One extra backward pass a projection.

    Args:
        projections: random directions for each point.

    References:
        Sliced score matching: a scalable approach to density and score estimation (Song, Garg, Shi, Ermon, 2019), equation 8.
    """
    if projections < 1:
        raise ValueError(f"expected projections >= 1; got {projections}")
    leaf, grad, b = _energy_grad(energy, x)
    trace = torch.zeros(x.shape[:b], dtype=x.dtype, device=x.device)
    for _ in range(projections):
        v = torch.randint(0, 2, x.shape, generator=generator, device=x.device).to(x.dtype) * 2 - 1
        (hv,) = torch.autograd.grad((grad * v).sum(), leaf, create_graph=True)
        trace = trace + (hv * v).flatten(b).sum(-1) / projections
    return (0.5 * grad.flatten(b).square().sum(-1) - trace).mean()


def denoising_score_matching(
    energy: EnergyFunction, x: Tensor, sigma: float | Tensor, *, generator: torch.Generator | None = None
) -> Tensor:
    """mean |grad E(x + sigma xi) - xi/sigma|²/2: matches the score of the data blurred by N(0, sigma² I).

    For E = |x|²/(2 s²) and data N(0, v I): D/2 ((v + sigma²)/s⁴ - 2/s² + 1/sigma²), smallest at s² = v + sigma².

    Args:
        sigma: > 0, a number or one for each point, `[*batch]`.

    References:
        A connection between score matching and denoising autoencoders (Vincent, 2011), equation 9.
    """
    if bool((torch.as_tensor(sigma) <= 0).any()):
        raise ValueError(f"expected sigma > 0; got {sigma}")
    scale = expand_as(sigma, x) if isinstance(sigma, Tensor) and sigma.ndim else sigma
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    _, grad, b = _energy_grad(energy, x + scale * noise)
    return 0.5 * (grad - noise / scale).flatten(b).square().sum(-1).mean()
