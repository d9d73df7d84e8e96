"""Running kernels: iterate, sample, trajectory, Annealed, and the errors they raise."""

import math

import pytest
import torch

from ebmlearn.energies import DoubleWell, Gaussian, MLPEnergy
from ebmlearn.samplers import (
    HMC,
    MALA,
    Annealed,
    ClippedGradient,
    Gibbs,
    Langevin,
    RandomWalk,
    State,
    iterate,
    sample,
    trajectory,
)
from ebmlearn.samplers.base import per_event
from ebmlearn.schedules import geometric, linear


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def quadratic(x):
    return 0.5 * (x**2).sum(-1)


def test_three_ways_to_run_agree_bit_for_bit():
    energy, kernel = MLPEnergy(2, hidden_features=(8,), confinement=1.0), MALA(step_size=0.3)
    x = torch.randn(7, 2, generator=gen(1))
    last = sample(energy, kernel, x, 9, generator=gen())
    trace = trajectory(energy, kernel, x, 9, generator=gen())
    chain = iterate(energy, kernel, x, generator=gen())
    states = [next(chain) for _ in range(9)]
    assert torch.equal(last, trace.x[-1]) and torch.equal(last, states[-1][0].x)
    for i, (state, info) in enumerate(states):
        assert torch.equal(trace.x[i], state.x) and torch.equal(trace.energy[i], state.energy)
        assert torch.equal(trace.accept_prob[i], info.accept_prob)
    thin = trajectory(energy, kernel, x, 9, thin=3, generator=gen())
    assert torch.equal(thin.x, trace.x[2::3]) and thin.energy.shape == (3, 7)


