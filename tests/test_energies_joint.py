"""Free energies by quadrature and enumeration against closed forms; classifiers as energies; amortised latents."""

import math

import pytest
import torch
from torch import nn

from ebmlearn.energies.base import EnumeratedJoint
from ebmlearn.energies.joint import (
    AmortisedEnergy,
    ClassifierEnergy,
    QuadratureJoint,
    binary_support,
    infer_latent,
    one_hot_support,
    variational_free_energy,
)

X = torch.zeros(1, 1, dtype=torch.float64)


@pytest.fixture
def tilted_wells():
    torch.set_default_dtype(torch.float64)
    yield QuadratureJoint(
        lambda x, z: ((z**2 - 4) ** 2 / 8 + 0.3 * z).squeeze(-1) + 0 * x.squeeze(-1), low=[-6.0], high=[6.0], points=20000
    )
    torch.set_default_dtype(torch.float32)


BETAS = [0.5, 1.0, 5.0, 20.0, 100.0, 1000.0]


def test_free_energy_with_and_without_the_volume(tilted_wells):
    """E(z) = (z² - 4)²/8 + .3 z on [-6, 6]: the raw F lies below min E and is not monotone, the normalised one is above and falls."""
    raw = [tilted_wells.marginalise(b)(X).item() for b in BETAS]
    mean = [tilted_wells.average(b)(X).item() for b in BETAS]
    assert raw == pytest.approx([-2.820, -1.185, -0.489, -0.545, -0.590, -0.608], abs=1e-3)
    assert mean == pytest.approx([2.149, 1.300, 0.009, -0.421, -0.565, -0.605], abs=1e-3)
    least = tilted_wells.grid.energies(X).min().item()
    assert least == pytest.approx(-0.6109, abs=1e-4)
    assert tilted_wells.grid.support[tilted_wells.grid.energies(X).argmin()].item() == pytest.approx(-2.0712, abs=1e-3)
    assert raw[0] < least and raw[2] > raw[3] and raw[1] < raw[2], "below the minimum, and not monotone"
    assert mean == sorted(mean, reverse=True) and min(mean) >= least
    average = tilted_wells.grid.energies(X).mean().item()
    assert tilted_wells.average(1e-6)(X).item() == pytest.approx(average, rel=1e-3), "beta -> 0 is the mean energy"


def test_gaussian_latent_in_closed_form():
    """E = (x - z)²/2 + z²/2 over a wide box: F_1 = x²/4 - log(pi)/2."""
    joint = QuadratureJoint(lambda x, z: ((x - z) ** 2 + z**2).sum(-1) / 2, low=[-12.0], high=[12.0], points=2000)
    x = torch.linspace(-2, 2, 9).unsqueeze(-1)
    expected = x.squeeze(-1) ** 2 / 4 - 0.5 * math.log(math.pi)
    assert torch.allclose(joint.marginalise()(x), expected, atol=1e-5)
    two = QuadratureJoint(lambda x, z: (z**2).sum(-1) / 2 + 0 * x.sum(-1), low=[-8.0, -8.0], high=[8.0, 8.0], points=200)
    assert two.marginalise()(x).allclose(torch.tensor(-math.log(2 * math.pi)), atol=1e-5)


def test_variational_identity(tilted_wells):
    energies = tilted_wells.grid.energies(X)
    for beta in (0.5, 1.0, 5.0):
        q = tilted_wells.posterior(X, beta)
        f = -torch.logsumexp(-beta * energies, -1) / beta
        assert abs((variational_free_energy(energies, q, beta=beta) - f).item()) < 1e-8
        other = torch.softmax(-0.7 * beta * energies, -1)
        assert variational_free_energy(energies, other, beta=beta) > f
    with pytest.raises(ValueError, match="beta > 0"):
        variational_free_energy(energies, q, beta=0.0)


def test_enumerated_bernoulli_latents_are_softplus():
    """E(x, h) = -sum_j h_j x_j: F = -sum_j softplus(x_j)."""
    joint = EnumeratedJoint(lambda x, h: -(x * h).sum(-1), binary_support(3))
    x = torch.randn(7, 3)
    assert torch.allclose(joint.marginalise()(x), -nn.functional.softplus(x).sum(-1), atol=1e-5)
    assert one_hot_support(4).shape == (4, 4)
    with pytest.raises(ValueError, match="AIS"):
        binary_support(21)


def test_bad_boxes_and_betas():
    fn = lambda x, z: (x - z).square().sum(-1)
    for low, high in [([1.0], [0.0]), ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0]), ([0.0], [1.0, 2.0])]:
        with pytest.raises(ValueError, match="1 or 2 dimensions"):
            QuadratureJoint(fn, low=low, high=high)
    with pytest.raises(ValueError, match="beta > 0"):
        QuadratureJoint(fn, low=[0.0], high=[1.0]).marginalise(0.0)


def test_classifier_as_a_joint_energy():
    joint = ClassifierEnergy(nn.Linear(2, 3))
    x = torch.randn(5, 4, 2)
    logits = joint.logits(x)
    y = torch.randint(0, 3, (5, 4))
    assert torch.allclose(joint(x, y), -logits.gather(-1, y.unsqueeze(-1)).squeeze(-1))
    assert torch.allclose(joint.given(torch.tensor(1))(x), -logits[..., 1])
    assert torch.allclose(joint.marginalise()(x), -torch.logsumexp(logits, -1), atol=1e-6)
    draws = joint.sample_z(x[:1, :1].expand(4000, 1, 2), generator=torch.Generator().manual_seed(0)).flatten()
    p = torch.softmax(logits[0, 0], -1).detach()
    for k in range(3):
        assert abs((draws == k).float().mean() - p[k]) < 5 * math.sqrt(p[k] * (1 - p[k]) / 4000)


def test_amortised_energy_bounds_the_minimum_and_descent_reaches_it():
    joint = EnumeratedJoint(lambda x, z: (x - z).square().sum(-1) + 0.5 * z.square().sum(-1), torch.zeros(1, 2))
    x = torch.randn(6, 2)
    best = (x / 3 * 0 + x * (1 / 1.5)).detach()  # argmin_z of (x - z)² + z²/2
    least = joint(x, best)
    encoder = nn.Linear(2, 2)
    assert bool((AmortisedEnergy(joint, encoder)(x) >= least - 1e-6).all())
    z = infer_latent(joint, x, torch.zeros(6, 2), steps=60, step_size=0.2)
    assert torch.allclose(z, best, atol=1e-4) and not z.requires_grad
    with pytest.raises(ValueError, match="step_size > 0"):
        infer_latent(joint, x, z, steps=1, step_size=0.0)
