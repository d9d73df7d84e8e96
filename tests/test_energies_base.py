import copy
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from ebmlearn.energies import (
    DoubleWell,
    Energy,
    EnumeratedJoint,
    FreeEnergy,
    FromFunction,
    Gaussian,
    Given,
    Mixture,
    Sum,
    product_of_gaussians,
)
from ebmlearn.functional import value_and_grad
from ebmlearn.metrics import quadrature

f64 = torch.float64
near = Gaussian(torch.tensor([-1.5], dtype=f64))
far = Gaussian(torch.tensor([1.5], dtype=f64))
A = Gaussian(torch.tensor([0.5, -1.0], dtype=f64), torch.tensor([[1.0, 0.6], [0.6, 2.0]], dtype=f64))
B = Gaussian(torch.tensor([-2.0, 0.3], dtype=f64), torch.tensor([[0.7, -0.2], [-0.2, 0.4]], dtype=f64))


def points(*shape):
    return torch.randn(*shape, dtype=f64, generator=torch.Generator().manual_seed(1))


def grid(energy, dim=1, reach=14.0, cells=2000):
    return quadrature(energy, low=-reach, high=reach, cells=cells, dim=dim, dtype=f64)


def moments(q):
    p = (q.log_density + q.log_volume).exp().flatten()
    x = q.x.reshape(len(p), -1)
    mean = p @ x
    return mean, (x - mean).T @ ((x - mean) * p[:, None])


# Sum, Mixture, negation, tempering against closed forms


def test_sum_of_gaussians_is_the_gaussian_of_added_precisions():
    total = A + B
    product, offset = product_of_gaussians(total)
    pa, pb = torch.linalg.inv(A.covariance), torch.linalg.inv(B.covariance)
    mean = torch.linalg.solve(pa + pb, pa @ A.mean + pb @ B.mean)
    assert torch.allclose(product.mean, mean, atol=1e-12)
    assert torch.allclose(product.covariance, torch.linalg.inv(pa + pb), atol=1e-12)
    x = points(50, 2)
    d = x - mean
    closed = 0.5 * torch.einsum("ni,ij,nj->n", d, pa + pb, d)
    # the offset is the energy of the pull between the means: (m_a - m_b)ᵀ (Σ_a + Σ_b)⁻¹ (m_a - m_b) / 2
    gap = A.mean - B.mean
    closed = closed + 0.5 * gap @ torch.linalg.solve(A.covariance + B.covariance, gap)
    assert (total(x) - closed).abs().max() < 1e-10
    assert (total(x) - product(x) - offset).abs().max() < 1e-10
    q = grid(total, dim=2, reach=9.0, cells=300)
    assert abs(q.log_partition - (product.log_partition() - offset)) < 1e-10


def test_two_experts_at_plus_and_minus_one_and_a_half():
    product, offset = product_of_gaussians(near + far)
    assert product.mean.item() == pytest.approx(0.0, abs=1e-12)
    assert product.covariance.item() == pytest.approx(0.5, abs=1e-12)
    # of the normalised densities: ∫ N(x; -1.5, 1) N(x; 1.5, 1) dx = N(3; 0, 2)
    log_z = product.log_partition() - offset - near.log_partition() - far.log_partition()
    assert log_z.exp().item() == pytest.approx(math.exp(-9 / 4) / math.sqrt(4 * math.pi), abs=1e-12)
    assert log_z.exp().item() == pytest.approx(0.0297, abs=5e-5)


def test_mixture_is_the_or_of_its_energies():
    either = Mixture([near, far])
    x = points(40, 1) * 3
    closed = -torch.log(torch.exp(-0.5 * (x[:, 0] + 1.5) ** 2) + torch.exp(-0.5 * (x[:, 0] - 1.5) ** 2))
    assert (either(x) - closed).abs().max() < 1e-10
    q = grid(either)
    mean, cov = moments(q)
    assert abs(q.log_partition - math.log(2 * math.sqrt(2 * math.pi))) < 1e-10
    assert abs(mean.item()) < 1e-10 and abs(cov.item() - 3.25) < 1e-10


def test_half_of_each_is_the_geometric_mean():
    _, cov = moments(grid(0.5 * near + 0.5 * far))
    assert abs(cov.item() - 1.0) < 1e-10


@pytest.mark.parametrize("logits,share", [((0.0, 0.0), 1 / (1 + math.exp(5))), ((0.0, 5.0), 0.5)])
def test_a_level_shifts_the_shares_of_a_mixture_unless_log_z_is_taken_off(logits, share):
    raised = FromFunction(lambda x: far(x) + 5.0)
    mixed = Mixture([near, raised], torch.tensor(logits, dtype=f64))
    x = points(40, 1)
    closed = -torch.logsumexp(torch.stack([logits[0] - near(x), logits[1] - far(x) - 5.0]), 0)
    assert (mixed(x) - closed).abs().max() < 1e-10
    mean, _ = moments(grid(mixed))
    assert abs(mean.item() - (-1.5 * (1 - share) + 1.5 * share)) < 1e-10
    # the share of mass right of 0, .0725 when the level is not corrected
    q = grid(mixed)
    mass = ((q.log_density + q.log_volume).exp() * (q.x[:, 0] > 0)).sum().item()
    right = 0.5 * math.erfc(-1.5 / math.sqrt(2))
    assert mass == pytest.approx(share * right + (1 - share) * (1 - right), abs=1e-4)