def test_same_seed_same_numbers_and_another_seed_others():
    x = torch.zeros(5, 2)
    runs = [sample(quadratic, Langevin(step_size=0.1), x, 5, generator=gen(s)) for s in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_without_a_generator_the_global_one_is_used():
    torch.manual_seed(3)
    a = sample(quadratic, Langevin(step_size=0.1), torch.zeros(5, 2), 5)
    torch.manual_seed(3)
    assert torch.equal(a, sample(quadratic, Langevin(step_size=0.1), torch.zeros(5, 2), 5))


def test_a_generator_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    sample(quadratic, HMC(step_size=0.1, n_leapfrog=2), torch.zeros(5, 2), 5, generator=gen())
    assert torch.equal(before, torch.get_rng_state())


def test_zero_steps_return_a_copy_and_the_start_is_never_written_to():
    x = torch.ones(3, 2)
    y = sample(quadratic, Langevin(step_size=0.1), x, 0)
    y += 1
    sample(quadratic, Langevin(step_size=0.1), x, 5)
    assert torch.equal(x, torch.ones(3, 2))
    with pytest.raises(ValueError, match="steps >= 0"):
        sample(quadratic, Langevin(step_size=0.1), x, -1)


def test_chains_carry_no_graph():
    x = torch.ones(3, 2, requires_grad=True)
    assert not sample(MLPEnergy(2), Langevin(step_size=0.1), x, 3).requires_grad
    assert not trajectory(MLPEnergy(2), MALA(step_size=0.1), x, 3).energy.requires_grad


def test_a_kernel_may_be_a_function_of_the_step():
    steps = linear(1.0, 0.0, steps=5)
    seen = []

    def kernel(t):
        seen.append(t)
        return Langevin(step_size=max(steps(t), 1e-3), noise=0.0)

    x = sample(quadratic, kernel, torch.ones(1, 1), 5, generator=gen())
    expected = math.prod(1 - max(steps(t), 1e-3) for t in range(5))
    assert x.item() == pytest.approx(expected) and sorted(set(seen)) == [0, 1, 2, 3, 4]


def test_annealed_uses_the_energy_of_each_step():
    """Gradient descent on k_t x²/2 multiplies x by (1 - eta k_t): every gradient must be of the energy of its own step."""
    k = [1.0, 3.0, 3.0, 0.5, 2.0]
    path = Annealed(lambda t: lambda x: 0.5 * k[t] * (x**2).sum(-1))
    x = sample(path, Langevin(step_size=0.1, noise=0.0), torch.ones(1, 1, dtype=torch.float64), 5)
    assert x.item() == pytest.approx(math.prod(1 - 0.1 * v for v in k), abs=1e-14)


def test_annealed_mala_keeps_each_target_when_it_changes():
    """The energy kept in the state must be of the new target too, or acceptance compares two different energies."""
    path = Annealed(lambda t: Gaussian(torch.zeros(1, dtype=torch.float64), 4.0 if t < 3 else 1.0))
    x0 = Gaussian(torch.zeros(1, dtype=torch.float64), 4.0).sample(20_000, generator=gen())
    x = sample(path, MALA(step_size=0.8), x0, 25, generator=gen())
    assert abs(x.var().item() - 1.0) < 5 * math.sqrt(2 / 20_000)


@pytest.mark.parametrize("steps,thin", [(3, 4), (0, 1), (5, 0)])
def test_trajectory_checks_thin(steps, thin):
    with pytest.raises(ValueError, match="steps >= thin >= 1"):
        trajectory(quadratic, Langevin(step_size=0.1), torch.zeros(3, 2), steps, thin=thin)


# Errors


@pytest.mark.parametrize(
    "x,match",
    [
        (torch.zeros(0, 2), "empty batch"),
        (torch.zeros(3, 2, dtype=torch.long), "int64"),
        (torch.tensor([[math.nan, 0.0]]), "1 of 2 numbers"),
        (torch.tensor([[math.inf, 0.0]]), "1 of 2 numbers"),
        ([[0.0, 1.0]], "torch tensor"),
    ],
)
def test_bad_starts_raise_before_the_first_step(x, match):
    with pytest.raises(ValueError, match=match):
        iterate(quadratic, Langevin(step_size=0.1), x)  # not even next() is needed


@pytest.mark.parametrize(
    "kernel", [Langevin(step_size=0.1), MALA(step_size=0.1), HMC(step_size=0.1, n_leapfrog=2), RandomWalk(scale=0.1)]
)
@pytest.mark.parametrize(
    "energy,match",
    [
        (lambda x: (x**2).sum(), "one number for each point"),
        (lambda x: (x**2).sum(-1, keepdim=True), "one number for each point"),
        (lambda x: (x**2).sum(-1) / 0.0 * 0.0, "not finite"),
        (lambda x: (x**2).sum(-1) + math.inf, "not finite"),
        (Gaussian([0.0, 0.0, 0.0]), r"Gaussian expected x of shape \[\*batch, 3\]; got \(4, 2\)"),
    ],
)
def test_bad_energies_raise_at_the_start(kernel, energy, match):
    with pytest.raises(ValueError, match=match):
        sample(energy, kernel, torch.ones(4, 2), 1)


@pytest.mark.parametrize("kernel", [Langevin(step_size=0.1), MALA(step_size=0.1), HMC(step_size=0.1, n_leapfrog=2)])
def test_gradient_kernels_refuse_what_has_no_gradient(kernel):
    with pytest.raises(ValueError, match="not differentiable"):
        sample(lambda x: x.detach().abs().sum(-1), kernel, torch.ones(4, 2), 1)
    with pytest.raises(ValueError, match="gradient of the energy is not finite"):
        sample(lambda x: x.abs().sqrt().sum(-1), kernel, torch.zeros(4, 2), 1)


def test_random_walk_needs_no_gradient():
    x = sample(lambda x: x.detach().abs().sum(-1), RandomWalk(scale=0.5), torch.ones(4, 2), 3)
    assert x.shape == (4, 2)


def test_a_generator_on_another_device_raises():
    class Elsewhere:
        device = torch.device("cuda")

    with pytest.raises(ValueError, match=r"expected a generator on cpu, where x is; got one on cuda"):
        iterate(quadratic, Langevin(step_size=0.1), torch.zeros(3, 2), generator=Elsewhere())


def test_divergence_names_the_step():
    """x <- (1 - eta) x with eta = 1e10 from 1: |x| = 1e10^t, which leaves float32 (3.4e38) at step 4."""
    chain = iterate(lambda x: quadratic(x), Langevin(step_size=1e10, noise=0.0), torch.ones(1, 1))
    for _ in range(3):
        next(chain)
    with pytest.raises(FloatingPointError, match="at step 4.*Lower step_size"):
        next(chain)


def test_a_nan_gradient_on_the_way_names_the_step():
    class Cliff:  # a slope of 1, whose gradient is NaN left of 0
        def value_and_grad(self, x):
            return x.sum(-1), torch.where(x > 0, torch.ones_like(x), math.nan)

    with pytest.raises(FloatingPointError, match="at step 5"):
        # down from 0.35 in steps of 0.1: step 4 ends left of 0, and step 5 uses the gradient from there
        sample(Cliff(), Langevin(step_size=0.1, noise=0.0), torch.full((1, 1), 0.35), 20)


def test_adjusted_kernels_reject_where_the_energy_is_not_finite():
    def boxed(x):
        return torch.where((x.abs() < 1).all(-1), 0.5 * (x**2).sum(-1), math.inf)

    for kernel in (MALA(step_size=0.3), HMC(step_size=0.5, n_leapfrog=3), RandomWalk(scale=0.7)):
        x = sample(boxed, kernel, torch.zeros(500, 2), 50, generator=gen())
        assert (x.abs() < 1).all() and (x != 0).any(-1).float().mean() > 0.9


def test_unknown_options_raise():
    for make in (lambda: Langevin(step_size=0.1, decay=0.5), lambda: MALA(0.1), lambda: HMC(step_size=0.1, n_leapfrog=3, mass=2)):
        with pytest.raises(TypeError):
            make()


@pytest.mark.parametrize("bad", [0.0, -0.1, math.nan, math.inf, (0.1, 0.0)])
def test_hyperparameters_must_be_positive(bad):
    for make in (
        lambda: Langevin(step_size=bad),
        lambda: MALA(step_size=bad),
        lambda: HMC(step_size=bad, n_leapfrog=3),
        lambda: RandomWalk(scale=bad),
        lambda: Langevin.at_temperature(step_size=bad, temperature=1.0),
    ):
        with pytest.raises(ValueError, match="> 0 and finite"):
            make()


def test_a_tuple_of_steps_must_fit_the_last_axis():
    with pytest.raises(ValueError, match="each of the 2 entries"):
        sample(quadratic, MALA(step_size=(0.1, 0.1, 0.1)), torch.zeros(3, 2), 1)
    assert per_event((1.0, 2.0), torch.zeros(3, 2, dtype=torch.float64)).dtype == torch.float64


def test_a_kernel_without_energy_in_its_state_cannot_be_traced():
    class Bare:
        def init(self, energy, x):
            return State(x)

        def step(self, energy, state, *, generator=None):
            from ebmlearn.samplers import Info

            return state, Info(torch.ones(len(state.x)))

    with pytest.raises(ValueError, match="Bare keeps no energy"):
        trajectory(quadratic, Bare(), torch.zeros(3, 2), 2)


def test_gibbs_on_a_plain_energy_says_what_it_needs():
    with pytest.raises(ValueError, match="joint energy"):
        sample(quadratic, Gibbs(), torch.zeros(3, 2), 1)


def test_clipped_gradient_is_the_gradient_of_the_huber_function():
    clipped = ClippedGradient(Gaussian(torch.zeros(2)), max_norm=0.5)
    x = torch.tensor([[0.3, 0.0], [3.0, 4.0], [0.0, 0.0]])
    e, g = clipped.value_and_grad(x)
    assert torch.allclose(g, torch.tensor([[0.3, 0.0], [0.3, 0.4], [0.0, 0.0]]))
    assert torch.equal(e, clipped(x)) and clipped.event_ndim == 1
    with pytest.raises(ValueError, match="max_norm > 0"):
        ClippedGradient(quadratic, max_norm=0.0)


def test_compile_refuses_an_annealed_path():
    with pytest.raises(ValueError, match="one energy that stays"):
        sample(Annealed(lambda t: quadratic), Langevin(step_size=0.1), torch.zeros(2, 2), 2, compile=True)


def test_annealing_reaches_the_deeper_well():
    tilted = lambda x: DoubleWell(1, height=2.0)(x) + 1.0 * x[..., 0]
    cool = geometric(1.0, 0.05, steps=800)
    x = sample(
        tilted, lambda t: Langevin.at_temperature(step_size=0.03, temperature=cool(t)), torch.ones(200, 1), 800, generator=gen()
    )
    quenched = sample(tilted, Langevin(step_size=0.01, noise=0.0), torch.ones(200, 1), 300)
    assert (x < 0).float().mean() > 0.8 and (quenched > 0).all()
