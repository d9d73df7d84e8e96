"""Right and plausible wrong answers to the exercises of lesson 11."""

import torch
from torch.nn.functional import softplus

from tests.checks_harness import Case


def _free(x, W, b, mu, log_var, *, divide=True, sign=-1.0, half=0.5, act=softplus, with_b=True, centred=False, std=False):
    s2 = (log_var if not std else 0.5 * log_var).exp()
    y = (x - mu if centred else x) / s2 if divide else x
    a = y @ W + (b if with_b else 0)
    return half * ((x - mu) ** 2 / s2).sum(-1) + sign * act(a).sum(-1)


def _overflow(x, W, b, mu, log_var):
    s2 = log_var.exp()
    return 0.5 * ((x - mu) ** 2 / s2).sum(-1) - torch.log(1 + torch.exp((x / s2) @ W + b)).sum(-1)


def _stable(x, W, b, mu, log_var):
    s2 = log_var.exp()
    a = (x / s2) @ W + b
    return 0.5 * ((x - mu) ** 2 / s2).sum(-1) - torch.logaddexp(a, torch.zeros_like(a)).sum(-1)


def _coefficients(eta, k, v, t, *, first=1.0, power=2, noise=2.0, use_t=True, root=True, terms=None, last=False):
    a = 1 - eta / ((t if use_t else 1.0) * v)
    powers = [a ** (power * i) for i in range(terms(k) if terms else k)]
    total = noise * eta * (torch.stack(powers).sum(0) if not last else torch.ones_like(a))
    return first * a**k, total.sqrt() if root else total


def _closed(eta, k, v, t):
    a = 1 - eta / (t * v)
    return a**k, (2 * eta * (1 - a ** (2 * k)) / (1 - a**2)).sqrt()


def _weight(x, y, W, b, log_var, *, sign=1.0, divide=True, mean=len, other=None, act=torch.sigmoid):
    def part(u, n):
        v = u / log_var.exp() if divide else u
        return -v.T @ act(v @ W + b) / n

    return sign * (part(x, mean(x)) - part(y, mean(y) if other is None else other(x)))


CASES = {
    "free_energy": Case(
        right=[_stable],
        wrong={
            "x is not divided by s²": lambda *p: _free(*p, divide=False),
            "plus softplus": lambda *p: _free(*p, sign=1.0),
            "no half": lambda *p: _free(*p, half=1.0),
            "min over z instead of a sum": lambda *p: _free(*p, act=torch.relu),
            "hidden bias forgotten": lambda *p: _free(*p, with_b=False),
            "x - mu in the coupling": lambda *p: _free(*p, centred=True),
            "standard deviation for variance": lambda *p: _free(*p, std=True),
            "log(1 + exp(a)) overflows": _overflow,
            "summed over the batch": lambda *p: _free(*p).sum(),
        },
    ),
    "memory_and_noise": Case(
        right=[_closed],
        wrong={
            "no temperature": lambda *p: _coefficients(*p, use_t=False),
            "a instead of a² in the noise": lambda *p: _coefficients(*p, power=1),
            "the variance, not its root": lambda *p: _coefficients(*p, root=False),
            "eta for 2 eta": lambda *p: _coefficients(*p, noise=1.0),
            "only the last step's noise": lambda *p: _coefficients(*p, last=True),
            "one term too many": lambda *p: _coefficients(*p, terms=lambda k: k + 1),
            "the sign of b": lambda *p: _coefficients(*p, first=-1.0),
            "b alone": lambda *p: _coefficients(*p)[0],
        },
    ),
    "weight_gradient": Case(
        right=[lambda x, y, W, b, v: -_weight(y, x, W, b, v)],
        wrong={
            "the sign": lambda *p: _weight(*p, sign=-1.0),
            "x is not divided by s²": lambda *p: _weight(*p, divide=False),
            "sums for means": lambda *p: _weight(*p, mean=lambda x: 1),
            "both divided by the number of data": lambda *p: _weight(*p, other=len),
            "logits for probabilities": lambda *p: _weight(*p, act=lambda a: a),
            "hard units": lambda *p: _weight(*p, act=lambda a: (a > 0).double()),
            "transposed": lambda *p: _weight(*p).T,
        },
    ),
}
