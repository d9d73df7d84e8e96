"""Distances between clouds against closed forms for Gaussians, brute force and SciPy."""

import itertools
import math

import pytest
import scipy.stats
import torch

from ebmlearn.energies import DoubleWell, Gaussian
from ebmlearn.metrics import divergence as module
from ebmlearn.metrics import (
    energy_distance,
    kl_on_grid,
    median_distance,
    mmd,
    quadrature,
    sliced_wasserstein,
    total_variation_on_grid,
    wasserstein,
)
from tests.stats import assert_mean

f64 = torch.float64


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def normals(n, dim, seed, scale=1.0, shift=0.0):
    return shift + scale * torch.randn(n, dim, dtype=f64, generator=gen(seed))


def kernel_mean(dim, h, v, gap):
    """E k(X - Y) for X - Y ~ N(gap, v I) in `dim` dimensions: (h²/(h² + v))^{dim/2} exp(-|gap|²/(2 (h² + v)))."""
    return (h * h / (h * h + v)) ** (dim / 2) * math.exp(-dim * gap * gap / (2 * (h * h + v)))


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("scale,shift", [(1.0, 0.0), (1.5, 0.4)])
def test_mmd_is_unbiased_for_its_closed_form(dim, scale, shift):
    h, n = 1.2, 30
    exact = kernel_mean(dim, h, 2.0, 0) + kernel_mean(dim, h, 2 * scale**2, 0) - 2 * kernel_mean(dim, h, 1 + scale**2, shift)
    values = torch.stack(
        [mmd(normals(n, dim, 2 * s), normals(n + 7, dim, 2 * s + 1, scale, shift), bandwidth=h) for s in range(400)]
    )
    assert_mean(values, exact)


def test_the_biased_estimate_would_be_caught():
    h, n = 1.2, 30

    def biased(x, y):
        k = lambda a, b: torch.exp(-torch.cdist(a, b).square() / (2 * h * h)).mean()
        return k(x, x) + k(y, y) - 2 * k(x, y)

    values = torch.stack([biased(normals(n, 1, 2 * s), normals(n, 1, 2 * s + 1)) for s in range(400)])
    with pytest.raises(AssertionError, match="standard errors off"):
        assert_mean(values, 0.0)


@pytest.mark.parametrize("scale,shift", [(1.0, 0.0), (1.5, 0.7)])
def test_energy_distance_is_unbiased_for_its_closed_form(scale, shift):
    """In one dimension E|N(m, v)| is a folded normal's mean."""

    def folded(m, v):
        s = math.sqrt(v)
        return s * math.sqrt(2 / math.pi) * math.exp(-m * m / (2 * v)) + m * math.erf(m / math.sqrt(2 * v))

    exact = 2 * folded(shift, 1 + scale**2) - folded(0, 2) - folded(0, 2 * scale**2)
    values = torch.stack([energy_distance(normals(30, 1, 2 * s), normals(41, 1, 2 * s + 1, scale, shift)) for s in range(400)])
    assert_mean(values, exact)


def test_energy_distance_equals_the_square_of_scipys_after_bias():
    """SciPy's is the root of the biased one; add back the diagonal and they agree to rounding."""
    x, y = normals(50, 1, 0), normals(70, 1, 1, 1.3, 0.5)
    within = lambda a: torch.cdist(a, a).sum() / len(a) ** 2
    biased = 2 * torch.cdist(x, y).mean() - within(x) - within(y)
    assert scipy.stats.energy_distance(x[:, 0], y[:, 0]) ** 2 == pytest.approx(biased.item(), rel=1e-9)
    unbiased = 2 * torch.cdist(x, y).mean() - within(x) * 50 / 49 - within(y) * 70 / 69
    assert energy_distance(x, y).item() == pytest.approx(unbiased.item(), rel=1e-9)


def test_chunks_give_the_same_sums(monkeypatch):
    x, y = normals(100, 2, 0), normals(77, 2, 1)
    whole = energy_distance(x, y), mmd(x, y, bandwidth=1.0)
    monkeypatch.setattr(module, "ROWS", 13)
    parts = energy_distance(x, y), mmd(x, y, bandwidth=1.0)
    assert all(a.item() == pytest.approx(b.item(), rel=1e-12) for a, b in zip(whole, parts))


def test_median_distance():
    x = torch.tensor([[0.0], [1.0]])
    y = torch.tensor([[3.0], [7.0]])  # distances 1, 3, 7, 2, 6, 4
    assert median_distance(x, y) == 3.0
    assert mmd(x, y) == mmd(x, y, bandwidth=3.0)


def test_wasserstein_is_the_best_of_all_matchings():
    x, y = normals(6, 2, 0), normals(6, 2, 1)
    cost = torch.cdist(x, y).square()
    best = min(cost[range(6), list(p)].mean() for p in itertools.permutations(range(6)))
    assert wasserstein(x, y).item() == pytest.approx(math.sqrt(best), rel=1e-12)


def test_wasserstein_of_a_shift_and_in_one_dimension():
    x = normals(200, 3, 0)
    assert wasserstein(x, x + torch.tensor([3.0, 0.0, 4.0])).item() == pytest.approx(5.0, rel=1e-12)
    a, b = normals(200, 1, 1), normals(200, 1, 2, 2.0, 1.0)
    sorted_gap = (a.sort(0).values - b.sort(0).values).square().mean().sqrt()
    assert wasserstein(a, b).item() == pytest.approx(sorted_gap.item(), rel=1e-12)
    assert sliced_wasserstein(a, b).item() == pytest.approx(sorted_gap.item(), rel=1e-12)


