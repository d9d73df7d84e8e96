"""Pictures of worlds as a planner would see them: each pixel the exact share of it that a wall covers."""

from __future__ import annotations

import torch
from torch import Tensor

from .worlds import World


def coverage(boxes: Tensor, *, size: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """The share of each pixel that each box covers, exactly: `boxes[*worlds, K, 4] -> [*worlds, K, size, size]`.

    The pixel in row i and column j is the cell [j, j + 1] x [i, i + 1] of the square, y upwards in rows.

    Example:
        >>> coverage(torch.tensor([[0.0, 0.0, 0.75, 0.5]]), size=2).tolist()
        [[[1.0, 0.5], [0.0, 0.0]]]
    """
    if boxes.shape[-1:] != (4,) or size < 1:
        raise ValueError(f"expected boxes [*worlds, K, 4] and size >= 1; got {tuple(boxes.shape)} and {size}")
    edge = torch.linspace(low, high, size + 1, dtype=boxes.dtype, device=boxes.device)
    along = lambda a, b: (torch.minimum(b.unsqueeze(-1), edge[1:]) - torch.maximum(a.unsqueeze(-1), edge[:-1])).clamp_min(0)
    x0, y0, x1, y1 = boxes.unbind(-1)
    pixel = (high - low) / size
    return along(y0, y1).unsqueeze(-1) * along(x0, x1).unsqueeze(-2) / pixel**2


def picture(world: World, *, size: int = 32, decoys: Tensor | None = None, grey: float = 0.5) -> Tensor:
    """Walls at 1 on 0, and decoys, which stop nobody, at `grey`: `[*worlds, 1, size, size]`.

    Args:
        world: with boxes that do not overlap.
        decoys: boxes that are drawn only, `[*worlds, D, 4]`; a wall hides a decoy behind it.
    """
    wall = coverage(world.boxes, size=size, low=world.low, high=world.high).sum(-3).clamp_max(1)
    if decoys is not None:
        bar = coverage(decoys, size=size, low=world.low, high=world.high).sum(-3).clamp_max(1)
        wall = wall + grey * torch.minimum(bar, 1 - wall)
    return wall.unsqueeze(-3)


def random_decoys(walls: Tensor, *, generator: torch.Generator | None = None, half_thickness: float = 0.02) -> Tensor:
    """One upright bar from bottom to top for each wall, `[n, 1, 4]`, at x uniform in (.1, .9) but .1 or more from the wall.

    Args:
        walls: contexts of `wall_world`, `[n, 2]`.
    """
    u = torch.rand(len(walls), generator=generator, dtype=walls.dtype)
    x = 0.1 + 0.6 * u  # the interval without the 0.2 about the wall, which lies in (.3, .7)
    x = torch.where(x > walls[:, 0] - 0.1, x + 0.2, x)
    end = torch.ones_like(x)
    return torch.stack([x - half_thickness, -end, x + half_thickness, 2 * end], -1).unsqueeze(-2)
