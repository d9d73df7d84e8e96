"""log Z three ways, each against an exact value, and each error bar against the spread it claims."""

import math

import pytest
import torch

from ebmlearn.energies import DoubleWell, FromFunction, Funnel, Gaussian, GaussianMixture, MLPEnergy, Ring
from ebmlearn.metrics import annealed_importance_sampling, importance_sampling, quadrature
from ebmlearn.samplers import HMC, MALA, Langevin, RandomWalk
from tests.stats import assert_mean

f64 = torch.float64


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


WIDE = Gaussian(torch.zeros(2, dtype=f64), 4.0)
TARGETS = {
    "wells": DoubleWell(2),
    "ring": Ring(radius=2.0, width=0.3),
    "correlated": Gaussian(torch.tensor([1.0, -0.5], dtype=f64), torch.tensor([[1.0, 0.6], [0.6, 2.0]], dtype=f64)),
    "mixture": GaussianMixture(torch.tensor([[-2.0, 0.0], [2.0, 1.0]], dtype=f64), [1.0, 0.3], weights=[0.8, 0.2]),
}


# Quadrature


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_quadrature_of_a_gaussian(dim):
    q = quadrature(Gaussian(torch.zeros(dim, dtype=f64)), low=-9, high=9, cells={1: 200, 2: 100, 3: 60}[dim], dim=dim)
    assert abs(q.log_partition - 0.5 * dim * math.log(2 * math.pi)) < 1e-10
    assert abs(q.entropy - 0.5 * dim * math.log(2 * math.pi * math.e)) < 1e-8
    assert abs(((q.log_density + q.log_volume).exp()).sum() - 1) < 1e-12
    assert q.x.shape == (*q.log_density.shape, dim) and q.x.dtype == f64


def test_quadrature_boxes_and_chunks():
    g = Gaussian(torch.tensor([1.0, -2.0], dtype=f64), torch.tensor([0.25, 1.0], dtype=f64))
    q = quadrature(g, low=(-3, -11), high=(5, 7), cells=500)  # 250 000 points, more than one chunk
    assert abs(q.log_partition - g.log_partition()) < 1e-10
    assert torch.equal(q.x[0, 0], torch.tensor([-3 + 8 / 1000, -11 + 18 / 1000], dtype=f64))


@pytest.mark.parametrize("reach,log_z", [(5, 3.19), (10, 5.69), (20, 10.69)])
def test_an_energy_without_a_finite_z_grows_with_the_box(reach, log_z):
    slope = lambda x: 0.5 * x[..., 0]
    assert quadrature(slope, low=-reach, high=reach, cells=4000, dim=1, dtype=f64).log_partition.item() == pytest.approx(
        log_z, abs=0.01
    )
    bowl = lambda x: 0.5 * x[..., 0] + 0.05 * x[..., 0] ** 2
    confined = {5: 2.63, 10: 3.26, 20: 3.32}[reach]
    assert quadrature(bowl, low=-reach, high=reach, cells=4000, dim=1, dtype=f64).log_partition.item() == pytest.approx(
        confined, abs=0.01
    )


def test_gradient_of_log_z_is_minus_the_mean_gradient():
    """d log Z/dk = -E[x²/2] for E = k x²/2; at k = 2 both are -0.25."""
    log_z = lambda k: quadrature(lambda x: k * 0.5 * x[..., 0] ** 2, low=-12, high=12, cells=2000, dim=1, dtype=f64)
    difference = (log_z(2.0 + 1e-4).log_partition - log_z(2.0 - 1e-4).log_partition) / 2e-4
    q = log_z(2.0)
    expectation = -((q.log_density + q.log_volume).exp() * 0.5 * q.x[:, 0] ** 2).sum()
    assert difference.item() == pytest.approx(-0.25, abs=1e-7) and expectation.item() == pytest.approx(-0.25, abs=1e-10)


def test_quadrature_takes_dtype_from_the_energy_and_keeps_no_graph():
    q = quadrature(MLPEnergy(2, hidden_features=(4,), confinement=1.0).double(), cells=20)
    assert q.log_density.dtype == f64 and not q.log_partition.requires_grad
    assert quadrature(lambda x: x.sum(-1), cells=4).x.dtype == torch.float32


