"""HMC: exactness, cost, reversibility; and wrong variants that the assertions catch."""

import math
from dataclasses import dataclass

import pytest
import torch

from ebmlearn.energies import DoubleWell, FromFunction, Gaussian, GaussianMixture
from ebmlearn.functional import value_and_grad
from ebmlearn.samplers import HMC, MALA, State, sample, trajectory
from ebmlearn.samplers.base import normal_like
from ebmlearn.samplers.langevin import accept
from tests.helpers import Counting
from tests.stats import assert_mean, assert_reversible, assert_stationary, assert_variance

f64 = torch.float64
TILTED = GaussianMixture(torch.tensor([[-1.0, 0.0], [1.2, 0.7]], dtype=f64), [0.8, 0.3], weights=[0.3, 0.7])
CORRELATED = Gaussian(torch.zeros(2, dtype=f64), torch.tensor([[1.0, 0.6], [0.6, 2.0]], dtype=f64))
IMAGE = Gaussian(torch.zeros(1, 4, 4, dtype=f64), torch.linspace(0.5, 2, 16, dtype=f64).reshape(1, 4, 4))


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def one_step(kernel, energy, n=60_000):
    x = energy.sample(n, generator=gen(1))
    state, info = kernel.step(energy, kernel.init(energy, x), generator=gen(2))
    return x, state.x, info


@pytest.mark.parametrize(
    "kernel",
    [
        HMC(step_size=0.3, n_leapfrog=1),
        HMC(step_size=0.6, n_leapfrog=3),
        HMC(step_size=1.0, n_leapfrog=2),
        HMC(step_size=(0.2, 0.5), n_leapfrog=4),
    ],
    ids=str,
)
@pytest.mark.parametrize("energy", [TILTED, CORRELATED, DoubleWell(2)], ids=["mixture", "correlated", "wells"])
def test_detailed_balance(kernel, energy):
    x, y, info = one_step(kernel, energy, n=40_000)
    assert_stationary(x, y)
    assert_reversible(x, y)
    assert 0.02 < info.accept_prob.mean() < 1


@pytest.mark.parametrize("epsilon", [0.3, 0.7, 1.1])
def test_moments_of_a_correlated_gaussian(epsilon):
    """From a start far off, with a level of 1e8 added: mean and covariance within five standard errors."""
    high = FromFunction(lambda x: CORRELATED(x) + 1e8)
    x = sample(high, HMC(step_size=epsilon, n_leapfrog=3), torch.full((6000, 2), 3.0, dtype=f64), 25, generator=gen())
    assert x.dtype == f64
    assert_mean(x, CORRELATED.mean)
    assert_mean(x[:, :, None] * x[:, None, :], CORRELATED.covariance)


def test_images_are_exact_kinetic_energy_sums_every_event_axis():
    x, y, info = one_step(HMC(step_size=0.4, n_leapfrog=3), IMAGE, n=20_000)
    assert_stationary(x, y)
    assert_reversible(x, y)
    assert_mean(y.flatten(1) ** 2, torch.linspace(0.5, 2, 16, dtype=f64))
    assert info.accept_prob.shape == (20_000,)
    boxed = x[:24].reshape(2, 3, 4, 1, 4, 4)
    trace = trajectory(IMAGE, HMC(step_size=0.4, n_leapfrog=3), boxed, 3, generator=gen())
    assert trace.x.shape == (3, *boxed.shape) and trace.accept_prob.shape == (3, 2, 3, 4)


@pytest.mark.parametrize("n_leapfrog", [1, 4, 10])
def test_a_proposal_costs_n_leapfrog_evaluations(n_leapfrog):
    calls = Counting(CORRELATED)
    sample(calls, HMC(step_size=0.1, n_leapfrog=n_leapfrog), torch.zeros(5, 2, dtype=f64), 7)
    assert (calls.gradients, calls.energies) == (1 + 7 * n_leapfrog, 0)


@pytest.mark.parametrize("epsilon", [0.3, 1.0])
def test_one_leapfrog_step_is_mala(epsilon):
    """eta = epsilon²/2: the same proposal and the same acceptance, draw for draw."""
    x = TILTED.sample(300, generator=gen())
    hmc = trajectory(TILTED, HMC(step_size=epsilon, n_leapfrog=1), x, 4, generator=gen(1))
    mala = trajectory(TILTED, MALA(step_size=epsilon**2 / 2), x, 4, generator=gen(1))
    assert (hmc.accept_prob - mala.accept_prob).abs().max() < 1e-12
    assert (hmc.x - mala.x).abs().max() < 1e-12


