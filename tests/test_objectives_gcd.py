"""The game of generalized contrastive divergence against closed forms, grids and finite differences."""

import math

import pytest
import torch

from ebmlearn.objectives import (
    contrastive_divergence,
    cost_to_go,
    effective_fraction,
    gcd_energy,
    gcd_sampler,
    path_log_weight,
    policy_gradient,
)
from ebmlearn.samplers import Langevin, sample

DOUBLE = torch.float64


def histogram(g, n=12):
    p = torch.rand(n, generator=g, dtype=DOUBLE) + 0.05
    return p / p.sum()


def kl(p, q):
    return (p * (p / q).log()).sum()


def entropy(p):
    return -(p * p.log()).sum()


def test_game_value_on_a_histogram(generator):
    """KL(p||q) - KL(pi||q) = (E_p[E] - E_pi[E])/tau + H(pi) - H(p); zero at pi = p; -KL(pi||p) at q = p."""
    for tau in (0.3, 1.0, 2.5):
        p, pi = histogram(generator), histogram(generator)
        e = torch.randn(12, generator=generator, dtype=DOUBLE)
        q = torch.softmax(-e / tau, 0)
        value = kl(p, q) - kl(pi, q)
        loss = contrastive_divergence((p * e)[None].sum(-1), (pi * e)[None].sum(-1)) / tau
        assert value.item() == pytest.approx((loss + entropy(pi) - entropy(p)).item(), abs=1e-12)
        assert (kl(p, q) - kl(p, q)).item() == 0
        assert (kl(p, p) - kl(pi, p)).item() == pytest.approx(-kl(pi, p).item())


def test_log_partition_cancels(generator):
    """E -> E + c changes neither gradient when gamma = 0, plain or weighted; with gamma > 0 it must."""
    x = torch.randn(40, generator=generator, dtype=DOUBLE)
    log_q = torch.randn(20, generator=generator, dtype=DOUBLE)

    def grad(c, gamma, weighted):
        theta = torch.tensor(0.7, dtype=DOUBLE, requires_grad=True)
        e = theta * x.square() + c
        log_w = path_log_weight(e[20:].detach(), log_q, torch.zeros(20, dtype=DOUBLE)) if weighted else None
        return torch.autograd.grad(gcd_energy(e[:20], e[20:], log_weights=log_w, gamma=gamma), theta)[0].item()

    for weighted in (False, True):
        assert grad(0.0, 0.0, weighted) == pytest.approx(grad(5.0, 0.0, weighted), abs=1e-12)
        assert abs(grad(0.0, 0.5, weighted) - grad(5.0, 0.5, weighted)) > 0.1


def test_constant_leaves_the_policy_gradient(generator):
    log_pi = torch.randn(3, 8, generator=generator, dtype=DOUBLE, requires_grad=True)
    cost = torch.randn(3, 8, generator=generator, dtype=DOUBLE)
    grads = [torch.autograd.grad(policy_gradient(log_pi, cost + c), log_pi)[0] for c in (0.0, 100.0)]
    assert torch.allclose(*grads, atol=1e-12)


@pytest.mark.parametrize("gamma", [0.1, 1.0])
def test_fixed_sampler_optimum_with_gamma(gamma, generator):
    """Gradient descent on the histogram ends at E* = -(p - pi)/(2 gamma (p + pi)), value -sum (p - pi)²/(4 gamma (p + pi))."""
    p, pi = histogram(generator), histogram(generator)
    e = torch.zeros(12, dtype=DOUBLE, requires_grad=True)
    optimizer = torch.optim.LBFGS([e], max_iter=200, tolerance_grad=1e-14, tolerance_change=1e-16, line_search_fn="strong_wolfe")

    def loss():  # gcd_energy with expectations over the histogram
        return (p * e).sum() - (pi * e).sum() + gamma * ((p * e.square()).sum() + (pi * e.square()).sum())

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    best = -(p - pi) / (2 * gamma * (p + pi))
    assert torch.allclose(e.detach(), best, atol=1e-7)
    assert loss().item() == pytest.approx(-((p - pi).square() / (p + pi)).sum().item() / (4 * gamma), abs=1e-12)
    assert best.abs().max() <= 1 / (2 * gamma)


def test_gcd_energy_by_three_numbers():
    e_pos, e_neg = torch.tensor([1.0, 3.0]), torch.tensor([2.0, 4.0, 9.0])
    assert gcd_energy(e_pos, e_neg).item() == -3.0
    weights = torch.tensor([0.5, 0.25, 0.25]).log() + 7
    assert gcd_energy(e_pos, e_neg, log_weights=weights).item() == pytest.approx(2 - 4.25)
    assert gcd_energy(e_pos, e_neg, gamma=0.1).item() == pytest.approx(-3 + 0.1 * (5 + 101 / 3), rel=1e-6)


