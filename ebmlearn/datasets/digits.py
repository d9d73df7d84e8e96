"""The 8x8 handwritten digits that come inside scikit-learn: real data, no download."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

Split = Literal["train", "test"]
N_TRAIN = 1297  # of 1797; the other 500 are the test set
LEVELS = 17  # grey levels 0..16


def digits(split: Split = "train") -> tuple[Tensor, Tensor]:
    """The digits and their classes; one fixed split, 1297 to train and 500 to test.

    Args:
        split: "train" or "test".

    Returns:
        Pixels `[N, 1, 8, 8]` in [0, 1], k/16 for the grey level k, and classes `[N]`, int64.

    References:
        Optical Recognition of Handwritten Digits (Alpaydin, Kaynak, 1998), UCI Machine Learning Repository.

    Example:
        >>> x, y = digits("test")
        >>> x.shape, y.shape
        (torch.Size([500, 1, 8, 8]), torch.Size([500]))
    """
    if split not in ("train", "test"):
        raise ValueError(f"expected split 'train' or 'test'; got {split!r}")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.RandomState(0).permutation(len(bunch.target))
    rows = order[:N_TRAIN] if split == "train" else order[N_TRAIN:]
    x = torch.from_numpy(bunch.images[rows].astype(np.float32) / (LEVELS - 1)).unsqueeze(1)
    return x, torch.from_numpy(bunch.target[rows].astype(np.int64))


def dequantise(x: Tensor, *, levels: int = LEVELS, generator: torch.Generator | None = None) -> Tensor:
    """Spread each grey level over its interval: x = (k + U) / levels with U uniform on [0, 1).

    A density on real pixels needs this: on k/16 exactly, it could be made as high as one likes.

    Args:
        x: pixels in [0, 1] on the grid k/(levels - 1).
        levels: grey levels, 17 for the digits, 256 for bytes.

    References:
        A note on the evaluation of generative models (Theis, van den Oord, Bethge, 2016).

    Example:
        >>> x = dequantise(torch.ones(2, 64), generator=torch.Generator().manual_seed(0))
        >>> bool((x >= 16 / 17).all() and (x < 1).all())
        True
    """
    if levels < 2:
        raise ValueError(f"expected at least 2 grey levels; got {levels}")
    k = (x * (levels - 1)).round()
    u = torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator)
    return (k + u) / levels