def test_leapfrog_energy_error_is_of_second_order():
    """Halving epsilon at a fixed length divides 1 - acceptance's exponent, the energy error, by four."""
    x = DoubleWell(2).sample(4000, generator=gen()).to(f64)

    def error(epsilon, steps):
        kernel = HMC(step_size=epsilon, n_leapfrog=steps)
        _, info = kernel.step(DoubleWell(2), kernel.init(DoubleWell(2), x), generator=gen(1))
        losses = -info.accept_prob.log()
        return losses[losses > 0].mean().item()

    ratios = [error(0.2, 5) / error(0.1, 10), error(0.1, 10) / error(0.05, 20)]
    assert all(3.5 < r < 4.6 for r in ratios), ratios


def test_acceptance_of_a_gaussian_falls_as_erfc():
    """Stationary energy errors of a reversible volume-preserving map: E[min(1, exp(-D))] with E[exp(-D)] = 1."""
    x, _, info = one_step(HMC(step_size=1.0, n_leapfrog=2), CORRELATED, n=20_000)
    normal = Gaussian(torch.zeros(1, dtype=f64))
    y = normal.sample(100_000, generator=gen(3))
    # one leapfrog step on N(0, 1): acceptance of MALA at eta = 1/2, 0.92
    kernel = HMC(step_size=1.0, n_leapfrog=1)
    _, one = kernel.step(normal, kernel.init(normal, y), generator=gen(4))
    assert one.accept_prob.mean().item() == pytest.approx(0.92, abs=0.005)
    assert 0.5 < info.accept_prob.mean() < 1


def test_half_a_period_hardly_mixes_and_is_still_exact():
    """On N(0, 1) a trajectory of length π maps x to -x: |x| barely moves. Not a bias, a bad length."""
    normal = Gaussian(torch.zeros(1, dtype=f64))
    x = normal.sample(20_000, generator=gen())
    y = sample(normal, HMC(step_size=math.pi / 30, n_leapfrog=30), x, 1, generator=gen(1))
    z = sample(normal, HMC(step_size=math.pi / 30, n_leapfrog=15), x, 1, generator=gen(1))
    correlation = lambda a, b: torch.corrcoef(torch.stack([a[:, 0].abs(), b[:, 0].abs()]))[0, 1].item()
    assert correlation(x, y) > 0.99 and abs(correlation(x, z)) < 0.1
    assert_variance(y[:, 0], 1.0)


@pytest.mark.parametrize("n", [0, -1, 2.5])
def test_n_leapfrog_is_checked(n):
    with pytest.raises(ValueError, match="n_leapfrog"):
        HMC(step_size=0.1, n_leapfrog=n)


@dataclass(frozen=True)
class WrongHMC:
    step_size: float
    n_leapfrog: int
    mistake: str

    def init(self, energy, x):
        return MALA(step_size=self.step_size).init(energy, x)

    def step(self, energy, state, *, generator=None):
        eps, (x, e, g, _) = self.step_size, state
        p0 = normal_like(x, generator)
        p = p0 - (eps if self.mistake == "full first kick" else 0.5 * eps) * g
        y, ey, gy = x, e, g
        for i in range(self.n_leapfrog):
            y = y + eps * p
            ey, gy = value_and_grad(energy, y)
            last = i == self.n_leapfrog - 1
            p = p - (0.5 * eps if last and self.mistake != "full last kick" else eps) * gy
        ratio = e - ey + 0.5 * (p0**2).sum(-1) - 0.5 * (p**2).sum(-1)
        if self.mistake == "kinetic energy left out":
            ratio = e - ey
        if self.mistake == "kinetic energy of one axis":
            ratio = e - ey + 0.5 * p0[:, 0] ** 2 - 0.5 * p[:, 0] ** 2
        if self.mistake == "always accepted":
            ratio = torch.zeros_like(e)
        if self.mistake == "momentum kept at half length":
            y = x + 0.5 * (y - x)
            ey, gy = value_and_grad(energy, y)
        return accept(state, State(y, ey, gy), ratio, generator)


def test_planted_mistakes_are_caught():
    right = sample(TILTED, WrongHMC(0.6, 3, "none"), TILTED.sample(20_000, generator=gen(1)), 3, generator=gen(2))
    same = sample(TILTED, HMC(step_size=0.6, n_leapfrog=3), TILTED.sample(20_000, generator=gen(1)), 3, generator=gen(2))
    assert torch.allclose(right, same)
    for mistake in (
        "full first kick",
        "full last kick",
        "kinetic energy left out",
        "kinetic energy of one axis",
        "always accepted",
        "momentum kept at half length",
    ):
        x = TILTED.sample(20_000, generator=gen(1))
        y = sample(TILTED, WrongHMC(0.6, 3, mistake), x, 3, generator=gen(2))
        with pytest.raises(AssertionError, match="standard errors off"):
            assert_stationary(x, y)
            raise RuntimeError(f"{mistake} was not caught")
