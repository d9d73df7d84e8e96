"""What every energy and every kernel keeps, tested on every member of the family.

A new energy or exported kernel must be added to the tables below; `test_every_*_is_in_the_table` fails until it is.
"""

import copy
import importlib
import inspect
import math
import pickle
import pkgutil

import pytest
import torch
from torch import nn

import ebmlearn.energies as energies
import ebmlearn.samplers as samplers
from ebmlearn.energies import (
    BernoulliRBM,
    ConvEnergy,
    DoubleWell,
    Energy,
    EnumeratedJoint,
    FromFunction,
    Funnel,
    Gaussian,
    GaussianBernoulliRBM,
    GaussianMixture,
    Himmelblau,
    JointEnergy,
    Mixture,
    MLPEnergy,
    NormEnergy,
    Ring,
    Rosenbrock,
)
from ebmlearn.energies.architectural import AutoencoderEnergy, KMeansEnergy, PCAEnergy, SparseCodingEnergy
from ebmlearn.energies.confined import ConfinedEnergy
from ebmlearn.energies.joint import AmortisedEnergy, ClassifierEnergy, QuadratureJoint
from ebmlearn.energies.spherical import FeatureNorm, SphericalJoint
from ebmlearn.functional import value_and_grad
from ebmlearn.samplers import HMC, MALA, Clamped, Gibbs, Langevin, ParallelTempering, RandomWalk, iterate, sample, trajectory
from tests.stats import assert_mean, assert_stationary

f64 = torch.float64


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def square(x, z=0.0):
    return 0.5 * ((x - z) ** 2).sum(-1)


def joint():
    return EnumeratedJoint(square, torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, 2.0]]))


def network():
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))


def sphere():
    return SphericalJoint(flat_network(), nn.Linear(8, 3, bias=False), beta=0.7)


def flat_network():
    return nn.Sequential(nn.Flatten(-3), nn.Linear(16, 8), nn.Tanh())


# name -> (constructor, shape of one point)
ENERGIES = {
    "Gaussian": (lambda: Gaussian([0.5, -1.0], [[1.0, 0.6], [0.6, 2.0]]), (2,)),
    "Gaussian diagonal": (lambda: Gaussian([0.5, -1.0, 0.0], [1.0, 0.3, 2.0]), (3,)),
    "Gaussian image": (lambda: Gaussian(torch.zeros(1, 4, 4), 0.5), (1, 4, 4)),
    "GaussianMixture": (lambda: GaussianMixture([[-2.0, 0.0], [2.0, 1.0]], [1.0, 0.3], weights=[0.8, 0.2]), (2,)),
    "DoubleWell": (lambda: DoubleWell(3, height=0.7), (3,)),
    "Ring": (lambda: Ring(radius=1.5, width=0.4), (2,)),
    "Rosenbrock": (lambda: Rosenbrock(a=0.5, b=3.0), (2,)),
    "Himmelblau": (lambda: Himmelblau(scale=0.05), (2,)),
    "Funnel": (lambda: Funnel(3, scale=1.5), (3,)),
    "FromFunction": (lambda: FromFunction(square), (2,)),
    "Sum": (lambda: Gaussian([0.0, 1.0]) + 0.3 * DoubleWell(2) - 0.2 * Ring(), (2,)),
    "Mixture": (lambda: Mixture([Gaussian([0.0, 1.0]), Ring()], [0.0, 1.0]), (2,)),
    "FreeEnergy": (lambda: joint().marginalise(1.7), (2,)),
    "Given": (lambda: joint().given(torch.tensor([1.0, 0.5])), (2,)),
    "MLPEnergy": (lambda: MLPEnergy(2, hidden_features=(8, 8), confinement=0.5), (2,)),
    "MLPEnergy image": (lambda: MLPEnergy((1, 4, 4), hidden_features=(8,)), (1, 4, 4)),
    "NormEnergy": (lambda: NormEnergy((1, 4, 4), hidden_features=(8,), out_features=3), (1, 4, 4)),
    "ConvEnergy": (lambda: ConvEnergy((1, 8, 8), width=4, confinement=0.1), (1, 8, 8)),
    "ConvEnergy spectral": (lambda: ConvEnergy((1, 8, 8), width=4, spectral_norm=True).eval(), (1, 8, 8)),
    "ConfinedEnergy": (lambda: ConfinedEnergy(network(), confinement=0.1), (2,)),
    "FeatureNorm": (lambda: FeatureNorm(flat_network(), constant=1.0), (1, 4, 4)),
    "GRBM free energy": (lambda: GaussianBernoulliRBM(3, 4, generator=gen(1)).marginalise(1.3), (3,)),
    "RBM free energy": (lambda: BernoulliRBM(3, 4, weight_std=0.5, generator=gen(1)).marginalise(), (3,)),
    "Composed": (lambda: sphere().compose([(torch.eye(3)[0], 0.7), (torch.eye(3)[1], -0.2)]), (1, 4, 4)),
    "Classifier marginal": (
        lambda: ClassifierEnergy(nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3))).marginalise(),
        (2,),
    ),
    "Latent on a grid": (lambda: QuadratureJoint(square, low=[-1.0, 0.0], high=[1.0, 2.0], points=9).marginalise(1.5), (2,)),
    "AmortisedEnergy": (lambda: AmortisedEnergy(joint(), nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))), (2,)),
    "PCAEnergy": (lambda: PCAEnergy(torch.tensor([1.0, 0.0, 2.0]), torch.eye(3)[:2]), (3,)),
    "KMeansEnergy": (lambda: KMeansEnergy(torch.tensor([[-2.0, 0.0], [2.0, 1.0]])), (2,)),
    "SparseCodingEnergy": (lambda: SparseCodingEnergy(torch.eye(3)[:2] + 0.1, sparsity=0.1, steps=400), (3,)),
    "AutoencoderEnergy": (lambda: AutoencoderEnergy(nn.Linear(3, 2), nn.Linear(2, 3), sparsity=0.1), (3,)),
}

