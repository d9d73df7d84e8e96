"""A learned energy of transitions E(s, s'): low where s' can follow s in one move."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..networks.fourier import AxisWaves
from ..networks.mlp import MLP


class TransitionEnergy(nn.Module):
    """E(s, s') = f(s, s', s' - s), an MLP of scaled coordinates; trained by noise-contrastive estimation it is -log p(s' | s).

    f reads s and s' scaled to [-1, 1], with waves along the axes where walls are to be seen, and (s' - s)/scale, the displacement
    in units of a move, because its bound is what is to be learned.

    Args:
        low, high: corners of the square of states.
        scale: of one move.
        frequencies: waves an axis, see `AxisWaves`; 0 in an empty square.
        hidden_features: widths of the network.

    Example:
        >>> TransitionEnergy(scale=0.1)(torch.zeros(5, 2), torch.zeros(5, 2)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        *,
        low: float = 0.0,
        high: float = 1.0,
        scale: float,
        frequencies: int = 0,
        hidden_features: Sequence[int] = (64, 64),
        dim: int = 2,
    ) -> None:
        super().__init__()
        if not low < high or scale <= 0:
            raise ValueError(f"expected low < high and scale > 0; got {low}, {high} and {scale}")
        self.low, self.high, self.scale, self.dim = low, high, scale, dim
        self.waves = AxisWaves(frequencies)
        self.net = MLP(2 * dim * (1 + 2 * frequencies) + dim, 1, hidden_features=hidden_features)

    def forward(self, s: Tensor, s_next: Tensor) -> Tensor:
        if s.shape[-1:] != (self.dim,) or s_next.shape[-1:] != (self.dim,):
            raise ValueError(f"expected states [*batch, {self.dim}]; got {tuple(s.shape)} and {tuple(s_next.shape)}")
        places = 2 * (torch.cat([s, s_next], -1) - self.low) / (self.high - self.low) - 1
        return self.net(torch.cat([self.waves(places), (s_next - s) / self.scale], -1)).squeeze(-1)


class DisplacementNoise:
    """q(s' | s): s + scale_k N(0, I), the scale drawn from a list; known density, for noise-contrastive estimation.

    Args:
        scales: standard deviations, equally likely; from shorter than a move to much longer.

    Example:
        >>> q = DisplacementNoise([1.0])
        >>> round(q.log_prob(torch.zeros(1, 2), torch.zeros(1, 2)).item(), 4)  # -log 2 pi
        -1.8379
    """

    def __init__(self, scales: Sequence[float]) -> None:
        if not scales or min(scales) <= 0:
            raise ValueError(f"expected at least one scale > 0; got {tuple(scales)}")
        self.scales = torch.tensor(tuple(scales))

    def sample(self, s: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """One candidate for each state: `[*batch, d] -> [*batch, d]`."""
        k = torch.randint(len(self.scales), s.shape[:-1], generator=generator, device=s.device)
        xi = torch.randn(s.shape, generator=generator, dtype=s.dtype, device=s.device)
        return s + self.scales.to(s)[k].unsqueeze(-1) * xi

    def log_prob(self, s: Tensor, s_next: Tensor) -> Tensor:
        """log q(s' | s), `[*batch]`."""
        d = s.shape[-1]
        r2 = (s_next - s).square().sum(-1, keepdim=True)
        v = self.scales.to(s).square()
        each = -0.5 * r2 / v - 0.5 * d * torch.log(2 * math.pi * v)
        return torch.logsumexp(each, -1) - math.log(len(v))
