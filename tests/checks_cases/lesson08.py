"""Right and plausible wrong answers to the exercises of lesson 08."""

import math

import torch
import torch.nn.functional as F

from ebmlearn.objectives import noise_contrastive
from tests.checks_harness import Case


def _grad(energy, x):
    x = x.detach().requires_grad_(True)
    (g,) = torch.autograd.grad(energy(x).sum(), x, create_graph=True)
    return x, g


def _sliced(energy, x, v, *, sign=-1.0, half=0.5, trace_mean=False, graph=True, with_hessian=True):
    x, g = _grad(energy, x)
    (hv,) = torch.autograd.grad((g * v).sum(), x, create_graph=graph)
    quadratic = (hv * v if with_hessian else g * v).sum(-1)
    if trace_mean:
        quadratic = quadratic / x.shape[-1]
    norm = g.square().sum(-1) if graph else g.detach().square().sum(-1)
    return (sign * quadratic + half * norm).mean()


def _sliced_hvp(energy, x, v):
    total = lambda y: energy(y).sum()
    _, hv = torch.autograd.functional.hvp(total, x, v, create_graph=True)
    _, g = _grad(energy, x)
    return (0.5 * g.square().sum(-1) - (v * hv).sum(-1)).mean()


def _sliced_by_hessian(energy, x, v):
    """The whole Hessian of each point."""
    values = []
    for point, direction in zip(x, v):
        h = torch.autograd.functional.hessian(lambda y: energy(y[None]).sum(), point, create_graph=True)
        _, g = _grad(energy, point[None])
        values.append(g.square().sum() / 2 - direction @ h @ direction)
    return torch.stack(values).mean()


def _denoising(energy, x, sigma, xi, *, target=None, at=None, half=0.5, mean=False):
    _, g = _grad(energy, x + sigma * xi if at is None else at)
    square = (g - (xi / sigma if target is None else target)).square()
    return half * (square.mean(-1) if mean else square.sum(-1)).mean()


def _denoising_expanded(energy, x, sigma, xi):
    """The square multiplied out, one gradient a point."""
    noisy, g = _grad(energy, x + sigma * xi)
    terms = g.pow(2) - 2 * g * xi / sigma + xi.pow(2) / sigma**2
    return terms.sum() / (2 * len(noisy))


def _nce(e_pos, e_neg, lq_pos, lq_neg, log_z, *, nu_in_g=1.0, weight=True, z_sign=1.0, q_sign=1.0, stable=True):
    nu = len(e_neg) / len(e_pos)
    g = lambda e, lq: -e - z_sign * log_z - q_sign * lq - nu_in_g * math.log(nu)
    minus_log = F.softplus if stable else (lambda a: -torch.log(torch.sigmoid(-a)))
    return minus_log(-g(e_pos, lq_pos)).mean() + (nu if weight else 1.0) * minus_log(g(e_neg, lq_neg)).mean()


def _cross_entropy(e_pos, e_neg, lq_pos, lq_neg, log_z):
    nu = len(e_neg) / len(e_pos)
    g = torch.cat([-e_pos - log_z - lq_pos, -e_neg - log_z - lq_neg]) - math.log(nu)
    label = torch.cat([torch.ones_like(e_pos), torch.zeros_like(e_neg)])
    return F.binary_cross_entropy_with_logits(g, label, reduction="sum") / len(e_pos)


CASES = {
    "sliced": Case(
        right=[_sliced_hvp, _sliced_by_hessian],
        wrong={
            "sign of the trace": lambda e, x, v: _sliced(e, x, v, sign=1.0),
            "no half": lambda e, x, v: _sliced(e, x, v, half=1.0),
            "trace divided by the dimension": lambda e, x, v: _sliced(e, x, v, trace_mean=True),
            "gradient, not Hessian, along v": lambda e, x, v: _sliced(e, x, v, with_hessian=False),
            "no graph": lambda e, x, v: _sliced(e, x, v).detach(),
            "half a graph": lambda e, x, v: _sliced(e, x, v, graph=False),
            "sum over points": lambda e, x, v: len(x) * _sliced(e, x, v),
        },
    ),
    "denoising": Case(
        right=[_denoising, _denoising_expanded],
        wrong={
            "sign of the target": lambda e, x, s, xi: _denoising(e, x, s, xi, target=-xi / s),
            "sigma on the wrong side": lambda e, x, s, xi: _denoising(e, x, s, xi, target=s * xi),
            "target divided by the variance": lambda e, x, s, xi: _denoising(e, x, s, xi, target=xi / s**2),
            "gradient at the clean point": lambda e, x, s, xi: _denoising(e, x, s, xi, at=x),
            "no half": lambda e, x, s, xi: _denoising(e, x, s, xi, half=1.0),
            "mean over coordinates": lambda e, x, s, xi: _denoising(e, x, s, xi, mean=True),
            "noise of variance sigma": lambda e, x, s, xi: _denoising(e, x, s, xi, at=x + s**0.5 * xi),
            "no graph": lambda e, x, s, xi: _denoising(e, x, s, xi).detach(),
        },
    ),
    "nce": Case(
        right=[noise_contrastive, _cross_entropy],
        wrong={
            "no log nu": lambda *a: _nce(*a, nu_in_g=0.0),
            "sign of log nu": lambda *a: _nce(*a, nu_in_g=-1.0),
            "no weight nu": lambda *a: _nce(*a, weight=False),
            "sign of log Z": lambda *a: _nce(*a, z_sign=-1.0),
            "sign of log q": lambda *a: _nce(*a, q_sign=-1.0),
            "no noise density": lambda *a: _nce(*a, q_sign=0.0),
            "overflow": lambda *a: _nce(*a, stable=False),
        },
    ),
}
