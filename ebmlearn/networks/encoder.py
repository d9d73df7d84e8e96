"""Encoders and classifiers of images: ResNet-18-like with the stem for small images, and a small convolutional one without normalisation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """conv-BN-ReLU-conv-BN + skip, ReLU; the last BN scale starts at zero, so the block starts as its skip."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.bn2.weight)
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.skip = nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.skip(x) + self.bn2(self.conv2(h)))


class ResNetEncoder(nn.Module):
    """ResNet-18 for small images: a 3 x 3 stem of stride 1 and no max-pooling; `[N, C, H, W]` in [0, 1] -> `[N, out_features]`.

    Args:
        in_channels: C.
        width: channels of the first stage (64 in ResNet-18); the four stages have width x 1, 2, 4, 8.
        hidden_features: hidden width of the projection head (BN, ReLU); None makes the head one linear layer, a classifier.
        out_features: width of the output.

    References:
        Deep residual learning for image recognition (He, Zhang, Ren, Sun, 2016).
        A simple framework for contrastive learning of visual representations (Chen et al., 2020), appendix B.9.
    """

    def __init__(
        self, *, in_channels: int = 3, width: int = 64, hidden_features: int | None = 2048, out_features: int = 128
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        blocks: list[nn.Module] = []
        channels = width
        for stage in range(4):
            for i in range(2):
                blocks.append(BasicBlock(channels, width * 2**stage, 2 if stage > 0 and i == 0 else 1))
                channels = width * 2**stage
        self.blocks = nn.Sequential(*blocks)
        self.n_features = channels
        self.head: nn.Module
        if hidden_features is None:
            self.head = nn.Linear(channels, out_features)
        else:
            self.head = nn.Sequential(
                nn.Linear(channels, hidden_features, bias=False),
                nn.BatchNorm1d(hidden_features),
                nn.ReLU(),
                nn.Linear(hidden_features, out_features),
            )

    def features(self, x: Tensor) -> Tensor:
        """The pooled features before the head, `[N, 8 width]`."""
        return self.blocks(self.stem(2 * x - 1)).mean((-2, -1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class ConvEncoder(nn.Module):
    """Three 3 x 3 convolutions (the second of stride 2), SiLU, and a two-layer head.

    Args:
        image_shape: (C, H, W).
        width: channels of the first convolution; the others have twice as many.
        hidden_features, out_features: of the head.
        batch_norm: normalise the head's hidden layer over the batch; BYOL collapses to a constant without it.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        width: int = 16,
        hidden_features: int = 128,
        out_features: int = 32,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        c, h, w = image_shape
        self.trunk = nn.Sequential(
            nn.Conv2d(c, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.SiLU(),
            nn.Flatten(),
        )
        self.n_features = 2 * width * -(-h // 2) * -(-w // 2)
        self.head = nn.Sequential(
            nn.Linear(self.n_features, hidden_features), nn.SiLU(), nn.Linear(hidden_features, out_features)
        )

    def features(self, x: Tensor) -> Tensor:
        """The flattened convolutional features."""
        return self.trunk(2 * x - 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def count_parameters(module: nn.Module) -> int:
    """Number of trained numbers in `module`."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def channels_last(module: nn.Module) -> nn.Module:
    """Keep 4-D weights in the order that GPU convolutions read fastest (NHWC); values are unchanged."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
