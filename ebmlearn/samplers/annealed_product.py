"""Sampling a product of diffused densities: reverse diffusion, corrected by MCMC at each noise level, or not.

Noise and products do not commute: the product of noised densities is not the noised product. The summed scores are those
of another sequence of densities, which ends at the right product; reverse diffusion along it is wrong, MCMC at each level is right.

References:
    Reduce, reuse, recycle: compositional generation with energy-based diffusion models and MCMC (Du et al., 2023).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..energies.gaussian import GaussianMixture
from ..functional import EnergyFunction, check_generator, check_points, score
from .base import Kernel, normal_like, sample


def cosine_levels(levels: int, *, least: float = 1e-3) -> list[float]:
    """abar_1 > ... > abar_levels: the share of signal left at each level, from nearly 1 to `least`.

    References:
        Improved denoising diffusion probabilistic models (Nichol, Dhariwal, 2021), equation 17.
    """
    if levels < 2:
        raise ValueError(f"expected levels >= 2; got {levels}")
    first = math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    end = math.acos(math.sqrt(least * first)) / (math.pi / 2) * 1.008 - 0.008  # where the curve reaches `least`
    return [math.cos((end * i / levels + 0.008) / 1.008 * math.pi / 2) ** 2 / first for i in range(1, levels + 1)]


def noised(mixture: GaussianMixture, abar: float) -> GaussianMixture:
    """The density of sqrt(abar) x + sqrt(1 - abar) xi for x from a Gaussian mixture: again a mixture, in closed form."""
    if not 0 < abar <= 1:
        raise ValueError(f"expected 0 < abar <= 1; got {abar}")
    covariances = torch.linalg.inv(mixture.precisions)
    d = mixture.means.shape[-1]
    eye = torch.eye(d, dtype=mixture.means.dtype, device=mixture.means.device)
    return GaussianMixture(abar**0.5 * mixture.means, abar * covariances + (1 - abar) * eye, weights=mixture.weights)


def annealed_product(
    energy_at: Callable[[float], EnergyFunction],
    levels: Sequence[float],
    x: Tensor,
    *,
    kernel_at: Callable[[float], Kernel] | None = None,
    steps: int = 0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Go from noise to data: at each level one reverse-diffusion step, then `steps` MCMC steps on that level's energy.

    Args:
        energy_at: abar -> the (summed) energy of that level, `energy_at(1.0)` being the clean product.
        levels: abar from nearly 1 down to nearly 0.
        x: starting noise N(0, I), `[N, *event]`.
        kernel_at: abar -> kernel; None is reverse diffusion alone.
        steps: MCMC steps a level.

    Returns:
        Points `[N, *event]`.
    """
    check_points(x)
    check_generator(generator, x)
    if steps and kernel_at is None:
        raise ValueError("MCMC steps need kernel_at; give one or set steps=0")
    down = list(levels)
    if any(a <= b for a, b in itertools.pairwise(down)) or not 0 < down[-1] < down[0] <= 1:
        raise ValueError("expected levels to fall strictly within (0, 1]")
    for i in range(len(down) - 1, -1, -1):
        here, there = down[i], down[i - 1] if i > 0 else 1.0
        alpha = here / there  # share of signal kept between the two levels
        s = score(energy_at(here), x)
        x = (x + (1 - alpha) * s) / alpha**0.5
        if there < 1:
            variance = (1 - alpha) * (1 - there) / (1 - here)
            x = x + variance**0.5 * normal_like(x, generator)
        if steps:
            assert kernel_at is not None
            x = sample(energy_at(there), kernel_at(there), x, steps, generator=generator)
    return x
