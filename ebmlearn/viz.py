"""Pictures of energies, chains, images and training runs. Each function takes axes and returns them; `style()` sets the look."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .functional import EnergyFunction, check_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Extent = tuple[float, float, float, float]  # left, right, bottom, top
SEQUENTIAL = "viridis"
BLUE, ORANGE, GREEN, RED, PURPLE, BROWN, PINK, GREY, YELLOW, CYAN = (  # seaborn's "colorblind" palette
    "#0173b2",
    "#de8f05",
    "#029e73",
    "#d55e00",
    "#cc78bc",
    "#ca9161",
    "#fbafe4",
    "#949494",
    "#ece133",
    "#56b4e9",
)


def style(*, font_scale: float = 1.0, dpi: int = 100) -> None:
    """Give every later figure the course's look: seaborn ticks, colour-blind-safe colours, layout that does not overlap.

    A lesson calls it once; importing this module changes nothing.

    Args:
        font_scale: multiplies every font size, e.g. 1.3 for a projector.
        dpi: dots per inch of figures shown in a notebook.
    """
    import matplotlib as mpl
    import seaborn as sns

    sns.set_theme(context="notebook", style="ticks", palette="colorblind", font_scale=0.9 * font_scale)
    mpl.rcParams.update(
        {
            "figure.dpi": dpi,
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "image.cmap": SEQUENTIAL,
            "legend.frameon": False,
            "svg.hashsalt": "ebmlearn",
        }
    )


def grid(extent: Extent = (-3.0, 3.0, -3.0, 3.0), resolution: int = 120) -> Tensor:
    """The points of a square grid, `[resolution, resolution, 2]`: rows go up in the second coordinate, columns in the first.

    Example:
        >>> grid((0.0, 1.0, 0.0, 2.0), 3)[2, 0].tolist()
        [0.0, 2.0]
    """
    left, right, bottom, top = extent
    if not (left < right and bottom < top):
        raise ValueError(f"expected extent = (left, right, bottom, top) with left < right and bottom < top; got {extent}")
    if resolution < 2:
        raise ValueError(f"expected resolution >= 2; got {resolution}")
    u, v = torch.linspace(left, right, resolution), torch.linspace(bottom, top, resolution)
    return torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)


def grid_values(energy: EnergyFunction, extent: Extent = (-3.0, 3.0, -3.0, 3.0), resolution: int = 120) -> np.ndarray:
    """E on `grid(extent, resolution)`, as float32 `[resolution, resolution]`, computed where the energy's tensors live.

    Args:
        energy: maps `[N, 2]` to `[N]`.
    """
    points = grid(extent, resolution).reshape(-1, 2)
    if isinstance(energy, nn.Module):
        tensors = [*energy.parameters(), *energy.buffers()]
        floating = [t for t in tensors if t.is_floating_point()]
        if floating:
            points = points.to(floating[0])
    with torch.no_grad():
        e = energy(points)
    check_values(energy, points, e)
    return e.float().cpu().numpy().reshape(resolution, resolution)


def energy_map(
    energy: EnergyFunction,
    ax: Axes,
    *,
    extent: Extent = (-3.0, 3.0, -3.0, 3.0),
    resolution: int = 120,
    show: Literal["energy", "density"] = "energy",
    limits: tuple[float, float] | None = None,
    contours: int = 10,
    cmap: str | None = None,
    colorbar: bool = True,
) -> Axes:
    """A map of a two-dimensional energy, dark where it is low, or of the density exp(-E)/Z, bright where it is high.

    The density is normalised over the picture: Z is the sum of exp(-E) times the area of a cell.

    Args:
        energy: maps `[N, 2]` to `[N]`.
        ax: where to draw.
        extent: left, right, bottom, top.
        resolution: points along each axis.
        show: "energy" or "density".
        limits: lowest and highest value of the colours. Default for an energy: from its minimum to its 90 % quantile, at most
            twelve above, so that steep walls do not hide the wells; values outside take the end colours.
        contours: number of contour lines, 0 for none.
        cmap: default `viridis` for both.
        colorbar: draw one beside `ax`.

    Returns:
        `ax`, with the coloured mesh as its last image.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = energy_map(lambda x: (x**2).sum(-1), Figure().subplots(), resolution=20)
        >>> ax.get_images()[0].get_array().shape
        (20, 20)
    """
    if show not in ("energy", "density"):
        raise ValueError(f"expected show to be 'energy' or 'density'; got {show!r}")
    left, right, bottom, top = extent
    values = grid_values(energy, extent, resolution)
    if not np.isfinite(values).any():
        raise ValueError("the energy is not finite anywhere in the picture; choose another extent")
    if show == "density":
        cell = (right - left) * (top - bottom) / (resolution - 1) ** 2
        shifted = np.where(np.isfinite(values), values - np.nanmin(values[np.isfinite(values)]), np.inf)
        values = np.exp(-shifted)
        values /= values.sum() * cell
        low, high = limits or (0.0, float(values.max()))
    else:
        finite = values[np.isfinite(values)]
        low = float(finite.min())
        low, high = limits or (low, min(float(np.quantile(finite, 0.9)), low + 12.0))
    if not low < high:
        high = low + 1.0
    half_x, half_y = (right - left) / (resolution - 1) / 2, (top - bottom) / (resolution - 1) / 2
    image = ax.imshow(
        values,
        origin="lower",
        extent=(left - half_x, right + half_x, bottom - half_y, top + half_y),
        vmin=low,
        vmax=high,
        cmap=cmap or SEQUENTIAL,
        aspect="equal",
        interpolation="bilinear",
    )
    if contours:
        u, v = np.linspace(left, right, resolution), np.linspace(bottom, top, resolution)
        levels = np.linspace(low, high, contours + 2)[1:-1]
        visible = np.where(np.isfinite(values), values, high + 1.0)
        if visible.min() < levels[-1] and visible.max() > levels[0]:
            ax.contour(u, v, visible, levels=levels, colors="white", linewidths=0.5, alpha=0.5)
    ax.set(xlim=(left, right), ylim=(bottom, top), xlabel="$x_1$", ylabel="$x_2$")
    if colorbar:
        extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
        outside = (bool((values < low).any()), bool((values > high).any()))
        label = "energy $E(x)$" if show == "energy" else "density $e^{-E(x)}/Z$"
        ax.figure.colorbar(image, ax=ax, label=label, extend=extend[outside], shrink=0.85)
    return ax


def chain_path(
    x: Tensor,
    ax: Axes,
    *,
    color: str = ORANGE,
    label: str | None = None,
    every: int = 1,
    start: bool = True,
) -> Axes:
    """The path of one or a few chains in the plane: a thin line, a dot a step, a square at the start, a star at the end.

    Args:
        x: positions, `[steps, 2]` for one chain or `[steps, chains, 2]`, e.g. `trajectory(...).x`.
        ax: where to draw.
        color: of the path.
        label: for the legend.
        every: draw every so many steps.
        start: mark start and end.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = chain_path(torch.randn(50, 2), Figure().subplots())
        >>> len(ax.lines)
        3
    """
    if x.ndim not in (2, 3) or x.shape[-1] != 2 or len(x) == 0:
        raise ValueError(f"expected positions of shape [steps, 2] or [steps, chains, 2]; got {tuple(x.shape)}")
    paths = x.detach().float().cpu().numpy()[::every]
    if paths.ndim == 2:
        paths = paths[:, None]
    for i in range(paths.shape[1]):
        u, v = paths[:, i, 0], paths[:, i, 1]
        ax.plot(u, v, "o-", color=color, linewidth=0.8, markersize=2, alpha=0.8, label=label if i == 0 else None)
        if start:
            ax.plot(u[:1], v[:1], "s", color="white", markeredgecolor="black", markersize=7, zorder=5)
            ax.plot(u[-1:], v[-1:], "*", color=color, markeredgecolor="black", markersize=13, zorder=5)
    return ax


def points(
    x: Tensor,
    ax: Axes,
    *,
    color: str = ORANGE,
    label: str | None = None,
    size: float = 5.0,
    marker: str = "o",
    rim: str | None = None,
) -> Axes:
    """A cloud of points in the plane.

    Args:
        x: `[N, 2]`.
        ax: where to draw.
        color: of the points.
        label: for the legend.
        size: area of a point in points squared.
        marker: matplotlib's marker; give two clouds two markers, so that colour is not the only difference.
        rim: colour of a thin outline, e.g. "black" for points on light and on dark ground; None draws none.
    """
    if x.ndim != 2 or x.shape[-1] != 2:
        raise ValueError(f"expected points of shape [N, 2]; got {tuple(x.shape)}")
    u, v = x.detach().float().cpu().numpy().T
    style = (
        {"edgecolors": rim, "linewidths": 0.4, "alpha": 0.9} if rim else {"linewidths": 0 if marker == "o" else 0.7, "alpha": 0.7}
    )
    ax.scatter(u, v, s=size, color=color, marker=marker, label=label, **style)
    return ax


def histogram(
    x: Tensor,
    ax: Axes,
    *,
    energy: EnergyFunction | None = None,
    extent: tuple[float, float] | None = None,
    bins: int = 50,
    color: str = BLUE,
    label: str | None = "samples",
) -> Axes:
    """Samples on the line as a histogram of density, with exp(-E)/Z as a line over it when an energy is given.

    Args:
        x: samples of any shape; flattened.
        ax: where to draw.
        energy: maps `[N, 1]` to `[N]`; Z is a sum over a grid of 2,000 points of `extent`.
        extent: left and right end, default those of the samples.
        bins: number of bars.
        color: of the bars.
        label: of the bars.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = histogram(torch.randn(500), Figure().subplots(), energy=lambda x: 0.5 * (x**2).sum(-1), extent=(-4, 4))
        >>> round(float(sum(bar.get_height() * bar.get_width() for bar in ax.patches)), 6)
        1.0
    """
    values = x.detach().float().cpu().numpy().ravel()
    if extent is None:
        extent = (float(values.min()), float(values.max()))
    inside = values[(values >= extent[0]) & (values <= extent[1])]
    heights, edges = np.histogram(inside, bins=bins, range=extent)
    width = edges[1] - edges[0]
    ax.bar(
        edges[:-1], heights / (len(values) * width), width=width, align="edge", color=color, alpha=0.55, linewidth=0, label=label
    )
    if energy is not None:
        u = torch.linspace(extent[0], extent[1], 2000)
        with torch.no_grad():
            e = energy(u[:, None]).float().cpu().numpy()
        p = np.exp(-(e - e.min()))
        ax.plot(u.numpy(), p / (p.sum() * float(u[1] - u[0])), color="black", linewidth=1.5, label="exact $e^{-E}/Z$")
    ax.set(xlim=extent, xlabel="$x$", ylabel="density")
    return ax


def tile(images: Tensor, *, columns: int | None = None, padding: int = 1, fill: float = 1.0) -> Tensor:
    """Images side by side as one: `[N, C, H, W] -> [rows (H + p) - p, columns (W + p) - p, C]`.

    Args:
        images: `[N, C, H, W]`.
        columns: default the square root of N, rounded up.
        padding: pixels between images.
        fill: value of the padding and of empty places.

    Example:
        >>> tile(torch.zeros(6, 1, 8, 8), columns=3).shape
        torch.Size([17, 26, 1])
    """
    n, channels, height, width = images.shape
    if n == 0:
        raise ValueError("expected at least one image; got none")
    columns = min(n, columns or math.ceil(math.sqrt(n)))
    rows = math.ceil(n / columns)
    out = images.new_full((channels, rows * (height + padding), columns * (width + padding)), fill)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + padding), (i % columns) * (width + padding)
        out[:, top : top + height, left : left + width] = image
    return out[:, : out.shape[1] - padding, : out.shape[2] - padding].permute(1, 2, 0)


def image_grid(
    images: Tensor,
    ax: Axes,
    *,
    columns: int | None = None,
    limits: tuple[float, float] = (0.0, 1.0),
    padding: int = 1,
    cmap: str = "gray",
    title: str | None = None,
) -> Axes:
    """A grid of images.

    Args:
        images: `[N, H, W]`, `[N, 1, H, W]` or `[N, 3, H, W]`.
        ax: where to draw.
        columns: default the square root of N, rounded up.
        limits: the values shown as black and as white; values outside are clipped.
        padding: pixels between images.
        cmap: of grey images.
        title: of the picture.

    Example:
        >>> from matplotlib.figure import Figure
        >>> image_grid(torch.rand(9, 8, 8), Figure().subplots()).get_images()[0].get_array().shape
        (26, 26)
    """
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"expected images of shape [N, H, W], [N, 1, H, W] or [N, 3, H, W]; got {tuple(images.shape)}")
    low, high = limits
    if not low < high:
        raise ValueError(f"expected limits = (low, high) with low < high; got {limits}")
    scaled = ((images.detach().float().cpu() - low) / (high - low)).clamp(0, 1)
    picture = tile(scaled, columns=columns, padding=padding).numpy()
    if picture.shape[-1] == 1:
        ax.imshow(picture[..., 0], cmap=cmap, vmin=0.0, vmax=1.0, interpolation="nearest")
    else:
        ax.imshow(picture, interpolation="nearest")
    ax.set_axis_off()
    if title is not None:
        ax.set_title(title)
    return ax


def read_metrics(path: str | Path) -> dict[str, list[float]]:
    """The columns of a run's `metrics.csv`, name -> values, for `dashboard`."""
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    return {name: [float(row[i]) for row in rows[1:]] for i, name in enumerate(rows[0])}


