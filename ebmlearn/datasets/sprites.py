"""Sprites of 6 x 6 pixels with two attributes, shape and colour: images whose composition can be checked without a network."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SHAPES = ("square", "plus", "cross", "triangle")
COLOURS = ("red", "green", "blue")
SIZE = 6
BACKGROUND, FOREGROUND, JITTER = 20, 220, 15  # bytes; every pixel is off by up to JITTER

_ROWS = {
    "square": ("#####", "#...#", "#...#", "#...#", "#####"),
    "plus": ("..#..", "..#..", "#####", "..#..", "..#.."),
    "cross": ("#...#", ".#.#.", "..#..", ".#.#.", "#...#"),
    "triangle": ("..#..", "..#..", ".###.", ".###.", "#####"),
}


def masks() -> Tensor:
    """The shapes, `[4, 5, 5]`, ones and zeros."""
    return torch.tensor([[[float(c == "#") for c in row] for row in _ROWS[name]] for name in SHAPES])


def templates() -> Tensor:
    """Every sprite without jitter: `[shape 4, colour 3, place 4, 3, 6, 6]`, bytes as floats."""
    out = torch.full((4, 3, 4, 3, SIZE, SIZE), float(BACKGROUND))
    for s, mask in enumerate(masks()):
        for c in range(3):
            for p in range(4):
                top, left = divmod(p, 2)
                out[s, c, p, c, top : top + 5, left : left + 5] += (FOREGROUND - BACKGROUND) * mask
    return out


def sprites(n: int, *, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """n random sprites: images `[n, 3, 6, 6]` uint8, shapes `[n]`, colours `[n]`.

    Example:
        >>> x, shape, colour = sprites(5, generator=torch.Generator().manual_seed(0))
        >>> x.shape, x.dtype
        (torch.Size([5, 3, 6, 6]), torch.uint8)
    """
    shape = torch.randint(4, (n,), generator=generator)
    colour = torch.randint(3, (n,), generator=generator)
    place = torch.randint(4, (n,), generator=generator)
    jitter = torch.randint(-JITTER, JITTER + 1, (n, 3, SIZE, SIZE), generator=generator)
    return (templates()[shape, colour, place] + jitter).to(torch.uint8), shape, colour


class Reading(NamedTuple):
    """What an image shows: the best template's shape and colour, `[N]`, and its correlation with the image, `[N]`."""

    shape: Tensor
    colour: Tensor
    correlation: Tensor


def read(x: Tensor) -> Reading:
    """The template that correlates best with each image over shapes, colours and places; exact on real sprites.

    Args:
        x: images `[N, 3, 6, 6]`.
    """
    t = templates().reshape(48, -1)
    t = t - t.mean(-1, keepdim=True)
    y = x.float().reshape(len(x), -1)
    y = y - y.mean(-1, keepdim=True)
    r = torch.nn.functional.normalize(y, dim=-1) @ torch.nn.functional.normalize(t, dim=-1).mT
    best, index = r.max(-1)
    return Reading(index // 12, index // 4 % 3, best)
