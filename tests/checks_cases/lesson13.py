"""Right and plausible wrong answers to the exercises of lesson 13."""

import numpy as np
import torch

from ebmlearn.metrics.ood import auroc
from tests.checks_harness import Case


def _area(inside, outside, *, tie=0.5):
    a, b = inside[:, None], outside[None]
    return ((a > b).double() + tie * (a == b).double()).mean()


def _ranks(inside, outside):
    """By the sum of ranks (Mann-Whitney), ties at their mean rank."""
    from scipy.stats import rankdata

    ranks = rankdata(torch.cat([inside, outside]).numpy())
    n, m = len(inside), len(outside)
    return (ranks[:n].sum() - n * (n + 1) / 2) / (n * m)


def _mmd(kxx, kyy, kxy, *, cross=2.0):
    n, m = kxy.shape
    off = lambda k: k[~torch.eye(len(k), dtype=torch.bool)].mean()
    return off(kxx) + off(kyy) - cross * kxy.mean()


def _line(ns, values, *, x=lambda n: 1 / n, at=0.0):
    slope, intercept = np.polyfit(x(np.asarray(ns, dtype=float)), np.asarray(values, dtype=float), 1)
    return intercept + slope * at


CASES = {
    "area_under_roc": Case(
        right=[auroc, _area, _ranks],
        wrong={
            "ties lose": lambda a, b: _area(a, b, tie=0.0),
            "ties win": lambda a, b: (a[:, None] >= b).double().mean(),
            "the wrong way round": lambda a, b: _area(b, a),
            "accuracy at the mean": lambda a, b: 0.5 * ((a > b.mean()).double().mean() + (b < a.mean()).double().mean()),
            "difference of means": lambda a, b: a.mean() - b.mean(),
            "pairs in the order of the list": lambda a, b: (a[: min(len(a), len(b))] > b[: min(len(a), len(b))]).double().mean(),
            "folded": lambda a, b: torch.maximum(_area(a, b), 1 - _area(a, b)),
        },
    ),
    "unbiased_mmd": Case(
        right=[_mmd],
        wrong={
            "diagonals kept": lambda a, b, c: a.mean() + b.mean() - 2 * c.mean(),
            "diagonals dropped, divided by n²": lambda a, b, c: (
                (a.sum() - a.trace()) / len(a) ** 2 + (b.sum() - b.trace()) / len(b) ** 2 - 2 * c.mean()
            ),
            "cross term once": lambda a, b, c: _mmd(a, b, c, cross=1.0),
            "cross term added": lambda a, b, c: _mmd(a, b, c, cross=-2.0),
            "cut at zero": lambda a, b, c: _mmd(a, b, c).clamp(min=0),
            "root of it": lambda a, b, c: _mmd(a, b, c).abs().sqrt(),
        },
    ),
    "at_infinity": Case(
        right=[_line, lambda ns, values: torch.tensor(_line(ns, values))],
        wrong={
            "the largest size": lambda ns, values: values[-1],
            "the smallest value": lambda ns, values: min(values),
            "a line in n": lambda ns, values: _line(ns, values, x=lambda n: n),
            "a line in 1/sqrt n": lambda ns, values: _line(ns, values, x=lambda n: n**-0.5),
            "the slope": lambda ns, values: _line(ns, values, at=1.0) - _line(ns, values),
            "through the first and last point": lambda ns, values: _line([ns[0], ns[-1]], [values[0], values[-1]]),
            "at n = 1": lambda ns, values: _line(ns, values, at=1.0),
        },
    ),
}