class Panel(NamedTuple):
    """One panel of the dashboard: its title, the metric it reads, a reference line, and whether its axis is logarithmic."""

    title: str
    metric: str
    reference: float | None
    log: bool
    meaning: str


PANELS = (
    Panel("energy gap", "gap", 0.0, False, "$E(x^-) - E(x^+)$"),
    Panel("gradient norm", "grad_norm", None, True, r"$|\nabla_\theta|$"),
    Panel("acceptance", "acceptance", 1.0, False, "probability"),
    Panel("effective temperature", "temperature", 1.0, True, r"$T = \sigma^2 / 2\eta$"),
    Panel("buffer age", "buffer_age", None, False, "updates"),
)


def dashboard(history: Mapping[str, Sequence[float]], axes: Sequence[Axes]) -> Sequence[Axes]:
    """Five panels that tell a healthy run from a sick one: energy gap, gradient norm, acceptance, temperature, buffer age.

    The gap E(x-) - E(x+) should wander around 0: far above, the chains do not reach what the energy prefers; far below,
    they have found what the data never show. A run records what it can; a panel without numbers says so.

    Args:
        history: name -> one number a logged step, e.g. `read_metrics(out / "metrics.csv")`. Read are "step" (default
            0, 1, ...), "gap" or "e_pos" and "e_neg", "grad_norm", "acceptance", "temperature", "buffer_age".
        axes: five axes, e.g. `plt.subplots(1, 5, figsize=(15, 3))[1]`.

    Returns:
        The axes.

    Example:
        >>> from matplotlib.figure import Figure
        >>> axes = dashboard({"e_pos": [0.0, 0.1], "e_neg": [1.0, 0.2]}, Figure().subplots(1, 5))
        >>> [round(float(v), 1) for v in axes[0].lines[-1].get_ydata()]
        [1.0, 0.1]
    """
    if len(axes) != len(PANELS):
        raise ValueError(f"expected {len(PANELS)} axes; got {len(axes)}. Use plt.subplots(1, {len(PANELS)})[1]")
    columns = {name: np.asarray(values, dtype=float) for name, values in history.items()}
    if "gap" not in columns and {"e_pos", "e_neg"} <= set(columns):
        columns["gap"] = columns["e_neg"] - columns["e_pos"]
    known = {panel.metric for panel in PANELS} & set(columns)
    if not known:
        raise ValueError(f"expected at least one of {sorted(p.metric for p in PANELS)} or e_pos and e_neg; got {sorted(columns)}")
    for panel, ax, color in zip(PANELS, axes, (BLUE, ORANGE, GREEN, RED, PURPLE), strict=True):
        ax.set(title=panel.title, xlabel="step", ylabel=panel.meaning)
        if panel.metric not in columns:
            ax.text(0.5, 0.5, "not recorded", transform=ax.transAxes, ha="center", va="center", color=GREY)
            ax.set(xticks=[], yticks=[])
            continue
        values = columns[panel.metric]
        steps = columns.get("step", np.arange(len(values)))
        if panel.reference is not None:
            ax.axhline(panel.reference, color="black", linewidth=0.8, linestyle="--")
        ax.plot(steps, values, color=color, linewidth=1.2)
        if panel.log and (values > 0).all():
            ax.set_yscale("log")
        if panel.metric == "acceptance":
            ax.set_ylim(0.0, 1.05)
    return axes
