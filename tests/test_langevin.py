"""ULA's bias, MALA's ratio, random walks: closed forms, detailed balance, and wrong variants that the assertions catch."""

import math
from dataclasses import dataclass

import pytest
import torch

from ebmlearn.energies import DoubleWell, FromFunction, Gaussian, GaussianMixture
from ebmlearn.functional import expand_as, value_and_grad
from ebmlearn.samplers import MALA, Clamped, ClippedGradient, Langevin, RandomWalk, State, sample, trajectory
from ebmlearn.samplers.base import Info, normal_like
from ebmlearn.samplers.langevin import accept
from tests.helpers import Counting
from tests.stats import assert_mean, assert_reversible, assert_stationary, assert_variance

f64 = torch.float64
NORMAL = Gaussian(torch.zeros(1, dtype=f64))
TILTED = GaussianMixture(torch.tensor([[-1.0, 0.0], [1.2, 0.7]], dtype=f64), [0.8, 0.3], weights=[0.3, 0.7])
CORRELATED = Gaussian(torch.zeros(2, dtype=f64), torch.tensor([[1.0, 0.6], [0.6, 2.0]], dtype=f64))


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def run(kernel, n=30_000, steps=None, energy=NORMAL, eta=None):
    """Chains long enough to forget a start at 0, for a kernel that contracts by 1 - eta a step."""
    eta = eta or kernel.step_size
    steps = steps or max(20, math.ceil(12 / eta))
    start = torch.zeros(n, energy.mean.numel(), dtype=f64)
    return sample(energy, kernel, start, steps, generator=gen())


def one_step(kernel, energy, n=100_000, seed=1):
    """Pairs (x, y): x exact draws, y one step later."""
    x = energy.sample(n, generator=gen(seed))
    y, _ = kernel.step(energy, kernel.init(energy, x), generator=gen(seed + 1))
    return x, y.x


# ULA


@pytest.mark.parametrize("eta", [0.05, 0.1, 0.2, 0.5, 1.0])
def test_ula_variance_is_its_closed_form(eta):
    x = run(Langevin(step_size=eta), n=20_000)
    assert_variance(x[:, 0], 1 / (1 - eta / 2))


def test_ula_variance_assertion_sees_the_bias_itself():
    x = run(Langevin(step_size=0.5), n=20_000)
    with pytest.raises(AssertionError, match="standard errors off"):
        assert_variance(x[:, 0], 1.0)


@dataclass(frozen=True)
class Planted:
    """x <- x - drift eta grad E + noise N(0, 1), with the mistakes people make."""

    step_size: float
    drift: float
    noise: float

    def init(self, energy, x):
        return Langevin(step_size=self.step_size).init(energy, x)

    def step(self, energy, state, *, generator=None):
        y = state.x - self.drift * self.step_size * state.grad + self.noise * normal_like(state.x, generator)
        e, g = value_and_grad(energy, y)
        return State(y, e, g), Info(torch.ones_like(e))


