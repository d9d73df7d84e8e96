import math

import pytest
import torch

from ebmlearn.energies import (
    DoubleWell,
    Funnel,
    Gaussian,
    GaussianMixture,
    Himmelblau,
    Ring,
    Rosenbrock,
    product_of_gaussians,
)
from ebmlearn.functional import value_and_grad
from ebmlearn.metrics import quadrature
from tests.stats import assert_mean

f64 = torch.float64


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(f64)
    yield
    torch.set_default_dtype(torch.float32)


# name -> (energy, box half-width or corners, cells along an axis, tolerance of the quadrature)
CASES = {
    "gaussian 1d": (lambda: Gaussian([0.5], 2.0), 16.0, 4000, 1e-10),
    "gaussian": (lambda: Gaussian([0.3, -1.0], [[1.0, 0.6], [0.6, 2.0]]), 14.0, 400, 1e-10),
    "gaussian diagonal": (lambda: Gaussian([0.3, -1.0], [0.3, 2.0]), 14.0, 500, 1e-10),
    "mixture": (lambda: GaussianMixture([[-3.0, 0.0], [3.0, 1.0]], [1.0, 0.3], weights=[0.8, 0.2]), 14.0, 500, 1e-10),
    "mixture full": (
        lambda: GaussianMixture([[-2.0, 0.0], [2.0, 1.0]], [[[1.0, 0.5], [0.5, 1.0]], [[0.5, -0.2], [-0.2, 0.3]]]),
        12.0,
        500,
        1e-10,
    ),
    "double well": (lambda: DoubleWell(1), 4.0, 2000, 1e-10),
    "double well low": (lambda: DoubleWell(2, height=0.5), 4.5, 300, 1e-10),
    "ring": (lambda: Ring(radius=2.0, width=0.3), 6.0, 600, 1e-8),
    "ring wide": (lambda: Ring(radius=1.0, width=0.8), 9.0, 1000, 1e-6),
    "rosenbrock": (lambda: Rosenbrock(a=0.5, b=5.0), ((-6.0, -3.0), (7.0, 45.0)), 1500, 1e-6),
    "funnel": (lambda: Funnel(2, scale=0.7), ((-7.0, -25.0), (7.0, 25.0)), 1000, 1e-6),
}


@pytest.mark.parametrize("name", CASES)
def test_log_partition_and_moments_equal_quadrature(name):
    make, box, cells, tolerance = CASES[name]
    energy = make()
    dim = energy.mean.numel()
    low, high = box if isinstance(box, tuple) else (-box, box)
    q = quadrature(energy, low=low, high=high, cells=cells, dim=dim)
    p = (q.log_density + q.log_volume).exp().flatten()
    x = q.x.reshape(-1, dim)
    mean = p @ x
    cov = (x - mean).T @ ((x - mean) * p[:, None])
    assert abs(q.log_partition - energy.log_partition()) < tolerance
    assert (mean - energy.mean).abs().max() < 10 * tolerance
    assert (cov - energy.covariance).abs().max() < 100 * tolerance


@pytest.mark.parametrize("name", CASES)
def test_exact_samples_have_the_exact_moments(name):
    energy = CASES[name][0]()
    g = torch.Generator().manual_seed(3)
    x = energy.sample(20_000, generator=g)
    assert x.shape == (20_000, energy.mean.numel())
    d = x - energy.mean
    assert_mean(x, energy.mean)
    assert_mean(d[:, :, None] * d[:, None, :], energy.covariance)
    assert torch.equal(x, energy.sample(20_000, generator=g.manual_seed(3)))


@pytest.mark.parametrize("name", CASES)
def test_exact_samples_satisfy_steins_identity(name):
    """E[f(x) ∂E] = E[f'(x)] for every smooth bounded f: it sees more of the law than two moments do."""
    energy = CASES[name][0]()
    x = energy.sample(20_000, generator=torch.Generator().manual_seed(4))
    _, g = value_and_grad(energy, x)
    assert_mean(torch.tanh(x) * g - torch.cosh(x) ** -2, 0.0)
    assert_mean((x * g).sum(-1), float(x.shape[1]))


def test_gaussian_value_is_the_log_density_up_to_log_z():
    cov = torch.tensor([[1.0, 0.6], [0.6, 2.0]])
    g = Gaussian([0.3, -1.0], cov)
    x = torch.randn(100, 2)
    reference = torch.distributions.MultivariateNormal(torch.tensor([0.3, -1.0]), cov).log_prob(x)
    assert (-g(x) - g.log_partition() - reference).abs().max() < 1e-12


def test_gaussian_of_an_image():
    variances = torch.linspace(0.5, 2.0, 16).reshape(1, 4, 4)
    g = Gaussian(torch.zeros(1, 4, 4), variances)
    full = Gaussian(torch.zeros(1, 4, 4), torch.diag(variances.flatten()))
    x = torch.randn(3, 5, 1, 4, 4)
    assert g.event_ndim == 3 and g(x).shape == (3, 5)
    assert torch.allclose(g(x), full(x)) and torch.allclose(g.value_and_grad(x)[1], full.value_and_grad(x)[1])
    assert torch.allclose(g.log_partition(), full.log_partition())
    assert g.sample(7).shape == (7, 1, 4, 4)


