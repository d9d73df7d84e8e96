"""Samplers of the Gaussian-Bernoulli RBM against closed forms, the loop, enumeration and exact moments."""

import math

import pytest
import torch

from ebmlearn.energies import BernoulliRBM, GaussianBernoulliRBM
from ebmlearn.samplers import (
    MALA,
    AnnealedPath,
    Gibbs,
    GibbsLangevin,
    Langevin,
    LoopedGibbsLangevin,
    MemoryGibbs,
    MetropolisSweep,
    annealed_chains,
    collapse,
    iterate,
    sample,
    trajectory,
)


def grbm(d=3, h=4, seed=0, scale=0.5, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    rbm = GaussianBernoulliRBM(d, h).to(dtype)
    with torch.no_grad():
        for p in rbm.parameters():
            p.copy_(scale * torch.randn(p.shape, generator=g, dtype=dtype))
    return rbm


def run(kernel, rbm, n, sweeps, seed=0):
    """Last x and the z of a fresh draw from p(z | x), from a start far from the law."""
    g = torch.Generator().manual_seed(seed)
    x = sample(rbm, kernel, torch.full((n, rbm.n_visible), 2.0, dtype=rbm.W.dtype), sweeps, generator=g)
    return x, rbm.sample_z(x, generator=g)


def exact_moments(rbm):
    """Mean and covariance of x, and the marginals of z, by enumeration."""
    logs, means = rbm.components()
    p = logs.exp()
    mean = p @ means
    cov = (means - mean).T @ ((means - mean) * p[:, None]) + rbm.variance.diag()
    codes = torch.arange(len(p))
    z = torch.stack([(codes >> j) & 1 for j in range(rbm.n_hidden)], 1).double()
    return mean.detach(), cov.detach(), (p @ z).detach()


def z_scores(x, z, mean, cov, p):
    """How many standard errors the sample's means, covariances and hidden marginals are off."""
    n, var = len(x), cov.diagonal()
    d = x - mean
    prod = d[:, :, None] * d[:, None, :]
    return torch.cat(
        [
            (x.mean(0) - mean) / (var / n).sqrt(),
            ((prod.mean(0) - cov) / (prod.std(0) / math.sqrt(n))).flatten(),
            (z.mean(0) - p) / (p * (1 - p) / n).sqrt(),
        ]
    )


# s² = 1, K = 10, cosine annealing; the last column is n / sqrt(1 - b²)
@pytest.mark.parametrize(
    ("t", "eta", "memory", "noise", "std"),
    [
        (512, 20, 0.80400, 13.554, 22.794),
        (100, 20, 0.30235, 9.8461, 10.330),
        (100, 10, 0.56409, 8.4060, 10.180),
        (1, 0.3, 0.15224, 1.03248, 1.04465),
    ],
)
def test_collapsed_coefficients_reference(t, eta, memory, noise, std):
    b, n = GibbsLangevin(step_size=eta, n_inner=10, temperature=t).coefficients(torch.ones(1, dtype=torch.float64))
    assert b.item() == pytest.approx(memory, abs=1e-5)
    assert n.item() == pytest.approx(noise, rel=5e-5)
    assert n.item() / math.sqrt(1 - b.item() ** 2) == pytest.approx(std, rel=5e-5)


@pytest.mark.parametrize("scale", ["dimension", "mean"])
@pytest.mark.parametrize("k", [1, 7])
def test_coefficients_equal_the_loop_and_its_impulse_responses(k, scale):
    s2 = torch.tensor([0.5, 1.0, 1.7], dtype=torch.float64)
    kernel = GibbsLangevin(step_size=0.6, n_inner=k, temperature=1.3, scale=scale)
    steps = kernel.steps(s2)

    def loop(x, impulse=None):
        for i, eta in enumerate(steps):
            x = x - eta * x / (1.3 * s2)
            if i == impulse:
                x = x + (2 * eta).sqrt()
        return x

    b, n = kernel.coefficients(s2)
    torch.testing.assert_close(loop(torch.ones_like(s2)), b, atol=1e-12, rtol=0)
    responses = sum(loop(torch.zeros_like(s2), i).square() for i in range(k))
    torch.testing.assert_close(responses.sqrt(), n, atol=1e-12, rtol=0)


def test_per_dimension_steps_forget_the_variances():
    kernel = GibbsLangevin(step_size=0.3, n_inner=10)
    s2 = torch.tensor([1e-4, 1.0, 50.0], dtype=torch.float64)
    b, n = kernel.coefficients(s2)
    torch.testing.assert_close(b, torch.full_like(b, b[0].item()), atol=1e-12, rtol=0)
    torch.testing.assert_close(n / s2.sqrt(), torch.full_like(b, 1.0324773), atol=1e-5, rtol=0)


def test_temperature_is_an_argument_and_batch_size_is_not():
    s2 = torch.ones(2, dtype=torch.float64)
    explicit = [GibbsLangevin(step_size=0.3, n_inner=10, temperature=1.0).coefficients(s2)[0][0].item() for _ in (100, 512)]
    assert explicit[0] == explicit[1]
    released = [GibbsLangevin.released(batch_size=b).coefficients(s2)[0][0].item() for b in (100, 512)]
    assert released == pytest.approx([0.30235, 0.80400], abs=1e-5)
    assert GibbsLangevin.released(batch_size=100).z_temperature == 1.0


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_collapsed_chain_has_the_law_of_the_loop(temperature):
    rbm, n = grbm(5, 7, dtype=torch.float32), 40_000
    kernel = GibbsLangevin(step_size=0.3 * temperature, n_inner=10, temperature=temperature)
    xa, za = run(kernel, rbm, n, 10, seed=1)
    xb, zb = run(LoopedGibbsLangevin(kernel=kernel), rbm, n, 10, seed=2)
    for a, b in ((xa, xb), (za, zb), (xa * xa, xb * xb), (xa[:, :1] * xa, xb[:, :1] * xb)):
        error = ((a.var(0) + b.var(0)) / n).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() < 5 * error).all()


