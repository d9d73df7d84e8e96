"""More right answers, each another way to the same number: with the reference and those in lessonNN.py at least four a problem."""

import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch.distributions import Categorical, Normal

from ebmlearn.functional import value_and_grad


def _jacobian_score(x):
    x = x.detach().clone().requires_grad_(True)
    return torch.autograd.grad(-0.5 * x.pow(2).sum(), x)[0]


def _descend_by_gradient(x, eta):
    return x - eta * value_and_grad(lambda y: 0.5 * y.square().sum(-1), x)[1]


def _log_partition_by_adding(energies, dx):
    total = torch.tensor(-math.inf, dtype=energies.dtype)
    for e in energies:
        total = torch.logaddexp(total, -e + math.log(dx))
    return total


def _ula_by_distribution(energy, x, eta):
    mean = x - eta * value_and_grad(energy, x)[1]
    return Normal(mean, math.sqrt(2 * eta)).sample()


def _mala_by_distributions(energy, x, y, eta):
    (ex, gx), (ey, gy) = value_and_grad(energy, x), value_and_grad(energy, y)
    scale = math.sqrt(2 * eta)
    back, there = Normal(y - eta * gy, scale).log_prob(x).sum(-1), Normal(x - eta * gx, scale).log_prob(y).sum(-1)
    return (back - ey) - (there - ex)


def _mala_in_a_loop(energy, x, y, eta):
    def one(a, b):
        (ea, ga), (eb, gb) = value_and_grad(energy, a[None]), value_and_grad(energy, b[None])
        gap = ((b - a + eta * ga[0]) ** 2).sum() - ((a - b + eta * gb[0]) ** 2).sum()
        return (ea - eb)[0] + gap / (4 * eta)

    return torch.stack([one(a, b) for a, b in zip(x, y)])


def _leapfrog_by_positions(grad, x, p, eps, steps):
    """Velocity Verlet: the position from the acceleration, the momentum from the mean of two."""
    acceleration = -grad(x)
    for _ in range(steps):
        x = x + eps * p + 0.5 * eps**2 * acceleration
        new = -grad(x)
        p, acceleration = p + 0.5 * eps * (acceleration + new), new
    return x, p


def _leapfrog_recursive(grad, x, p, eps, steps):
    def one(x, p, g):
        half = p - eps * g / 2
        x = x + eps * half
        g = grad(x)
        return x, half - eps * g / 2, g

    g = grad(x)
    for _ in range(steps):
        x, p, g = one(x, p, g)
    return x, p


def _rhat_by_numpy(x):
    a = x.detach().numpy()
    n = a.shape[0] // 2
    halves = np.stack([a[:n], a[n : 2 * n]]).transpose(0, 2, 1, 3).reshape(-1, n, a.shape[2])
    within = halves.var(axis=1, ddof=1).mean(0)
    return torch.from_numpy(np.sqrt((n - 1) / n + halves.mean(axis=1).var(axis=0, ddof=1) / within))


def _rhat_by_std(x):
    n = len(x) // 2
    halves = x[: 2 * n].reshape(2, n, x.shape[1], x.shape[2]).movedim(1, 2).reshape(-1, n, x.shape[2])
    w, b = halves.std(1).square().mean(0), n * halves.mean(1).std(0).square()
    return torch.sqrt(((n - 1) * w / n + b / n) / w)


def _persistent_with_copy(buffer, fresh, move):
    slots, chains = buffer.draw(fresh)
    moved = move(chains.clone())
    buffer.store(slots, moved.clone())
    return moved


def _persistent_index_only(buffer, fresh, move):
    drawn = buffer.draw(fresh)
    buffer.store(drawn[0], move(drawn[1]))
    return buffer.x[drawn[0]]


def _law_by_eigenvalues(M, p, k):
    values, right = torch.linalg.eig(M.T)
    coefficients = torch.linalg.solve(right, p.to(right.dtype))
    return (right @ (values**k * coefficients)).real


def _free_energy_enumerated(x, W, b, mu, log_var):
    z = torch.tensor(list(itertools.product([0.0, 1.0], repeat=W.shape[1])), dtype=x.dtype)
    s2 = log_var.exp()
    quadratic = 0.5 * ((x - mu) ** 2 / s2).sum(-1)
    return quadratic - torch.logsumexp((x / s2) @ W @ z.T + z @ b, -1)


def _free_energy_by_logaddexp(x, W, b, mu, log_var):
    a = torch.einsum("...d,dh->...h", x * torch.exp(-log_var), W) + b
    return ((x - mu) * torch.exp(-0.5 * log_var)).square().sum(-1) / 2 - torch.logaddexp(a, torch.zeros_like(a)).sum(-1)


