"""Exercises of lesson 10: OR with shares, the domain of NOT, noise and products in the wrong order."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import Answer, problem, require, require_close, require_tensor


@problem(
    "Return the energy of a mixture with the shares `share` and 1 - share, from two energies e1[*batch], e2[*batch] and their log Z.",
    hints=[
        "A density is exp(-E)/Z = exp(-E - log Z). Mix densities, then take minus the logarithm.",
        "-log(exp(a) + exp(b)) with a = log(share) - e1 - log_z1; torch.logaddexp does it without overflow.",
    ],
)
def either(e1: Tensor, e2: Tensor, log_z1: float, log_z2: float, share: float) -> Tensor:
    first = math.log(share) - log_z1 - e1
    second = math.log(1 - share) - log_z2 - e2
    return -torch.logaddexp(first, second)


def _line() -> Tensor:
    return torch.linspace(-12, 12, 4801, dtype=torch.float64)


def _mass_right(e: Tensor) -> float:
    return float(torch.softmax(-e, 0)[_line() > 0].sum())


@either.property
def one_energy_a_point(f: Answer) -> None:
    e = torch.rand(4, 3, dtype=torch.float64)
    require_tensor(f(e, e + 1, 0.3, 0.1, 0.5), (4, 3), "your result for energies of shape (4, 3)")


@either.property
def shares_are_kept(f: Answer) -> None:
    x = _line()
    e1, e2 = 2 * (x + 4) ** 2, 0.5 * (x - 4) ** 2  # the second is twice as wide: log Z differs by log 2
    z1, z2 = 0.5 * math.log(math.pi / 2), 0.5 * math.log(2 * math.pi)
    for share in (0.5, 0.8):
        right = _mass_right(require_tensor(f(e1, e2, z1, z2, share), tuple(x.shape)))
        require(
            abs(right - (1 - share)) < 1e-3,
            f"with share {share} for the first, the second holds {right:.3f} of the mass; it should hold {1 - share:.3f}",
        )


@either.property
def level_is_free(f: Answer) -> None:
    x = _line()
    e1, e2 = 0.5 * (x + 4) ** 2, 0.5 * (x - 4) ** 2
    z = 0.5 * math.log(2 * math.pi)
    for c in (5.0, 900.0, -900.0):
        e = require_tensor(f(e1, e2 + c, z, z - c, 0.5), tuple(x.shape), f"the mixture with {c:g} added to an energy")
        right = _mass_right(e)
        require(abs(right - 0.5) < 1e-3, f"adding {c:g} to an energy (and taking it off its log Z) makes its share {right:.3f}")


@either.property
def far_out(f: Answer) -> None:
    far = torch.tensor([2000.0], dtype=torch.float64)
    gap = f(far, far + 500, 0.0, 0.0, 0.5) - f(far - 1990, far + 500, 0.0, 0.0, 0.5)
    require_close(gap, [1990.0], "far from both, where both energies are in the thousands, the energy is wrong", rtol=1e-6)


@problem(
    "Return log Z of E1 - a E2 on the line, where E_i(x) = x²/(2 v_i) with variances v1, v2; math.inf where Z is infinite.",
    hints=[
        "The sum is p x²/2 with one precision p. What is p?",
        "Z of p x²/2 is sqrt(2 pi/p), as long as p > 0. What about p = 0?",
    ],
)
def log_z_of_not(v1: float, v2: float, a: float) -> float:
    precision = 1 / v1 - a / v2
    return 0.5 * math.log(2 * math.pi / precision) if precision > 0 else math.inf


@log_z_of_not.property
def without_not(f: Answer) -> None:
    for v in (1.0, 4.0):
        require_close(f(v, 2.0, 0.0), 0.5 * math.log(2 * math.pi * v), "with a = 0 it is not log Z of the first energy")


@log_z_of_not.property
def on_a_grid(f: Answer) -> None:
    x = torch.linspace(-200, 200, 80_001, dtype=torch.float64)
    for v1, v2, a in ((1.0, 4.0, 0.5), (1.0, 4.0, 2.0), (2.0, 3.0, -1.0), (0.5, 1.0, 1.0)):
        grid = torch.logsumexp(-(x**2) / (2 * v1) + a * x**2 / (2 * v2), 0) + math.log(0.005)
        got = f(v1, v2, a)
        require(float(got) < math.inf, f"v1 = {v1}, v2 = {v2}, a = {a}: Z is finite here; got {got}")
        require_close(got, float(grid), f"v1 = {v1}, v2 = {v2}, a = {a}: the grid's log Z is {float(grid):.4f}")


@log_z_of_not.property
def has_a_domain(f: Answer) -> None:
    for v1, v2, a in ((1.0, 0.36, 0.5), (2.0, 1.0, 1.0)):
        got = f(v1, v2, a)
        require(
            float(got) == math.inf, f"v1 = {v1}, v2 = {v2}, a = {a}: exp(-E) grows without end, so log Z is infinite; got {got}"
        )
    got = f(1.0, 1.0, 1.0)
    require(float(got) == math.inf, f"v1 = v2 and a = 1: the energy is flat, so log Z is infinite; got {got}")


@problem(
    "Two centred Gaussians of variances v1, v2, noise of variance s2. Return (variance of the product of the noised two, variance of the noised product).",
    hints=[
        "Noise adds variances. A product adds precisions.",
        "1/(1/a + 1/b) is the variance of a product of variances a and b.",
    ],
)
def noise_and_product(v1: float, v2: float, s2: float) -> tuple[float, float]:
    product = lambda a, b: 1 / (1 / a + 1 / b)
    return product(v1 + s2, v2 + s2), product(v1, v2) + s2


@noise_and_product.property
def without_noise(f: Answer) -> None:
    pair = require_tensor(f(1.0, 3.0, 0.0), (2,), "your pair")
    require_close(pair, [0.75, 0.75], "without noise both are the variance of the product, 3/4 for variances 1 and 3")


@noise_and_product.property
def in_this_order(f: Answer) -> None:
    for v1, v2, s2 in ((1.0, 1.0, 1.0), (0.5, 2.0, 3.0)):
        first, second = require_tensor(f(v1, v2, s2), (2,), "your pair")
        x = torch.linspace(-60, 60, 24_001, dtype=torch.float64)
        p = torch.softmax(-(x**2) / (2 * (v1 + s2)) - x**2 / (2 * (v2 + s2)), 0)
        require_close(first, float((p * x**2).sum()), f"v1 = {v1}, v2 = {v2}, s2 = {s2}: the first disagrees with a grid")
        q = torch.softmax(-(x**2) / (2 * v1) - x**2 / (2 * v2), 0)
        require_close(second, float((q * x**2).sum()) + s2, f"v1 = {v1}, v2 = {v2}, s2 = {s2}: the second disagrees with a grid")
