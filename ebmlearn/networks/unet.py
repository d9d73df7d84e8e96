"""A small UNet for images of 8 to 32 pixels, told a step number; and the encoder half of one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def step_embedding(step: Tensor, width: int, *, longest: float = 10_000.0) -> Tensor:
    """Sines and cosines of a step number at geometrically spaced frequencies, `[*] -> [*, width]`.

    References:
        Attention is all you need (Vaswani et al., 2017), section 3.5.

    Example:
        >>> step_embedding(torch.tensor([0, 10]), 4)[0].tolist()
        [0.0, 0.0, 1.0, 1.0]
    """
    half = width // 2
    rate = torch.exp(-math.log(longest) * torch.arange(half, device=step.device) / half)
    a = step[..., None] * rate
    return torch.cat([a.sin(), a.cos()], dim=-1)


def _groups(width: int) -> int:
    return max(g for g in (1, 2, 4, 8) if width % g == 0)


class ResBlock(nn.Module):
    """Two normalised convolutions around an added step embedding, plus a skip; `[N, in, H, W] -> [N, out, H, W]`."""

    def __init__(self, in_channels: int, out_channels: int, embedding: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(_groups(in_channels), in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.embed = nn.Linear(embedding, out_channels)
        self.norm2 = nn.GroupNorm(_groups(out_channels), out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)  # the block starts as its skip
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.embed(F.silu(embedding))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return self.skip(x) + h


class Attention(nn.Module):
    """Self-attention over the pixels of an image, one head of at most 64 channels each; `[N, C, H, W]`, same out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // 64)
        self.norm = nn.GroupNorm(_groups(channels), channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(n, 3, self.heads, c // self.heads, h * w).transpose(-1, -2).unbind(1)
        a = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(a.transpose(-1, -2).reshape(n, c, h, w))


class UNet(nn.Module):
    """Predicts the noise in an image at a step: down, across, up, with skips between equal resolutions.

    Every multiplier after the first halves the image; self-attention stands at the coarsest resolution. Group
    normalisation looks at one image at a time, so a point never depends on its batch.

    Args:
        channels: of the image.
        out_channels: of the output; default those of the image.
        width: channels at full resolution.
        multipliers: of `width`, one for each resolution.
        n_blocks: residual blocks for each resolution.

    References:
        Denoising diffusion probabilistic models (Ho, Jain, Abbeel, 2020), appendix B.

    Example:
        >>> UNet(channels=1, width=8, multipliers=(1, 2))(torch.zeros(3, 1, 8, 8), torch.tensor([5, 1, 2])).shape
        torch.Size([3, 1, 8, 8])
    """

    def __init__(
        self,
        *,
        channels: int = 1,
        out_channels: int | None = None,
        width: int = 48,
        multipliers: Sequence[int] = (1, 2, 2),
        n_blocks: int = 1,
    ) -> None:
        super().__init__()
        out_channels = channels if out_channels is None else out_channels
        self.width = width
        self.halvings = len(multipliers) - 1
        embedding = 4 * width
        self.embed = nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        widths = [width * m for m in multipliers]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        current, skips = width, [width]
        for i, w in enumerate(widths):
            for _ in range(n_blocks):
                self.down.append(ResBlock(current, w, embedding))
                current = w
                skips.append(w)
            if i < self.halvings:
                self.down.append(nn.Conv2d(w, w, 3, stride=2, padding=1))
                skips.append(w)
        self.middle = nn.ModuleList(
            [ResBlock(current, current, embedding), Attention(current), ResBlock(current, current, embedding)]
        )
        for i, w in reversed(list(enumerate(widths))):
            for _ in range(n_blocks + 1):
                self.up.append(ResBlock(current + skips.pop(), w, embedding))
                current = w
            if i > 0:
                self.up.append(nn.Conv2d(w, w, 3, padding=1))
        self.norm = nn.GroupNorm(_groups(current), current)
        self.last = nn.Conv2d(current, out_channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        """`[*batch, C, H, W] -> [*batch, out, H, W]`: the noise, predicted from x and a step number for all or for each point of the batch."""
        batch, event = x.shape[:-3], x.shape[-3:]
        if event[-1] % 2**self.halvings or event[-2] % 2**self.halvings:
            raise ValueError(f"expected a height and width divisible by {2**self.halvings}; got {tuple(event[-2:])}")
        e = self.embed(step_embedding(step.expand(batch).reshape(-1).to(x.dtype), self.width).to(x.dtype))
        h = self.first(x.reshape(-1, *event))
        kept = [h]
        for layer in self.down:
            h = layer(h, e) if isinstance(layer, ResBlock) else layer(h)
            kept.append(h)
        for layer in self.middle:
            h = layer(h, e) if isinstance(layer, ResBlock) else layer(h)
        for layer in self.up:
            if isinstance(layer, ResBlock):
                h = layer(torch.cat([h, kept.pop()], dim=1), e)
            else:
                h = layer(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        h = self.last(F.silu(self.norm(h)))
        return h.reshape(*batch, *h.shape[1:])


class StepEncoder(nn.Module):
    """Numbers read off an image, optionally at a step: strided convolutions, then a sum over pixels and a linear layer.

    No normalisation and no batch statistics, so it may serve as an energy or as a value function.

    Args:
        channels: of the image.
        out_features: numbers for each image.
        width: channels at full resolution; doubled at every halving.
        halvings: of the resolution.

    Example:
        >>> StepEncoder(channels=1, out_features=1, width=8)(torch.zeros(3, 1, 8, 8), torch.tensor(2)).shape
        torch.Size([3, 1])
    """

    def __init__(self, *, channels: int = 1, out_features: int = 1, width: int = 64, halvings: int = 2) -> None:
        super().__init__()
        self.width = width
        widths = [width * 2**i for i in range(halvings + 1)]
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.convs = nn.ModuleList()
        self.gates = nn.ModuleList()
        for a, b in itertools.pairwise(widths):
            self.convs.append(nn.Conv2d(a, a, 3, padding=1))
            self.gates.append(nn.Linear(width, a))
            self.convs.append(nn.Conv2d(a, b, 4, stride=2, padding=1))
            self.gates.append(nn.Linear(width, b))
        self.output = nn.Linear(widths[-1], out_features)

    def forward(self, x: Tensor, step: Tensor | None = None) -> Tensor:
        batch, event = x.shape[:-3], x.shape[-3:]
        gate = None if step is None else step_embedding(step.expand(batch).reshape(-1).to(x.dtype), self.width).to(x.dtype)
        h = F.silu(self.first(x.reshape(-1, *event)))
        for conv, gated in zip(self.convs, self.gates, strict=True):
            h = conv(h)
            if gate is not None:
                h = h + gated(gate)[:, :, None, None]
            h = F.silu(h)
        return self.output(h.mean((-2, -1))).reshape(*batch, -1)