@pytest.mark.parametrize(
    "options,match",
    [
        ({"low": 1, "high": 0}, "low < high"),
        ({"low": (0, 0, 0), "high": 1}, "2 numbers each"),
        ({"cells": 0}, "1 <= cells"),
        ({"cells": 1000, "dim": 3}, "Use AIS"),
    ],
)
def test_quadrature_errors(options, match):
    with pytest.raises(ValueError, match=match):
        quadrature(lambda x: x.sum(-1), **options)
    with pytest.raises(ValueError, match="NaN at 4 of 4"):
        quadrature(lambda x: x.sum(-1) * math.nan, cells=2)


# Importance sampling


def test_importance_sampling_is_unbiased_for_z_and_its_error_bar_is_right():
    target = DoubleWell(2)
    exact = target.log_partition().item()
    runs = [importance_sampling(target, WIDE, 500, generator=gen(s)) for s in range(100)]
    assert_mean(torch.stack([(r.log_partition - exact).exp() for r in runs]), 1.0)
    spread = torch.stack([r.log_partition for r in runs]).std().item()
    claimed = torch.stack([r.standard_error for r in runs]).mean().item()
    assert claimed == pytest.approx(spread, rel=5 / math.sqrt(2 * 100))


def test_importance_sampling_with_the_target_as_base_has_no_error():
    z = importance_sampling(WIDE, WIDE, 100, generator=gen())
    assert abs(z.log_partition - WIDE.log_partition()) < 1e-12 and z.standard_error < 1e-12
    assert z.ess.item() == pytest.approx(100) and z.log_weights.shape == (100,) and z.x.shape == (100, 2)


def test_log_of_a_mean_is_biased_low_with_few_points():
    """E = 3 x²/2 and uniforms on [-20, 20], 20 of them: mean of log Z -1.49, truth .370."""

    class Uniform:
        def __call__(self, x):
            return torch.zeros(x.shape[:-1], dtype=x.dtype)

        def log_partition(self):
            return torch.tensor(math.log(40.0), dtype=f64)

        def sample(self, n, *, generator=None):
            return 40 * torch.rand(n, 1, dtype=f64, generator=generator) - 20

    values = torch.stack(
        [importance_sampling(lambda x: 1.5 * x[..., 0] ** 2, Uniform(), 20, generator=gen(s)).log_partition for s in range(2000)]
    )
    assert 0.5 * math.log(2 * math.pi / 3) == pytest.approx(0.370, abs=1e-3)
    assert values.mean().item() < -1.0 and values.median().item() < 0.37


# AIS


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(
    "kernel", [MALA(step_size=0.1), HMC(step_size=0.3, n_leapfrog=3), RandomWalk(scale=0.5)], ids=["mala", "hmc", "rw"]
)
def test_ais_against_exact_log_z(name, kernel):
    target = TARGETS[name]
    z = annealed_importance_sampling(target, WIDE, kernel=kernel, betas=40, n=1000, generator=gen())
    error = z.standard_error.item()
    assert 0 < error < 0.2
    assert abs((z.log_partition - target.log_partition()).item()) < 5 * error
    assert z.x.shape == (1000, 2) and z.log_weights.dtype == f64


def test_ais_weights_are_unbiased_even_where_the_kernel_hardly_moves():
    """E[w] = Z for every invariant kernel, mixed or not; few temperatures and tiny steps only widen the error bar."""
    target = TARGETS["correlated"]
    exact = target.log_partition()
    for betas, kernel in ((1, MALA(step_size=0.1)), (5, RandomWalk(scale=0.01)), (8, MALA(step_size=0.8))):
        z = annealed_importance_sampling(target, WIDE, kernel=kernel, betas=betas, n=8000, generator=gen(1))
        assert_mean((z.log_weights - exact).exp(), 1.0)


def test_ais_with_one_step_is_importance_sampling():
    a = annealed_importance_sampling(DoubleWell(2), WIDE, kernel=MALA(step_size=0.1), betas=1, n=100, generator=gen())
    b = importance_sampling(DoubleWell(2), WIDE, 100, generator=gen())
    assert torch.allclose(a.log_weights, b.log_weights, atol=1e-12)


