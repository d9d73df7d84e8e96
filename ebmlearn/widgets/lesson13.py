"""Widget of lesson 13: two normal laws of scores, the curve they make, and what its area does not tell."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from torch import Tensor

from ..viz import BLUE, ORANGE
from .explorer import Explorer, slider


def _below(z: Tensor) -> Tensor:
    """P(N(0, 1) < z)."""
    return torch.special.ndtr(torch.as_tensor(z, dtype=torch.float64))


class Binormal(NamedTuple):
    """Scores N(gap, 1) inside and N(0, spread²) outside, in closed form.

    auroc: P(inside > outside) = Phi(gap / sqrt(1 + spread²)).
    fpr95: share of outside above the threshold that 95 % of inside pass.
    right_alarms: share of points below that threshold that are outside, at a given share of outside among all.
    auroc_error: standard error of the AUROC of n points each: the square root of ((Q1 - A²) + (Q2 - A²)) (n - 1)/n² + A (1 - A)/n²,
        Q1 and Q2 the probabilities that two inside beat one outside, and one inside two outside.

    References:
        The meaning and use of the area under a receiver operating characteristic (ROC) curve (Hanley, McNeil, 1982).
    """

    auroc: float
    fpr95: float
    right_alarms: float
    auroc_error: float


def binormal(gap: float, spread: float, outside_share: float, n: int) -> Binormal:
    """The numbers of a detector whose scores are normal.

    Args:
        gap: mean score inside less that outside.
        spread: standard deviation outside, > 0; inside it is 1.
        outside_share: of all points, in (0, 1).
        n: points of each kind in a test.

    Example:
        >>> round(binormal(0.0, 1.0, 0.5, 100).auroc, 3), round(binormal(0.0, 1.0, 0.5, 100).fpr95, 3)
        (0.5, 0.95)
    """
    if spread <= 0 or not 0 < outside_share < 1 or n < 2:
        raise ValueError(f"expected spread > 0, a share in (0, 1) and n >= 2; got {spread}, {outside_share} and {n}")
    area = float(_below(torch.tensor(gap / math.hypot(1, spread))))
    fpr = float(_below(torch.tensor((1.6448536269514722 - gap) / spread)))
    caught = outside_share * (1 - fpr)
    u = torch.linspace(-10, 10, 8001, dtype=torch.float64)
    weight = torch.softmax(-0.5 * u**2, 0)  # of the standardised outside score, then of the inside one
    q1 = float((weight * _below(gap - spread * u).square()).sum())
    q2 = float((weight * _below((gap + u) / spread).square()).sum())
    variance = ((n - 1) * (q1 + q2 - 2 * area**2) + area * (1 - area)) / n**2
    return Binormal(area, fpr, caught / (caught + 0.05 * (1 - outside_share)), math.sqrt(variance))


def draw_scores(axes: tuple[Axes, Axes], gap: float = 1.81, spread: float = 1.0, outside_share: float = 0.1, n: int = 500) -> str:
    """Left: the two laws and the threshold. Right: the ROC curve. Returns what is seen."""
    left, right = axes
    found = binormal(gap, spread, outside_share, n)
    threshold = gap - 1.6448536269514722
    u = torch.linspace(-8, 8, 801, dtype=torch.float64)
    for mean, sd, color, style, name in ((gap, 1.0, BLUE, "-", "inside"), (0.0, spread, ORANGE, "--", "outside")):
        p = torch.exp(-0.5 * ((u - mean) / sd) ** 2) / (sd * math.sqrt(2 * math.pi))
        left.plot(u, p, style, color=color, label=name)
        if name == "outside":
            left.fill_between(u, p, where=(u >= threshold).numpy(), color=color, alpha=0.3, hatch="//")
    left.axvline(threshold, color="black", linestyle=":", label="95 % of inside pass")
    left.set(xlim=(-8, 8), ylim=(0, 1.05), xlabel="score", ylabel="density")
    left.legend(loc="upper left", fontsize=8)
    right.plot(_below(-(u / spread)), _below(gap - u), color=BLUE)
    right.plot([0, 1], [0, 1], ":", color="grey")
    right.plot([found.fpr95], [0.95], "o", color=ORANGE, markersize=8)
    right.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="outside that passes", ylabel="inside that passes")
    right.set_title(f"AUROC {found.auroc:.3f}; dot: FPR95 {found.fpr95:.2f}", fontsize=10)
    return (
        f"AUROC {found.auroc:.3f} ± {found.auroc_error:.3f} for {n} points each; at 95 % passing, {found.fpr95:.0%} of outside passes too. "
        f"With {outside_share:.1%} of all points outside, {found.right_alarms:.1%} of the alarms are right."
    )


class ScoreExplorer(Explorer):
    """Distance and spread of two laws of scores, the share of outside, the size of the test."""

    def __init__(self) -> None:
        super().__init__(
            draw_scores,
            {
                "gap": slider(1.81, -3.0, 5.0, label="gap of the means", step=0.01),
                "spread": slider(1.0, 0.2, 4.0, label="spread of outside", step=0.1),
                "outside_share": slider(0.1, 0.001, 0.5, label="share of outside", log=True),
                "n": slider(500, 20, 5000, label="points of each kind", step=20),
            },
            figsize=(9.0, 3.4),
            panels=2,
        )