def test_weighted_gradient_is_that_of_the_likelihood(generator):
    """E = theta x²/2, negatives from N(0, 2²) with exact weights: d(-log p)/dtheta = E_p[x²/2] - 1/(2 theta)."""
    theta = torch.tensor(1.5, dtype=DOUBLE, requires_grad=True)
    x_pos = torch.randn(1000, generator=generator, dtype=DOUBLE)
    n = 400_000
    x_neg = 2 * torch.randn(n, generator=generator, dtype=DOUBLE)
    e_neg = theta * x_neg.square() / 2
    log_pi = torch.distributions.Normal(0.0, 2.0).log_prob(x_neg)
    log_w = path_log_weight(e_neg.detach(), torch.zeros(n, dtype=DOUBLE), log_pi)
    grad = torch.autograd.grad(gcd_energy(theta * x_pos.square() / 2, e_neg, log_weights=log_w), theta)[0].item()
    exact = x_pos.square().mean().item() / 2 - 1 / (2 * 1.5)
    v = torch.softmax(log_w, 0)
    se = (v * (x_neg.square() / 2 - 1 / 3)).square().sum().sqrt().item()
    assert abs(grad - exact) < 5 * se
    assert se < 0.002


def linear_gaussian(mean, log_sigma, k, c, tau):
    """-E[log w] of x ~ N(mean, sigma²), E = k (x - c)²/2, one step without a running cost."""
    return k * ((mean - c) ** 2 + torch.exp(2 * log_sigma)) / (2 * tau) - log_sigma - 0.5 * math.log(2 * math.pi * math.e)


@pytest.mark.parametrize(("k", "tau"), [(2.0, 0.3), (0.5, 1.0)])
def test_one_step_optimum(k, tau):
    """T = 1, E = k (x - c)²/2: the sampler's optimum is mean c and variance tau/k."""
    mean = torch.zeros((), dtype=DOUBLE, requires_grad=True)
    log_sigma = torch.zeros((), dtype=DOUBLE, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [mean, log_sigma], max_iter=200, tolerance_grad=1e-13, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )
    node, weight = torch.tensor([-1.0, 1.0], dtype=DOUBLE), 0.5  # two-point rule: exact for a quadratic energy

    def closure():
        optimizer.zero_grad()
        x = mean + log_sigma.exp() * node
        e = k * (x - 1.5).square() / 2
        log_pi = -log_sigma - 0.5 * math.log(2 * math.pi) - 0.5  # mean of log N over x
        loss = gcd_sampler(path_log_weight(e, torch.zeros(2, dtype=DOUBLE), log_pi.expand(2), temperature=tau))
        loss.backward()
        return loss

    optimizer.step(closure)
    assert weight * 2 == 1
    assert mean.item() == pytest.approx(1.5, abs=1e-6)
    assert (2 * log_sigma).exp().item() == pytest.approx(tau / k, abs=1e-6)
    assert closure().item() == pytest.approx(linear_gaussian(mean, log_sigma, k, 1.5, tau).item(), abs=1e-10)


def test_one_step_optimum_with_a_random_walk():
    """x_1 ~ N(0, 1), x_0 ~ N(a x_1 + b, sigma²), walk N(x_1; x_0, s²), r = tau/s²: a = r/(k + r), b = k c/(k + r), sigma² = tau/(k + r)."""
    k, c, tau, s2 = 2.0, 1.5, 0.3, 0.6
    r = tau / s2
    theta = torch.zeros(3, dtype=DOUBLE, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [theta], max_iter=300, tolerance_grad=1e-13, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )
    u = torch.tensor([-1.0, 1.0], dtype=DOUBLE)
    x1, eps = (v.reshape(-1) for v in torch.meshgrid(u, u, indexing="ij"))  # exact for quadratics

    def closure():
        optimizer.zero_grad()
        a, b, log_sigma = theta
        x0 = a * x1 + b + log_sigma.exp() * eps
        log_q = -0.5 * (x1 - x0).square() / s2
        log_pi = -log_sigma - 0.5 * eps.square()
        loss = gcd_sampler(path_log_weight(k * (x0 - c).square() / 2, log_q, log_pi, temperature=tau))
        loss.backward()
        return loss

    optimizer.step(closure)
    a, b, log_sigma = theta.tolist()
    assert (a, b, math.exp(2 * log_sigma)) == pytest.approx((r / (k + r), k * c / (k + r), tau / (k + r)), abs=1e-6)


def test_cost_to_go():
    e = torch.tensor([2.0])
    log_pi, log_q = torch.tensor([[1.0], [10.0]]), torch.tensor([[0.5], [4.0]])
    assert cost_to_go(e, log_pi, log_q, temperature=2.0).squeeze(-1).tolist() == [1.5, 7.5]


def two_step_policy(theta, generator, n):
    """x_2 ~ N(0, 1), x_1 = theta_0 x_2 + e^{theta_1} eps, x_0 = theta_2 x_1 + 0.5 eps."""
    x = [torch.randn(n, generator=generator, dtype=DOUBLE)]
    for slope, std in ((theta[0], theta[1].exp()), (theta[2], torch.tensor(0.5, dtype=DOUBLE))):
        x.append(slope * x[-1] + std * torch.randn(n, generator=generator, dtype=DOUBLE))
    return x[::-1]