def _memory_by_steps(eta, n_inner, variance, temperature):
    b, noise = torch.ones_like(variance), torch.zeros_like(variance)
    for _ in range(n_inner):
        shrink = 1 - eta / temperature / variance
        b, noise = shrink * b, shrink**2 * noise + 2 * eta
    return b, noise.sqrt()


def _memory_listed(eta, n_inner, variance, temperature):
    rows = [(1 - eta / (temperature * v.item()), v) for v in variance]
    b = torch.stack([torch.as_tensor(a, dtype=variance.dtype) ** n_inner for a, _ in rows])
    n = torch.stack([torch.as_tensor(2 * eta * sum(a ** (2 * k) for k in range(n_inner)), dtype=variance.dtype) for a, _ in rows])
    return b, n**0.5


def _weight_by_autograd(x_data, x_model, W, b, log_var):
    W = W.detach().clone().requires_grad_(True)

    def hidden(x):
        return F.softplus((x * torch.exp(-log_var)) @ W + b).sum(-1).mean()

    return torch.autograd.grad(hidden(x_model) - hidden(x_data), W)[0]


def _weight_by_einsum(x_data, x_model, W, b, log_var):
    def mean_of(x):
        y = x * torch.exp(-log_var)
        return torch.einsum("nd,nh->dh", y, torch.special.expit(y @ W + b)) / x.shape[0]

    return mean_of(x_model) - mean_of(x_data)


def _steer_in_loops(e, u, z, w):
    rows = [sum(w[k] * F.cosine_similarity(u[i], z[k], dim=0) for k in range(len(z))) for i in range(len(u))]
    return e - torch.stack(rows)


def _mmd_by_masks(kxx, kyy, kxy):
    off = lambda k: k[~torch.eye(len(k), dtype=torch.bool)].mean()
    return off(kxx) + off(kyy) - 2 * kxy.sum() / kxy.numel()


def _mmd_by_triangles(kxx, kyy, kxy):
    upper = lambda k: k[tuple(torch.triu_indices(len(k), len(k), offset=1))].mean()
    return upper(kxx) - 2 * kxy.mean(0).mean() + upper(kyy)


def _game_by_categorical(p, pi, energies, tau):
    q = Categorical(logits=-energies / tau)
    kl = torch.distributions.kl_divergence
    return kl(Categorical(probs=p), q) - kl(Categorical(probs=pi), q)


def _game_by_xlogy(p, pi, energies, tau):
    return (torch.xlogy(p, p) - torch.xlogy(pi, pi) + (p - pi) * energies / tau).sum()


def _critic_by_solving(p, pi, gamma):
    return torch.linalg.solve(torch.diag(2 * gamma * (p + pi)), pi - p)


def _critic_by_posterior(p, pi, gamma):
    return (0.5 - torch.sigmoid(p.log() - pi.log())) / gamma


def _backup_in_loops(cost, move, value, tau):
    rows = []
    for s in range(len(cost)):
        arms = torch.stack([-(cost[s, a] / tau + value[move[s, a]]) for a in range(cost.shape[1])])
        rows.append(-(arms.max() + torch.log(torch.exp(arms - arms.max()).sum())))
    return torch.stack(rows)


def _backup_by_policy(cost, move, value, tau):
    """The soft minimum is the expected cost under the Boltzmann policy minus its entropy."""
    q = cost / tau + value[move]
    pi = torch.softmax(-q, -1)
    return (pi * q).sum(-1) - torch.special.entr(pi).sum(-1)


def _pca_by_eigenvectors(x, data, k):
    centred = data - data.mean(0)
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    left_out = vectors[:, : data.shape[1] - k]
    return ((x - data.mean(0)) @ left_out).pow(2).sum(-1)


def _offending_by_sort(energies, answers, y, delta):
    order = energies.argsort(-1)
    far = ((answers - y[:, None]).abs() > delta).gather(-1, order)
    return energies.gather(-1, order).gather(-1, far.int().argmax(-1, keepdim=True)).squeeze(-1)


def _spread_by_pairs(z):
    n, d = z.shape
    c = z - z.mean(0)
    off = sum(((c[:, i] @ c[:, j]) / (n - 1)) ** 2 for i in range(d) for j in range(d) if i != j)
    return (1 - (z.var(0, unbiased=True) + 1e-4) ** 0.5).clamp(min=0).sum() / d, off / d


def _free_energy_by_adding(energies, beta):
    total = -beta * energies[..., 0]
    for k in range(1, energies.shape[-1]):
        total = torch.logaddexp(total, -beta * energies[..., k])
    return (math.log(energies.shape[-1]) - total) / beta