ETA = 0.05
MISTAKES = {  # name -> (drift, noise, the variance it has instead of 1/(1 - eta/2) = 1.026)
    "noise sqrt(eta)": (1.0, math.sqrt(ETA), 0.5 / (1 - ETA / 2)),
    "noise eta": (1.0, ETA, ETA / (2 - ETA)),
    "half step, noise sqrt(2 eta)": (0.5, math.sqrt(2 * ETA), 2 / (1 - ETA / 4)),
    "half step, noise sqrt(eta)": (0.5, math.sqrt(ETA), 1 / (1 - ETA / 4)),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_planted_mistakes_have_their_own_variance_and_are_caught(name):
    drift, noise, variance = MISTAKES[name]
    x = run(Planted(ETA, drift, noise), n=30_000, steps=240 if drift == 1 else 480)
    assert_variance(x[:, 0], variance)
    if name == "half step, noise sqrt(eta)":  # the other common convention, right in itself: bias 1.013 against 1.026
        return
    with pytest.raises(AssertionError, match="standard errors off"):
        assert_variance(x[:, 0], 1 / (1 - ETA / 2))


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_temperature_scales_the_variance(temperature):
    kernel = Langevin.at_temperature(step_size=0.2, temperature=temperature)
    assert kernel.temperature == pytest.approx(temperature)
    assert_variance(run(kernel, n=20_000)[:, 0], temperature / (1 - 0.1))


def test_tempering_the_energy_or_the_noise_agree_and_scaling_both_changes_nothing():
    """beta = 4: E scaled gives 1/4 up to bias, noise scaled gives 1/4 up to bias; step and noise² together give 1."""
    beta, eta = 4.0, 0.05
    start = torch.zeros(20_000, 1, dtype=f64)
    scaled = sample(beta * NORMAL, Langevin(step_size=eta), start, 150, generator=gen())
    assert_variance(scaled[:, 0], 0.25 / (1 - beta * eta / 2))
    cooled = run(Langevin(step_size=eta, noise=math.sqrt(2 * eta / beta)), n=20_000)
    assert_variance(cooled[:, 0], 0.25 / (1 - eta / 2))
    both = run(Langevin(step_size=eta / beta, noise=math.sqrt(2 * eta / beta)), n=10_000)
    assert_variance(both[:, 0], 1 / (1 - eta / beta / 2))


def test_noise_zero_is_gradient_descent():
    x = sample(NORMAL, Langevin(step_size=0.1, noise=0.0), torch.ones(3, 1, dtype=f64), 7)
    assert torch.allclose(x, torch.full((3, 1), 0.9**7, dtype=f64), atol=1e-15)
    assert Langevin(step_size=0.1, noise=0.0).temperature == 0.0


def test_steps_and_noises_of_their_own_for_each_entry():
    kernel = Langevin(step_size=(0.1, 0.5))
    x = run(kernel, n=20_000, steps=120, energy=Gaussian(torch.zeros(2, dtype=f64)), eta=0.1)
    assert_variance(x[:, 0], 1 / 0.95)
    assert_variance(x[:, 1], 1 / 0.75)
    still = sample(NORMAL + NORMAL, Langevin(step_size=0.1, noise=(0.0,)), torch.ones(2, 1, dtype=f64), 1)
    assert torch.allclose(still, torch.full((2, 1), 0.8, dtype=f64))


def test_temperature_of_a_papers_setting():
    assert Langevin(step_size=10.0, noise=0.005).temperature == pytest.approx(1.25e-6)
    assert Langevin(step_size=0.1).temperature == 1.0
    assert Langevin(step_size=(0.1, 0.4), noise=(0.1, 0.2)).temperature == pytest.approx(0.05)
    assert Langevin(step_size=0.1, noise=(0.1, 0.1)).temperature == pytest.approx(0.05)
    with pytest.raises(ValueError, match="different temperatures"):
        Langevin(step_size=0.1, noise=(0.1, 0.2)).temperature  # noqa: B018


@pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf, (0.1, -0.1)])
def test_noise_and_temperature_must_not_be_negative(bad):
    with pytest.raises(ValueError, match="noise >= 0"):
        Langevin(step_size=0.1, noise=bad)
    if not isinstance(bad, tuple):
        with pytest.raises(ValueError, match="temperature >= 0"):
            Langevin.at_temperature(step_size=0.1, temperature=bad)


def test_clamping_piles_mass_on_the_faces_and_costs_one_gradient():
    kernel = Clamped(kernel=Langevin(step_size=0.1), low=-0.5, high=0.5)
    x = sample(NORMAL, kernel, torch.full((5000, 1), 3.0, dtype=f64), 50, generator=gen())
    assert x.abs().max() <= 0.5 and (x.abs() == 0.5).double().mean() > 0.2
    calls = Counting(NORMAL)
    trajectory(calls, kernel, torch.zeros(3, 1, dtype=f64), 10)
    assert calls.gradients == 11 and calls.energies == 0
    with pytest.raises(ValueError, match="low < high"):
        Clamped(kernel=Langevin(step_size=0.1), low=1.0, high=0.0)
    with pytest.raises(ValueError, match="Langevin kernel to clamp"):
        Clamped(kernel=MALA(step_size=0.1))


def test_clipping_the_gradient_changes_the_target_to_exponential_tails():
    """N(0, 1) with the gradient clipped at 0.5 is sampled at the Huber function: variance 8.08 as eta -> 0."""
    eta, c = 0.2, 0.5
    start = 2.8 * torch.randn(4000, 1, dtype=f64, generator=gen(5))
    x = sample(ClippedGradient(NORMAL, c), Langevin(step_size=eta), start, 600, generator=gen())
    t = torch.linspace(-80, 80, 400_001, dtype=f64)
    huber = torch.where(t.abs() <= c, t * t / 2, c * t.abs() - c * c / 2)
    p = torch.softmax(-huber, 0)
    exact = (p * t * t).sum().item()
    assert exact == pytest.approx(8.08, abs=0.01)
    error = ((x**2).std() / math.sqrt(4000)).item()
    assert abs((x**2).mean().item() - exact) < 5 * error + 0.1 * exact  # the step's own bias is a few percent here
    assert (x**2).mean() > 5.0  # nothing like 1


