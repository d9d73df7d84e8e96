"""Losses against closed forms, grids and exact gradients; the planted errors would be seen."""

import math

import pytest
import torch
from torch import nn

from ebmlearn.energies import Energy
from ebmlearn.objectives import (
    contrastive_divergence,
    denoising_score_matching,
    energy_l2,
    energy_loss,
    gradient_penalty,
    hinge,
    info_nce,
    joint_energy_model,
    log_loss,
    lvq2,
    minimum_classification_error,
    minimum_empirical_error,
    negative_log_likelihood,
    noise_contrastive,
    perceptron,
    sampler_kl,
    score_matching,
    sliced_score_matching,
    square_exponential,
    square_square,
    vicreg,
)

D64 = torch.float64


def isotropic(s2):
    return lambda x: x.square().sum(-1) / (2 * s2)


def test_contrastive_divergence_and_l2_on_three_numbers():
    e_pos, e_neg = torch.tensor([1.0, 3.0]), torch.tensor([2.0, 4.0, 6.0])
    assert contrastive_divergence(e_pos, e_neg).item() == -2.0
    assert energy_l2(e_pos, e_neg).item() == pytest.approx(5 + 56 / 3)


def test_the_surrogate_has_the_likelihoods_gradient_and_not_its_value():
    """E = k x²/2, data N(0, 1): the surrogate is (k - 1)/2, its gradient and the likelihood's are (1 - 1/k)/2."""
    x = torch.linspace(-30, 30, 40001, dtype=D64)
    weights = torch.exp(-x.square() / 2) / torch.exp(-x.square() / 2).sum()
    values = []
    for k, value, nll, grad in [(0.25, -0.375, 1.737, -1.5), (1.0, 0.0, 1.419, 0.0), (4.0, 1.5, 2.226, 0.375)]:
        kk = torch.tensor(k, dtype=D64, requires_grad=True)
        e = kk * x.square() / 2
        model = torch.softmax(-e.detach(), 0)
        surrogate = (weights * e).sum() - (model * e).sum()
        exact = (weights * e).sum() + torch.logsumexp(-e, 0) + math.log(x[1] - x[0])
        g1 = torch.autograd.grad(surrogate, kk, retain_graph=True)[0].item()
        g2 = torch.autograd.grad(exact, kk)[0].item()
        assert surrogate.item() == pytest.approx(value, abs=1e-6)
        assert exact.item() == pytest.approx(nll, abs=1e-3)
        assert g1 == pytest.approx(grad, abs=1e-6) and g2 == pytest.approx(grad, abs=1e-6)
        values.append(surrogate.item())
    assert values == sorted(values), "the surrogate is smallest where the model is far too wide"