@pytest.mark.parametrize("a,s2,precision", [(0.5, 2.0, 0.875), (0.2, 0.6, 1 - 0.2 / 0.36)])
def test_negation_with_a_finite_z(a, s2, precision):
    other = Gaussian(torch.tensor([0.7], dtype=f64), s2**2 if s2 == 2.0 else 0.36)
    base = Gaussian(torch.zeros(1, dtype=f64))
    total = base - a * other
    product, offset = product_of_gaussians(total)
    assert product.precision.item() == pytest.approx(precision, abs=1e-12)
    x = points(30, 1)
    closed = 0.5 * x[:, 0] ** 2 - a * 0.5 * (x[:, 0] - 0.7) ** 2 / (4.0 if s2 == 2.0 else 0.36)
    assert (total(x) - closed).abs().max() < 1e-10
    assert abs(grid(total, reach=30.0).log_partition - (product.log_partition() - offset)) < 1e-10


@pytest.mark.parametrize("a,variance", [(0.5, 0.36), (1.0, 1.0)])
def test_negation_without_a_finite_z_says_so(a, variance):
    total = Gaussian(torch.zeros(1, dtype=f64)) - a * Gaussian(torch.zeros(1, dtype=f64), variance)
    with pytest.raises(ValueError, match="no finite Z.*Lower the negative weight"):
        product_of_gaussians(total)


def test_negation_of_a_full_covariance_without_finite_z_says_so():
    with pytest.raises(ValueError, match="eigenvalue -"):
        product_of_gaussians(A - 1.5 * B)
    with pytest.raises(ValueError, match="expected a Sum.*got Gaussian"):
        product_of_gaussians(A)
    with pytest.raises(ValueError, match="DoubleWell"):
        product_of_gaussians(Gaussian([0.0]) + DoubleWell(1))


@pytest.mark.parametrize("t", [0.25, 1.0, 4.0])
def test_tempering_a_gaussian_scales_its_covariance(t):
    product, offset = product_of_gaussians(A / t)
    assert torch.allclose(product.covariance, t * A.covariance, atol=1e-10)
    assert torch.allclose(product.mean, A.mean, atol=1e-10) and abs(offset) < 1e-12


def test_a_level_changes_log_z_and_nothing_else():
    q, shifted = grid(near), grid(FromFunction(lambda x: near(x) + 7.0))
    assert abs(q.log_partition - shifted.log_partition - 7.0) < 1e-12
    assert (q.log_density - shifted.log_density).abs().max() < 1e-12


# Operators


def test_operators_build_one_flat_sum():
    total = 2 * (near - far) + near / 4 + (-far)
    assert isinstance(total, Sum)
    assert total.weights == (2.0, -2.0, 0.25, -1.0)
    assert not any(isinstance(e, Sum) for e in total.energies)
    x = points(9, 1)
    assert torch.allclose(total(x), 2 * (near(x) - far(x)) + near(x) / 4 - far(x), atol=1e-14)


def test_sum_builtin_works_and_other_numbers_do_not():
    x = points(9, 1)
    assert torch.allclose(sum([near, far])(x), near(x) + far(x))
    for bad in (lambda: near + 1, lambda: 1 + near, lambda: near + (lambda x: x), lambda: near * far, lambda: near - 1.0):
        with pytest.raises(TypeError):
            bad()


def test_numpy_scalars_do_not_loop_over_an_energy():
    assert type(np.float64(2.0) * near) is Sum


@pytest.mark.parametrize("t", [0.0, -1.0])
def test_temperature_must_be_positive(t):
    with pytest.raises(ValueError, match="temperature > 0"):
        near / t


def test_sum_and_mixture_check_their_parts():
    with pytest.raises(ValueError, match=r"FromFunction\(f\)"):
        Sum([near, lambda x: x.sum(-1)])
    with pytest.raises(ValueError, match="one weight for each of 2"):
        Sum([near, far], weights=[1.0])
    with pytest.raises(ValueError, match="at least one"):
        Mixture([])
    with pytest.raises(ValueError, match="event_ndim"):
        Sum([near, FromFunction(lambda x: x.sum((-1, -2, -3)), event_ndim=3)])
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        Mixture([near, far], torch.zeros(3))