# MALA


@pytest.mark.parametrize("eta", [0.05, 0.5, 1.0])
def test_mala_log_ratio_on_a_normal_is_its_closed_form(eta):
    """For N(0, 1) the log acceptance ratio of any move x -> y is -(eta/4)(y² - x²)."""
    kernel = MALA(step_size=eta)
    x = torch.randn(200, 1, dtype=f64, generator=gen(2)) * 2
    state = kernel.init(NORMAL, x)
    g = gen(3)
    z = normal_like(x, g)
    y = x - eta * x + math.sqrt(2 * eta) * z
    _, info = kernel.step(NORMAL, state, generator=gen(3))
    closed = -(eta / 4) * (y**2 - x**2)[:, 0]
    assert (info.accept_prob - closed.clamp(max=0).exp()).abs().max() < 1e-12
    assert 0 < (closed < 0).double().mean() < 1  # both branches were seen


@pytest.mark.parametrize("eta,probability", [(0.05, 0.997), (0.5, 0.92), (1.0, 0.78)])
def test_mala_is_exact_on_a_normal(eta, probability):
    x = NORMAL.sample(20_000, generator=gen(7))
    trace = trajectory(NORMAL, MALA(step_size=eta), x, 10, generator=gen())
    assert_variance(trace.x[-1, :, 0], 1.0)
    assert trace.accept_prob.mean().item() == pytest.approx(probability, abs=0.01)


ADJUSTED = {
    "mala": MALA(step_size=0.2),
    "mala long": MALA(step_size=0.6),
    "mala per entry": MALA(step_size=(0.1, 0.3)),
    "random walk": RandomWalk(scale=0.8),
    "random walk per entry": RandomWalk(scale=(0.3, 1.5)),
}


@pytest.mark.parametrize("name", ADJUSTED)
@pytest.mark.parametrize("energy", [TILTED, CORRELATED, DoubleWell(2)], ids=["mixture", "correlated", "wells"])
def test_adjusted_kernels_satisfy_detailed_balance(name, energy):
    x, y = one_step(ADJUSTED[name], energy, n=60_000)
    assert_stationary(x, y)
    assert_reversible(x, y)


def test_ula_does_not_and_the_assertion_sees_it():
    x, y = one_step(Langevin(step_size=0.2), TILTED)
    with pytest.raises(AssertionError):
        assert_stationary(x, y)
    with pytest.raises(AssertionError):
        assert_reversible(x, y)


@dataclass(frozen=True)
class WrongMALA:
    """MALA with one planted mistake."""

    step_size: float
    mistake: str

    def init(self, energy, x):
        return MALA(step_size=self.step_size).init(energy, x)

    def step(self, energy, state, *, generator=None):
        eta, (x, e, g, _) = self.step_size, state
        z = normal_like(x, generator)
        y = x - eta * g + math.sqrt(2 * eta) * z
        ey, gy = value_and_grad(energy, y)
        width = {"denominator 2 eta": 2 * eta, "denominator 2 eta²": 2 * eta**2}.get(self.mistake, 4 * eta)
        forward = -((y - x + eta * g) ** 2 / width).sum(-1)
        backward = -((x - y + eta * gy) ** 2 / width).sum(-1)
        ratio = e - ey + backward - forward
        if self.mistake == "no proposal correction":
            ratio = e - ey
        if self.mistake == "swapped proposal ratio":
            ratio = e - ey + forward - backward
        if self.mistake == "energy sign":
            ratio = ey - e + backward - forward
        if self.mistake == "one decision for the batch":
            yes = torch.rand((), dtype=x.dtype, generator=generator) < ratio.mean().exp()
            return (State(y, ey, gy) if yes else state), Info(torch.ones_like(e))
        if self.mistake == "gradient not taken back on rejection":
            new, info = accept(state, State(y, ey, gy), ratio, generator)
            return new._replace(grad=gy), info
        return accept(state, State(y, ey, gy), ratio, generator)


def moves(kernel, energy, n=40_000, steps=8):
    x = energy.sample(n, generator=gen(11))
    return x, sample(energy, kernel, x, steps, generator=gen(12))