def _contrast_in_a_loop(p1, p2, tau):
    views = [v / v.norm() for v in [*p1, *p2]]
    b, total = len(p1), 0.0
    for i, v in enumerate(views):
        others = torch.stack([v @ w / tau for j, w in enumerate(views) if j != i])
        total = total + torch.logsumexp(others, 0) - v @ views[(i + b) % (2 * b)] / tau
    return total / (2 * b)


def _circle_by_integrate(e, u, beta):
    from scipy.integrate import quad

    angle = math.atan2(float(u[1]), float(u[0]))
    area, _ = quad(
        lambda t: math.exp(beta * (math.cos(t - angle) - 1)), angle - math.pi, angle + math.pi, limit=200, points=[angle]
    )
    return e - beta - math.log(area)


def _log_z_by_shares(log_w):
    n = len(log_w)
    p = torch.softmax(log_w, 0)  # shares of the points in Z
    value = torch.logsumexp(log_w - math.log(n), 0)
    return [value, ((n * p - 1).square().sum() / (n - 1) / n).sqrt(), 1 / p.square().sum()]


def _bridge_by_brent(w_a, w_b):
    from scipy.optimize import brentq

    a, b = w_a.numpy().astype(float), w_b.numpy().astype(float)
    gap = lambda r: float(
        np.sum(1 / (1 + np.exp(np.clip(a + r, -700, 700)))) - np.sum(1 / (1 + np.exp(np.clip(-b - r, -700, 700))))
    )
    edge = max(np.abs(a).max(), np.abs(b).max()) + 60
    return brentq(gap, -edge, edge, xtol=1e-12)


def _slope(energy, x):
    x = x.detach().requires_grad_(True)
    return torch.autograd.grad(energy(x).sum(), x, create_graph=True)[0]


def _sliced_by_hessians(energy, x, v):
    terms = []
    for point, direction in zip(x.detach(), v):
        hessian = torch.autograd.functional.hessian(lambda y: energy(y[None]).sum(), point, create_graph=True)
        terms.append(0.5 * _slope(energy, point[None]).square().sum() - direction @ hessian @ direction)
    return torch.stack(terms).mean()


def _sliced_by_vhp(energy, x, v):
    _, vh = torch.autograd.functional.vhp(lambda y: energy(y).sum(), x.detach(), v, create_graph=True)
    return torch.mean(0.5 * torch.linalg.vector_norm(_slope(energy, x), dim=-1) ** 2 - torch.einsum("nd,nd->n", vh, v))


def _denoising_expanded(energy, x, sigma, xi):
    g = _slope(energy, x + sigma * xi)
    return (0.5 * (g * g).sum(-1) - (g * xi).sum(-1) / sigma + 0.5 * (xi * xi).sum(-1) / sigma**2).mean()


def _denoising_by_mse(energy, x, sigma, xi):
    noisy = x + sigma * xi
    return 0.5 * x.shape[-1] * F.mse_loss(_slope(energy, noisy), (noisy - x) / sigma**2)


def _nce_by_classes(e_pos, e_neg, log_q_pos, log_q_neg, log_z):
    """Two classes with the prior shares n and m, as a classifier sees them."""
    n, m = len(e_pos), len(e_neg)
    model = torch.cat([-e_pos, -e_neg]) - log_z + math.log(n)
    noise = torch.cat([log_q_pos, log_q_neg]) + math.log(m)
    logits = torch.stack([noise, model], -1)
    labels = torch.cat([torch.ones(n, dtype=torch.long), torch.zeros(m, dtype=torch.long)])
    return F.cross_entropy(logits, labels, reduction="sum") / n


def _plan_in_a_loop(x, pair, goal, weight):
    total = weight * ((x[..., -1, :] - goal) ** 2).sum(-1)
    for t in range(x.shape[-2] - 1):
        total = total + pair(x[..., t, :], x[..., t + 1, :])
    return total


def _solved_by_counting(rate, m, replans):
    law = np.array([1.0])
    for _ in range(m):
        law = np.convolve(law, [1 - rate, rate])
    return float(law[: replans + 1].sum())


