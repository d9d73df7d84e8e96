"""Generic Gibbs: exact conditionals give the exact joint law."""

import math

import pytest
import torch

from ebmlearn.energies import EnumeratedJoint, FreeEnergy, Gaussian, JointEnergy
from ebmlearn.samplers import Gibbs, Langevin, iterate, sample, trajectory
from tests.stats import assert_mean, assert_reversible, assert_stationary

f64 = torch.float64


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


class Bivariate(JointEnergy):
    """A bivariate normal of correlation r: x | z ~ N(r z, 1 - r²) and the same with x and z exchanged."""

    def __init__(self, r, wrong=None):
        super().__init__()
        self.r, self.wrong = r, wrong

    def forward(self, x, z):
        return ((x**2 - 2 * self.r * x * z + z**2) / (2 * (1 - self.r**2))).sum(-1)

    def marginalise(self, beta=1.0):
        return Gaussian(torch.zeros(1, dtype=f64), 1 / beta)

    def _draw(self, other, generator):
        scale = math.sqrt(1 - self.r**2) if self.wrong != "scale" else 1 - self.r**2
        mean = other if self.wrong == "mean" else self.r * other
        return mean + scale * torch.randn(other.shape, dtype=other.dtype, generator=generator)

    def sample_x(self, z, *, generator=None):
        return self._draw(z, generator)

    sample_z = sample_x


def clusters(support=(-2.0, 1.0), weights=(0.25, 0.75)):
    z = torch.tensor(support, dtype=f64)[:, None]
    logs = torch.tensor(weights, dtype=f64).log()
    return EnumeratedJoint(
        lambda x, z_: 0.5 * ((x - z_) ** 2).sum(-1) - torch.where(z_[..., 0] == support[0], logs[0], logs[1]),
        z,
        draw_x=lambda z_, generator: z_ + torch.randn(z_.shape, dtype=z_.dtype, generator=generator),
    )


@pytest.mark.parametrize("r", [0.5, 0.9])
def test_bivariate_normal(r):
    x0 = torch.full((20_000, 1), 3.0, dtype=f64)
    chain = iterate(Bivariate(r), Gibbs(), x0, generator=gen())
    for step, (state, info) in enumerate(chain, 1):
        assert_mean(state.x, 3.0 * r ** (2 * step))  # the mean contracts by r² a sweep
        if step == 40 if r == 0.5 else step == 60:
            break
    assert_mean(state.x[:, 0] ** 2, 1.0)
    assert_mean(state.x[:, 0] * state.aux[:, 0], r)
    assert (info.accept_prob == 1).all()
    assert torch.equal(state.energy, Bivariate(r)(state.x, state.aux))


@pytest.mark.parametrize("wrong", ["scale", "mean"])
def test_a_wrong_conditional_is_caught(wrong):
    x = torch.randn(20_000, 1, dtype=f64, generator=gen(1))
    y = sample(Bivariate(0.5), Gibbs(), x, 3, generator=gen())
    assert_stationary(x, y)
    y = sample(Bivariate(0.5, wrong), Gibbs(), x, 3, generator=gen())
    with pytest.raises(AssertionError, match="standard errors off"):
        assert_stationary(x, y)


def test_enumerable_joint_finds_the_shares_of_its_clusters():
    joint = clusters()
    x = sample(joint, Gibbs(), torch.full((20_000, 1), 1.0, dtype=f64), 40, generator=gen())
    mean = 0.25 * -2 + 0.75 * 1
    assert_mean(x, mean)
    assert_mean((x[:, 0] - mean) ** 2, 1 + 0.25 * 0.75 * 9)
    state, _ = next(iterate(joint, Gibbs(), x, generator=gen(1)))
    assert_mean((state.aux[:, 0] == -2).double(), 0.25)


def test_the_marginal_chain_is_reversible_and_agrees_with_the_free_energy():
    joint = clusters()
    assert isinstance(joint.marginalise(), FreeEnergy)
    mix = torch.rand(40_000, 1, generator=gen(1), dtype=f64)
    x = torch.where(mix < 0.25, -2.0, 1.0) + torch.randn(40_000, 1, dtype=f64, generator=gen(2))
    y = sample(joint, Gibbs(), x, 1, generator=gen(3))
    assert_stationary(x, y)
    assert_reversible(x, y)
    z = sample(joint.marginalise(), Langevin(step_size=0.02), x[:10_000], 5, generator=gen(4))
    assert_mean(z, -0.5 + 0.75)


def test_batch_shapes_seeds_and_traces():
    joint = clusters()
    x = torch.zeros(3, 4, 1, dtype=f64)
    trace = trajectory(joint, Gibbs(), x, 5, generator=gen())
    assert trace.x.shape == (5, 3, 4, 1) and trace.energy.shape == trace.accept_prob.shape == (5, 3, 4)
    assert torch.equal(trace.x[-1], sample(joint, Gibbs(), x, 5, generator=gen()))


def test_gibbs_says_what_it_needs():
    with pytest.raises(ValueError, match=r"Gibbs expected a joint energy.*function has no sample_x and no sample_z"):
        sample(lambda x: (x**2).sum(-1), Gibbs(), torch.zeros(3, 1), 1)
    with pytest.raises(ValueError, match="Gaussian has no sample_x"):
        sample(Gaussian([0.0]), Gibbs(), torch.zeros(3, 1), 1)
    without = EnumeratedJoint(lambda x, z: ((x - z) ** 2).sum(-1), torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"EnumeratedJoint has no exact draw from p\(x \| z\)"):
        sample(without, Gibbs(), torch.zeros(3, 1), 1)
