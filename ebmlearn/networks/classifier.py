"""A small convolutional classifier; what stands before its last layer is a feature space for Frechet and kernel distances."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ConvClassifier(nn.Module):
    """Three 3 x 3 convolutions (the last two of stride 2), one hidden layer, one linear layer; no normalisation layers.

    Each image is mapped by itself, so features do not depend on the batch.

    Args:
        in_channels: C.
        size: height and width of the images.
        n_classes: number of classes.
        width: channels of the first convolution; the others have 2 and 4 times as many.
        features: length L of the feature vector.

    Example:
        >>> import torch
        >>> net = ConvClassifier(in_channels=1, size=28, n_classes=10)
        >>> net(torch.rand(5, 1, 28, 28)).shape, net.features(torch.rand(5, 1, 28, 28)).shape
        (torch.Size([5, 10]), torch.Size([5, 64]))
    """

    def __init__(self, *, in_channels: int = 1, size: int = 8, n_classes: int = 10, width: int = 32, features: int = 64) -> None:
        super().__init__()
        self.in_channels, self.size = in_channels, size
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1)
        side = ((size + 1) // 2 + 1) // 2  # two halvings, rounded up
        self.hidden = nn.Linear(4 * width * side * side, features)
        self.head = nn.Linear(features, n_classes)

    def features(self, x: Tensor) -> Tensor:
        """The hidden layer after its ReLU: images `[*batch, C, H, W]` in [0, 1] -> `[*batch, L]`."""
        event = (self.in_channels, self.size, self.size)
        if x.ndim < 3 or tuple(x.shape[-3:]) != event:
            raise ValueError(f"expected images of shape [*batch, {', '.join(map(str, event))}]; got {tuple(x.shape)}")
        batch = x.shape[:-3]
        h = 2 * x.reshape(-1, *event) - 1
        h = F.silu(self.conv1(h))
        h = F.silu(self.conv2(h))
        h = F.silu(self.conv3(h))
        return F.relu(self.hidden(h.flatten(1))).reshape(*batch, -1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[*batch, n_classes]`."""
        return self.head(self.features(x))
