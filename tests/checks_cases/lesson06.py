"""Right and plausible wrong answers to the exercises of lesson 06."""

import math

import torch

from ebmlearn.functional import log_mean_exp
from tests.checks_harness import Case


def _triple(value=log_mean_exp, error=None, ess=None):
    def f(log_w):
        z = value(log_w, 0)
        v = (log_w - log_mean_exp(log_w, 0)).exp()
        default = v.std() / math.sqrt(len(v))
        return z, default if error is None else error(v, log_w), v.sum() ** 2 / (v * v).sum() if ess is None else ess(v)

    return f


def _overflows(log_w):
    w = log_w.exp()
    return w.mean().log(), w.std() / w.mean() / math.sqrt(len(w)), w.sum() ** 2 / (w * w).sum()


def _by_the_largest(log_w):
    top = log_w.max()
    w = (log_w - top).exp()
    mean, n = w.mean(), len(w)
    error = (((w - mean) ** 2).sum() / (n - 1) / n).sqrt() / mean
    return top + mean.log(), error, n / (w / mean).square().mean()


def _running(log_w):
    total = squares = torch.tensor(-math.inf, dtype=log_w.dtype)
    for a in log_w:
        total, squares = torch.logaddexp(total, a), torch.logaddexp(squares, 2 * a)
    n, worth = len(log_w), torch.exp(2 * total - squares)
    return total - math.log(n), ((n / worth - 1).clamp(min=0) / (n - 1)).sqrt(), worth


def _by_differences_of_energies(e0, e1, betas, log_z0):
    b = torch.as_tensor(betas, dtype=e0.dtype)[:, None]
    path = (1 - b[:-1]) * e0 + b[:-1] * e1, (1 - b[1:]) * e0 + b[1:] * e1
    return torch.einsum("kn->n", path[0] - path[1]) + log_z0


def _weights(step=lambda b: b[1:] - b[:-1], sign=1.0, base=1.0, reduce=lambda a: a.sum(0)):
    def f(e0, e1, betas, log_z0):
        b = torch.as_tensor(betas, dtype=e0.dtype)
        return base * log_z0 + sign * reduce(step(b)[:, None] * (e0 - e1))

    return f


def _loop(e0, e1, betas, log_z0):
    out = torch.full_like(e0[0], log_z0)
    for k in range(len(e0)):
        before = (1 - betas[k]) * e0[k] + betas[k] * e1[k]
        after = (1 - betas[k + 1]) * e0[k] + betas[k + 1] * e1[k]
        out = out + before - after
    return out


def _newton_like(w_a, w_b):
    r = -torch.cat([w_a, w_b]).median()
    for _ in range(500):
        left, right = torch.sigmoid(-(w_a + r)).sum(), torch.sigmoid(w_b + r).sum()
        r = r + torch.log(left / right)
    return r


def _forward(w_a, w_b):
    return torch.logsumexp(-w_a, 0) - math.log(len(w_a))


def _backward(w_a, w_b):
    return math.log(len(w_b)) - torch.logsumexp(w_b, 0)


CASES = {
    "log_z": Case(
        right=[_by_the_largest, _running],
        wrong={
            "mean of the logs": _triple(value=lambda a, dim: a.mean(dim)),
            "no n": _triple(value=lambda a, dim: torch.logsumexp(a, dim)),
            "overflow": _overflows,
            "error of Z, not of log Z": _triple(error=lambda v, log_w: log_w.exp().std() / math.sqrt(len(log_w))),
            "spread, not error": _triple(error=lambda v, log_w: v.std()),
            "error of the mean log weight": _triple(error=lambda v, log_w: log_w.std() / math.sqrt(len(log_w))),
            "effective number without square": _triple(ess=lambda v: v.sum() / (v * v).sum()),
            "effective number from the largest": _triple(ess=lambda v: v.sum() / v.max()),
            "effective share": _triple(ess=lambda v: v.mean() ** 2 / (v * v).mean()),
            "log Z only": lambda log_w: log_mean_exp(log_w, 0),
        },
    ),
    "ais_log_weights": Case(
        right=[_loop, _by_differences_of_energies],
        wrong={
            "sign": _weights(sign=-1.0),
            "no log Z of the base": _weights(base=0.0),
            "log Z of the base subtracted": _weights(base=-1.0),
            "equal steps": _weights(step=lambda b: torch.full((len(b) - 1,), 1 / (len(b) - 1), dtype=b.dtype)),
            "beta for its step": _weights(step=lambda b: b[1:]),
            "mean for sum": _weights(reduce=lambda a: a.mean(0)),
            "summed over walks": _weights(reduce=lambda a: a.sum(1) if a.shape[0] == a.shape[1] else a.sum().expand(a.shape[1])),
            "weights, not their logs": lambda *a: _weights()(*a).exp(),
            "the target's energy only": lambda e0, e1, b, z: _weights()(0 * e0, e1, b, z),
        },
    ),
    "bridge": Case(
        right=[_newton_like, lambda a, b: torch.tensor(float(_newton_like(a, b)))],
        wrong={
            "points of a only": _forward,
            "points of b only": _backward,
            "average of both ways": lambda a, b: 0.5 * (_forward(a, b) + _backward(a, b)),
            "sign": lambda a, b: -_newton_like(a, b),
            "ratio, not its log": lambda a, b: float(_newton_like(a, b).clamp(max=50).exp()),
            "mean of W": lambda a, b: -torch.cat([a, b]).mean(),
            "sign of W": lambda a, b: _newton_like(-a, -b),
        },
    ),
}
