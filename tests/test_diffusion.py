"""The diffusion sampler as a policy: path densities, backward kernels and the path weight, against known answers."""

import math

import pytest
import torch
from torch import nn

from ebmlearn.networks import StepMLP, UNet
from ebmlearn.objectives import path_log_weight
from ebmlearn.samplers.diffusion import Backward, DiffusionSampler, cosine_alpha_bar, gaussian_log_prob, spaced

DOUBLE = torch.float64


class GaussianNoise(nn.Module):
    """The exact eps for data N(0, s² I): E[eps | x_k] = sqrt(1 - abar) x / (abar s² + 1 - abar)."""

    def __init__(self, table, s):
        super().__init__()
        self.register_buffer("table", torch.tensor(table))
        self.s = s

    def forward(self, x, level):
        bar = self.table.to(x)[level]
        bar = bar.reshape(bar.shape + (1,) * (x.ndim - bar.ndim))
        return (1 - bar).sqrt() * x / (bar * self.s**2 + 1 - bar)


def small(steps=3, dim=2, table=None, **kw):
    """A sampler of an untrained network; a mild table keeps its paths near the origin, so that grids hold their mass."""
    torch.manual_seed(1)
    net = StepMLP(dim, dim, n_steps=steps + 1, hidden_features=(16, 16))
    table = table or tuple(1 - 0.6 * k / steps for k in range(steps + 1))
    return DiffusionSampler(net, event_shape=(dim,), table=table, **kw).double()


@pytest.mark.parametrize("steps", [1, 3, 5, 10, 100, 1000])
def test_alpha_bar_falls_from_one(steps):
    bars = cosine_alpha_bar(steps)
    assert len(bars) == steps + 1 and bars[0] == 1 and bars[-1] == 1e-3
    assert all(a >= b > 0 for a, b in zip(bars, bars[1:]))
    levels = spaced(min(steps, 3), steps)
    assert levels[0] == 0 and levels[-1] == steps


def test_starting_sigmas_are_those_of_the_posterior():
    sigma = small(5, table=cosine_alpha_bar(5)).log_sigma.exp()
    bar = torch.tensor(cosine_alpha_bar(5), dtype=DOUBLE)
    assert sigma[0].item() == pytest.approx(0.1)
    for k in range(2, 6):
        expected = (1 - bar[k - 1]) / (1 - bar[k]) * (1 - bar[k] / bar[k - 1])
        assert sigma[k - 1].item() == pytest.approx(expected.sqrt().item(), rel=1e-6)


def test_mean_is_the_ddpm_formula():
    """mu = (x - (1 - alpha)/sqrt(1 - abar) eps)/sqrt(alpha): the usual form of what we write through x_0."""
    pi = small(4)
    x = torch.randn(6, 2, dtype=DOUBLE)
    for k in range(1, 5):
        level = torch.tensor(k)
        bar, before = pi.alpha_bar[k], pi.alpha_bar[k - 1]
        alpha = bar / before
        expected = (x - (1 - alpha) / (1 - bar).sqrt() * pi.net(x, level)) / alpha.sqrt()
        assert torch.allclose(pi.mean(x, level), expected, atol=1e-10)


def test_path_reports_its_own_density(generator):
    pi = small(4)
    path = pi.path(11, generator=generator)
    assert path.x.shape == (5, 11, 2) and path.log_policy.shape == (4, 11)
    assert torch.allclose(pi.log_policy(path.x), path.log_policy, atol=1e-8)
    by_hand = gaussian_log_prob(path.x[-1], torch.zeros(2, dtype=DOUBLE), torch.zeros(2, dtype=DOUBLE), 1)
    for k in range(1, 5):
        mean, sigma = pi.mean(path.x[k], torch.tensor(k)), pi.log_sigma[k - 1].exp()
        by_hand = by_hand + torch.distributions.Normal(mean, sigma).log_prob(path.x[k - 1]).sum(-1)
    assert torch.allclose(path.log_prob, by_hand, atol=1e-8)


