"""Widget of lesson 07: the law of a chain after k steps, and the gradient that it gives instead of the likelihood's, exactly, on a grid."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from torch import Tensor

from .explorer import Explorer, slider

POINTS = torch.linspace(-4, 4, 161, dtype=torch.float64)
FEATURES = torch.stack([POINTS, POINTS**2, POINTS**4, torch.sin(2 * POINTS)])  # E(x) = theta . features(x)
THETA = torch.tensor([0.1, -0.6, 0.15, 0.4], dtype=torch.float64)
FEATURE_NAMES = ("$x$", "$x^2$", "$x^4$", r"$\sin 2x$")


def data_law(share: float = 0.7) -> Tensor:
    """Two bumps on the grid, `share` of the mass at -1.2 and the rest at 1.2, each of standard deviation 0.4."""
    bump = lambda m: torch.exp(-0.5 * ((POINTS - m) / 0.4) ** 2)
    p = share * bump(-1.2) + (1 - share) * bump(1.2)
    return p / p.sum()


def metropolis(e: Tensor, scale: float) -> Tensor:
    """Transition matrix on the grid: a Gaussian proposal of width `scale`, accepted with probability min(1, exp(E(x) - E(y))).

    Rows sum to 1 and softmax(-e) is stationary, to rounding.
    """
    proposal = torch.exp(-0.5 * ((POINTS[None] - POINTS[:, None]) / scale) ** 2)
    proposal = proposal / proposal.sum(1).max()  # symmetric; what is missing in a row stays where it is
    moves = proposal * (e[:, None] - e[None]).exp().clamp(max=1)
    moves = moves - torch.diag(moves.diag())
    return moves + torch.diag(1 - moves.sum(1))


def draw_cd(axes: tuple[Axes, Axes], k: int, scale: float) -> str:
    """Left: data, model, and the chain's law after k steps from the data. Right: likelihood gradient and CD-k's; returns what is seen."""
    e = THETA @ FEATURES
    model, data = torch.softmax(-e, 0), data_law()
    chain = data @ torch.linalg.matrix_power(metropolis(e, scale), k)
    exact, cd = FEATURES @ (data - model), FEATURES @ (data - chain)
    dx = float(POINTS[1] - POINTS[0])
    left, right = axes
    left.plot(POINTS, data / dx, "-", label="data")
    left.plot(POINTS, model / dx, "--", label="model")
    left.plot(POINTS, chain / dx, ":", linewidth=3, label=f"chain after {k} step{'s' * (k != 1)}")
    left.set(xlabel="$x$", ylabel="density", ylim=(0, 1.0))
    left.legend(fontsize=8)
    right.bar([i - 0.2 for i in range(4)], exact.tolist(), 0.38, label="likelihood", hatch="//")
    right.bar([i + 0.2 for i in range(4)], cd.tolist(), 0.38, label=f"CD-{k}")
    right.axhline(0, color="black", linewidth=0.8)
    right.set(xlabel="parameter of", ylabel="gradient", ylim=(-1.7, 0.8))
    right.set_xticks(range(4), FEATURE_NAMES)
    right.legend(fontsize=8, loc="upper right")
    error = ((cd - exact).norm() / exact.norm()).item()
    return f"k = {k}, proposal width {scale:.2g}: the CD gradient is {error:.1%} away from that of the likelihood."


class CDExplorer(Explorer):
    """The number of steps k and the width of the proposal against the law of the chain and its gradient."""

    def __init__(self) -> None:
        super().__init__(
            lambda axes, k, scale: draw_cd(axes, round(k), scale),
            {
                "k": slider(1, 1, 1000, label="steps k", step=1 / 3, log=True),  # 1, 2, 5, 10, ...: each key press is seen
                "scale": slider(0.3, 0.05, 3.0, label="proposal width", log=True),
            },
            figsize=(8.6, 3.4),
            panels=2,
        )
