"""Widget of lesson 02: how fine an energy on a spiral becomes with the network's width, and where descent on it ends."""

from __future__ import annotations

from functools import cache

import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from ..datasets import toy
from ..energies import MLPEnergy
from ..metrics.ood import auroc
from ..pretrained import load_pretrained
from ..samplers import Langevin, sample
from ..viz import energy_map, points
from .explorer import Explorer, choice, slider

WIDTHS = (4, 8, 16, 32, 64, 128)
NOISES = {"none": 0.0, "standard deviation 0.1": 0.1}
RADIUS = 0.15


@cache
def spiral_energies() -> nn.Module:
    """The shipped energies, read once; their hash is verified."""
    return load_pretrained("lesson02-spirals")


def spiral_energy(width: int, noise: float) -> MLPEnergy:
    """An energy on the spiral from the weights that come with the course.

    Args:
        width: of the three hidden layers, one of 4, 8, 16, 32, 64, 128.
        noise: standard deviation of the noise on its training data, 0 or 0.1.
    """
    if width not in WIDTHS or noise not in NOISES.values():
        raise ValueError(f"expected a width of {WIDTHS} and a noise of {tuple(NOISES.values())}; got {width} and {noise}")
    return spiral_energies()[f"{'smooth' if noise else 'sharp'}-{width}"]  # type: ignore[index]


def reached(x: Tensor, curve: Tensor, *, radius: float = RADIUS) -> tuple[float, float]:
    """Precision, the share of points within `radius` of the curve, and coverage, the share of the curve within `radius` of a point."""
    near = torch.cdist(x, curve.to(x)) < radius
    return near.any(1).float().mean().item(), near.any(0).float().mean().item()


def draw_resolution(ax: Axes, width: int, noise: float, steps: int, temperature: float) -> str:
    """The energy's map and 300 points that started anywhere in the square and moved down it; returns what is seen."""
    g = torch.Generator().manual_seed(0)
    energy = spiral_energy(width, noise)
    curve = toy.spiral().curve(1000)[0].float()
    square = 6 * torch.rand(2000, 2, generator=g) - 3
    kernel = Langevin.at_temperature(step_size=0.01, temperature=temperature)
    x = sample(energy, kernel, square[:300], steps, generator=g)
    with torch.no_grad():
        area = auroc(-energy(curve), -energy(square))
    precision, coverage = reached(x, curve)
    energy_map(energy, ax, contours=0, colorbar=False)
    points(x, ax, size=9)
    ax.set(title=f"width {width}", xlabel="$x$", ylabel="$y$")
    return (
        f"Width {width}, {steps} steps at T = {temperature:g}: {precision:.0%} of the points are on the spiral, "
        f"{coverage:.0%} of the spiral has a point; AUROC {area:.3f}."
    )


class ResolutionExplorer(Explorer):
    """Width, noise on the training data, steps and temperature against the map and the end points of descent."""

    def __init__(self) -> None:
        super().__init__(
            draw_resolution,
            {
                "width": choice(WIDTHS, label="width of the network", value=32),
                "noise": choice(NOISES, label="noise on the data", value=0.1),
                "steps": slider(300, 0, 1000, step=50, label="steps", help="Langevin steps of size 0.01"),
                "temperature": slider(0.0, 0.0, 0.5, step=0.05, label="temperature T", help="0 is gradient descent"),
            },
            figsize=(5.2, 4.6),
        )
