"""RBMs against enumeration, quadrature, autograd and hand-built solutions."""

import itertools
import math

import pytest
import torch

from ebmlearn.energies import BernoulliRBM, GaussianBernoulliRBM
from ebmlearn.functional import value_and_grad


def grbm(d=3, h=6, seed=0, scale=0.7):
    g = torch.Generator().manual_seed(seed)
    rbm = GaussianBernoulliRBM(d, h).double()
    with torch.no_grad():
        for p in rbm.parameters():
            p.copy_(scale * torch.randn(p.shape, generator=g, dtype=torch.float64))
    return rbm


def brbm(d=5, h=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    rbm = BernoulliRBM(d, h).double()
    with torch.no_grad():
        for p in rbm.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64))
    return rbm


def all_states(n):
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=torch.float64)


def points(n, d, seed=1):
    return 2 * torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(rbm, x, z):
    """The energy with loops, as the formula is printed."""
    s2 = rbm.log_var.exp()
    e = 0.0
    for i in range(rbm.n_visible):
        e = e + 0.5 * (x[i] - rbm.mu[i]) ** 2 / s2[i]
        for j in range(rbm.n_hidden):
            e = e - x[i] / s2[i] * rbm.W[i, j] * z[j]
    return e - (rbm.b * z).sum()


