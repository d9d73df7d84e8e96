"""The joint energy on the sphere: exact marginal, homogeneity, von Mises-Fisher posterior, composition."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ebmlearn.energies.spherical import Composed, SphericalJoint, log_sphere_integral, sample_von_mises_fisher
from ebmlearn.networks import MLP
from ebmlearn.networks.resnet import projection


def _joint(d=3, beta=0.7):
    torch.manual_seed(1)
    f = MLP(4, 6, hidden_features=(16,)).double()
    g = projection(6, hidden_features=16, out_features=d).double()
    return SphericalJoint(f, g, beta=beta, event_ndim=1)


@pytest.mark.parametrize("kappa", [0.01, 0.5, 3.0, 20.0])
def test_sphere_integral_against_closed_forms(kappa):
    # circle: 2 pi I_0(kappa), by quadrature of its definition; sphere: 4 pi sinh(kappa)/kappa
    t = torch.linspace(0, 2 * math.pi, 20_001, dtype=torch.float64)[:-1]
    circle = math.log(2 * math.pi) + float(torch.logsumexp(kappa * t.cos(), 0) - math.log(20_000))
    assert log_sphere_integral(kappa, 2) == pytest.approx(circle, abs=1e-9)
    assert log_sphere_integral(kappa, 3) == pytest.approx(math.log(4 * math.pi * math.sinh(kappa) / kappa), abs=1e-9)


def test_sphere_integral_in_many_dimensions_against_quadrature():
    d, kappa = 128, 40.0
    w = torch.linspace(-1, 1, 200_001, dtype=torch.float64)[1:-1]
    log_area = math.log(2) + (d - 1) / 2 * math.log(math.pi) - math.lgamma((d - 1) / 2)
    quadrature = log_area + float(torch.logsumexp(kappa * w + (d - 3) / 2 * torch.log1p(-w * w), 0)) + math.log(2 / 200_000)
    assert log_sphere_integral(kappa, d) == pytest.approx(quadrature, abs=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_marginal_is_the_integral_over_the_sphere(temperature):
    joint = _joint(d=3)
    x = torch.randn(6, 4, dtype=torch.float64)
    # quadrature on the sphere: midpoint in cos(theta) and phi
    n = 200
    c = (torch.arange(n, dtype=torch.float64) + 0.5) / n * 2 - 1
    p = (torch.arange(2 * n, dtype=torch.float64) + 0.5) / (2 * n) * 2 * math.pi
    s = (1 - c * c).sqrt()
    z = torch.stack([s.unsqueeze(1) * p.cos(), s.unsqueeze(1) * p.sin(), c.unsqueeze(1).expand(n, 2 * n)], -1).reshape(-1, 3)
    e = joint(x.unsqueeze(1).expand(6, len(z), 4), z.expand(6, -1, -1))
    area = 4 * math.pi / len(z)
    free = -(torch.logsumexp(-temperature * e, -1) + math.log(area)) / temperature
    assert torch.allclose(joint.marginalise(temperature, latent_dim=3)(x), free, atol=1e-4)
    assert torch.allclose(joint.marginalise()(x), 0.5 * joint.f(x).square().sum(-1))


@pytest.mark.parametrize("scale", [0.1, 3.7, 100.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_direction_does_not_see_the_length_of_f(scale, dtype, tolerance):
    g = projection(6, hidden_features=16).to(dtype)
    h, z = torch.randn(20, 6, dtype=dtype), torch.randn(20, 6, dtype=dtype)
    difference = F.cosine_similarity(g(h), z, dim=-1) - F.cosine_similarity(g(scale * h), z, dim=-1)
    assert difference.abs().max() <= tolerance


def test_a_bias_in_g_breaks_it():
    torch.manual_seed(0)
    g = MLP(6, 6, hidden_features=(16,), activation=lambda: nn.LeakyReLU(0.2), bias=True)
    h, z = torch.randn(20, 6), torch.randn(20, 6)
    difference = F.cosine_similarity(g(h), z, dim=-1) - F.cosine_similarity(g(0.1 * h), z, dim=-1)
    assert difference.abs().max() > 1e-3


@pytest.mark.parametrize(("d", "kappa"), [(2, 2.0), (3, 0.0), (3, 5.0), (32, 20.0)])
def test_von_mises_fisher_moments(d, kappa, generator):
    mean = F.normalize(torch.randn(d, generator=generator, dtype=torch.float64), dim=0)
    n = 20_000
    z = sample_von_mises_fisher(mean.expand(n, d), kappa, generator=generator)
    assert torch.allclose(z.norm(dim=-1), torch.ones(n, dtype=torch.float64))
    # E[mean . z] = d/dkappa log integral
    h = 1e-4
    expected = 0.0 if kappa == 0 else (log_sphere_integral(kappa + h, d) - log_sphere_integral(kappa - h, d)) / (2 * h)
    w = z @ mean
    assert abs(float(w.mean()) - expected) < 5 * float(w.std()) / math.sqrt(n)
    across = z - w.unsqueeze(-1) * mean
    assert float(across.mean(0).abs().max()) < 5 * float(across.std()) / math.sqrt(n) * 1.5


def test_posterior_draws_point_along_g():
    joint = _joint(d=3, beta=50.0)
    x = torch.randn(400, 4, dtype=torch.float64)
    z = joint.sample_z(x, generator=torch.Generator().manual_seed(0))
    # mean resultant of concentration 50 on the sphere: coth(50) - 1/50 = .98; standard deviation of w is 1/50
    w = (z * joint.direction(x).detach()).sum(-1)
    assert abs(float(w.mean()) - 0.98) < 5 * 0.02 / math.sqrt(400)


def test_given_and_composed_agree_with_the_joint():
    joint = _joint(d=3, beta=0.7)
    x = torch.randn(5, 4, dtype=torch.float64)
    z1, z2 = F.normalize(torch.randn(2, 3, dtype=torch.float64), dim=-1)
    assert torch.allclose(joint.given(z1)(x), joint.compose([(z1, 0.7)])(x))
    both = joint.compose([(z1, 0.7), (z2, -0.2)])
    cosine = F.cosine_similarity(joint.direction(x), z2.expand(5, 3), dim=-1)
    assert torch.allclose(both(x), joint.given(z1)(x) + 0.2 * cosine)
    # one latent for each point
    zs = F.normalize(torch.randn(5, 3, dtype=torch.float64), dim=-1)
    assert torch.allclose(joint.compose([(zs, 0.7)])(x), joint(x, zs))


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="beta >= 0"):
        _joint(beta=-1.0)
    with pytest.raises(ValueError, match="at least one"):
        Composed(_joint(), [])
    with pytest.raises(ValueError, match="inverse temperature"):
        _joint().marginalise(0.0)
    with pytest.raises(ValueError, match="d >= 2"):
        log_sphere_integral(1.0, 1)
