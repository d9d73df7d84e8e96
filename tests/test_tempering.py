"""Tempering: the path of temperatures, the exactness of replica exchange, and modes that only it crosses."""

import math

import pytest
import torch

from ebmlearn.energies import DoubleWell, Gaussian, GaussianMixture
from ebmlearn.functional import value_and_grad
from ebmlearn.samplers import (
    HMC,
    MALA,
    Gibbs,
    Langevin,
    ParallelTempering,
    RandomWalk,
    Replicas,
    State,
    Tempered,
    annealed,
    iterate,
    sample,
    trajectory,
)
from ebmlearn.schedules import constant, geometric
from tests.stats import assert_mean, assert_stationary, z_of_mean

f64 = torch.float64
FAR = GaussianMixture(torch.tensor([[-6.0, 0.0], [6.0, 0.0]], dtype=f64), 1.0, weights=[0.7, 0.3])


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def test_tempered_divides_energy_and_gradient():
    x = FAR.sample(20, generator=gen())
    hot = Tempered(FAR, 4.0)
    e, g = value_and_grad(hot, x)
    e1, g1 = value_and_grad(FAR, x)
    assert torch.allclose(e, e1 / 4) and torch.allclose(g, g1 / 4) and torch.allclose(hot(x), e) and hot.event_ndim == 1
    with pytest.raises(ValueError, match="temperature > 0"):
        Tempered(FAR, 0.0)


def test_annealed_gives_the_same_object_while_the_temperature_stands_still():
    path = annealed(FAR, geometric(4.0, 1.0, steps=5))
    assert path.at(1) is path.at(1) and path.at(4) is path.at(9) and path.at(0) is not path.at(1)
    calls = []

    def counted(x):
        calls.append(1)
        return (x**2).sum(-1)

    sample(annealed(counted, constant(2.0)), Langevin(step_size=0.1), torch.zeros(3, 2), 10)
    assert len(calls) == 11  # one gradient a step, none for starting again


def test_annealed_path_of_a_gaussian_ends_at_its_target():
    wide = Gaussian(torch.zeros(1, dtype=f64), 4.0)
    x = sample(
        annealed(wide, geometric(5.0, 0.5, steps=30)), MALA(step_size=1.0), torch.zeros(8000, 1, dtype=f64), 60, generator=gen()
    )
    assert_mean(x[:, 0] ** 2, 2.0)


LADDER = ParallelTempering(kernel=HMC(step_size=0.6, n_leapfrog=3), temperatures=(1.0, 2.5, 6.0, 15.0))


def test_tempering_crosses_modes_that_plain_chains_do_not():
    """All chains start in the light mode, of true mass 0.3; plain chains stay, exchanged ones find 0.7 / 0.3."""
    start = torch.tensor([6.0, 0.0], dtype=f64).repeat(300, 1)
    left = (sample(FAR, LADDER, start, 100, generator=gen())[:, 0] < 0).double()
    assert abs(left.mean().item() - 0.7) < 5 * math.sqrt(0.7 * 0.3 / 300)
    for plain in (HMC(step_size=0.6, n_leapfrog=3), MALA(step_size=0.3), Langevin(step_size=0.3), RandomWalk(scale=1.0)):
        x = sample(FAR, plain, start[:100], 400, generator=gen())
        assert (x[:, 0] > 0).all()


def stationary_state(ladder, energy_at, energy, n, seed=1):
    """A state of the product of exp(-E/T_r), from exact draws at every temperature."""
    g = gen(seed)
    x = torch.stack([energy_at(t).sample(n, generator=g).to(f64) for t in ladder.temperatures])
    e, grad = value_and_grad(energy, x)
    replicas = Replicas(x, e, grad, torch.zeros(len(x) - 1, n, dtype=f64), 0)
    return State(x[0], e[0], grad[0], replicas)


@pytest.mark.parametrize("kernel", [MALA(step_size=0.1), HMC(step_size=0.4, n_leapfrog=2), RandomWalk(scale=0.5)], ids=str)
@pytest.mark.parametrize("first", [0, 1])
def test_every_temperature_is_stationary(kernel, first):
    """E of height h at temperature T is the double well of height h/T, whose exact draws start every replica."""
    h = 3.0
    ladder = ParallelTempering(kernel=kernel, temperatures=(1.0, 1.7, 3.0))
    energy = DoubleWell(1, height=h)
    state = stationary_state(ladder, lambda t: DoubleWell(1, height=h / t), energy, 30_000)
    if isinstance(kernel, RandomWalk):
        state = state._replace(grad=None, aux=state.aux._replace(grad=None))
    state = state._replace(aux=state.aux._replace(step=first))
    old = state.aux
    g = gen(2)
    for _ in range(2):
        state, _ = ladder.step(energy, state, generator=g)
    new = state.aux
    for r in range(3):
        assert_stationary(old.x[r], new.x[r])
    assert torch.equal(state.x, new.x[0]) and torch.equal(state.energy, new.energy[0])
    # energies and gradients went along with the positions they belong to
    e, g = value_and_grad(energy, new.x)
    assert (new.energy - e).abs().max() < 1e-9
    if new.grad is not None:
        assert (new.grad - g).abs().max() < 1e-9