def test_exact_gradient_of_contrastive_divergence_has_minus_the_sampler_term():
    """On a grid the chain is a matrix: usual gradient - d sampler_kl/dtheta equals the derivative of KL(p_D||p) - KL(q_K||p)."""
    x = torch.linspace(-4, 4, 201, dtype=D64)
    features = torch.stack([x, x**2, x**4, torch.sin(2 * x)], -1)
    slopes = torch.stack([torch.ones_like(x), 2 * x, 4 * x**3, 2 * torch.cos(2 * x)], -1)
    p_data = 0.7 * torch.exp(-((x + 1.2) ** 2) / 0.32) / 0.4 + 0.3 * torch.exp(-((x - 1.2) ** 2) / 0.32) / 0.4
    p_data = p_data / p_data.sum()
    step = 0.01

    def q_of(theta, k):
        mean = x - step * (slopes @ theta)
        kernel = torch.softmax(-((x[None] - mean[:, None]) ** 2) / (4 * step), -1)
        q = p_data
        for _ in range(k):
            q = q @ kernel
        return q

    def divergence(theta, k):
        log_p = torch.log_softmax(-(features @ theta), 0)
        q = q_of(theta, k)
        return (p_data * (p_data.log() - log_p)).sum() - (q * (q.log() - log_p)).sum()

    theta = torch.tensor([0.1, -0.6, 0.15, 0.4], dtype=D64)
    for k, expected in [(1, 0.45), (5, 0.36)]:
        leaf = theta.clone().requires_grad_(True)
        (exact,) = torch.autograd.grad(divergence(leaf, k), leaf)
        finite = torch.stack(
            [(divergence(theta + h, k) - divergence(theta - h, k)) / 2e-5 for h in 1e-5 * torch.eye(4, dtype=D64)]
        )
        assert torch.allclose(exact, finite, rtol=1e-6, atol=1e-9)
        q = q_of(theta, k)
        usual = ((p_data - q)[:, None] * features).sum(0)  # d/dtheta of contrastive_divergence with samples held fixed
        leaf = theta.clone().requires_grad_(True)
        moving = q_of(leaf, k)
        # the mean over samples of sampler_kl is a sum over the grid weighted by the chain's law
        kl = len(x) * sampler_kl(moving * (features @ theta), moving * q.log())
        (neglected,) = torch.autograd.grad(kl, leaf)
        error = (usual - exact).norm() / exact.norm()
        assert error.item() == pytest.approx(expected, abs=0.02)
        assert ((usual - neglected) - exact).norm() / exact.norm() < 1e-6
        assert ((usual + neglected) - exact).norm() > 2 * (usual - exact).norm() * 0.99, "plus is not the exact gradient"


@pytest.mark.parametrize("d", [1, 3, 10])
def test_score_matching_is_the_closed_form_on_gaussians(d):
    v, s2, n = 0.7, 1.3, 4000
    g = torch.Generator().manual_seed(d)
    x = math.sqrt(v) * torch.randn(n, d, generator=g, dtype=D64)
    m = x.square().mean(0).sum().item() / d  # this sample's own second moment, so that no Monte Carlo error is left
    expected = d * (m / (2 * s2**2) - 1 / s2)
    assert score_matching(isotropic(s2), x).item() == pytest.approx(expected, abs=1e-9)
    assert abs(d * (v / (2 * s2**2) - 1 / s2) - expected) < 5 * d * v * math.sqrt(2 / (n * d)) / (2 * s2**2)
    # random signs make v·Hv exact for a multiple of the identity; division of the trace by d would be seen at once
    sliced = sliced_score_matching(isotropic(s2), x, generator=g).item()
    assert sliced == pytest.approx(expected, abs=1e-9)
    if d > 1:
        assert abs(d * m / (2 * s2**2) - 1 / s2 - expected) > 0.5
    sigma = 0.5
    values = torch.stack([denoising_score_matching(isotropic(s2), x[i : i + 1], sigma, generator=g) for i in range(300)])
    noisy = denoising_score_matching(isotropic(s2), x.repeat(10, 1), sigma, generator=g).item()
    closed = 0.5 * d * ((m + sigma**2) / s2**2 - 2 / s2 + 1 / sigma**2)
    assert abs(noisy - closed) < 5 * values.std().item() / math.sqrt(10 * n)


def test_sliced_is_unbiased_for_a_full_hessian():
    a = torch.tensor([[2.0, 0.8, -0.3], [0.8, 1.0, 0.2], [-0.3, 0.2, 0.5]], dtype=D64)
    energy = lambda x: 0.5 * (x @ a * x).sum(-1) + 0.1 * x.pow(4).sum(-1)
    g = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 3, generator=g, dtype=D64)
    exact = score_matching(energy, x).item()
    draws = torch.stack([sliced_score_matching(energy, x, generator=g) for _ in range(60)])
    assert abs(draws.mean().item() - exact) < 5 * draws.std().item() / math.sqrt(60)