def test_more_temperatures_give_a_smaller_error():
    target = Gaussian(torch.full((2,), 3.0, dtype=f64), 0.3)
    errors = [
        annealed_importance_sampling(
            target, WIDE, kernel=HMC(step_size=0.4, n_leapfrog=3), betas=b, n=500, generator=gen()
        ).standard_error
        for b in (2, 10, 60)
    ]
    assert errors[0] > 1.4 * errors[1] > 2 * errors[2]


def test_error_bar_of_ais_is_right():
    target = DoubleWell(1)
    base = Gaussian(torch.zeros(1, dtype=f64), 2.0)
    runs = [
        annealed_importance_sampling(target, base, kernel=MALA(step_size=0.1), betas=5, n=200, generator=gen(s))
        for s in range(100)
    ]
    spread = torch.stack([r.log_partition for r in runs]).std().item()
    assert torch.stack([r.standard_error for r in runs]).mean().item() == pytest.approx(spread, rel=5 / math.sqrt(200))


def test_an_unadjusted_kernel_or_a_wrong_path_is_caught():
    """ULA with a long step is not invariant, so its weights are biased: the assertion of the tests above fails."""
    target = Gaussian(torch.zeros(2, dtype=f64), 0.25)
    exact = target.log_partition()
    right = annealed_importance_sampling(target, WIDE, kernel=MALA(step_size=0.2), betas=60, n=4000, generator=gen())
    assert_mean((right.log_weights - exact).exp(), 1.0)
    wrong = annealed_importance_sampling(target, WIDE, kernel=Langevin(step_size=0.2), betas=60, n=4000, generator=gen())
    with pytest.raises(AssertionError, match="standard errors off"):
        assert_mean((wrong.log_weights - exact).exp(), 1.0)


def test_ais_on_images_with_annealed_steps():
    base = Gaussian(torch.zeros(1, 3, 3, dtype=f64), 2.0)
    target = Gaussian(torch.full((1, 3, 3), 0.5, dtype=f64), 0.7)
    z = annealed_importance_sampling(
        target, base, kernel=lambda k: HMC(step_size=0.6 - 0.005 * k, n_leapfrog=3), betas=40, n=500, generator=gen()
    )
    assert z.x.shape == (500, 1, 3, 3)
    assert abs(z.log_partition - target.log_partition()) < 5 * z.standard_error


def test_ais_takes_a_level_with_it():
    args = {"kernel": MALA(step_size=0.1), "betas": 10, "n": 50}
    a = annealed_importance_sampling(DoubleWell(2), WIDE, **args, generator=gen())
    b = annealed_importance_sampling(FromFunction(lambda x: DoubleWell(2)(x) + 3.0), WIDE, **args, generator=gen())
    assert (a.log_partition - b.log_partition - 3.0).abs() < 1e-9


@pytest.mark.parametrize("betas", [0, -1, [0.0], [0.1, 1.0], [0.0, 0.5], [0.0, 0.6, 0.4, 1.0]])
def test_betas_are_checked(betas):
    with pytest.raises(ValueError, match="from 0 to 1"):
        annealed_importance_sampling(DoubleWell(2), WIDE, kernel=MALA(step_size=0.1), betas=betas, n=10)


def test_estimates_need_two_points_and_finite_energies():
    with pytest.raises(ValueError, match="n >= 2"):
        importance_sampling(DoubleWell(2), WIDE, 1)
    with pytest.raises(ValueError, match="not finite where"):
        importance_sampling(lambda x: x.sum(-1) * math.nan, WIDE, 10)
    inside = importance_sampling(lambda x: torch.where((x.abs() < 1).all(-1), 0.0, math.inf), WIDE, 20_000, generator=gen())
    assert abs(inside.log_partition - math.log(4)) < 5 * inside.standard_error  # +inf is weight 0, no error


def test_funnel_by_ais_is_within_its_error_or_says_little():
    """A hard case: the error bar must not lie by more than five of itself."""
    target = Funnel(2, scale=1.0)
    z = annealed_importance_sampling(target, WIDE, kernel=HMC(step_size=0.2, n_leapfrog=5), betas=60, n=1000, generator=gen())
    assert abs((z.log_partition - target.log_partition()).item()) < 5 * z.standard_error.item()