def test_mixture_logits_learn_when_they_are_a_parameter():
    mixed = Mixture([near, far], nn.Parameter(torch.zeros(2, dtype=f64)))
    mixed(points(10, 1)).sum().backward()
    assert mixed.logits.grad is not None and [n for n, _ in mixed.named_parameters()] == ["logits"]
    assert not list(Mixture([near, far]).parameters())


def test_energies_copy_and_pickle():
    total = (A + 0.5 * B) / 3
    x = points(6, 2)
    for other in (copy.deepcopy(total), pickle.loads(pickle.dumps(total))):
        assert torch.equal(other(x), total(x))


def test_from_function_checks_the_shape():
    with pytest.raises(ValueError, match="expected one number for each point"):
        FromFunction(lambda x: x)(points(3, 2))


def test_energy_is_abstract():
    with pytest.raises(TypeError):
        Energy()


# Joint energies and free energies

TWO = EnumeratedJoint(lambda x, z: 0.5 * ((x - z) ** 2).sum(-1), torch.tensor([[-2.0], [2.0]], dtype=f64))


def double_well_on_z(x, z):
    return ((z**2 - 4) ** 2 / 8 + 0.3 * z).sum(-1) + 0 * x.sum(-1)


@pytest.mark.parametrize(
    "beta,volume,mean",
    [
        (0.5, -2.820, 2.149),
        (1, -1.185, 1.300),
        (5, -0.489, 0.009),
        (20, -0.545, -0.421),
        (100, -0.590, -0.565),
        (1000, -0.608, -0.605),
    ],
)
def test_free_energy_against_beta(beta, volume, mean):
    """With dz as measure F lies below or above min E and is not monotone; with a normalised measure it stays above and falls."""
    n = 20_000
    z = (torch.arange(n, dtype=f64) + 0.5) * 12 / n - 6
    joint = EnumeratedJoint(double_well_on_z, z[:, None])
    x = torch.zeros(1, 1, dtype=f64)
    f = joint.marginalise(beta)(x).item()
    low = joint.energies(x).min().item()
    assert low == pytest.approx(-0.6109, abs=1e-4) and z[joint.energies(x).argmin()].item() == pytest.approx(-2.0712, abs=1e-3)
    assert f + -math.log(12 / n) / beta == pytest.approx(volume, abs=1e-3)
    assert f + math.log(n) / beta == pytest.approx(mean, abs=1e-3)
    assert low - math.log(n) / beta <= f <= low + 1e-12


def test_marginal_of_a_joint_is_the_mixture():
    x = points(20, 1)
    parts = [Gaussian(torch.tensor([m], dtype=f64)) for m in (-2.0, 2.0)]
    assert (TWO.marginalise()(x) - Mixture(parts)(x)).abs().max() < 1e-12


def test_gradient_of_the_free_energy_is_the_posterior_mean_gradient():
    x = points(20, 1)
    _, g = value_and_grad(TWO.marginalise(1.7), x)
    p = TWO.posterior(x, 1.7)
    assert torch.allclose(p.sum(-1), torch.ones(20, dtype=f64))
    assert (g - (p * (x - TWO.support.T)).sum(-1, keepdim=True)).abs().max() < 1e-12


def test_free_energy_tends_to_the_minimum():
    x = points(20, 1)
    gap = TWO.energies(x).min(-1).values - TWO.marginalise(1e4)(x)
    assert (gap >= 0).all() and (gap <= math.log(2) / 1e4).all()


@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
def test_joint_batch_shapes(batch):
    x = points(*batch, 1)
    assert TWO.energies(x).shape == (*batch, 2)
    assert TWO.marginalise()(x).shape == batch
    assert TWO.given(TWO.support[0])(x).shape == batch
    assert TWO.sample_z(x).shape == (*batch, 1)


def test_given_fixes_the_second_argument():
    x = points(2, 1)
    one_each = TWO.given(TWO.support)
    assert isinstance(one_each, Given)
    assert torch.equal(one_each(x), 0.5 * ((x - TWO.support) ** 2).sum(-1))
    assert torch.equal(TWO.given(TWO.support[1])(x), 0.5 * ((x - 2.0) ** 2).sum(-1))


def test_sample_z_follows_the_posterior(generator):
    x = torch.full((40_000, 1), 0.3, dtype=f64)
    z = TWO.sample_z(x, generator=generator)
    p = 1 / (1 + math.exp(-1.2))  # E(x,-2) - E(x,2) = 4x
    assert abs((z > 0).double().mean().item() - p) < 5 * math.sqrt(p * (1 - p) / 40_000)


def test_joint_errors():
    with pytest.raises(ValueError, match="beta > 0"):
        FreeEnergy(TWO, 0.0)
    with pytest.raises(ValueError, match="K >= 1"):
        EnumeratedJoint(double_well_on_z, torch.zeros(0, 1))
    with pytest.raises(ValueError, match=r"no exact draw from p\(x \| z\)"):
        TWO.sample_x(torch.zeros(3, 1))