def test_path_density_against_quadrature():
    """One dimension, two steps: exp(log_prob) integrates to one over the three positions of a path."""
    pi = small(2, dim=1, last_sigma=0.5)
    a = torch.linspace(-9, 9, 81, dtype=DOUBLE)
    h = (a[1] - a[0]).item()
    x = torch.stack([g.reshape(-1, 1) for g in torch.meshgrid(a, a, a, indexing="ij")])
    with torch.no_grad():
        log_p = pi.log_start(x[2]) + pi.log_policy(x).sum(0)
    assert math.log((log_p.exp().sum() * h**3).item()) == pytest.approx(0, abs=2e-4)


def test_samples_have_the_path_marginal(generator):
    """The histogram of x_0 against the marginal by quadrature; every bin within 5 binomial standard errors."""
    pi = small(2, dim=1, last_sigma=0.5)
    a = torch.linspace(-7, 7, 141, dtype=DOUBLE)
    h = (a[1] - a[0]).item()
    with torch.no_grad():
        x2, x1 = (g.reshape(-1, 1) for g in torch.meshgrid(a, a, indexing="ij"))
        joint = (pi.log_start(x2) + pi.log_step(x2, x1, torch.tensor(2))).exp().reshape(141, 141).sum(0) * h
        x1, x0 = (g.reshape(-1, 1) for g in torch.meshgrid(a, a, indexing="ij"))
        marginal = (joint[:, None] * pi.log_step(x1, x0, torch.tensor(1)).exp().reshape(141, 141)).sum(0) * h
    x = pi.sample(40_000, generator=generator).squeeze(-1)
    cdf = torch.cumsum(marginal, 0) * h
    for i in range(20, 121, 10):
        p = (cdf[i] - 0.5 * h * marginal[i]).item()
        seen = (x < a[i]).double().mean().item()
        assert abs(seen - p) < 5 * math.sqrt(p * (1 - p) / 40_000) + 1e-3


def test_entropies():
    pi = small(3)
    for k, h in enumerate(pi.entropies()):
        normal = torch.distributions.Normal(torch.zeros(2, dtype=DOUBLE), pi.log_sigma[k].exp())
        assert h.item() == pytest.approx(normal.entropy().sum().item())


def test_exact_noise_network_recovers_a_gaussian(generator):
    """With the exact eps of N(0, s²) and many steps the ancestral and the deterministic sampler return N(0, s²)."""
    s, steps = 0.5, 200
    table = cosine_alpha_bar(steps)
    pi = DiffusionSampler(GaussianNoise(table, s), event_shape=(1,), table=table, last_sigma=0.01).double()
    for draw in (pi.sample, pi.ddim):
        x = draw(20_000, generator=generator)
        assert abs(x.var().item() - s**2) < 5 * s**2 * math.sqrt(2 / 20_000) + 0.01
    assert pi.with_steps(2).sample(20_000, generator=generator).var().item() < s**2 - 0.01  # few steps, too narrow


def test_denoising_loss_of_the_exact_network(generator):
    """E|eps - eps(x)|² at level k is abar s² / (abar s² + 1 - abar); the loss is its mean over levels."""
    s, table = 0.5, cosine_alpha_bar(10)
    pi = DiffusionSampler(GaussianNoise(table, s), event_shape=(1,), table=table).double()
    x = s * torch.randn(200_000, 1, dtype=DOUBLE, generator=generator)
    bars = torch.tensor(table[1:], dtype=DOUBLE)
    expected = (bars * s**2 / (bars * s**2 + 1 - bars)).mean().item()
    assert abs(pi.denoising_loss(x, generator=generator).item() - expected) < 5 * 1.5 / math.sqrt(200_000)


def test_short_sampler_shares_the_network():
    pi = DiffusionSampler(StepMLP(2, 2, n_steps=101), event_shape=(2,), table=cosine_alpha_bar(100))
    short = pi.with_steps(5)
    assert short.net is pi.net and short.steps == 5 and short.levels.tolist() == [0, 20, 40, 60, 80, 100]
    assert torch.equal(short.alpha_bar, pi.table[short.levels])


@pytest.mark.parametrize("walk", [False, True])
def test_backward_kernels_are_normalised(walk):
    alpha_bar = torch.tensor(cosine_alpha_bar(3), dtype=DOUBLE)
    nets = [None] if walk else [None, StepMLP(1, 2, n_steps=4, hidden_features=(8,)).double()]
    a = torch.linspace(-9, 9, 901, dtype=DOUBLE)
    for net in nets:
        q = Backward(alpha_bar, event_shape=(1,), net=net, walk=walk)
        clean = torch.full((3, 901, 1), 0.7, dtype=DOUBLE)
        mass = q.log_step(clean, a[None, :, None].expand(3, 901, 1)).exp().sum(-1) * (a[1] - a[0])
        assert torch.allclose(mass, torch.ones(3, dtype=DOUBLE), atol=1e-4)


