"""Exercises of lesson 06: log Z from log weights, the weights of annealed importance sampling, the bridge."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .base import Answer, problem, require, require_close, require_tensor


@problem(
    "From log weights log_w[n] with E[w] = Z return three numbers: the estimate of log Z, its standard error, the effective number of points.",
    hints=[
        "log of the mean of the weights: torch.logsumexp, so that nothing overflows, and what for the n?",
        "Divide the weights by their mean: v = exp(log_w - log_z) has mean 1. The standard error of log Z is that of the mean of v (the delta method).",
        "The effective number is (sum v)²/sum v².",
    ],
)
def log_z(log_w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    n = len(log_w)
    value = torch.logsumexp(log_w, 0) - math.log(n)
    v = (log_w - value).exp()
    return value, v.std() / math.sqrt(n), v.sum() ** 2 / (v**2).sum()


def _log_w(n: int = 200) -> Tensor:
    return torch.randn(n, dtype=torch.float64)


def _triple(out: Answer) -> tuple[Tensor, Tensor, Tensor]:
    require(isinstance(out, (tuple, list)) and len(out) == 3, "your result is not three numbers")
    names = ("the estimate of log Z", "the standard error", "the effective number")
    value, error, ess = (require_tensor(a, (), name) for a, name in zip(out, names, strict=True))
    return value, error, ess


@log_z.property
def equal_weights(f: Answer) -> None:
    value, error, ess = _triple(f(torch.full((50,), 1.5, dtype=torch.float64)))
    require_close(value, 1.5, "50 equal weights exp(1.5) do not give log Z = 1.5")
    require_close(error, 0.0, "50 equal weights have a standard error")
    require_close(ess, 50.0, "50 equal weights are not worth 50 points")


@log_z.property
def worked_on_paper(f: Answer) -> None:
    value, error, ess = _triple(f(torch.tensor([1.0, 1.0, 1.0, 5.0], dtype=torch.float64).log()))
    require_close(value, math.log(2.0), "for the weights 1, 1, 1, 5 the estimate of log Z is wrong")
    require_close(error, 0.5, "for the weights 1, 1, 1, 5 the standard error of log Z is wrong")
    require_close(ess, 64 / 28, "for the weights 1, 1, 1, 5 the effective number is wrong")


@log_z.property
def level(f: Answer) -> None:
    log_w = _log_w()
    value, error, ess = _triple(f(log_w))
    for c in (3.0, 900.0, -900.0):
        shifted, error_c, ess_c = _triple(f(log_w + c))
        require_close(shifted, value + c, f"with {c:g} added to every log weight, log Z does not move by {c:g}")
        require_close(error_c, error, f"with {c:g} added to every log weight, the standard error changes")
        require_close(ess_c, ess, f"with {c:g} added to every log weight, the effective number changes")


@log_z.property
def error_is_the_spread(f: Answer) -> None:
    """Of many small estimates of a known Z."""
    runs = [_triple(f(0.5 * _log_w(400))) for _ in range(200)]
    spread = torch.stack([r[0] for r in runs]).std().item()
    stated = torch.stack([r[1] for r in runs]).mean().item()
    require(
        abs(spread / stated - 1) < 5 / math.sqrt(2 * 200),
        f"200 estimates of the same log Z spread by {spread:.4f}, but the stated standard error is {stated:.4f}",
    )


@problem(
    "Return the log weights [n] of annealed importance sampling from the energies of base and target, e0[K, n] and e1[K, n], at "
    "the points x_0, ..., x_{K-1} of each walk, the path betas (K + 1 numbers from 0 to 1) and the base's log Z.",
    hints=[
        "When beta goes from beta_{k-1} to beta_k at a fixed point x, how does -E_beta(x) change, with E_beta = (1 - beta) E_0 + beta E_1?",
        "By (beta_k - beta_{k-1}) (E_0(x) - E_1(x)), at the point x_{k-1} where the walk stands before it moves on.",
        "Sum over k, and start from the base's log Z.",
    ],
)
def ais_log_weights(e0: Tensor, e1: Tensor, betas: Sequence[float], log_z0: float) -> Tensor:
    step = torch.as_tensor(betas, dtype=e0.dtype).diff()
    return log_z0 + (step[:, None] * (e0 - e1)).sum(0)


@ais_log_weights.property
def one_weight_a_walk(f: Answer) -> None:
    e0, e1 = torch.rand(2, 4, 6, dtype=torch.float64)
    require_tensor(f(e0, e1, [0, 0.1, 0.4, 0.7, 1], 0.3), (6,), "the log weights of 6 walks of 4 steps")


@ais_log_weights.property
def one_step_is_importance_sampling(f: Answer) -> None:
    e0, e1 = torch.rand(2, 1, 6, dtype=torch.float64)
    require_close(f(e0, e1, [0, 1], 0.3), 0.3 + (e0 - e1)[0], "with one step it is not the log weight of importance sampling")


@ais_log_weights.property
def same_density(f: Answer) -> None:
    """The target is the base lifted by 2: log Z = log Z_0 - 2, whatever the walk did."""
    e0 = 3 * torch.rand(5, 7, dtype=torch.float64)
    found = f(e0, e0 + 2, [0, 0.05, 0.2, 0.5, 0.8, 1], 1.0)
    require_close(found, -torch.ones(7), "target = base + 2, so every weight should say log Z_0 - 2")


@ais_log_weights.property
def uneven_path(f: Answer) -> None:
    e0 = torch.zeros(2, 1, dtype=torch.float64)
    e1 = torch.tensor([[10.0], [1.0]], dtype=torch.float64)
    require_close(f(e0, e1, [0, 0.1, 1], 0.0), [-1.9], "a walk of two uneven steps, worked out on paper, gives another weight")


@problem(
    "From W = E_b - E_a at n points of p_a (w_a) and at n points of p_b (w_b), return r = log(Z_b/Z_a), the root of "
    "sum sigmoid(-(w_a + r)) = sum sigmoid(w_b + r).",
    hints=[
        "The left side falls with r, the right side rises: bisection cannot miss the one root. Between which two values?",
        "Start from -max(W) - 50 and -min(W) + 50, over all points of both; halve sixty times or more.",
        "If the left side is larger at the middle, the root lies above it.",
    ],
)
def bridge(w_a: Tensor, w_b: Tensor) -> float:
    both = torch.cat([w_a, w_b])
    low, high = -both.max().item() - 50, -both.min().item() + 50
    for _ in range(100):
        r = (low + high) / 2
        if torch.sigmoid(-(w_a + r)).sum() > torch.sigmoid(w_b + r).sum():
            low = r
        else:
            high = r
    return r


def _gaussians(n: int = 20_000, m: float = 1.0, s: float = 1.5) -> tuple[Tensor, Tensor, float]:
    """W at points of N(0, 1) and of N(m, s²), energies without constants; log(Z_b/Z_a) = log s."""
    a = torch.randn(n, dtype=torch.float64)
    b = m + s * torch.randn(n, dtype=torch.float64)
    w = lambda x: (x - m) ** 2 / (2 * s * s) - x**2 / 2
    return w(a), w(b), math.log(s)


@bridge.property
def same_density_lifted(f: Answer) -> None:
    for c in (0.7, 300.0, -300.0):
        w = torch.full((30,), c, dtype=torch.float64)
        require_close(f(w, w), -c, f"E_b = E_a + {c:g}: log(Z_b/Z_a) should be {-c:g}")


@bridge.property
def finds_a_known_ratio(f: Answer) -> None:
    w_a, w_b, truth = _gaussians()
    r = require_tensor(f(w_a, w_b), ()).item()
    require(abs(r - truth) < 0.05, f"between two Gaussians with log(Z_b/Z_a) = {truth:.3f} you find {r:.3f}")


@bridge.property
def is_the_root(f: Answer) -> None:
    w_a, w_b, _ = _gaussians(40, 2.0, 0.7)
    r = require_tensor(f(w_a, w_b), ())
    left, right = torch.sigmoid(-(w_a + r)).sum().item(), torch.sigmoid(w_b + r).sum().item()
    require(abs(left - right) < 1e-3, f"at your r the two sides differ: {left:.3f} and {right:.3f}")


@bridge.property
def there_and_back(f: Answer) -> None:
    w_a, w_b, _ = _gaussians(300)
    r = require_tensor(f(w_a, w_b), ())
    require_close(f(-w_b, -w_a), -r, "from b to a it is not minus the result from a to b")