@pytest.mark.parametrize(
    "kernel",
    [
        Gibbs(),
        MemoryGibbs(memory=0.5),
        MemoryGibbs(memory=-0.4),
        MetropolisSweep(kernel=GibbsLangevin(step_size=0.8, n_inner=2, anneal=False)),
        MetropolisSweep(kernel=MemoryGibbs(memory=0.3)),
    ],
    ids=["gibbs", "memory", "overrelaxed", "metropolis", "metropolis-memory"],
)
def test_exact_kernels_reach_the_enumerated_moments(kernel):
    rbm = grbm()
    x, z = run(kernel, rbm, 40_000, 40)
    assert z_scores(x, z, *exact_moments(rbm)).abs().max() < 5


@pytest.mark.parametrize("temperature", [2.0])
@pytest.mark.parametrize(
    "make",
    [
        lambda t: MemoryGibbs(memory=0.3, temperature=t),
        lambda t: MetropolisSweep(kernel=GibbsLangevin(step_size=0.8, n_inner=3, temperature=t)),
    ],
)
def test_temperature_samples_the_tempered_joint(make, temperature):
    rbm = grbm()
    x, _ = run(make(temperature), rbm, 40_000, 40)
    hot = grbm()
    with torch.no_grad():  # exp(-E/T) is the machine with W, b and s² rescaled: E/T has s² T, W unchanged, b/T
        hot.log_var.add_(math.log(temperature)), hot.b.div_(temperature)
    mean, cov, p = exact_moments(hot)
    g = torch.Generator().manual_seed(9)
    assert z_scores(x, hot.sample_z(x, generator=g), mean, cov, p).abs().max() < 5


