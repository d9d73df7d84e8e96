"""Right and plausible wrong answers to the exercises of lesson 00."""

import torch

from tests.checks_harness import Case


def _in_place(x, eta):
    x -= eta * x
    return x


CASES = {
    "bowl": Case(
        right=[lambda x: (x * x).sum(dim=-1) / 2, lambda x: 0.5 * x.norm(dim=-1) ** 2],
        wrong={
            "no half": lambda x: (x**2).sum(-1),
            "summed over the batch": lambda x: 0.5 * (x**2).sum(),
            "kept the axis": lambda x: 0.5 * (x**2).sum(-1, keepdim=True),
            "mean for sum": lambda x: 0.5 * (x**2).mean(-1),
            "sign": lambda x: -0.5 * (x**2).sum(-1),
            "summed the first axis": lambda x: 0.5 * (x**2).sum(0),
            "centred on the batch": lambda x: 0.5 * ((x - x.mean(0)) ** 2).sum(-1),
            "no square": lambda x: 0.5 * x.norm(dim=-1),
        },
    ),
    "bowl_score": Case(
        right=[lambda x: 0 - x, lambda x: torch.autograd.functional.jacobian(lambda y: -0.5 * (y**2).sum(), x)],
        wrong={
            "sign": lambda x: x,
            "twice": lambda x: -2 * x,
            "half": lambda x: -x / 2,
            "the log density itself": lambda x: -0.5 * (x**2).sum(-1),
            "unit length": lambda x: -x / x.norm(dim=-1, keepdim=True),
        },
    ),
    "descend": Case(
        right=[lambda x, eta: (1 - eta) * x],
        wrong={
            "ascent": lambda x, eta: x + eta * x,
            "forgets x": lambda x, eta: -eta * x,
            "half step": lambda x, eta: x - 0.5 * eta * x,
            "ignores eta": lambda x, eta: 0.9 * x,
            "in place": _in_place,
            "unit direction": lambda x, eta: x - eta * x / x.norm(dim=-1, keepdim=True),
        },
    ),
}