def test_minimisers_of_score_matching_and_of_denoising():
    v, sigma, n = 0.6, 0.8, 20000
    g = torch.Generator().manual_seed(1)
    x = math.sqrt(v) * torch.randn(n, 2, generator=g, dtype=D64)
    grid = torch.linspace(0.3, 2.0, 171, dtype=D64)
    sm = torch.stack([score_matching(isotropic(s), x) for s in grid])
    assert abs(grid[sm.argmin()].item() - v) < 0.03
    dsm = torch.stack(
        [denoising_score_matching(isotropic(s), x, sigma, generator=torch.Generator().manual_seed(2)) for s in grid]
    )
    assert abs(grid[dsm.argmin()].item() - (v + sigma**2)) < 0.05


def test_score_objectives_refuse_bad_input():
    with pytest.raises(ValueError, match="sigma > 0"):
        denoising_score_matching(isotropic(1.0), torch.randn(3, 2), 0.0)
    with pytest.raises(ValueError, match="projections"):
        sliced_score_matching(isotropic(1.0), torch.randn(3, 2), projections=0)
    with pytest.raises(ValueError, match="energy"):
        score_matching(lambda x: x.square().sum(), torch.randn(3, 2))


def test_gradient_penalty_is_the_mean_square_gradient_and_trains():
    scale = torch.tensor(2.0, requires_grad=True)
    x = torch.randn(50, 3)
    value = gradient_penalty(lambda y: 0.5 * scale * y.square().sum(-1), x)
    assert value.item() == pytest.approx(4 * x.square().sum(-1).mean().item(), rel=1e-5)
    assert torch.autograd.grad(value, scale)[0].item() == pytest.approx(4 * x.square().sum(-1).mean().item(), rel=1e-5)


def test_noise_contrastive_recovers_a_known_log_z():
    """E = 2x²: log Z = log sqrt(pi/2); the standard error of the estimate at the truth is from the Fisher information."""
    n, nu = 20000, 2
    g = torch.Generator().manual_seed(0)
    x_pos = 0.5 * torch.randn(n, generator=g, dtype=D64)
    x_neg = torch.randn(nu * n, generator=g, dtype=D64)
    log_q = lambda x: -x.square() / 2 - 0.5 * math.log(2 * math.pi)
    log_z = torch.zeros((), dtype=D64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_z], max_iter=50)

    def closure():
        optimizer.zero_grad()
        loss = noise_contrastive(2 * x_pos.square(), 2 * x_neg.square(), log_q(x_pos), log_q(x_neg), log_z)
        loss.backward()
        return loss

    optimizer.step(closure)
    truth = 0.5 * math.log(math.pi / 2)
    h = torch.sigmoid(-2 * x_pos.square() - truth - log_q(x_pos) - math.log(nu))  # P(data | x) at data
    info = (1 - h).mean().item()
    error = math.sqrt((1 / info - (1 + 1 / nu)) / n)
    assert abs(log_z.item() - truth) < 5 * error < 0.1
    assert abs(-log_z.item() - truth) > 5 * error, "the wrong sign of log Z would be seen"
    with pytest.raises(ValueError, match="one log-density for each"):
        noise_contrastive(torch.zeros(3), torch.zeros(4), torch.zeros(3), torch.zeros(3))


def test_info_nce_at_equal_energies_is_the_log_of_the_candidates():
    assert info_nce(torch.full((5,), 3.0), torch.full((5, 16), 3.0)).item() == pytest.approx(math.log(17), abs=1e-6)
    with pytest.raises(ValueError, match="e_neg of shape"):
        info_nce(torch.zeros(5), torch.zeros(4, 16))