def test_fixed_backward_kernel_is_the_noising_step():
    alpha_bar = torch.tensor(cosine_alpha_bar(3), dtype=DOUBLE)
    x = torch.randn(4, 5, 2, dtype=DOUBLE)
    got = Backward(alpha_bar, event_shape=(2,))(x)
    for k in range(1, 4):
        alpha = alpha_bar[k] / alpha_bar[k - 1]
        normal = torch.distributions.Normal(alpha.sqrt() * x[k - 1], (1 - alpha).sqrt())
        assert torch.allclose(got[k - 1], normal.log_prob(x[k]).sum(-1), atol=1e-9)


@pytest.mark.parametrize("kind", ["forward", "walk", "net"])
def test_mean_path_weight_is_the_partition_function(kind, generator):
    """E_pi[w] = Z for any backward kernel, and E_pi[log w] <= log Z; E = x²/2 in one dimension, Z = sqrt(2 pi)."""
    pi = small(2, dim=1, last_sigma=0.8)
    with torch.no_grad():
        pi.log_sigma.copy_(torch.tensor([0.9, 1.3]).log())
    net = StepMLP(1, 2, n_steps=3, hidden_features=(8,)).double() if kind == "net" else None
    q = Backward(pi.alpha_bar, event_shape=(1,), net=net, walk=kind == "walk")
    with torch.no_grad():
        path = pi.path(200_000, generator=generator)
        log_w = path_log_weight(0.5 * path.x[0].square().sum(-1), q(path.x).sum(0), path.log_prob)
    z = math.sqrt(2 * math.pi)
    w = log_w.exp()
    assert abs(w.mean().item() - z) < 5 * w.std().item() / math.sqrt(len(w))
    assert w.std().item() / math.sqrt(len(w)) < 0.1 * z
    assert log_w.mean().item() <= math.log(z)


def test_weight_is_constant_under_the_true_posterior(generator):
    """One linear-Gaussian step with its own posterior as q and E = -log pi(x_0) + c: log w = -c on every path."""
    table = cosine_alpha_bar(1)
    pi = DiffusionSampler(GaussianNoise(table, 0.5), event_shape=(1,), table=table, last_sigma=0.4).double()
    path = pi.path(100, generator=generator)
    with torch.no_grad():
        one = torch.tensor(1)
        slope = (pi.mean(torch.ones(1, 1, dtype=DOUBLE), one) - pi.mean(torch.zeros(1, 1, dtype=DOUBLE), one)).item()
        var = slope**2 + 0.16
        x0, x1 = path.x[0], path.x[1]
        posterior = torch.distributions.Normal(slope * x0 / var, math.sqrt(0.16 / var))
        energy = -torch.distributions.Normal(0.0, math.sqrt(var)).log_prob(x0).sum(-1) + 1.7
        log_w = path_log_weight(energy, posterior.log_prob(x1).sum(-1), path.log_prob)
    assert torch.allclose(log_w, torch.full_like(log_w, -1.7), atol=1e-9)


def test_path_divergence_bounds_the_marginal_one():
    """Two linear-Gaussian steps, E = k x²/2: KL(path || target path) >= KL(pi(x_0) || p), both in closed form."""
    a, s, kappa = (0.8, 0.6), (0.5, 0.7), 2.0  # x_{k-1} = a_k x_k + s_k eps; x_2 ~ N(0, 1)
    v1 = a[1] ** 2 + s[1] ** 2
    v0 = a[0] ** 2 * v1 + s[0] ** 2
    marginal = 0.5 * (kappa * v0 - 1 - math.log(kappa * v0))

    def path_kl(slopes, stds):  # q(x_1 | x_0), q(x_2 | x_1) linear-Gaussian
        entropy = 0.5 * (3 * math.log(2 * math.pi * math.e) + math.log(s[0] ** 2 * s[1] ** 2))
        cross = 0.5 * kappa * v0 - 0.5 * math.log(kappa / (2 * math.pi))
        for slope, std, low, high, cov in ((slopes[0], stds[0], v0, v1, a[0] * v1), (slopes[1], stds[1], v1, 1.0, a[1])):
            cross += 0.5 * math.log(2 * math.pi * std**2) + (high - 2 * slope * cov + slope**2 * low) / (2 * std**2)
        return cross - entropy

    best = ((a[0] * v1 / v0, a[1] / v1), (math.sqrt(v1 - (a[0] * v1) ** 2 / v0), math.sqrt(1 - a[1] ** 2 / v1)))
    assert path_kl(*best) == pytest.approx(marginal, abs=1e-12)
    for slopes, stds in (((1.0, 1.0), (0.5, 0.7)), ((0.5, 0.5), (1.0, 1.0)), ((best[0][0], 0.1), best[1])):
        assert path_kl(slopes, stds) > marginal + 1e-3