def log_policy_of(theta, x):
    normal = torch.distributions.Normal
    return torch.stack([normal(theta[2] * x[1], 0.5).log_prob(x[0]), normal(theta[0] * x[2], theta[1].exp()).log_prob(x[1])])


def exact_cost(theta):
    """E[2 (x_0 - 1)²/2 + log pi - log q] with q(x_1|x_0) = N(x_0, 1), q(x_2|x_1) = N(x_1, 1), in closed form."""
    a, s, b = theta[0], theta[1].exp(), theta[2]
    v1 = a**2 + s**2
    v0 = b**2 * v1 + 0.25
    log_pi = -theta[1] - math.log(0.5) - 1 - math.log(2 * math.pi)
    log_q = -math.log(2 * math.pi) - 0.5 * (v1 * (1 - b) ** 2 + 0.25) - 0.5 * (1 - 2 * a + v1)
    return v0 + 1 + log_pi - log_q


def test_policy_gradient_against_finite_differences(generator):
    """The estimator, centred and with a cost to go, equals the gradient of the exact expected cost within 5 standard errors."""
    theta = torch.tensor([0.6, -0.3, 0.8], dtype=DOUBLE, requires_grad=True)
    finite = []
    for i in range(3):
        h = torch.zeros(3, dtype=DOUBLE)
        h[i] = 1e-5
        finite.append(((exact_cost(theta + h) - exact_cost(theta - h)) / 2e-5).item())
    grads = []
    for _ in range(400):
        with torch.no_grad():
            x = two_step_policy(theta, generator, 64)
            normal = torch.distributions.Normal
            log_q = torch.stack([normal(x[0], 1.0).log_prob(x[1]), normal(x[1], 1.0).log_prob(x[2])])
            cost = cost_to_go((x[0] - 1).square(), log_policy_of(theta, x), log_q)
        grads.append(torch.autograd.grad(policy_gradient(log_policy_of(theta, x), cost), theta)[0])
    g = torch.stack(grads)
    se = g.std(0) / math.sqrt(400)
    assert ((g.mean(0) - torch.tensor(finite, dtype=DOUBLE)).abs() < 5 * se).all()
    assert (se < 0.1).all()


def test_small_batches_are_unbiased_too(generator):
    """Centring over a batch of two divides by one, not two: no shrinkage of the gradient."""
    theta = torch.tensor(0.3, dtype=DOUBLE, requires_grad=True)
    grads = []
    for _ in range(8_000):
        x = (theta + torch.randn(1, 2, generator=generator, dtype=DOUBLE)).detach()
        log_pi = -0.5 * (x - theta).square()
        grads.append(torch.autograd.grad(policy_gradient(log_pi, x), theta)[0].item())
    g = torch.tensor(grads)
    assert abs(g.mean().item() - 1) < 5 * g.std().item() / math.sqrt(8_000)  # d E[x] / d theta = 1


def test_contrastive_divergence_is_the_game_with_a_chain(generator):
    """With pi = k Langevin steps from the data, the plain energy step is CD-k, to the last bit."""
    theta = torch.tensor(1.2, dtype=DOUBLE, requires_grad=True)
    energy = lambda x: 0.5 * theta * x.square().sum(-1)
    x_pos = torch.randn(64, 1, generator=generator, dtype=DOUBLE)
    x_neg = sample(energy, Langevin(step_size=0.1), x_pos, 5, generator=generator)
    game = torch.autograd.grad(gcd_energy(energy(x_pos), energy(x_neg)), theta)[0]
    assert torch.equal(game, torch.autograd.grad(contrastive_divergence(energy(x_pos), energy(x_neg)), theta)[0])


def test_regularised_ipm_in_closed_form(generator):
    """max over E of the game at fixed tau, with |E| <= 1, is an entropy-regularised IPM: total variation minus tau (H(pi) - H(p))."""
    p, pi = histogram(generator), histogram(generator)
    best = torch.where(p < pi, 1.0, -1.0)  # the critic that separates best: low on data
    ipm = ((pi - p) * best).sum()
    assert ipm.item() == pytest.approx((p - pi).abs().sum().item())
    for _ in range(50):
        e = 2 * torch.rand(12, generator=generator, dtype=DOUBLE) - 1
        assert -gcd_energy((p * e).sum()[None], (pi * e).sum()[None]).item() <= ipm.item() + 1e-12


def test_effective_fraction():
    assert effective_fraction(torch.zeros(7)).item() == pytest.approx(1.0)
    assert effective_fraction(torch.tensor([0.0, -1e4, -1e4, -1e4])).item() == pytest.approx(0.25)


def test_errors():
    one = torch.zeros(1)
    with pytest.raises(ValueError, match="temperature > 0"):
        path_log_weight(one, one, one, temperature=0.0)
    with pytest.raises(ValueError, match="temperature > 0"):
        cost_to_go(one, one[None], one[None], temperature=-1.0)
    with pytest.raises(ValueError, match="gamma >= 0"):
        gcd_energy(one, one, gamma=-1.0)
    with pytest.raises(ValueError, match="at least two paths"):
        policy_gradient(one[None], one[None])