BATCHES = [(), (1,), (5,), (2, 3), (2, 1, 3)]


def make(name, dtype=f64):
    torch.manual_seed(0)
    energy, event = ENERGIES[name]
    return energy().to(dtype), event


def points(*shape, dtype=f64, seed=1):
    return 0.3 + 0.7 * torch.randn(*shape, dtype=dtype, generator=gen(seed))


def kinds(base):
    """Every class of ebmlearn.energies that can be built and derives from `base`."""
    for cls in base.__subclasses__():
        if cls.__module__.startswith("ebmlearn.energies.") and not inspect.isabstract(cls):
            yield cls
        yield from kinds(cls)


def test_every_energy_is_in_the_table():
    for module in pkgutil.iter_modules(energies.__path__):
        importlib.import_module(f"ebmlearn.energies.{module.name}")
    built = {base for name in ENERGIES for base in type(make(name)[0]).__mro__}
    missing = {cls.__name__ for cls in kinds(Energy) if cls not in built}
    assert not missing, f"add a constructor to ENERGIES in tests/test_contracts.py for {sorted(missing)}"


@pytest.mark.parametrize("name", ENERGIES)
def test_any_batch_shape(name):
    energy, event = make(name)
    assert energy.event_ndim == len(event)
    x = points(2, 1, 3, *event)
    flat = energy(x.reshape(6, *event))
    assert torch.allclose(energy(x), flat.reshape(2, 1, 3), atol=1e-12)
    for batch in BATCHES:
        x = points(*batch, *event)
        assert energy(x).shape == batch
        e, g = value_and_grad(energy, x)
        assert e.shape == batch and g.shape == x.shape


# where the shape of a point is that of a function or network inside, that raises its own error
OPEN = {
    "FromFunction",
    "FreeEnergy",
    "Given",
    "FeatureNorm",
    "ConfinedEnergy",
    "GRBM free energy",
    "RBM free energy",
    "Composed",
    "Classifier marginal",
    "Latent on a grid",
    "AmortisedEnergy",
    "PCAEnergy",
    "KMeansEnergy",
    "SparseCodingEnergy",
    "AutoencoderEnergy",
}