def test_energy_is_the_printed_formula():
    rbm = grbm()
    x, z = points(4, 3), (points(4, 6, seed=2) > 0).double()
    expected = torch.stack([by_hand(rbm, a, c) for a, c in zip(x, z)])
    torch.testing.assert_close(rbm(x, z), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("beta", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("h", [1, 6, 10])
def test_free_energy_is_the_sum_over_hidden_states(h, beta):
    rbm, z = grbm(h=h), all_states(h)
    x = points(5, 3)
    joint = rbm(x[:, None].expand(-1, len(z), -1), z.expand(5, -1, -1))
    expected = -torch.logsumexp(-beta * joint, 1) / beta
    torch.testing.assert_close(rbm.marginalise(beta)(x), expected, atol=1e-10, rtol=0)


def test_bernoulli_free_energy_and_partition_by_enumeration():
    rbm = brbm()
    xs, zs = all_states(5), all_states(4)
    joint = rbm(xs[:, None].expand(-1, 16, -1), zs.expand(32, -1, -1))
    for beta in (0.5, 1.0, 2.0):
        torch.testing.assert_close(rbm.marginalise(beta)(xs), -torch.logsumexp(-beta * joint, 1) / beta, atol=1e-10, rtol=0)
        torch.testing.assert_close(rbm.log_partition(beta), torch.logsumexp(-beta * joint.flatten(), 0), atol=1e-10, rtol=0)
    assert abs(rbm.log_likelihood(xs).exp().sum().item() - 1) < 1e-12
    wide, tall = brbm(3, 8), brbm(8, 3)
    with torch.no_grad():  # the transposed machine has the same log Z, by the other side's enumeration
        wide.W.copy_(tall.W.T), wide.a.copy_(tall.b), wide.b.copy_(tall.a)
    torch.testing.assert_close(wide.log_partition(), tall.log_partition(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("with_z", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("make", [grbm, brbm])
def test_closed_form_gradients_equal_autograd(make, weighted, with_z):
    rbm = make(5, 4)
    x = points(7, 5) if make is grbm else (points(7, 5) > 0).double()
    z = (points(7, 4, seed=3) > 0).double() if with_z else None
    w = torch.softmax(points(1, 7, seed=4)[0], 0) if weighted else torch.full((7,), 1 / 7, dtype=torch.float64)
    e = rbm(x, z) if with_z else rbm.marginalise()(x)
    names = [n for n, _ in rbm.named_parameters()]
    expected = torch.autograd.grad((w * e).sum(), list(rbm.parameters()))
    got = rbm.gradients(x, z, weight=w if weighted else None)
    assert set(got) == set(names)
    for name, value in zip(names, expected):
        torch.testing.assert_close(got[name], value, atol=1e-12, rtol=0)


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_gradient_in_x_equals_autograd(beta):
    rbm = grbm()
    free, x = rbm.marginalise(beta), points(6, 3).reshape(2, 3, 3)
    e, g = free.value_and_grad(x)
    e_auto, g_auto = value_and_grad(lambda y: free(y), x)
    torch.testing.assert_close(e, e_auto, atol=1e-12, rtol=0)
    torch.testing.assert_close(g, g_auto, atol=1e-12, rtol=0)
    z = (points(2, 6, seed=5) > 0).double()
    _, g = value_and_grad(rbm.given(z), x[:, 0])
    torch.testing.assert_close(g, (x[:, 0] - rbm.mean(z)) / rbm.variance, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("h", "beta"), [(1, 1.0), (5, 1.0), (8, 1.0), (5, 0.6)])
def test_log_partition_equals_quadrature(h, beta):
    rbm = grbm(2, h, scale=0.4)
    axis = torch.linspace(-14, 14, 561, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    cell = (axis[1] - axis[0]) ** 2
    quadrature = torch.logsumexp(-beta * rbm.marginalise(beta)(grid), 0) + cell.log()
    torch.testing.assert_close(rbm.log_partition(beta), quadrature, atol=1e-6, rtol=0)


def test_marginal_is_the_mixture_of_its_components():
    rbm = grbm(3, 5)
    x = points(9, 3)
    logs, means = rbm.components()
    assert logs.shape == (32,) and abs(logs.exp().sum().item() - 1) < 1e-12
    gauss = torch.distributions.Normal(means, rbm.variance.sqrt()).log_prob(x[:, None]).sum(-1)
    torch.testing.assert_close(rbm.log_likelihood(x), torch.logsumexp(logs + gauss, 1), atol=1e-10, rtol=0)


def test_conditionals_follow_from_the_joint_energy():
    rbm = grbm()
    x, z = points(1, 3)[0], all_states(6)
    for t in (1.0, 2.5):
        posterior = torch.softmax(-rbm(x.expand(64, -1), z) / t, 0)
        torch.testing.assert_close(posterior @ z, torch.sigmoid(rbm.logits(x) / t), atol=1e-12, rtol=0)
    # p(x | z): differences of the joint energy are those of a Gaussian with mean m(z) and variance s²
    xs, one = points(8, 3), z[37].expand(8, -1)
    gauss = -torch.distributions.Normal(rbm.mean(z[37]), rbm.variance.sqrt()).log_prob(xs).sum(-1)
    joint = rbm(xs, one)
    torch.testing.assert_close(joint - joint[0], gauss - gauss[0], atol=1e-10, rtol=0)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_draws_have_the_conditionals_moments(temperature):
    rbm, n = grbm(), 40_000
    g = torch.Generator().manual_seed(0)
    z = (points(1, 6, seed=7) > 0).double()
    x = rbm.sample_x(z.expand(n, -1), temperature=temperature, generator=g)
    s = (temperature * rbm.variance).sqrt()
    assert ((x.mean(0) - rbm.mean(z)[0]).abs() < 5 * s / math.sqrt(n)).all()
    assert ((x.var(0) - s**2).abs() < 5 * s**2 * math.sqrt(2 / n)).all()
    v = points(1, 3)
    p = torch.sigmoid(rbm.logits(v) / temperature)[0]
    h = rbm.sample_z(v.expand(n, -1), temperature=temperature, generator=g)
    assert ((h.mean(0) - p).abs() < 5 * (p * (1 - p) / n).sqrt()).all()
    assert set(h.unique().tolist()) <= {0.0, 1.0}


def test_hand_built_three_units_make_three_modes():
    modes = torch.tensor([[-5.0, -5.0], [5.0, -5.0], [0.0, 5.0]], dtype=torch.float64)
    pi = torch.tensor([0.33, 0.33, 0.34], dtype=torch.float64)
    rbm = GaussianBernoulliRBM.from_modes(modes, pi)
    logs, _ = rbm.components()
    single = [1, 2, 4]
    assert logs[single].exp().sum() > 0.99
    torch.testing.assert_close(logs[single].exp(), pi, atol=0.005, rtol=0)
    g = torch.Generator().manual_seed(0)
    k = torch.multinomial(pi, 4000, replacement=True, generator=g)
    x = modes[k] + torch.randn(4000, 2, generator=g, dtype=torch.float64)
    truth = torch.logsumexp(pi.log() + torch.distributions.Normal(modes, 1.0).log_prob(x[:, None]).sum(-1), 1)
    # the mean difference of log-likelihoods is minus a Kullback-Leibler divergence, seen .001
    assert abs((rbm.log_likelihood(x) - truth).mean().item()) < 0.01
    axis = torch.linspace(-14, 14, 401, dtype=torch.float64)
    quadrature = torch.logsumexp(-rbm.marginalise()(torch.cartesian_prod(axis, axis)), 0) + 2 * (axis[1] - axis[0]).log()
    torch.testing.assert_close(rbm.log_partition(), quadrature, atol=1e-4, rtol=0)


def test_initialise_from_data_leaves_units_nearly_off():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(500, 10, generator=g) + 1.0
    rbm = GaussianBernoulliRBM(10, 32).initialise(x, init_var=0.5, weight_scale=0.3, activity=0.1, generator=g)
    torch.testing.assert_close(rbm.mu.detach(), x.mean(0))
    torch.testing.assert_close(rbm.variance.detach(), torch.full((10,), 0.5))
    # one unit alone: log odds of z_j in the marginal are b_j + sum[(mu + W)² - mu²]/(2 s²) = log(activity)
    odds = rbm.b + (((rbm.mu[:, None] + rbm.W) ** 2 - rbm.mu[:, None] ** 2) / (2 * rbm.variance[:, None])).sum(0)
    torch.testing.assert_close(odds.detach(), torch.full((32,), math.log(0.1)), atol=1e-4, rtol=0)


def test_fixed_variance_is_not_trained():
    rbm = GaussianBernoulliRBM(3, 2, learn_variance=False)
    assert not rbm.log_var.requires_grad and rbm.W.requires_grad


def test_bad_input_is_named():
    rbm = GaussianBernoulliRBM(3, 21)
    with pytest.raises(ValueError, match=r"2\^21.*limit is 20.*importance sampling"):
        rbm.log_partition()
    with pytest.raises(ValueError, match=r"2\^30"):
        BernoulliRBM(30, 40).log_partition()
    with pytest.raises(ValueError, match=r"\[\*batch, 3\].*got \(2, 4\)"):
        rbm.marginalise()(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"hidden.*\[\*batch, 21\]"):
        rbm(torch.zeros(2, 3), torch.zeros(2, 20))
    with pytest.raises(ValueError, match="beta > 0"):
        rbm.marginalise(0.0)
    with pytest.raises(ValueError, match="init_var > 0"):
        GaussianBernoulliRBM(3, 2, init_var=0.0)
    with pytest.raises(ValueError, match="n_hidden >= 1"):
        BernoulliRBM(3, 0)
    with pytest.raises(ValueError, match=r"means \[K, D\]"):
        GaussianBernoulliRBM.from_modes(torch.zeros(3, 2), torch.ones(2))
