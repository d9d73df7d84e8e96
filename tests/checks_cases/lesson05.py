"""Right and plausible wrong answers to the exercises of lesson 05."""

import math

import torch

from tests.checks_harness import Case


def _halves_joined(grad, x, p, eps, steps):
    p = p - 0.5 * eps * grad(x)
    for i in range(steps):
        x = x + eps * p
        p = p - (eps if i < steps - 1 else 0.5 * eps) * grad(x)
    return x, p


def _stepper(one):
    def f(grad, x, p, eps, steps):
        for _ in range(steps):
            x, p = one(grad, x, p, eps)
        return x, p

    return f


def _euler(grad, x, p, eps):
    return x + eps * p, p - eps * grad(x)


def _semi_implicit(grad, x, p, eps):
    p = p - eps * grad(x)
    return x + eps * p, p


def _two_gradients(grad, x, p, eps):
    p = p - 0.5 * eps * grad(x)
    x = x + eps * p
    return x, p - 0.5 * eps * grad(x)


def _uphill(grad, x, p, eps):
    return _two_gradients(lambda x: -grad(x), x, p, eps)


def _backwards(grad, x, p, eps):
    return _two_gradients(grad, x, p, -eps)


def _old_gradient(grad, x, p, eps):
    g = grad(x)
    p = p - 0.5 * eps * g
    return x + eps * p, p - 0.5 * eps * g


def _no_last_half(grad, x, p, eps, steps):
    p = p - 0.5 * eps * grad(x)
    for _ in range(steps):
        x = x + eps * p
        p = p - eps * grad(x)
    return x, p


def _in_place(grad, x, p, eps, steps):
    g = grad(x)
    for _ in range(steps):
        p -= 0.5 * eps * g
        x += eps * p
        g = grad(x)
        p -= 0.5 * eps * g
    return x, p


def _rhat(split=True, root=True, shrink=True, dim=0, unbiased=True, times_n=False, within_of_all=False):
    def f(x):
        n = len(x) // 2 if split else len(x)
        s = torch.cat([x[:n], x[n:]], 1) if split else x
        within, between = s.var(0, correction=int(unbiased)).mean(0), s.mean(0).var(0)
        if within_of_all:
            within = s.flatten(0, 1).var(0)
        if times_n:
            between = n * between
        r = (within * ((n - 1) / n if shrink else 1) + between) / within
        return r.sqrt() if root else r

    return f


def _rhat_by_loops(x):
    steps, chains, d = x.shape
    n, out = steps // 2, []
    for k in range(d):
        halves = [part[:, c, k] for c in range(chains) for part in (x[:n], x[n:])]
        means = [h.sum() / n for h in halves]
        within = sum(((h - m) ** 2).sum() / (n - 1) for h, m in zip(halves, means, strict=True)) / len(halves)
        grand = sum(means) / len(means)
        between = sum((m - grand) ** 2 for m in means) / (len(means) - 1)
        out.append(math.sqrt((n - 1) / n + between / within))
    return out


def _swap(sign=1.0, beta=lambda cold, hot: 1 / cold - 1 / hot, clamp=True):
    def f(a, b, cold, hot):
        s = sign * beta(cold, hot) * (a - b)
        return (s.clamp(max=0) if clamp else s).exp()

    return f


def _by_densities(a, b, cold, hot):
    return torch.minimum(torch.ones_like(a), torch.exp((-b / cold - a / hot) - (-a / cold - b / hot)))


CASES = {
    "leapfrog": Case(
        right=[_halves_joined],
        wrong={
            "Euler": _stepper(_euler),
            "whole steps by turns": _stepper(_semi_implicit),
            "two gradients a step": _stepper(_two_gradients),
            "uphill": _stepper(_uphill),
            "time runs backwards": _stepper(_backwards),
            "old gradient in the second half": _stepper(_old_gradient),
            "last momentum step whole": _no_last_half,
            "in place": _in_place,
            "momentum returned first": lambda *a: _halves_joined(*a)[::-1],
            "momentum flipped": lambda *a: (_halves_joined(*a)[0], -_halves_joined(*a)[1]),
            "one step too few": lambda grad, x, p, eps, steps: (
                _halves_joined(grad, x, p, eps, steps - 1) if steps > 1 else (x, p)
            ),
            "position only": lambda *a: _halves_joined(*a)[0],
            "eps squared": lambda grad, x, p, eps, steps: _halves_joined(grad, x, p, eps**2, steps),
        },
    ),
    "rhat": Case(
        right=[_rhat_by_loops],
        wrong={
            "not split": _rhat(split=False),
            "no root": _rhat(root=False),
            "no (n - 1)/n": _rhat(shrink=False),
            "between times n": _rhat(times_n=True),
            "variance over n": _rhat(unbiased=False),
            "total variance for within": _rhat(within_of_all=True),
            "even and odd steps for halves": lambda x: _rhat()(torch.cat([x[0::2], x[1::2]])),
            "one number for all": lambda x: _rhat()(x).max(),
            "between only": lambda x: torch.cat([x[: len(x) // 2], x[len(x) // 2 :]], 1).mean(0).var(0).sqrt(),
        },
    ),
    "swap_probability": Case(
        right=[_by_densities],
        wrong={
            "sign": _swap(sign=-1.0),
            "not a probability": _swap(clamp=False),
            "temperatures for inverse temperatures": _swap(beta=lambda cold, hot: hot - cold),
            "one temperature only": _swap(beta=lambda cold, hot: 1 / cold),
            "inverse of the difference": _swap(beta=lambda cold, hot: 1 / (hot - cold) if hot > cold else 0.0),
            "log": lambda a, b, cold, hot: ((1 / cold - 1 / hot) * (a - b)).clamp(max=0),
            "always": lambda a, b, cold, hot: torch.ones_like(a),
            "only downhill": lambda a, b, cold, hot: (a >= b).double(),
            "heat bath": lambda a, b, cold, hot: torch.sigmoid((1 / cold - 1 / hot) * (a - b)),
        },
    ),
}
