"""Right and plausible wrong answers to homework B."""

import math

import torch

from ebmlearn.energies import Gaussian
from ebmlearn.metrics import annealed_importance_sampling, importance_sampling, quadrature
from ebmlearn.samplers import HMC
from tests.checks_harness import Case


def _model(theta, t):
    return torch.softmax(t @ theta, 0)


def _nll_autograd(theta, t, p):
    leaf = theta.clone().requires_grad_(True)
    return torch.autograd.grad(-(p * torch.log_softmax(t @ leaf, 0)).sum(), leaf)[0]


def _after(p, M, k):
    for _ in range(k):
        p = p @ M
    return p


def _descend(t, p, *, steps=20_000, rate=0.2, sign=1.0, stop=None):
    theta = torch.zeros(t.shape[1], dtype=t.dtype)
    for _ in range(stop or steps):
        g = (_model(theta, t) - p) @ t
        theta = theta - sign * rate * g
        if g.norm() < 1e-7 or theta.norm() > 100:
            break
    return theta


def _lbfgs(t, p):
    theta = torch.zeros(t.shape[1], dtype=t.dtype, requires_grad=True)
    optimiser = torch.optim.LBFGS([theta], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = -(p * torch.log_softmax(t @ theta, 0)).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return theta.detach()


def _adam(t, p):
    theta = torch.zeros(t.shape[1], dtype=t.dtype, requires_grad=True)
    optimiser = torch.optim.Adam([theta], lr=0.05)
    for i in range(4000):
        optimiser.param_groups[0]["lr"] = 0.05 if i < 3000 else 0.002
        optimiser.zero_grad()
        (-(p * torch.log_softmax(t @ theta, 0)).sum()).backward()
        if theta.grad.norm() < 1e-6:
            break
        optimiser.step()
    return theta.detach()


def _score(scale=lambda s: s**2, width=lambda s: 2 * s**2, sign=1.0, dim=-1, subtract=True):
    def f(x, data, sigma):
        d = data - x[..., None, :]
        w = torch.softmax(-d.square().sum(-1) / width(sigma), dim)
        centre = (w[..., None] * (d if subtract else data)).sum(-2)
        return sign * centre / scale(sigma)

    return f


def _score_autograd(x, data, sigma):
    leaf = x.clone().requires_grad_(True)
    log_p = torch.logsumexp(-(leaf[..., None, :] - data).square().sum(-1) / (2 * sigma**2), -1)
    return torch.autograd.grad(log_p.sum(), leaf)[0]


def _score_mean(x, data, sigma):
    w = torch.softmax(-(torch.cdist(x.reshape(-1, x.shape[-1]), data) ** 2) / (2 * sigma**2), -1)
    return ((w @ data).reshape(x.shape) - x) / sigma**2


def _plain_exp(x, data, sigma):
    d = data - x[..., None, :]
    w = torch.exp(-d.square().sum(-1) / (2 * sigma**2))
    return (w[..., None] * d).sum(-2) / w.sum(-1, keepdim=True) / sigma**2


def _weighted(weights):
    return lambda e, g, beta: (weights(e, beta)[..., None] * g).sum(-2)


def _base(width):
    return Gaussian(torch.zeros(2, dtype=torch.float64), width)


def _is(energy, seed, *, width=6.0, n=100_000):
    return importance_sampling(energy, _base(width), n, generator=torch.Generator().manual_seed(seed))


def _ais(energy, seed):
    found = annealed_importance_sampling(
        energy,
        _base(4.0),
        kernel=HMC(step_size=0.2, n_leapfrog=2),
        betas=40,
        n=4000,
        generator=torch.Generator().manual_seed(seed),
    )
    return found.log_partition, found.standard_error


def _grid(energy, seed):
    fine, coarse = (quadrature(energy, low=-9, high=9, cells=c, dtype=torch.float64).log_partition for c in (400, 200))
    return float(fine), float((fine - coarse).abs()) + 1e-4


def _pair(value, error):
    def f(energy, seed):
        found = _is(energy, seed)
        return value(found), error(found)

    return f


def _narrow(energy, seed):
    found = _is(energy, seed, width=0.05, n=2000)
    return found.log_partition, found.standard_error.clamp(max=0.04)


CASES = {
    "nll_gradient": Case(
        right=[_nll_autograd, lambda theta, t, p: (t * (_model(theta, t) - p)[:, None]).sum(0)],
        wrong={
            "sign": lambda theta, t, p: (p - _model(theta, t)) @ t,
            "data only": lambda theta, t, p: -p @ t,
            "uniform model": lambda theta, t, p: (torch.ones(len(p)).to(p) / len(p) - p) @ t,
            "model of the other sign": lambda theta, t, p: (_model(-theta, t) - p) @ t,
            "unnormalised": lambda theta, t, p: ((t @ theta).exp() - p) @ t,
            "a mean over states": lambda theta, t, p: (_model(theta, t) - p) @ t / len(p),
        },
    ),
    "cd_direction": Case(
        right=[
            lambda theta, t, p, M, k: (p @ torch.linalg.matrix_power(M, k) - p) @ t,
            lambda theta, t, p, M, k: p @ torch.linalg.matrix_power(M, k) @ t - p @ t,
        ],
        wrong={
            "sign": lambda theta, t, p, M, k: (p - _after(p, M, k)) @ t,
            "other side": lambda theta, t, p, M, k: (torch.linalg.matrix_power(M, k) @ p - p) @ t,
            "the gradient": lambda theta, t, p, M, k: (_model(theta, t) - p) @ t if k else torch.zeros(3),
            "one step only": lambda theta, t, p, M, k: (_after(p, M, min(k, 1)) - p) @ t,
            "one step too many": lambda theta, t, p, M, k: (_after(p, M, k + 1) - p) @ t,
            "from the model": lambda theta, t, p, M, k: (_after(_model(theta, t), M, k) - p) @ t,
        },
    ),
    "fit": Case(
        right=[_lbfgs, _adam],
        wrong={
            "ten steps": lambda t, p: _descend(t, p, stop=10),
            "ascends": lambda t, p: _descend(t, p, sign=-1.0),
            "zero": lambda t, p: torch.zeros(t.shape[1]),
            "least squares on log p": lambda t, p: torch.linalg.lstsq(t, p.log()[:, None]).solution[:, 0],
            "the mean statistics": lambda t, p: p @ t,
        },
    ),
    "blurred_score": Case(
        right=[_score_autograd, _score_mean],
        wrong={
            "sign": _score(sign=-1.0),
            "over sigma": _score(scale=lambda s: s),
            "no sigma": _score(scale=lambda s: 1.0),
            "width sigma squared": _score(width=lambda s: s**2),
            "the mean, not the way to it": _score(subtract=False),
            "nearest point only": lambda x, data, s: (data[(data - x[..., None, :]).square().sum(-1).argmin(-1)] - x) / s**2,
            "underflows": _plain_exp,
        },
    ),
    "free_energy_gradient": Case(
        right=[
            lambda e, g, beta: torch.einsum("...k,...kd->...d", torch.softmax(-beta * e, -1), g),
            lambda e, g, beta: (torch.softmax(-beta * (e - e.amin(-1, keepdim=True)), -1).unsqueeze(-2) @ g).squeeze(-2),
        ],
        wrong={
            "sign of the weights": _weighted(lambda e, beta: torch.softmax(beta * e, -1)),
            "no beta": _weighted(lambda e, beta: torch.softmax(-e, -1)),
            "beta in front": lambda e, g, beta: beta * (torch.softmax(-beta * e, -1)[..., None] * g).sum(-2),
            "over beta": lambda e, g, beta: (torch.softmax(-beta * e, -1)[..., None] * g).sum(-2) / beta,
            "plain mean": lambda e, g, beta: g.mean(-2),
            "the best latent": lambda e, g, beta: torch.take_along_dim(g, e.argmin(-1)[..., None, None], -2).squeeze(-2),
            "overflows": lambda e, g, beta: (((-beta * e).exp() / (-beta * e).exp().sum(-1, keepdim=True))[..., None] * g).sum(
                -2
            ),
            "the score": lambda e, g, beta: -(torch.softmax(-beta * e, -1)[..., None] * g).sum(-2),
        },
    ),
    "log_partition": Case(
        right=[_ais, _grid],
        wrong={
            "sign": _pair(lambda z: -z.log_partition, lambda z: z.standard_error),
            "Z": _pair(lambda z: z.log_partition.exp(), lambda z: z.standard_error),
            "no base": lambda energy, seed: (_is(energy, seed).log_partition - math.log(2 * math.pi * 6), 0.01),
            "no error": lambda energy, seed: (_is(energy, seed, n=3000).log_partition, 0.0),
            "huge error": _pair(lambda z: z.log_partition, lambda z: z.standard_error + 0.3),
            "too narrow a base": _narrow,
            "only the value": lambda energy, seed: _is(energy, seed).log_partition,
            "seed unused": lambda energy, seed: _pair(lambda z: z.log_partition, lambda z: z.standard_error)(
                energy, int(torch.randint(10**6, ()))
            ),
        },
    ),
}