@pytest.mark.parametrize("name", [n for n in ENERGIES if n not in OPEN])
def test_a_wrong_event_shape_is_an_error(name):
    energy, event = make(name)
    with pytest.raises(ValueError, match=r"expected x of shape \[\*batch, .*\]; got"):
        energy(points(4, *event[:-1], event[-1] + 1))


@pytest.mark.parametrize("name", ENERGIES)
def test_gradient_is_the_finite_difference(name):
    energy, event = make(name)
    x = points(4, *event)
    e, g = value_and_grad(energy, x)
    assert torch.allclose(e, energy(x).detach(), atol=1e-12)
    h = 1e-5
    for k in range(min(math.prod(event), 6)):
        step = torch.zeros(math.prod(event), dtype=f64)
        step[k] = h
        step = step.reshape(event)
        with torch.no_grad():
            slope = (energy(x + step) - energy(x - step)) / (2 * h)
        assert torch.allclose(g.flatten(1)[:, k], slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", [n for n in ENERGIES if hasattr(make(n)[0], "value_and_grad")])
def test_own_gradient_is_that_of_autograd(name):
    energy, event = make(name)
    x = points(2, 3, *event)
    e, g = energy.value_and_grad(x)
    e_auto, g_auto = value_and_grad(lambda y: energy(y), x)
    assert torch.allclose(e, e_auto, atol=1e-12) and torch.allclose(g, g_auto, atol=1e-12)
    assert not e.requires_grad and not g.requires_grad


def same_for_neighbours(energy, event):
    """The energy of a point, and its gradient, whatever the rest of the batch is."""
    x = points(5, *event)
    other = x.clone()
    other[1:] = points(4, *event, seed=2) * 3
    with torch.no_grad():
        assert torch.allclose(energy(x)[0], energy(other)[0], rtol=1e-12, atol=1e-12)
        assert torch.allclose(energy(x)[0], energy(x[:1])[0], rtol=1e-12, atol=1e-12)
    assert torch.allclose(value_and_grad(energy, x)[1][0], value_and_grad(energy, other)[1][0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ENERGIES)
def test_the_energy_of_a_point_does_not_depend_on_its_neighbours(name):
    same_for_neighbours(*make(name))


def test_batch_norm_and_division_by_the_batch_size_are_caught():
    normed = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).double()
    for wrong in (lambda x: normed(x).squeeze(-1), lambda x: square(x) / len(x), lambda x: square(x - x.mean(0))):
        with pytest.raises(AssertionError):
            same_for_neighbours(wrong, (2,))


@pytest.mark.parametrize("name", ENERGIES)
@pytest.mark.parametrize("dtype", [torch.float32, f64])
def test_dtype_and_device_are_kept(name, dtype):
    energy, event = make(name, dtype)
    x = points(4, *event, dtype=dtype)
    e, g = value_and_grad(energy, x)
    assert energy(x).dtype == e.dtype == g.dtype == dtype
    assert e.device == g.device == x.device


@pytest.mark.parametrize("name", ENERGIES)
def test_copies_pickles_and_state_dicts_round_trip(name):
    energy, event = make(name)
    x = points(4, *event)
    e = energy(x).detach()
    assert torch.equal(copy.deepcopy(energy)(x), e)
    if name != "ConvEnergy spectral":  # PyTorch pickles no parametrised module; its state_dict is tested below
        assert torch.equal(pickle.loads(pickle.dumps(energy))(x), e)
    other, _ = make(name)
    for t in [*other.parameters(), *other.buffers()]:
        with torch.no_grad():
            t.add_(0.1)
    other.load_state_dict(energy.state_dict())
    assert torch.allclose(other(x), e, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ENERGIES)
def test_operators_work_on_every_energy(name):
    energy, event = make(name)
    x = points(4, *event)
    total = 2 * energy - energy / 4
    assert torch.allclose(total(x), 1.75 * energy(x), rtol=1e-10)
    assert torch.allclose(value_and_grad(total, x)[1], 1.75 * value_and_grad(energy, x)[1], rtol=1e-9, atol=1e-10)


# Kernels

KERNELS = {
    "Langevin": Langevin(step_size=0.05),
    "Clamped": Clamped(kernel=Langevin(step_size=0.05), low=-2.0, high=2.0),
    "MALA": MALA(step_size=0.3),
    "MALA per entry": MALA(step_size=(0.2, 0.3)),
    "HMC": HMC(step_size=0.5, n_leapfrog=3),
    "RandomWalk": RandomWalk(scale=0.8),
    "ParallelTempering": ParallelTempering(kernel=MALA(step_size=0.2), temperatures=(1.0, 2.0, 4.0)),
    "ParallelTempering HMC": ParallelTempering(kernel=HMC(step_size=0.4, n_leapfrog=2), temperatures=(1.0, 3.0)),
    "Gibbs": Gibbs(),
}
EXACT = [n for n in KERNELS if n not in ("Langevin", "Clamped")]
TESTED_ELSEWHERE = {"GibbsLangevin", "LoopedGibbsLangevin", "MemoryGibbs", "MetropolisSweep"}  # need a Gaussian-Bernoulli RBM

TARGET = Gaussian(torch.tensor([0.5, -1.0], dtype=f64), torch.tensor([[1.0, 0.6], [0.6, 2.0]], dtype=f64))
IMAGE = Gaussian(torch.zeros(1, 4, 2, dtype=f64), torch.linspace(0.5, 2, 8, dtype=f64).reshape(1, 4, 2))


class Noisy(JointEnergy):
    """x with covariance C of a Gaussian energy, z = x + N(0, I): both conditionals are Gaussian."""

    def __init__(self, target):
        super().__init__()
        self.target, self.event_ndim, self.latent_ndim = target, target.event_ndim, target.event_ndim
        p = torch.linalg.inv(target.covariance)
        self.cov = torch.linalg.inv(p + torch.eye(len(p), dtype=f64))
        self.pull = p @ target.mean.flatten()

    def forward(self, x, z):
        return self.target(x) + 0.5 * ((x - z) ** 2).flatten(x.ndim - self.event_ndim).sum(-1)

    def marginalise(self, beta=1.0):
        return beta * self.target

    def sample_z(self, x, *, generator=None):
        return x + torch.randn(x.shape, dtype=x.dtype, generator=generator)

    def sample_x(self, z, *, generator=None):
        flat = z.flatten(z.ndim - self.event_ndim)
        noise = torch.randn(flat.shape, dtype=z.dtype, generator=generator) @ torch.linalg.cholesky(self.cov).T
        return ((flat + self.pull) @ self.cov + noise).reshape(z.shape)


def target_of(name, energy=TARGET):
    return Noisy(energy) if name == "Gibbs" else energy


def test_every_exported_kernel_is_in_the_table():
    exported = {
        n
        for n in samplers.__all__
        if inspect.isclass(getattr(samplers, n)) and hasattr(getattr(samplers, n), "step") and n not in ("Kernel", "Replicas")
    }
    missing = exported - {type(k).__name__ for k in KERNELS.values()} - TESTED_ELSEWHERE
    assert not missing, f"add an instance to KERNELS in tests/test_contracts.py for {sorted(missing)}"


@pytest.mark.parametrize("name", KERNELS)
def test_same_seed_same_numbers(name):
    x = points(6, 2)
    a, b, c = (sample(target_of(name), KERNELS[name], x, 5, generator=gen(s)) for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize("name", KERNELS)
def test_sample_trajectory_and_iterate_are_bit_equal(name):
    x, energy, kernel = points(6, 2), target_of(name), KERNELS[name]
    last = sample(energy, kernel, x, 7, generator=gen())
    trace = trajectory(energy, kernel, x, 7, generator=gen())
    chain = iterate(energy, kernel, x, generator=gen())
    for i in range(7):
        state, info = next(chain)
        assert torch.equal(trace.x[i], state.x) and torch.equal(trace.accept_prob[i], info.accept_prob)
    assert torch.equal(last, state.x)


@pytest.mark.parametrize("name", KERNELS)
def test_state_and_info_have_the_batch_shape_and_keep_dtype(name):
    for batch in ((), (5,), (2, 3)):
        x = points(*batch, 2)
        state, info = next(iterate(target_of(name), KERNELS[name], x, generator=gen()))
        assert state.x.shape == x.shape and state.energy.shape == info.accept_prob.shape == batch
        assert state.x.dtype == state.energy.dtype == info.accept_prob.dtype == f64
        assert ((info.accept_prob >= 0) & (info.accept_prob <= 1)).all()
        if name != "Gibbs":
            e, g = value_and_grad(TARGET, state.x)
            assert torch.allclose(state.energy, e, atol=1e-9)
            assert state.grad is None or torch.allclose(state.grad, g, atol=1e-9)


@pytest.mark.parametrize("name", KERNELS)
def test_step_is_pure(name):
    energy, kernel = target_of(name), KERNELS[name]
    state, _ = kernel.step(energy, kernel.init(energy, points(4, 2)), generator=gen())
    before = copy.deepcopy(state)
    a, _ = kernel.step(energy, state, generator=gen(1))
    b, _ = kernel.step(energy, state, generator=gen(1))
    assert torch.equal(a.x, b.x) and torch.equal(before.x, state.x) and torch.equal(before.energy, state.energy)


@pytest.mark.parametrize("name", EXACT)
def test_a_known_gaussian_is_stationary(name):
    x = TARGET.sample(20_000, generator=gen(5))
    if "Tempering" in name:  # its hot replicas start at the cold one's law; they are exact once they have warmed up
        y = sample(TARGET, KERNELS[name], x[:4000], 40, generator=gen(7))
        d = y - TARGET.mean
        assert_mean(d[:, :, None] * d[:, None, :], TARGET.covariance)
        return
    y = sample(target_of(name), KERNELS[name], x, 3, generator=gen(6))
    assert_stationary(x, y)
    assert (x != y).any(-1).double().mean() > 0.3


@pytest.mark.parametrize("name", [n for n in KERNELS if "per entry" not in n])
def test_kernels_work_on_images(name):
    x = IMAGE.sample(4000, generator=gen(5))
    energy = target_of(name, IMAGE)
    y = sample(energy, KERNELS[name], x, 3, generator=gen(6))
    assert y.shape == x.shape
    if name in EXACT and "Tempering" not in name:
        assert_stationary(x, y)
    assert sample(energy, KERNELS[name], x[:6].reshape(2, 3, 1, 4, 2), 2, generator=gen()).shape == (2, 3, 1, 4, 2)


@pytest.mark.parametrize("name", KERNELS)
def test_float32_stays_float32(name):
    energy = copy.deepcopy(TARGET).float()
    target = (
        energy
        if name != "Gibbs"
        else EnumeratedJoint(square, torch.zeros(1, 2), draw_x=lambda z, generator: z + torch.randn(z.shape, generator=generator))
    )
    state, info = next(iterate(target, KERNELS[name], points(4, 2, dtype=torch.float32), generator=gen()))
    assert state.x.dtype == state.energy.dtype == info.accept_prob.dtype == torch.float32


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_are_frozen_comparable_and_printable(name):
    kernel = KERNELS[name]
    assert copy.deepcopy(kernel) == kernel and hash(kernel) == hash(copy.deepcopy(kernel))
    assert repr(kernel).startswith(type(kernel).__name__ + "(")
    assert pickle.loads(pickle.dumps(kernel)) == kernel
    for field in getattr(kernel, "__dataclass_fields__", {}):
        with pytest.raises(AttributeError):
            setattr(kernel, field, 1.0)


@pytest.mark.parametrize("name", KERNELS)
def test_empty_batches_and_integers_raise(name):
    for x in (torch.zeros(0, 2), torch.zeros(3, 2, dtype=torch.long), torch.full((3, 2), math.nan)):
        with pytest.raises(ValueError, match="expected"):
            sample(target_of(name), KERNELS[name], x, 1)