def test_gaussian_keeps_a_python_number_exact():
    assert Gaussian([0.0], 0.36).covariance.item() == pytest.approx(0.36, abs=1e-15)
    assert Gaussian([0, 0]).mean.dtype == f64  # integers become PyTorch's default


@pytest.mark.parametrize(
    "mean,cov,match",
    [
        ([0.0, 0.0], [[1.0, 0.5], [0.4, 1.0]], "symmetric"),
        ([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]], "positive definite"),
        ([0.0, 0.0], -1.0, "variances > 0"),
        ([0.0, 0.0], [1.0, 1.0, 1.0], "expected covariance to be"),
        (0.0, 1.0, "of the shape of one point"),
    ],
)
def test_gaussian_errors(mean, cov, match):
    with pytest.raises(ValueError, match=match):
        Gaussian(mean, cov)


def test_product_of_image_gaussians():
    a = Gaussian(torch.zeros(1, 2, 2), 2.0)
    b = Gaussian(torch.ones(1, 2, 2), 0.5)
    product, offset = product_of_gaussians(a + b)
    x = torch.randn(5, 1, 2, 2)
    assert ((a + b)(x) - product(x) - offset).abs().max() < 1e-12
    assert product.event_shape == (1, 2, 2)
    c = Gaussian(torch.zeros(1, 2, 2), torch.eye(4) + 0.2)
    product, offset = product_of_gaussians(a + 2 * c)
    assert ((a + 2 * c)(x) - product(x) - offset).abs().max() < 1e-12


def test_mixture_density_against_torch():
    mix = GaussianMixture([[-3.0, 0.0], [3.0, 1.0]], [1.0, 0.3], weights=[0.8, 0.2])
    D = torch.distributions
    parts = D.MultivariateNormal(mix.means, torch.stack([torch.eye(2), 0.3 * torch.eye(2)]))
    reference = D.MixtureSameFamily(D.Categorical(torch.tensor([0.8, 0.2])), parts)
    x = torch.randn(50, 2) * 3
    assert (mix(x) + reference.log_prob(x)).abs().max() < 1e-12
    assert torch.allclose(mix.responsibilities(x).sum(-1), torch.ones(50))
    assert mix.weights.tolist() == pytest.approx([0.8, 0.2])


@pytest.mark.parametrize(
    "args,kwargs,match",
    [
        (([0.0, 1.0],), {}, r"\[K, D\]"),
        (([[0.0], [1.0]], [1.0, 1.0, 1.0]), {}, "covariances"),
        (([[0.0], [1.0]], -1.0), {}, "positive definite"),
        (([[0.0], [1.0]],), {"weights": [1.0, 0.0]}, "2 positive weights"),
    ],
)
def test_mixture_errors(args, kwargs, match):
    with pytest.raises(ValueError, match=match):
        GaussianMixture(*args, **kwargs)


def test_double_well_moments():
    assert DoubleWell(1).second_moment == pytest.approx(0.8327, abs=5e-5)
    x = DoubleWell(1).sample(50_000, generator=torch.Generator().manual_seed(5))
    assert_mean(x**4 - x**2, 0.25)
    assert_mean(x**4, 1.0827)
    h = 3.0
    y = DoubleWell(1, height=h).sample(20_000, generator=torch.Generator().manual_seed(5))
    assert_mean(y**4 - y**2, 1 / (4 * h))


def test_ring_is_flat_along_the_circle():
    ring = Ring(radius=2.0, width=0.2)
    angle = torch.linspace(0, 6.0, 20)
    x = 2 * torch.stack([angle.cos(), angle.sin()], -1)
    assert ring(x).abs().max() < 1e-28
    e, g = value_and_grad(ring, torch.zeros(1, 2))  # the tip of the cone: no direction is downhill, and no NaN
    assert e.item() == pytest.approx(50.0) and g.abs().max() == 0


def test_minima():
    e, g = value_and_grad(Rosenbrock(a=1.0, b=100.0), torch.tensor([[1.0, 1.0]]))
    assert e.item() == 0 and g.abs().max() == 0
    e, g = value_and_grad(Himmelblau(), Himmelblau().minima)
    assert e.max() < 1e-24 and g.abs().max() < 1e-10
    assert len(torch.unique(Himmelblau().minima.round(), dim=0)) == 4
    assert Himmelblau(scale=0.5)(torch.zeros(1, 2)).item() == 0.5 * 170


@pytest.mark.parametrize(
    "make",
    [
        lambda: DoubleWell(1, height=0.0),
        lambda: Ring(radius=-1.0),
        lambda: Ring(width=0.0),
        lambda: Rosenbrock(b=-2.0),
        lambda: Himmelblau(scale=math.inf),
        lambda: Funnel(1),
        lambda: Funnel(2, scale=0.0),
    ],
)
def test_hyperparameters_are_checked(make):
    with pytest.raises(ValueError, match="expected .*; got"):
        make()
