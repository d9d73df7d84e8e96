"""Right and plausible wrong answers to the exercises of lesson 15."""

import math

import torch
from scipy.stats import binom

from tests.checks_harness import Case


def _loop(x, pair, goal, weight):
    e = sum(pair(x[..., t, :], x[..., t + 1, :]) for t in range(x.shape[-2] - 1))
    return e + weight * ((x[..., -1, :] - goal) ** 2).sum(-1)


def _flat(x, pair, goal, weight):
    s, t = x[..., :-1, :].reshape(-1, 2), x[..., 1:, :].reshape(-1, 2)
    return pair(s, t).reshape(x.shape[:-2] + (-1,)).sum(-1) + weight * (x[..., -1, :] - goal).pow(2).sum(-1)


def _moves(x, pair):
    return pair(x[..., :-1, :], x[..., 1:, :])


def _gap(x, goal):
    return (x[..., -1, :] - goal).square().sum(-1)


def _one_by_one(rate, m, replans):
    p = [1.0] + [0.0] * m  # of 0, 1, ... kept, after each shortcut in turn
    for _ in range(m):
        p = [p[k] * (1 - rate) + (p[k - 1] * rate if k else 0.0) for k in range(m + 1)]
    return sum(p[: replans + 1])


CASES = {
    "plan_energy": Case(
        right=[_loop, _flat],
        wrong={
            "backwards": lambda x, pair, goal, w: pair(x[..., 1:, :], x[..., :-1, :]).sum(-1) + w * _gap(x, goal),
            "mean over moves": lambda x, pair, goal, w: _moves(x, pair).mean(-1) + w * _gap(x, goal),
            "first state at the goal": lambda x, pair, goal, w: (
                _moves(x, pair).sum(-1) + w * (x[..., 0, :] - goal).square().sum(-1)
            ),
            "all states at the goal": lambda x, pair, goal, w: (
                _moves(x, pair).sum(-1) + w * (x - goal.reshape(*goal.shape[:-1], 1, 2)).square().sum((-1, -2))
            ),
            "distance, not its square": lambda x, pair, goal, w: _moves(x, pair).sum(-1) + w * _gap(x, goal).sqrt(),
            "summed over the batch": lambda x, pair, goal, w: _moves(x, pair).sum() + w * _gap(x, goal).sum(),
            "no weight": lambda x, pair, goal, w: _moves(x, pair).sum(-1) + _gap(x, goal),
            "every second move": lambda x, pair, goal, w: pair(x[..., :-1:2, :], x[..., 1::2, :]).sum(-1) + w * _gap(x, goal),
        },
    ),
    "risk_cost": Case(
        right=[
            lambda d, e, w: d + w * torch.logaddexp(e, torch.zeros_like(e)),
            lambda d, e, w: d - w * torch.nn.functional.logsigmoid(-e),
        ],
        wrong={
            "sign of the energy": lambda d, e, w: d + w * torch.nn.functional.softplus(-e),
            "the energy itself": lambda d, e, w: d + w * e,
            "probability, not its logarithm": lambda d, e, w: d + w * torch.sigmoid(e),
            "log P added": lambda d, e, w: d + w * torch.nn.functional.logsigmoid(-e),
            "times the length": lambda d, e, w: d * (1 + w * torch.nn.functional.softplus(e)),
            "overflow": lambda d, e, w: d + w * torch.log(1 + torch.exp(e)),
        },
    ),
    "solved": Case(
        right=[lambda r, m, k: float(binom.cdf(k, m, r)), _one_by_one, lambda r, m, k: 1 - float(binom.sf(k, m, r))],
        wrong={
            "no replanning": lambda r, m, k: (1 - r) ** m,
            "one replan cures one shortcut for sure": lambda r, m, k: (1 - r) ** max(m - k, 0),
            "exactly": lambda r, m, k: math.comb(m, k) * r**k * (1 - r) ** (m - k),
            "union bound": lambda r, m, k: max(0.0, 1 - m * r),
            "one less": lambda r, m, k: float(binom.cdf(k - 1, m, r)),
            "kept and pruned swapped": lambda r, m, k: float(binom.cdf(k, m, 1 - r)),
        },
    ),
}