@pytest.mark.parametrize(
    "mistake",
    [
        "denominator 2 eta",
        "denominator 2 eta²",
        "no proposal correction",
        "swapped proposal ratio",
        "energy sign",
        "one decision for the batch",
        "gradient not taken back on rejection",
    ],
)
def test_planted_mala_mistakes_are_caught(mistake):
    x, y = moves(MALA(step_size=0.5), TILTED)
    assert_stationary(x, y)  # the right one passes what the wrong one fails
    x, y = moves(WrongMALA(0.5, mistake), TILTED)
    with pytest.raises(AssertionError, match="standard errors off"):
        assert_stationary(x, y)


def test_the_copy_without_a_mistake_is_mala():
    x, y = moves(WrongMALA(0.5, "none"), TILTED)
    _, right = moves(MALA(step_size=0.5), TILTED)
    assert torch.allclose(y, right)


def test_every_chain_decides_for_itself():
    """With one decision a batch all chains move or none does."""
    x = TILTED.sample(1000, generator=gen())
    y = sample(TILTED, MALA(step_size=0.8), x, 1, generator=gen(1))
    moved = (x != y).any(-1).double().mean().item()
    assert 0.05 < moved < 0.95


def test_a_squared_step_in_the_denominator_has_the_wrong_precision():
    """Denominator 2 eta² in place of 4 eta: log ratio -(1 - 1/eta)(y² - x²), and at eta = 1 variance 2 instead of 1."""
    x = sample(NORMAL, WrongMALA(1.0, "denominator 2 eta²"), NORMAL.sample(20_000, generator=gen()), 30, generator=gen())
    assert_variance(x[:, 0], 2.0)


@pytest.mark.parametrize("kernel", [Langevin(step_size=0.1), MALA(step_size=0.1)])
def test_one_gradient_a_step(kernel):
    calls = Counting(NORMAL)
    sample(calls, kernel, torch.zeros(5, 1, dtype=f64), 10)
    assert (calls.gradients, calls.energies) == (11, 0)


def test_random_walk_takes_one_energy_and_no_gradient():
    calls = Counting(NORMAL)
    sample(calls, RandomWalk(scale=0.1), torch.zeros(5, 1, dtype=f64), 10)
    assert (calls.gradients, calls.energies) == (0, 11)


def test_a_level_of_1e8_changes_nothing_in_float64():
    high = FromFunction(lambda x: CORRELATED(x) + 1e8)
    x0 = CORRELATED.sample(100, generator=gen())
    for kernel in (MALA(step_size=0.3), RandomWalk(scale=0.5)):
        plain = trajectory(CORRELATED, kernel, x0, 5, generator=gen())
        raised = trajectory(high, kernel, x0, 5, generator=gen())
        assert torch.allclose(plain.accept_prob, raised.accept_prob, atol=1e-6)


def test_accept_rejects_what_is_not_finite():
    x = torch.zeros(4, 1)
    state = State(x, torch.zeros(4), torch.zeros(4, 1))
    proposal = State(x + 1, torch.tensor([0.0, math.nan, math.inf, -math.inf]), torch.ones(4, 1))
    new, info = accept(state, proposal, torch.tensor([1.0, 1.0, 1.0, 1.0]), gen())
    assert info.accept_prob.tolist() == [1, 0, 0, 0] and new.x[:, 0].tolist() == [1, 0, 0, 0]
    assert new.grad[:, 0].tolist() == [1, 0, 0, 0] and new.energy.tolist() == [0, 0, 0, 0]
    _, info = accept(state, proposal._replace(energy=torch.zeros(4)), torch.full((4,), math.nan), gen())
    assert info.accept_prob.tolist() == [0] * 4


def test_images_and_any_batch_shape_are_exact():
    image = Gaussian(torch.zeros(1, 4, 4, dtype=f64), torch.linspace(0.5, 2, 16, dtype=f64).reshape(1, 4, 4))
    for kernel in (MALA(step_size=0.15), RandomWalk(scale=0.3)):
        x = image.sample(20_000, generator=gen(3))
        state, _ = kernel.step(image, kernel.init(image, x), generator=gen(4))
        assert_stationary(x, state.x)
        assert_reversible(x, state.x)
        boxed = x[:24].reshape(2, 3, 4, 1, 4, 4)
        assert sample(image, kernel, boxed, 2, generator=gen()).shape == boxed.shape
    assert expand_as(torch.ones(2, 3), torch.ones(2, 3, 1, 4, 4)).ndim == 5


def test_mean_assertion_has_the_right_level():
    """Of many right answers nearly all pass; a shift of ten standard errors never does."""
    x = torch.randn(1000, dtype=f64, generator=gen())
    assert_mean(x - x.mean(), 0.0)
    with pytest.raises(AssertionError):
        assert_mean(x, x.mean().item() + 10 / math.sqrt(1000))