def test_the_family_on_numbers():
    e_pos, e_neg = torch.tensor([0.5]), torch.tensor([1.0])
    energies = torch.tensor([[0.5, 1.0, 0.25]])
    p = torch.softmax(-energies, -1)[0]
    assert energy_loss(e_pos).item() == 0.5
    assert perceptron(e_pos, energies).item() == 0.25
    assert hinge(e_pos, e_neg).item() == 0.5
    assert log_loss(e_pos, e_neg).item() == pytest.approx(math.log(1 + math.exp(-0.5)), abs=1e-6)
    assert lvq2(e_neg, e_pos, delta=2.0).item() == 0.5
    assert minimum_classification_error(e_pos, e_neg).item() == pytest.approx(1 / (1 + math.exp(0.5)), abs=1e-6)
    assert square_square(e_pos, e_neg, margin=2.0).item() == 1.25
    assert square_exponential(e_pos, e_neg, gamma=2.0).item() == pytest.approx(0.25 + 2 * math.exp(-1), abs=1e-6)
    assert negative_log_likelihood(e_pos, energies).item() == pytest.approx(-p[0].log().item(), abs=1e-6)
    assert minimum_empirical_error(e_pos, energies).item() == pytest.approx(1 - p[0].item(), abs=1e-6)
    # as beta grows, the likelihood becomes the perceptron
    assert negative_log_likelihood(e_pos, energies, beta=1e4).item() == pytest.approx(0.25, abs=1e-3)


def test_which_losses_accept_a_flat_energy():
    """A flat energy is a minimum of the energy loss and of the perceptron; every other loss has a gradient or a cost there."""
    flat = torch.zeros(1)
    assert perceptron(flat, torch.zeros(1, 5)).item() == 0
    for loss in (hinge, log_loss, minimum_classification_error, square_square, square_exponential):
        assert loss(flat, flat).item() > loss(flat, flat + 5).item()


def test_the_family_refuses_bad_input():
    with pytest.raises(ValueError, match="margin > 0"):
        hinge(torch.zeros(1), torch.zeros(1), margin=0.0)
    with pytest.raises(ValueError, match="positive energies"):
        lvq2(torch.zeros(1), torch.zeros(1))
    with pytest.raises(ValueError, match="beta > 0"):
        negative_log_likelihood(torch.zeros(1), torch.zeros(1, 2), beta=0.0)
    with pytest.raises(ValueError, match="gamma > 0"):
        square_exponential(torch.zeros(1), torch.zeros(1), gamma=0.0)


def test_joint_energy_model_is_cross_entropy_plus_contrast():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    y = torch.tensor([0, 1])
    e_neg = torch.tensor([0.5])
    expected = nn.functional.cross_entropy(logits, y) - torch.logsumexp(logits, -1).mean() - 0.5
    assert joint_energy_model(logits, y, e_neg).item() == pytest.approx(expected.item(), abs=1e-6)


def test_vicreg_terms():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(500, 6, generator=g, dtype=D64)
    only = {"invariance": 0.0, "variance": 0.0, "covariance": 0.0}
    assert vicreg(a, a + 2, **{**only, "invariance": 1.0}).item() == pytest.approx(4.0)
    assert vicreg(a, a, **only).item() == 0
    doubled = torch.cat([a[:, :1]] * 6, 1)  # every coordinate the same: covariance sees it, variance does not
    c = a[:, 0].var().item() ** 2
    assert vicreg(doubled, doubled, **{**only, "covariance": 1.0}).item() == pytest.approx(2 * 5 * c, rel=1e-6)
    small = 0.1 * a
    expected = torch.relu(1 - (small.var(0) + 1e-4).sqrt()).mean().item()
    assert vicreg(small, small, **{**only, "variance": 1.0}).item() == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match="n >= 2"):
        vicreg(a[:1], a[:1])


class Free(Energy):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, 0.5]))

    def forward(self, x):
        return (self.w * x.square()).sum(-1)


def test_objectives_reach_the_parameters():
    for loss in (score_matching, sliced_score_matching, lambda e, x: denoising_score_matching(e, x, 0.3)):
        energy = Free()
        loss(energy, torch.randn(20, 2)).backward()
        assert energy.w.grad is not None and bool((energy.w.grad != 0).all())
