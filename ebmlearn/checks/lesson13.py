"""Exercises of lesson 13: the area under the ROC curve, an unbiased kernel distance, a distance at infinite size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .base import Answer, problem, require, require_close, require_tensor


@problem(
    "Return the AUROC of scores inside[N] and outside[M]: the share of pairs with inside > outside, an equal pair counted one half.",
    hints=[
        "Compare every inside score with every outside score: inside.unsqueeze(-1) > outside is an [N, M] table.",
        "The mean of the table is the share of wins. Add half the share of ties.",
    ],
)
def area_under_roc(inside: Tensor, outside: Tensor) -> Tensor:
    a, b = inside.unsqueeze(-1), outside
    return (a > b).double().mean() + 0.5 * (a == b).double().mean()


def _scores(n: int, shift: float = 0.0) -> Tensor:
    return torch.randn(n, dtype=torch.float64) + shift


@area_under_roc.property
def one_pair(f: Answer) -> None:
    low, high = torch.tensor([-2.0]), torch.tensor([3.0])
    require_close(f(high, low), 1.0, "a detector that puts the inside point higher does not get 1")
    require_close(f(low, high), 0.0, "a detector that puts the outside point higher does not get 0")


@area_under_roc.property
def ties(f: Answer) -> None:
    same = torch.tensor([1.0, 1.0, 1.0])
    require_close(f(same, same[:2]), 0.5, "a score that is the same for every point does not get 1/2")
    require_close(f(torch.tensor([2.0, 3.0]), torch.tensor([1.0, 2.0])), 0.875, "scores [2, 3] against [1, 2] do not get 7/8")


@area_under_roc.property
def order_only(f: Answer) -> None:
    a, b = _scores(40, 1.0), _scores(60)
    value = require_tensor(f(a, b), (), "your AUROC")
    require_close(f(a.exp(), b.exp()), value, "an increasing function of the score changes the AUROC")
    require_close(f(-a, -b), 1 - value, "the negative of the score does not get 1 minus the AUROC")
    require_close(f(a.flip(0), b), value, "the order in which points are listed matters")


@area_under_roc.property
def against_sets_of_other_size(f: Answer) -> None:
    for n, m in ((3, 50), (50, 3), (20, 20)):
        a, b = _scores(n, 0.5).round(decimals=1), _scores(m).round(decimals=1)
        target = sum(float(x > y) + 0.5 * float(x == y) for x in a for y in b) / (n * m)
        require_close(f(a, b), target, f"for {n} inside and {m} outside it is not the share of pairs")


@problem(
    "From kernel matrices kxx[n, n], kyy[m, m], kxy[n, m] return the squared maximum mean discrepancy, estimated without bias.",
    hints=[
        "MMD² = E k(X, X') + E k(Y, Y') - 2 E k(X, Y), with X and X' independent.",
        "A point is not independent of itself: leave the diagonals of kxx and kyy out.",
        "There are n (n - 1) pairs of distinct points. kxy has no pair to leave out.",
    ],
)
def unbiased_mmd(kxx: Tensor, kyy: Tensor, kxy: Tensor) -> Tensor:
    n, m = kxy.shape
    within = (kxx.sum() - kxx.trace()) / (n * (n - 1)) + (kyy.sum() - kyy.trace()) / (m * (m - 1))
    return within - 2 * kxy.mean()


def _kernels(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    k = lambda a, b: torch.exp(-0.5 * torch.cdist(a, b).square())
    return k(x, x), k(y, y), k(x, y)


@unbiased_mmd.property
def a_number(f: Answer) -> None:
    require_tensor(f(*_kernels(_scores(8).reshape(4, 2), _scores(10).reshape(5, 2))), (), "your result for 4 and 5 points")


@unbiased_mmd.property
def diagonal_is_not_used(f: Answer) -> None:
    kxx, kyy, kxy = _kernels(_scores(12).reshape(6, 2), _scores(10).reshape(5, 2))
    value = require_tensor(f(kxx, kyy, kxy), ())
    lifted = require_tensor(f(kxx + 7 * torch.eye(6).double(), kyy - 3 * torch.eye(5).double(), kxy), ())
    require_close(lifted, value, "k(x, x) of a point with itself still counts")


@unbiased_mmd.property
def by_hand(f: Answer) -> None:
    for n, m in ((3, 3), (6, 4), (4, 7)):
        kxx, kyy, kxy = _kernels(_scores(2 * n).reshape(n, 2), _scores(2 * m, 1.0).reshape(m, 2))
        a = sum(kxx[i, j] for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
        b = sum(kyy[i, j] for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
        require_close(
            f(kxx, kyy, kxy),
            a + b - 2 * kxy.mean(),
            f"for {n} and {m} points it is not made of means over the pairs i != j of kxx and of kyy, and all pairs of kxy",
        )


@unbiased_mmd.property
def no_bias(f: Answer) -> None:
    values = torch.stack(
        [require_tensor(f(*_kernels(_scores(10).reshape(5, 2), _scores(10).reshape(5, 2))), ()) for _ in range(400)]
    )
    error = values.std() / len(values) ** 0.5
    require(abs(values.mean()) < 5 * error, f"over 400 pairs of samples of one law its mean is {values.mean():.3f}, not 0")


@problem(
    "From sizes ns and distances values (one a size) return what the distance tends to: fit values = a + b/n by least squares, return a.",
    hints=[
        "A straight line in 1/n: its value at 1/n = 0 is what you want.",
        "Solve the least squares problem with the columns 1 and 1/n, e.g. by torch.linalg.lstsq.",
    ],
)
def at_infinity(ns: Sequence[int], values: Sequence[float]) -> Tensor:
    inverse = 1 / torch.as_tensor(ns, dtype=torch.float64)
    y = torch.as_tensor(values, dtype=torch.float64)
    columns = torch.stack([torch.ones_like(inverse), inverse], -1)
    return torch.linalg.lstsq(columns, y.unsqueeze(-1)).solution[0, 0]


@at_infinity.property
def exact_lines(f: Answer) -> None:
    for a, b in ((0.0, 300.0), (12.0, 700.0), (5.0, 0.0)):
        ns = [50, 100, 200, 400]
        got = require_tensor(f(ns, [a + b / n for n in ns]), (), "your limit")
        require_close(got, a, f"for the values {a:g} + {b:g}/n it is not {a:g}", atol=1e-3)


@at_infinity.property
def all_points_count(f: Answer) -> None:
    ns = [50, 100, 200, 400]
    y = [4 + 100 / n for n in ns]
    for i in range(4):
        z = list(y)
        z[i] += 1.0
        inverse = 1 / torch.tensor(ns, dtype=torch.float64)
        d = inverse - inverse.mean()
        target = 4 + 0.25 - float(d[i] / d.square().sum() * inverse.mean())
        require_close(
            f(ns, z), target, f"a rise of the value at n = {ns[i]} does not move the limit as least squares has it", atol=1e-3
        )
