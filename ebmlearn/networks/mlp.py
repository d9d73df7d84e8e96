"""The multilayer perceptron."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from torch import Tensor, nn


class MLP(nn.Module):
    """Linear layers with an activation between them; any leading shape, `[*, in] -> [*, out]`.

    Args:
        in_features: width of the input.
        out_features: width of the output.
        hidden_features: widths of the hidden layers, e.g. `(128, 128)`.
        activation: module constructor; SiLU is smooth, so its gradients are too.
        bias: False makes the network positively homogeneous with a (leaky) ReLU.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        hidden_features: Sequence[int] = (128, 128),
        activation: Callable[[], nn.Module] = nn.SiLU,
        bias: bool = True,
    ) -> None:
        super().__init__()
        widths = [in_features, *hidden_features, out_features]
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(itertools.pairwise(widths)):
            layers.append(nn.Linear(a, b, bias=bias))
            if i < len(widths) - 2:
                layers.append(activation())
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