def test_gradients_of_a_path(generator):
    """log pi of a stored path has gradients in the policy; the path itself is a constant; a drawn path is reparametrised."""
    pi = small(2)
    with torch.no_grad():
        path = pi.path(5, generator=generator)
    pi.log_policy(path.x).sum().backward()
    assert pi.log_sigma.grad.abs().min() > 0 and all(p.grad is not None for p in pi.net.output.parameters())
    pi.zero_grad()
    pi.path(5, generator=generator).x[0].sum().backward()
    assert pi.log_sigma.grad.abs().min() > 0


def test_guidance_lowers_the_value(generator):
    pi = small(3)
    energy = lambda x: 0.5 * (x - 2).square().sum(-1)
    plain = energy(pi.sample(4000, generator=torch.Generator().manual_seed(1)))
    guided = energy(pi.sample(4000, generator=torch.Generator().manual_seed(1), guidance=0.3, value=lambda x, k: energy(x)))
    se = math.sqrt(plain.var().item() / 4000 + guided.var().item() / 4000)
    assert plain.mean().item() - guided.mean().item() > 5 * se
    with pytest.raises(ValueError, match="value function"):
        pi.sample(2, guidance=1.0)


def test_same_seed_same_path():
    pi = small(3)
    a, b = (pi.path(4, generator=torch.Generator().manual_seed(3)).x for _ in range(2))
    assert torch.equal(a, b)


def test_images(generator):
    net = UNet(width=8, multipliers=(1, 2))
    pi = DiffusionSampler(net, event_shape=(1, 8, 8), table=cosine_alpha_bar(50), levels=spaced(4, 50), clip=1.0)
    path = pi.path(3, generator=generator)
    assert path.x.shape == (5, 3, 1, 8, 8)
    assert torch.allclose(pi.log_policy(path.x), path.log_policy, atol=1e-3)
    assert pi.predict_clean(5 * path.x[0], torch.tensor(4)).abs().max() <= 1
    assert Backward(pi.alpha_bar, event_shape=(1, 8, 8), net=UNet(width=8, multipliers=(1, 2), out_channels=2))(path.x).shape == (
        4,
        3,
    )


def test_errors():
    net = StepMLP(2, 2, n_steps=6)
    with pytest.raises(ValueError, match="falls from 1"):
        DiffusionSampler(net, event_shape=(2,), table=(0.9, 0.5))
    with pytest.raises(ValueError, match="rise from 0"):
        DiffusionSampler(net, event_shape=(2,), table=cosine_alpha_bar(5), levels=(0, 9))
    with pytest.raises(ValueError, match="last_sigma > 0"):
        DiffusionSampler(net, event_shape=(2,), table=cosine_alpha_bar(5), last_sigma=0.0)
    pi = DiffusionSampler(net, event_shape=(2,), table=cosine_alpha_bar(5))
    with pytest.raises(ValueError, match="6 levels first"):
        pi.log_policy(torch.zeros(4, 3, 2))
    with pytest.raises(ValueError, match="expected x of shape"):
        pi.mean(torch.zeros(4, 3), torch.tensor(1))
    with pytest.raises(ValueError, match="takes no net"):
        Backward(pi.alpha_bar, event_shape=(2,), net=net, walk=True)
    with pytest.raises(ValueError, match="steps >= 1"):
        cosine_alpha_bar(0)
    with pytest.raises(ValueError, match="<= 3"):
        spaced(4, 3)