def test_sliced_wasserstein_of_clouds_of_unequal_size_is_that_of_repeated_points():
    x, y = normals(6, 2, 0), normals(4, 2, 1)
    repeated = sliced_wasserstein(x.repeat_interleave(2, 0), y.repeat_interleave(3, 0))
    assert sliced_wasserstein(x, y).item() == pytest.approx(repeated.item(), rel=1e-12)
    assert sliced_wasserstein(x, x.repeat(3, 1)) < 1e-12


def test_sliced_wasserstein_of_gaussians():
    """N(0, I) against N(0, s² I): every shadow is at W2 = |s - 1|. A shift m adds |m|²/D on average."""
    x = normals(4000, 3, 0)
    x = (x - x.mean(0)) / x.std(0)
    assert sliced_wasserstein(x, 1.5 * x).item() == pytest.approx(0.5, rel=0.02)
    few = x[:100]
    shifted = sliced_wasserstein(few, few + torch.tensor([3.0, 0.0, 0.0]), n_projections=4000, generator=gen())
    # mean of 9 cos², whose standard deviation is 9 sqrt(1/5 - 1/9)
    assert abs(shifted.item() ** 2 - 3.0) < 5 * 9 * math.sqrt(1 / 5 - 1 / 9) / math.sqrt(4000)


def test_sliced_wasserstein_repeats():
    x, y = normals(50, 2, 0), normals(50, 2, 1)
    assert sliced_wasserstein(x, y) == sliced_wasserstein(x, y)
    assert sliced_wasserstein(x, y, generator=gen(1)) != sliced_wasserstein(x, y, generator=gen(2))


def test_images_are_flattened():
    x, y = torch.rand(20, 1, 4, 4, generator=gen()), torch.rand(20, 1, 4, 4, generator=gen(1))
    for f in (energy_distance, mmd, wasserstein, sliced_wasserstein):
        assert f(x, y) == f(x.flatten(1), y.flatten(1)) and f(x, y).shape == () and f(x, y).dtype == f64


def test_kl_and_total_variation_of_gaussians():
    grid = quadrature(lambda x: x.sum(-1), low=-14, high=14, cells=6000, dim=1, dtype=f64).x
    p, q = Gaussian(torch.zeros(1, dtype=f64)), Gaussian(torch.tensor([0.8], dtype=f64), 2.25)
    exact = 0.5 * (1 / 2.25 + 0.64 / 2.25 - 1 + math.log(2.25))
    assert kl_on_grid(-p(grid), -q(grid)).item() == pytest.approx(exact, abs=1e-10)
    assert kl_on_grid(-p(grid) + 50, -q(grid) - 7).item() == pytest.approx(exact, abs=1e-10)  # constants do not matter
    shifted = Gaussian(torch.tensor([1.0], dtype=f64))
    assert total_variation_on_grid(-p(grid), -shifted(grid)).item() == pytest.approx(math.erf(0.5 / math.sqrt(2)), abs=1e-5)
    assert kl_on_grid(-p(grid), -p(grid)) == 0


def test_kl_is_minus_entropy_minus_cross_entropy_in_two_dimensions():
    q = quadrature(DoubleWell(2), low=-4, high=4, cells=200, dtype=f64)
    other = quadrature(Gaussian(torch.zeros(2, dtype=f64)), low=-4, high=4, cells=200)
    p = (q.log_density + q.log_volume).exp()
    cross = -(p * other.log_density).sum()
    assert kl_on_grid(q.log_density, other.log_density).item() == pytest.approx((cross - q.entropy).item(), abs=1e-12)


def test_empty_cells():
    half = torch.tensor([0.0, 0.0, -math.inf, -math.inf])
    full = torch.zeros(4)
    assert kl_on_grid(half, full).item() == pytest.approx(math.log(2)) and kl_on_grid(full, half) == math.inf
    assert total_variation_on_grid(half, full) == 0.5


@pytest.mark.parametrize(
    "call,match",
    [
        (lambda: mmd(torch.zeros(5, 2), torch.zeros(5, 3)), "one event shape"),
        (lambda: mmd(torch.zeros(1, 2), torch.zeros(5, 2)), "at least 2 points"),
        (lambda: energy_distance(torch.full((5, 2), math.nan), torch.zeros(5, 2)), "finite points"),
        (lambda: mmd(torch.zeros(5, 2), torch.zeros(5, 2)), "bandwidth > 0"),
        (lambda: wasserstein(torch.zeros(5, 2), torch.zeros(6, 2)), "equal size"),
        (lambda: sliced_wasserstein(torch.zeros(5, 2), torch.zeros(5, 2), n_projections=0), "n_projections >= 1"),
        (lambda: kl_on_grid(torch.zeros(5), torch.zeros(6)), "same grid"),
        (lambda: kl_on_grid(torch.full((5,), -math.inf), torch.zeros(5)), "infinity everywhere"),
    ],
)
def test_errors(call, match):
    with pytest.raises(ValueError, match=match):
        call()
