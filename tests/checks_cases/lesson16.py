"""Right and plausible wrong answers to the exercises of lesson 16."""

import math

import torch

from tests.checks_harness import Case


def _ratio_by_sort(x, train):
    d = (x.flatten(1)[:, None] - train.flatten(1)[None]).square().sum(-1).sqrt().sort(-1).values
    return d[:, 0] / d[:, 1]


def _two(x, train):
    return torch.cdist(x.flatten(1), train.flatten(1)).sort(-1).values[:, :2]


CASES = {
    "implied_temperature": Case(
        right=[lambda s, n: n * n / s / 2, lambda s, n: (n / math.sqrt(2 * s)) ** 2, lambda s, n: torch.tensor(n**2 / (2 * s))],
        wrong={
            "noise over step": lambda s, n: n / (2 * s),
            "the factor 2 forgotten": lambda s, n: n**2 / s,
            "upside down": lambda s, n: 2 * s / n**2,
            "its root": lambda s, n: n / math.sqrt(2 * s),
            "half of the noise squared": lambda s, n: n**2 / 2,
            "step squared": lambda s, n: n**2 / (2 * s**2),
        },
    ),
    "copy_ratio": Case(
        right=[_ratio_by_sort, lambda x, t: _two(x, t)[:, 0] / _two(x, t)[:, 1]],
        wrong={
            "the distance itself": lambda x, t: _two(x, t)[:, 0],
            "upside down": lambda x, t: _two(x, t)[:, 1] / _two(x, t)[:, 0],
            "of squared distances": lambda x, t: (_two(x, t)[:, 0] / _two(x, t)[:, 1]) ** 2,
            "the nearest over the mean": lambda x, t: _two(x, t)[:, 0] / torch.cdist(x.flatten(1), t.flatten(1)).mean(-1),
            "the difference": lambda x, t: _two(x, t)[:, 1] - _two(x, t)[:, 0],
            "one number for all": lambda x, t: (_two(x, t)[:, 0] / _two(x, t)[:, 1]).mean(),
            "largest two": lambda x, t: (
                torch.cdist(x.flatten(1), t.flatten(1)).topk(2).values[:, 1]
                / torch.cdist(x.flatten(1), t.flatten(1)).topk(2).values[:, 0]
            ),
        },
    ),
    "footprint": Case(
        right=[
            lambda s, w, o, g: (o * w / 1000 * s / 3600, o * w / 1000 * s / 3600 * g),
            lambda s, w, o, g: torch.tensor([o * w * s / 3.6e6, o * w * s * g / 3.6e6], dtype=torch.float64),
        ],
        wrong={
            "watts taken for kilowatts": lambda s, w, o, g: (o * w * s / 3600, o * w * s / 3600 * g),
            "seconds taken for hours": lambda s, w, o, g: (o * w * s / 1000, o * w * s / 1000 * g),
            "no overhead": lambda s, w, o, g: (w * s / 3.6e6, w * s / 3.6e6 * g),
            "overhead on the grams only": lambda s, w, o, g: (w * s / 3.6e6, o * w * s / 3.6e6 * g),
            "overhead twice in the grams": lambda s, w, o, g: (o * w * s / 3.6e6, o * o * w * s / 3.6e6 * g),
            "divided by the intensity": lambda s, w, o, g: (o * w * s / 3.6e6, o * w * s / 3.6e6 / g),
            "energy only": lambda s, w, o, g: o * w * s / 3.6e6,
        },
    ),
}