def test_inner_steps_inflate_the_variance_as_predicted_and_metropolis_does_not():
    rbm = grbm(2, 1)
    with torch.no_grad():
        rbm.W.zero_()  # x independent of z: the stationary law of a sweep is known
    kernel = GibbsLangevin(step_size=1.2, n_inner=2, anneal=False)
    b, n = kernel.coefficients(rbm.variance.detach())
    x, _ = run(kernel, rbm, 40_000, 20)
    predicted = n**2 / (1 - b**2)
    error = predicted * math.sqrt(2 / 40_000)
    assert ((x.var(0) - predicted).abs() < 5 * error).all()
    assert ((x.var(0) - rbm.variance.detach()).abs() > 20 * error).all()  # the bias is seen
    x, _ = run(MetropolisSweep(kernel=kernel), rbm, 40_000, 40)
    assert ((x.var(0) - rbm.variance.detach()).abs() < 5 * rbm.variance * math.sqrt(2 / 40_000)).all()


def test_metropolis_on_an_exact_conditional_without_coupling_never_rejects():
    rbm = grbm(3, 2)
    with torch.no_grad():
        rbm.W.zero_()
    chain = iterate(rbm, MetropolisSweep(kernel=MemoryGibbs(memory=0.3)), torch.randn(50, 3, dtype=torch.float64))
    next(chain)
    _, info = next(chain)
    torch.testing.assert_close(info.accept_prob, torch.ones(50, dtype=torch.float64), atol=1e-9, rtol=0)


def test_langevin_on_the_marginal_with_metropolis_reaches_the_moments():
    rbm = grbm()
    g = torch.Generator().manual_seed(0)
    x = sample(rbm.marginalise(), MALA(step_size=0.4), torch.zeros(10_000, 3, dtype=torch.float64), 80, generator=g)
    assert z_scores(x, rbm.sample_z(x, generator=g), *exact_moments(rbm)).abs().max() < 5
    steps = tuple((0.1 * rbm.variance).tolist())  # one step for each dimension
    x = sample(rbm.marginalise(), Langevin(step_size=steps), torch.zeros(4, 3, dtype=torch.float64), 2, generator=g)
    assert x.shape == (4, 3)


def test_a_chain_does_not_depend_on_its_neighbours():
    """With the same random numbers for a chain, the rest of its batch changes nothing: no batch size anywhere."""
    rbm = grbm()

    class Replay(GaussianBernoulliRBM):
        def sample_z(self, x, *, temperature=1.0, generator=None):
            return (torch.linspace(0.1, 0.9, 4, dtype=x.dtype) < torch.sigmoid(self.logits(x) / temperature)).to(x.dtype)

    fixed = Replay(3, 4).double()
    fixed.load_state_dict(rbm.state_dict())
    x = torch.randn(64, 3, dtype=torch.float64)
    kernel = GibbsLangevin(step_size=0.3, n_inner=4)
    whole, one = kernel.init(fixed, x), kernel.init(fixed, x[:1])
    g, h = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    a, _ = kernel.step(fixed, whole, generator=g)
    c, _ = kernel.step(fixed, one, generator=h)
    torch.testing.assert_close(a.aux.mean[:1], c.aux.mean)
    b, n = kernel.coefficients(fixed.variance)
    for state, start in ((a, x), (c, x[:1])):  # the noise that each used, recovered, is standard normal whatever the batch
        noise = (state.x - state.aux.mean - b * (start - state.aux.mean)) / n
        assert abs(noise.mean().item()) < 5 / math.sqrt(noise.numel())


