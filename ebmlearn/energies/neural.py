"""Neural energies: an MLP, the squared norm of an MLP's output, and a small convolutional network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as _spectral_norm

from ..functional import check_event
from ..networks.mlp import MLP
from .base import Energy


def _event(shape: int | Sequence[int]) -> tuple[int, ...]:
    event = (shape,) if isinstance(shape, int) else tuple(shape)
    if not event or any(n < 1 for n in event):
        raise ValueError(f"expected the shape of one point, e.g. 2 or (1, 8, 8); got {shape}")
    return event


def _check_weight(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"expected {name} >= 0 and finite; got {value}")


class MLPEnergy(Energy):
    """E(x) = f(x) + c |x|²/2 with an MLP f; the confinement c decides whether Z is finite.

    f with SiLU, tanh or (leaky) ReLU grows at most linearly, so every c > 0 gives a finite Z. With c = 0 nothing keeps
    exp(-E) integrable over all of space: clamp the chains to a box, and read p only inside it.

    Args:
        event_shape: shape of one point, e.g. 2 or (1, 8, 8); it is flattened.
        hidden_features: widths of the hidden layers.
        activation: module constructor; a smooth one has smooth gradients.
        confinement: c >= 0.

    Example:
        >>> import torch
        >>> MLPEnergy(2, confinement=1.0)(torch.zeros(5, 3, 2)).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        *,
        hidden_features: Sequence[int] = (128, 128),
        activation: Callable[[], nn.Module] = nn.SiLU,
        confinement: float = 0.0,
    ) -> None:
        super().__init__()
        _check_weight("confinement", confinement)
        self.event_shape = _event(event_shape)
        self.event_ndim = len(self.event_shape)
        self.confinement = confinement
        self.net = MLP(math.prod(self.event_shape), 1, hidden_features=hidden_features, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        check_event(x, self.event_shape, type(self).__name__)
        flat = x.flatten(x.ndim - self.event_ndim)
        e = self.net(flat).squeeze(-1)
        return e if self.confinement == 0 else e + 0.5 * self.confinement * (flat * flat).sum(-1)


class NormEnergy(Energy):
    """E(x) = |f(2x - 1)|²/2 with an MLP f on pixels x in [0, 1]: never negative, and f is a representation of x.

    Args:
        event_shape: shape of one point, e.g. (1, 8, 8); it is flattened.
        hidden_features: widths of the hidden layers.
        out_features: length of f(x).
        activation: module constructor.

    References:
        Guiding energy-based models via contrastive latent variables (Lee, Jeong, Park, Shin, 2023), section 3.1.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        *,
        hidden_features: Sequence[int] = (256, 256, 256),
        out_features: int = 32,
        activation: Callable[[], nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        self.event_shape = _event(event_shape)
        self.event_ndim = len(self.event_shape)
        self.net = MLP(math.prod(self.event_shape), out_features, hidden_features=hidden_features, activation=activation)

    def features(self, x: Tensor) -> Tensor:
        """f(2x - 1), `[*batch, out_features]`."""
        check_event(x, self.event_shape, type(self).__name__)
        return self.net(2 * x.flatten(x.ndim - self.event_ndim) - 1)

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * self.features(x).square().sum(-1)


class ConvEnergy(Energy):
    """E(x) = f(x) + c |x|²/2 with a small convolutional f for images from 8x8 to 32x32.

    A 3x3 convolution, then 4x4 convolutions of stride 2, doubling the channels, until the image is 4 pixels or less
    across, then one linear layer; SiLU between. No normalisation across the batch: a point's energy is its own.

    Args:
        event_shape: (channels, height, width), e.g. (1, 8, 8), (1, 28, 28), (3, 32, 32).
        width: channels of the first layer.
        spectral_norm: divide every weight by its largest singular value (as a matrix), which bounds how steep f can be.
            In training mode every call advances the power iteration by one; call `.eval()` for an energy that stays put.
        confinement: c >= 0; f grows at most linearly, so any c > 0 gives a finite Z.

    References:
        Spectral normalization for generative adversarial networks (Miyato, Kataoka, Koyama, Yoshida, 2018).
        Implicit generation and modeling with energy-based models (Du, Mordatch, 2019), section 3.2.

    Example:
        >>> import torch
        >>> ConvEnergy((1, 28, 28), width=8)(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5])
    """

    event_ndim = 3

    def __init__(
        self, event_shape: Sequence[int], *, width: int = 32, spectral_norm: bool = False, confinement: float = 0.0
    ) -> None:
        super().__init__()
        _check_weight("confinement", confinement)
        self.event_shape = _event(event_shape)
        if len(self.event_shape) != 3:
            raise ValueError(f"expected event_shape (channels, height, width); got {tuple(event_shape)}")
        self.confinement = confinement
        channels, height, breadth = self.event_shape
        wrap: Callable[[nn.Module], nn.Module] = _spectral_norm if spectral_norm else lambda layer: layer
        layers: list[nn.Module] = [wrap(nn.Conv2d(channels, width, 3, padding=1)), nn.SiLU()]
        while max(height, breadth) > 4 and min(height, breadth) > 1:
            layers += [wrap(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)), nn.SiLU()]
            width, height, breadth = 2 * width, height // 2, breadth // 2
        layers += [nn.Flatten(), wrap(nn.Linear(width * height * breadth, 1))]
        self.net = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        check_event(x, self.event_shape, type(self).__name__)
        batch = x.shape[: x.ndim - 3]
        images = x.reshape(-1, *self.event_shape)
        e = self.net(images).reshape(batch)
        return e if self.confinement == 0 else e + 0.5 * self.confinement * (x * x).flatten(x.ndim - 3).sum(-1)
