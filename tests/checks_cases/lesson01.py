"""Right and plausible wrong answers to the exercises of lesson 01."""

import math

import torch

from tests.checks_harness import Case


def _shifted(e, t):
    w = torch.exp(-(e - e.min(-1, keepdim=True).values) / t)
    return w / w.sum(-1, keepdim=True)


def _overflows(e, t):
    w = torch.exp(-e / t)
    return w / w.sum(-1, keepdim=True)


CASES = {
    "boltzmann": Case(
        right=[_shifted, lambda e, t: (-e / t - torch.logsumexp(-e / t, -1, keepdim=True)).exp()],
        wrong={
            "sign": lambda e, t: torch.softmax(e / t, -1),
            "times T": lambda e, t: torch.softmax(-e * t, -1),
            "no temperature": lambda e, t: torch.softmax(-e, -1),
            "over the batch": lambda e, t: torch.softmax(-e / t, 0),
            "not normalised": lambda e, t: torch.exp(-e / t),
            "normalised over everything": lambda e, t: torch.exp(-e / t) / torch.exp(-e / t).sum(),
            "overflow": _overflows,
            "divided after": lambda e, t: torch.softmax(-e, -1) / t,
        },
    ),
    "log_partition": Case(
        right=[lambda e, dx: -e.min() + torch.log(torch.exp(-(e - e.min())).sum() * dx)],
        wrong={
            "no dx": lambda e, dx: torch.logsumexp(-e, -1),
            "mean for sum": lambda e, dx: torch.logsumexp(-e, -1) - math.log(len(e)),
            "sign": lambda e, dx: torch.logsumexp(e, -1) + math.log(dx),
            "minus log dx": lambda e, dx: torch.logsumexp(-e, -1) - math.log(dx),
            "Z, not log Z": lambda e, dx: torch.exp(-e).sum() * dx,
            "overflow": lambda e, dx: torch.log(torch.exp(-e).sum() * dx),
            "minus log Z": lambda e, dx: -torch.logsumexp(-e, -1) - math.log(dx),
        },
    ),
    "energy_of_exp": Case(
        right=[
            lambda y, energy: energy(torch.log(y)) - torch.log(1 / y[:, 0]),
            lambda y, energy: energy(y.log()) + y.log().squeeze(-1) + 1,  # another level, the same density
        ],
        wrong={
            "no Jacobian": lambda y, energy: energy(y.log()),
            "sign of the Jacobian": lambda y, energy: energy(y.log()) - y.log().squeeze(-1),
            "Jacobian without log": lambda y, energy: energy(y.log()) + y.squeeze(-1),
            "wrong way": lambda y, energy: energy(y.exp()),
            "an axis too many": lambda y, energy: energy(y.log())[:, None] + y.log(),
        },
    ),
}
