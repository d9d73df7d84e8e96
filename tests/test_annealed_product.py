"""Products of diffused densities: the summed scores are not those of the noised product; MCMC at each level repairs it."""

import math

import pytest
import torch

from ebmlearn.energies import GaussianMixture
from ebmlearn.energies.base import Sum
from ebmlearn.samplers import HMC, Langevin
from ebmlearn.samplers.annealed_product import annealed_product, cosine_levels, noised

ONE = GaussianMixture(torch.zeros(1, 1, dtype=torch.float64), 1.0)


def test_levels_fall_from_nearly_one_to_nearly_zero():
    a = cosine_levels(60)
    assert len(a) == 60 and a[0] > 0.99 and abs(a[-1] - 1e-3) < 1e-9 and all(p > q for p, q in zip(a, a[1:]))


def test_noised_mixture_is_the_law_of_noised_points(generator):
    mix = GaussianMixture(torch.tensor([[-1.0, 0.5], [2.0, 0.0]]), torch.tensor([0.2, 0.5]), weights=[0.3, 0.7])
    x = mix.sample(40000, generator=generator)
    y = math.sqrt(0.4) * x + math.sqrt(0.6) * torch.randn(x.shape, generator=generator)
    law = noised(mix, 0.4)
    error = y.std(0) / math.sqrt(len(y))
    assert bool(((y.mean(0) - law.mean).abs() < 5 * error).all())
    assert torch.allclose(torch.cov(y.T), law.covariance, atol=0.05)


@pytest.mark.parametrize("s", [0.1, 1.0, 5.0])
def test_noise_and_products_do_not_commute(s):
    """Two N(0, 1), noise of variance s²: the summed noised scores have variance (1 + s²)/2, the noised product 1/2 + s²."""
    blurred = GaussianMixture(torch.zeros(1, 1, dtype=torch.float64), 1 + s * s)
    x = torch.linspace(-3, 3, 7, dtype=torch.float64).unsqueeze(-1)
    summed = Sum([blurred, blurred])
    assert torch.allclose(summed(x) - summed(x[3:4]), x.squeeze(-1) ** 2 / (1 + s * s), atol=1e-12)
    assert not math.isclose((1 + s * s) / 2, 0.5 + s * s, rel_tol=1e-3)


def test_one_density_needs_no_correction(generator):
    """Reverse diffusion with the exact score of a single mixture gives that mixture."""
    mix = GaussianMixture(torch.tensor([[-1.0], [1.0]]), 0.04, weights=[0.25, 0.75])
    x = annealed_product(
        lambda a: noised(mix, a), cosine_levels(100), torch.randn(4000, 1, generator=generator), generator=generator
    )
    assert abs((x > 0).float().mean().item() - 0.75) < 5 * math.sqrt(0.75 * 0.25 / 4000) + 0.02
    assert abs(x.abs().mean().item() - 1) < 0.05


def test_mcmc_at_each_level_beats_reverse_diffusion_alone(generator):
    """Product of N(-1, 1) and N(1, 1): variance 1/2; reverse diffusion along the summed scores misses it."""
    a, b = GaussianMixture(torch.tensor([[-1.0]]), 1.0), GaussianMixture(torch.tensor([[1.0]]), 1.0)
    at = lambda abar: Sum([noised(a, abar), noised(b, abar)])
    levels = cosine_levels(40)
    n = 4000
    x0 = torch.randn(n, 1, generator=generator)
    alone = annealed_product(at, levels, x0, generator=generator)
    error = 0.5 * math.sqrt(2 / n)
    assert abs(alone.var().item() - 0.5) > 5 * error
    for kernel in (
        HMC(step_size=0.25, n_leapfrog=3),
        HMC(step_size=0.25, n_leapfrog=3, adjusted=False),
        Langevin(step_size=0.02),
    ):
        fixed = annealed_product(at, levels, x0, kernel_at=lambda abar, k=kernel: k, steps=10, generator=generator)
        assert abs(fixed.var().item() - 0.5) < 5 * error + 0.01 < abs(alone.var().item() - 0.5)


def test_bad_input():
    with pytest.raises(ValueError, match="kernel_at"):
        annealed_product(lambda a: ONE, [0.9, 0.5], torch.zeros(2, 1), steps=3)
    with pytest.raises(ValueError, match="fall strictly"):
        annealed_product(lambda a: ONE, [0.5, 0.9], torch.zeros(2, 1))
    with pytest.raises(ValueError, match="abar"):
        noised(ONE, 0.0)