def test_a_swap_with_the_wrong_sign_or_without_acceptance_is_caught(monkeypatch):
    import ebmlearn.samplers.tempering as module

    h = 3.0
    energy = DoubleWell(1, height=h)
    ladder = ParallelTempering(kernel=MALA(step_size=0.1), temperatures=(1.0, 3.0))
    state = stationary_state(ladder, lambda t: DoubleWell(1, height=h / t), energy, 30_000)
    right = module._exchange
    for wrong in (lambda a, low, yes: right(a, low, ~yes), lambda a, low, yes: right(a, low, torch.ones_like(yes))):
        monkeypatch.setattr(module, "_exchange", wrong)
        after, _ = ladder.step(energy, state, generator=gen(2))
        assert max(z_of_mean(f(after.x) - f(state.x), 0.0) for f in (lambda x: x[:, 0] ** 2, lambda x: x[:, 0] ** 4)) > 5


def test_swap_prob_counts_what_was_proposed():
    """With equal energies every swap is accepted: all means are 1 once a pair has been tried, and 0 before."""
    flat = lambda x: 0.0 * (x**2).sum(-1)
    ladder = ParallelTempering(kernel=MALA(step_size=0.1), temperatures=(1.0, 2.0, 4.0, 8.0))
    seen = []
    for step, (state, _) in enumerate(iterate(flat, ladder, torch.zeros(3, 2), generator=gen()), 1):
        seen.append(state.aux.swap_prob[:, 0].tolist())
        if step == 4:
            break
    assert seen[0] == [1, 0, 1] and seen[1] == [1, 1, 1] and seen[3] == [1, 1, 1]


def test_swap_probability_of_gaussians():
    """Mean acceptance between T and T' for E = x²/2: E min(1, exp((1/T - 1/T')(E - E'))), by sampling both exactly."""
    t, t2, n = 1.0, 3.0, 40_000
    normal = Gaussian(torch.zeros(1, dtype=f64))
    ladder = ParallelTempering(kernel=RandomWalk(scale=1e-6), temperatures=(t, t2))
    state = stationary_state(ladder, lambda v: Gaussian(torch.zeros(1, dtype=f64), v), normal, n)
    state = state._replace(grad=None, aux=state.aux._replace(grad=None))
    state, _ = ladder.step(normal, state, generator=gen(3))
    # E = T u²/2 with u² chi-squared; exact: acceptance 4/π arctan(...) for one dimension by symmetry of the two orders
    exact = 4 / math.pi * math.atan(math.sqrt(t / t2))
    assert_mean(state.aux.swap_prob[0], exact)


def test_images_batches_and_seeds():
    image = Gaussian(torch.zeros(1, 3, 3, dtype=f64))
    ladder = ParallelTempering(kernel=HMC(step_size=0.3, n_leapfrog=2), temperatures=(1.0, 2.0))
    x = torch.zeros(2, 5, 1, 3, 3, dtype=f64)
    a, b = (trajectory(image, ladder, x, 3, generator=gen()) for _ in range(2))
    assert a.x.shape == (3, 2, 5, 1, 3, 3) and a.energy.shape == a.accept_prob.shape == (3, 2, 5)
    assert torch.equal(a.x, b.x)
    assert torch.equal(a.x[-1], sample(image, ladder, x, 3, generator=gen()))


def test_one_batched_gradient_a_step():
    calls = []

    class Counted:
        def __call__(self, x):
            return FAR(x)

        def value_and_grad(self, x):
            calls.append(tuple(x.shape))
            return FAR.value_and_grad(x)

    ladder = ParallelTempering(kernel=MALA(step_size=0.1), temperatures=(1.0, 2.0, 4.0))
    sample(Counted(), ladder, torch.zeros(5, 2, dtype=f64), 6)
    assert calls == [(5, 2)] + [(3, 5, 2)] * 6


@pytest.mark.parametrize("temperatures", [(1.0,), [1.0, 2.0], (2.0, 1.0), (1.0, 1.0), (0.0, 1.0), (1.0, math.inf)])
def test_temperatures_are_checked(temperatures):
    with pytest.raises(ValueError, match="expected"):
        ParallelTempering(kernel=MALA(step_size=0.1), temperatures=temperatures)


def test_kernels_are_checked():
    with pytest.raises(ValueError, match="expected a kernel"):
        ParallelTempering(kernel=lambda t: MALA(step_size=0.1), temperatures=(1.0, 2.0))
    with pytest.raises(ValueError, match="Gibbs"):
        sample(FAR, ParallelTempering(kernel=Gibbs(), temperatures=(1.0, 2.0)), torch.zeros(3, 2), 1)
