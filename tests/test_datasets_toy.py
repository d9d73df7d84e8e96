"""Toy sets: each density integrates to one, and each sampler draws from its density."""

import math

import pytest
import torch

from ebmlearn.datasets import toy

NAMES = sorted(toy.TOYS)


def grid(low, high, cell):
    axes = [torch.arange(a + cell / 2, b, cell, dtype=torch.float64) for a, b in zip(low, high)]
    return torch.cartesian_prod(*axes)


@pytest.mark.parametrize("name", NAMES)
def test_density_integrates_to_one_and_gives_the_samples_moments(name):
    p = toy.TOYS[name]()
    x = p.sample(4000, generator=torch.Generator().manual_seed(1)).double()
    margin = 0.0 if name == "checkerboard" else 0.5
    low, high = (x.amin(0) - margin).tolist(), (x.amax(0) + margin).tolist()
    if name == "checkerboard":  # piecewise constant: the cells of the grid must not straddle its squares
        low, high = (-4.0, -4.0), (4.0, 4.0)
    cell = 0.05 if not isinstance(p, toy.NoisyCurves) else 0.8 * p.noise
    points = grid(low, high, cell)
    mass = torch.cat([p.log_prob(part).exp() for part in points.split(2000)]) * cell**2
    assert abs(float(mass.sum()) - 1) < 2e-3  # what lies outside the box of 4000 samples plus a margin
    features = {"x": lambda a: a[:, 0], "y": lambda a: a[:, 1], "xx": lambda a: a[:, 0] ** 2, "xy": lambda a: a[:, 0] * a[:, 1]}
    features |= {"sin": lambda a: torch.sin(5 * a[:, 0]) * torch.cos(4 * a[:, 1])}
    for key, f in features.items():
        v = f(x)
        exact = float((f(points) * mass).sum() / mass.sum())
        error = float(v.std()) / math.sqrt(len(v))
        assert abs(float(v.mean()) - exact) < 5 * error + 5e-3, key
    # the mean log-density of the samples is minus the entropy of the density
    logs = p.log_prob(x)
    assert bool(torch.isfinite(logs).all())
    negative_entropy = float(torch.special.xlogy(mass, mass / cell**2).sum())
    assert abs(float(logs.mean()) - negative_entropy) < 5 * float(logs.std()) / math.sqrt(len(logs)) + 5e-3


def test_the_density_test_sees_a_wrong_density():
    p = toy.pinwheel()
    other = toy.pinwheel(twist=-0.6)
    x = p.sample(2000, generator=torch.Generator().manual_seed(0)).double()
    assert float(other.log_prob(x).mean()) < float(p.log_prob(x).mean()) - 1


@pytest.mark.parametrize("name", NAMES)
def test_samples_follow_the_generator_and_any_batch_shape_has_a_density(name):
    p = toy.TOYS[name]()
    draws = [p.sample(5, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    x = draws[0][:4].reshape(2, 2, 2)
    torch.testing.assert_close(p.log_prob(x).reshape(-1), p.log_prob(x.reshape(4, 2)))
    torch.testing.assert_close(p(x), -p.log_prob(x))
    assert p.log_prob(x.double()).dtype == torch.float64
    with pytest.raises(ValueError, match="got \\(4, 3\\)"):
        p(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="n >= 1"):
        p.sample(0)


def test_density_of_a_noisy_line_is_known():
    # a segment of length 2 along x: p = 1/2 [Phi((1 - x)/s) - Phi((-1 - x)/s)] N(y; 0, s²)
    line = toy.NoisyCurves([lambda t: torch.stack([2 * t - 1, torch.zeros_like(t)], -1)], noise=0.1)
    x = torch.tensor([[0.0, 0.0], [1.0, 0.1], [-1.2, 0.05]], dtype=torch.float64)
    s = 0.1
    across = -(x[:, 1] ** 2) / (2 * s * s) - math.log(math.sqrt(2 * math.pi) * s)
    along = 0.5 * (torch.special.ndtr((1 - x[:, 0]) / s) - torch.special.ndtr((-1 - x[:, 0]) / s))
    torch.testing.assert_close(line.log_prob(x), along.log() + across, rtol=1e-9, atol=1e-9)


def test_too_few_nodes_is_an_error():
    with pytest.raises(ValueError, match="Raise nodes"):
        toy.NoisyCurves(toy.spiral().curves, noise=0.05, nodes=50)
    with pytest.raises(ValueError, match="noise > 0"):
        toy.spiral(noise=0.0)


def test_pairs_distance_and_answers():
    p = toy.parabolas()
    x, y = p.pairs(100, generator=torch.Generator().manual_seed(0))
    assert x.shape == y.shape == (100, 1)
    torch.testing.assert_close(torch.cat([x, y], 1), p.sample(100, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(p.answers(0.5), torch.tensor([-0.75, 0.75]), atol=1e-5, rtol=0)
    assert len(p.answers(2.0)) == 0
    assert len(toy.spiral().answers(0.0)) >= 3  # a question with several right answers
    on = p.curve(50).reshape(-1, 2)
    assert float(p.distance(on).max()) < 5e-3
    torch.testing.assert_close(p.distance(torch.tensor([[0.0, 3.0]])), torch.tensor([2.0]), atol=1e-3, rtol=0)


def test_two_spirals_is_one_spiral_and_its_image_under_a_half_turn():
    one, two = toy.spiral(), toy.two_spirals()
    x = one.sample(50, generator=torch.Generator().manual_seed(0)).double()
    both = torch.logaddexp(one.log_prob(x), one.log_prob(-x)) - math.log(2)
    torch.testing.assert_close(two.log_prob(x), both, rtol=1e-8, atol=1e-8)