MORE = {
    "lesson00.bowl": [lambda x: torch.einsum("...i,...i->...", x, x) * 0.5],
    "lesson00.bowl_score": [_jacobian_score],
    "lesson00.descend": [_descend_by_gradient, lambda x, eta: torch.lerp(x, torch.zeros_like(x), eta)],
    "lesson01.boltzmann": [lambda e, t: Categorical(logits=-e / t).probs],
    "lesson01.log_partition": [_log_partition_by_adding, lambda e, dx: torch.logsumexp(math.log(dx) - e, 0)],
    "lesson01.energy_of_exp": [lambda y, energy: energy(y.log()) + math.log(10) * torch.log10(y).sum(-1)],
    "lesson02.infer": [lambda energy, x, c: torch.stack([c[energy(torch.stack([q.expand_as(c), c], -1)).argmin()] for q in x])],
    "lesson03.most_offending": [_offending_by_sort],
    "lesson03.pca_energy": [_pca_by_eigenvectors],
    "lesson03.spread_terms": [_spread_by_pairs],
    "lesson04.ula_step": [_ula_by_distribution],
    "lesson04.mala_log_ratio": [_mala_by_distributions, _mala_in_a_loop],
    "lesson04.temperature_of": [
        lambda eta, noise: (noise / math.sqrt(2 * eta)) ** 2,
        lambda eta, noise: 0.5 * noise * noise / eta,
    ],
    "lesson05.leapfrog": [_leapfrog_by_positions, _leapfrog_recursive],
    "lesson05.rhat": [_rhat_by_numpy, _rhat_by_std],
    "lesson05.swap_probability": [
        lambda a, b, cold, hot: torch.minimum(torch.exp((a - b) * (hot - cold) / (cold * hot)), torch.ones(())),
        lambda a, b, cold, hot: torch.where(a > b, torch.ones_like(a), torch.exp((a - b) / cold) / torch.exp((a - b) / hot)),
    ],
    "lesson06.log_z": [_log_z_by_shares],
    "lesson06.ais_log_weights": [
        lambda e0, e1, betas, log_z0: torch.as_tensor(betas, dtype=e0.dtype).diff() @ (e0 - e1) + log_z0,
    ],
    "lesson06.bridge": [_bridge_by_brent],
    "lesson07.after_steps": [_law_by_eigenvalues],
    "lesson07.persistent_step": [_persistent_with_copy, _persistent_index_only],
    "lesson08.sliced": [_sliced_by_hessians, _sliced_by_vhp],
    "lesson08.denoising": [_denoising_expanded, _denoising_by_mse],
    "lesson08.nce": [_nce_by_classes],
    "lesson09.zero_temperature": [lambda e, latents: (e.sort(-1).values[..., 0], latents[e.sort(-1).indices[..., 0]])],
    "lesson09.free_energy": [_free_energy_by_adding],
    "lesson09.variational_bound": [
        lambda e, q, beta: torch.einsum("...k,...k->...", q, e) - Categorical(probs=q).entropy() / beta
    ],
    "lesson10.either": [
        lambda e1, e2, z1, z2, share: -torch.logsumexp(torch.stack([math.log(share) - z1 - e1, math.log1p(-share) - z2 - e2]), 0)
    ],
    "lesson10.log_z_of_not": [
        lambda v1, v2, a: (
            float(Normal(0.0, (v1 * v2 / (v2 - a * v1)) ** 0.5).log_prob(torch.tensor(0.0)).neg()) if v2 > a * v1 else math.inf
        )
    ],
    "lesson10.noise_and_product": [
        lambda a, b, s: ((a + s) - (a + s) ** 2 / (a + b + 2 * s), a - a * a / (a + b) + s),
        lambda a, b, s: [((a + s) ** -1 + (b + s) ** -1) ** -1, (a**-1 + b**-1) ** -1 + s],
    ],
    "lesson11.free_energy": [_free_energy_enumerated, _free_energy_by_logaddexp],
    "lesson11.memory_and_noise": [_memory_by_steps, _memory_listed],
    "lesson11.weight_gradient": [_weight_by_autograd, _weight_by_einsum],
    "lesson12.contrast": [_contrast_in_a_loop],
    "lesson12.circle_free_energy": [_circle_by_integrate],
    "lesson12.steer": [
        _steer_in_loops,
        lambda e, u, z, w: e - (F.cosine_similarity(u[:, None], z[None], dim=-1) * w).sum(-1),
    ],
    "lesson13.unbiased_mmd": [_mmd_by_masks, _mmd_by_triangles],
    "lesson13.at_infinity": [
        lambda ns, values: np.polynomial.Polynomial.fit(1 / np.asarray(ns, float), values, 1).convert().coef[0]
    ],
    "lesson14.game_value": [_game_by_categorical, _game_by_xlogy],
    "lesson14.critic": [_critic_by_solving, _critic_by_posterior],
    "lesson14.soft_backup": [_backup_in_loops, _backup_by_policy],
    "lesson15.plan_energy": [_plan_in_a_loop],
    "lesson15.risk_cost": [lambda d, e, w: d + w * torch.log1p(torch.exp(-e.abs())) + w * e.clamp(min=0)],
    "lesson15.solved": [
        _solved_by_counting,
        lambda r, m, k: 1 - sum(math.comb(m, j) * r**j * (1 - r) ** (m - j) for j in range(k + 1, m + 1)),
    ],
}
