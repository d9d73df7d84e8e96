"""Right and plausible wrong answers to the exercises of lesson 10."""

import math

import torch

from tests.checks_harness import Case


def _mixed_densities(e1, e2, z1, z2, share):
    a, b = math.log(share) - z1 - e1, math.log(1 - share) - z2 - e2
    top = torch.maximum(a, b)
    return -top - torch.log(torch.exp(a - top) + torch.exp(b - top))


def _log_z(p):
    return 0.5 * math.log(2 * math.pi / p) if p > 0 else math.inf


CASES = {
    "either": Case(
        right=[
            _mixed_densities,
            lambda e1, e2, z1, z2, share: torch.logaddexp(math.log(share) - z1 - e1, math.log(1 - share) - z2 - e2) * -1 + 3,
        ],
        wrong={
            "no log Z": lambda e1, e2, z1, z2, s: -torch.logaddexp(math.log(s) - e1, math.log(1 - s) - e2),
            "sign of log Z": lambda e1, e2, z1, z2, s: -torch.logaddexp(math.log(s) + z1 - e1, math.log(1 - s) + z2 - e2),
            "no shares": lambda e1, e2, z1, z2, s: -torch.logaddexp(-z1 - e1, -z2 - e2),
            "shares the other way": lambda e1, e2, z1, z2, s: -torch.logaddexp(math.log(1 - s) - z1 - e1, math.log(s) - z2 - e2),
            "average of energies": lambda e1, e2, z1, z2, s: s * (e1 + z1) + (1 - s) * (e2 + z2),
            "the lower one": lambda e1, e2, z1, z2, s: torch.minimum(e1, e2),
            "sign": lambda e1, e2, z1, z2, s: torch.logaddexp(math.log(s) - z1 - e1, math.log(1 - s) - z2 - e2),
            "overflow": lambda e1, e2, z1, z2, s: -torch.log(s * torch.exp(-e1 - z1) + (1 - s) * torch.exp(-e2 - z2)),
        },
    ),
    "log_z_of_not": Case(
        right=[lambda v1, v2, a: _log_z((v2 - a * v1) / (v1 * v2)), lambda v1, v2, a: torch.tensor(_log_z(1 / v1 - a / v2))],
        wrong={
            "variances subtracted": lambda v1, v2, a: 0.5 * math.log(2 * math.pi * (v1 - a * v2)) if v1 > a * v2 else math.inf,
            "no domain": lambda v1, v2, a: 0.5 * math.log(2 * math.pi / abs(1 / v1 - a / v2)) if v1 * a != v2 else math.inf,
            "precisions added": lambda v1, v2, a: _log_z(1 / v1 + a / v2),
            "Z, not log Z": lambda v1, v2, a: math.exp(_log_z(1 / v1 - a / v2)),
            "standard deviations": lambda v1, v2, a: _log_z(1 / v1**2 - a / v2**2),
            "flat is finite": lambda v1, v2, a: _log_z(1 / v1 - a / v2) if v1 * a != v2 else 0.0,
        },
    ),
    "noise_and_product": Case(
        right=[lambda a, b, s: torch.tensor([(a + s) * (b + s) / (a + b + 2 * s), a * b / (a + b) + s])],
        wrong={
            "the same twice": lambda a, b, s: (a * b / (a + b) + s, a * b / (a + b) + s),
            "the other order": lambda a, b, s: (a * b / (a + b) + s, (a + s) * (b + s) / (a + b + 2 * s)),
            "variances added": lambda a, b, s: (a + b + 2 * s, a + b + s),
            "average": lambda a, b, s: ((a + b) / 2 + s, (a + b) / 2 + s),
            "standard deviation of the noise": lambda a, b, s: (
                1 / (1 / (a + s**0.5) + 1 / (b + s**0.5)),
                a * b / (a + b) + s**0.5,
            ),
            "noise once": lambda a, b, s: (1 / (1 / (a + s) + 1 / b), a * b / (a + b) + s),
        },
    ),
}