@pytest.mark.parametrize(
    "kernel", [GibbsLangevin(step_size=0.3, n_inner=3), MemoryGibbs(memory=0.2), MetropolisSweep(kernel=MemoryGibbs())]
)
def test_state_keeps_the_conditional_mean_apart_from_the_sample(kernel):
    rbm = grbm()
    x0 = torch.zeros(500, 3, dtype=torch.float64)
    chain = iterate(rbm, kernel, x0, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        state, info = next(chain)
    torch.testing.assert_close(state.aux.mean, rbm.mean(state.aux.z).detach())
    assert (state.x - state.aux.mean).abs().mean() > 0.1 and info.accept_prob.shape == (500,)
    expected = rbm.marginalise()(state.x) if isinstance(kernel, MetropolisSweep) else rbm(state.x, state.aux.z)
    torch.testing.assert_close(state.energy, expected.detach(), atol=1e-10, rtol=0)
    assert trajectory(rbm, kernel, x0, 4).energy.shape == (4, 500)


def test_same_seed_same_chain():
    rbm, x = grbm(), torch.zeros(5, 3, dtype=torch.float64)
    kernel = GibbsLangevin(step_size=0.3, n_inner=3)
    a, b, c = (sample(rbm, kernel, x, 5, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize("keep_bias", [False, True])
@pytest.mark.parametrize("sweeps", [1, 4])
def test_annealed_weights_are_unbiased_for_the_partition_function(sweeps, keep_bias):
    rbm, n = grbm(), 40_000
    path = AnnealedPath(
        mean=torch.full((3,), 0.3, dtype=torch.float64), variance=torch.full((3,), 2.0, dtype=torch.float64), keep_bias=keep_bias
    )
    x, log_w = annealed_chains(rbm, path, n, sweeps, generator=torch.Generator().manual_seed(0))
    ratio = (log_w + path.log_partition(rbm) - rbm.log_partition()).exp()
    assert abs(ratio.mean().item() - 1) < 5 * ratio.std().item() / math.sqrt(n)
    w = torch.softmax(log_w, 0)
    mean, cov, _ = exact_moments(rbm)
    error = ((w[:, None] ** 2) * (x - mean) ** 2).sum(0).sqrt()  # of a self-normalised average
    assert ((w @ x - mean).abs() < 5 * error).all()


def test_unstable_steps_name_the_condition_and_the_dimension():
    rbm = grbm()
    with torch.no_grad():
        rbm.log_var.copy_(torch.tensor([0.0, -5.0, 1.0]))
    one = GibbsLangevin(step_size=0.5, n_inner=5, scale="mean")
    with pytest.raises(ValueError, match=r"\|1 - eta/\(T s²\)\| = .* dimension 1 .*scale='dimension'"):
        one.init(rbm, torch.zeros(1, 3, dtype=torch.float64))
    GibbsLangevin(step_size=0.5, n_inner=5).init(rbm, torch.zeros(1, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match="must be < 1"):
        GibbsLangevin(step_size=2.1, n_inner=5)
    GibbsLangevin(step_size=2.1, n_inner=5, temperature=2.0)


def test_bad_input_is_named():
    x = torch.zeros(1, 3)
    with pytest.raises(ValueError, match="GaussianBernoulliRBM.*BernoulliRBM.*Use Gibbs"):
        MemoryGibbs().init(BernoulliRBM(3, 2), x)
    with pytest.raises(ValueError, match="no sample_x and no sample_z"):
        GibbsLangevin(step_size=0.1, n_inner=2).init(lambda x: x.sum(-1), x)
    with pytest.raises(ValueError, match="-1 < memory < 1"):
        MemoryGibbs(memory=1.0)
    with pytest.raises(ValueError, match="one joint target"):
        MetropolisSweep(kernel=GibbsLangevin.released(batch_size=100))
    with pytest.raises(ValueError, match="GibbsLangevin or MemoryGibbs"):
        MetropolisSweep(kernel=Gibbs())
    with pytest.raises(ValueError, match="scale to be 'dimension' or 'mean'"):
        GibbsLangevin(step_size=0.1, n_inner=2, scale="pixel")
    with pytest.raises(ValueError, match="n_inner >= 1"):
        GibbsLangevin(step_size=0.1, n_inner=0)
    with pytest.raises(ValueError, match="sweeps >= 1"):
        annealed_chains(grbm(), AnnealedPath(mean=torch.zeros(3), variance=torch.ones(3)), 5, 0)
    assert collapse(torch.ones(1), torch.ones(3))[0].shape == (3,)
