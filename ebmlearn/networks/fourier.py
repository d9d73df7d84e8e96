"""Fourier features, and the multilayer perceptron that is told a step number."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .mlp import MLP


class FourierFeatures(nn.Module):
    """x -> [x, sin Wx, cos Wx] with a fixed random W, `[*, in] -> [*, in + 2 n_features]`.

    A plain MLP learns low frequencies first; sines and cosines of random projections give it the high ones at once.

    Args:
        in_features: entries of x.
        n_features: rows of W, drawn from N(0, scale²) and never trained.
        scale: in cycles, scale / (2 pi) is a typical frequency.
        generator: source of W.

    References:
        Fourier features let networks learn high frequency functions in low dimensional domains (Tancik et al., 2020).

    Example:
        >>> FourierFeatures(2, n_features=64)(torch.zeros(5, 2)).shape
        torch.Size([5, 130])
    """

    weight: Tensor

    def __init__(
        self, in_features: int, *, n_features: int = 64, scale: float = 1.0, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.out_features = in_features + 2 * n_features
        self.register_buffer("weight", scale * torch.randn(n_features, in_features, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        a = F.linear(x, self.weight)
        return torch.cat([x, a.sin(), a.cos()], dim=-1)


class FourierMLP(nn.Module):
    """An MLP on Fourier features of its input; any leading shape, `[*, in] -> [*, out]`.

    Args:
        in_features, out_features, hidden_features: as for `MLP`.
        n_features, scale: as for `FourierFeatures`; 0 features is the plain MLP.

    Example:
        >>> FourierMLP(2, 1)(torch.zeros(5, 2)).shape
        torch.Size([5, 1])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        hidden_features: Sequence[int] = (128, 128, 128),
        n_features: int = 64,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.features = FourierFeatures(in_features, n_features=n_features, scale=scale)
        self.mlp = MLP(self.features.out_features, out_features, hidden_features=hidden_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.features(x))


class StepMLP(nn.Module):
    """A multilayer perceptron of a point and a step number: each hidden layer is multiplied by 1 + embedding[step].

    h <- silu((W h + b) * (1 + e_k)): one network, gated differently at every step of a sampler.

    Args:
        in_features, out_features, hidden_features: as for `MLP`; the hidden layers share one width.
        n_steps: number of step numbers, 0 .. n_steps - 1.
        zero_output: start with an output of exactly zero.

    Example:
        >>> net = StepMLP(2, 2, n_steps=6)
        >>> net(torch.zeros(7, 5, 2), torch.tensor(3)).shape, net(torch.zeros(4, 2), torch.arange(4)).shape
        (torch.Size([7, 5, 2]), torch.Size([4, 2]))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        n_steps: int,
        hidden_features: Sequence[int] = (128, 128, 128),
        zero_output: bool = False,
    ) -> None:
        super().__init__()
        widths = [in_features, *hidden_features]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.gates = nn.ModuleList(nn.Embedding(n_steps, b) for b in hidden_features)
        for gate in self.gates:
            nn.init.normal_(gate.weight, std=0.3)  # type: ignore[arg-type]
        self.output = nn.Linear(widths[-1], out_features)
        if zero_output:
            nn.init.zeros_(self.output.weight)
            nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        h = x
        for layer, gate in zip(self.layers, self.gates, strict=True):
            h = F.silu(layer(h) * (1 + gate(step)))
        return self.output(h)


class AxisWaves(nn.Module):
    """x -> [x, sin(k pi x / 2), cos(k pi x / 2)] for k = 1, ..., K on every axis, `[*, in] -> [*, in (1 + 2 K)]`, for x in [-1, 1].

    What a wall needs is a fast change along one axis; these waves have it, and nothing in them is random.

    Args:
        frequencies: K; 0 returns x.

    Example:
        >>> AxisWaves(2)(torch.zeros(5, 4)).shape
        torch.Size([5, 20])
    """

    def __init__(self, frequencies: int) -> None:
        super().__init__()
        if frequencies < 0:
            raise ValueError(f"expected frequencies >= 0; got {frequencies}")
        self.frequencies = frequencies

    def forward(self, x: Tensor) -> Tensor:
        k = torch.arange(1, self.frequencies + 1, dtype=x.dtype, device=x.device)
        w = (0.5 * math.pi * x.unsqueeze(-1) * k).flatten(-2)
        return torch.cat([x, w.sin(), w.cos()], -1)
