"""Right and plausible wrong answers to the exercises of lesson 14."""

import torch

from tests.checks_harness import Case


def _entropy(p):
    return -(p * p.log()).sum()


def _by_q(p, pi, e, tau):
    log_q = torch.log_softmax(-e / tau, 0)
    return (p * (p.log() - log_q)).sum() - (pi * (pi.log() - log_q)).sum()


CASES = {
    "game_value": Case(
        right=[_by_q],
        wrong={
            "sign": lambda p, pi, e, tau: -_by_q(p, pi, e, tau),
            "no entropies": lambda p, pi, e, tau: ((p - pi) * e).sum() / tau,
            "entropy of pi only": lambda p, pi, e, tau: ((p - pi) * e).sum() / tau + _entropy(pi),
            "no tau": lambda p, pi, e, tau: ((p - pi) * e).sum() + _entropy(pi) - _entropy(p),
            "tau on the entropies too": lambda p, pi, e, tau: _by_q(p, pi, e, 1.0) / tau,
            "sum of divergences": lambda p, pi, e, tau: (
                _by_q(p, pi, e, tau) + 2 * (pi * (pi / torch.softmax(-e / tau, 0)).log()).sum()
            ),
            "mean for sum": lambda p, pi, e, tau: _by_q(p, pi, e, tau) / len(p),
        },
    ),
    "critic": Case(
        right=[lambda p, pi, gamma: (pi - p) / (pi + p) / gamma / 2],
        wrong={
            "sign": lambda p, pi, gamma: (p - pi) / (2 * gamma * (p + pi)),
            "log ratio": lambda p, pi, gamma: -(p / pi).log(),
            "no 2": lambda p, pi, gamma: -(p - pi) / (gamma * (p + pi)),
            "not divided by the sum": lambda p, pi, gamma: -(p - pi) / (2 * gamma),
            "gamma in the numerator": lambda p, pi, gamma: -gamma * (p - pi) / (2 * (p + pi)),
        },
    ),
    "soft_backup": Case(
        right=[lambda cost, move, value, tau: -torch.logsumexp(-cost / tau - value[move], -1)],
        wrong={
            "hard minimum": lambda cost, move, value, tau: (cost / tau + value[move]).min(-1).values,
            "sign": lambda cost, move, value, tau: torch.logsumexp(cost / tau + value[move], -1),
            "reward for cost": lambda cost, move, value, tau: -torch.logsumexp(cost / tau - value[move], -1),
            "mean over actions": lambda cost, move, value, tau: (
                -torch.logsumexp(-cost / tau - value[move], -1) + torch.tensor(3.0).log()
            ),
            "tau forgotten": lambda cost, move, value, tau: -torch.logsumexp(-cost - value[move], -1),
            "tau on the value": lambda cost, move, value, tau: -torch.logsumexp(-(cost + value[move]) / tau, -1),
            "over the states": lambda cost, move, value, tau: -torch.logsumexp(-cost / tau - value[move], 0),
        },
    ),
}
