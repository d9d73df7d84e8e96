"""Data as a Gaussian-Bernoulli RBM wants them: flat, noisy enough to have a density, standardised."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import datasets
from ..datasets import dequantise
from ..energies.gaussian import GaussianMixture

PLANE = {"gmm2d": False, "gmm2d_anisotropic": True}


def three_gaussians(*, anisotropic: bool = False) -> GaussianMixture:
    """The paper's mixture: weights .33, .33, .34 at (-5, -5), (5, -5), (0, 5).

    Standard deviations are 1, or (1.25, .5), (1.25, .5), (.5, 1.25).

    References:
        Gaussian-Bernoulli RBMs without tears (Liao, Kornblith, Ren, Fleet, Hinton, 2022).
    """
    std = torch.tensor([[1.25, 0.5], [1.25, 0.5], [0.5, 1.25]]) if anisotropic else torch.ones(3, 2)
    means = torch.tensor([[-5.0, -5.0], [5.0, -5.0], [0.0, 5.0]])
    return GaussianMixture(means, torch.diag_embed(std**2), weights=[0.33, 0.33, 0.34])


class Standardise(nn.Module):
    """x -> (x - mean)/std and back; buffers, so that a checkpoint keeps them.

    `log_det` is sum log std: add it to a log-density in standardised units, with a minus sign, to get one in the data's own.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def back(self, x: Tensor) -> Tensor:
        """Standardised units to the data's own."""
        return x * self.std + self.mean

    @property
    def log_det(self) -> Tensor:
        """sum_i log std_i."""
        return self.std.log().sum()


@dataclass(frozen=True, eq=False)
class FlatData:
    """Raw rows to train and to test on, and how they become points.

    Args:
        train, test: `[N, D]`, in the data's own units.
        shape: of one point before it was flattened.
        levels: grey levels of the pixels, or None.
        noise: standard deviation of Gaussian noise added to each point each time it is used; 0 is none.
        y_test: classes, where there are any.
    """

    train: Tensor
    test: Tensor
    shape: tuple[int, ...]
    levels: int | None = None
    noise: float = 0.0
    y_test: Tensor | None = None

    def points(self, rows: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Rows with fresh dequantisation and noise."""
        x = rows if self.levels is None else dequantise(rows, levels=self.levels, generator=generator)
        if self.noise:
            x = x + self.noise * torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
        return x

    def standardise(self, how: str, *, min_std: float = 0.0) -> Standardise:
        """Mean and standard deviation of the training points: "each" entry its own, "all" one pair, "none" (0, 1)."""
        x = self.points(self.train[:20_000], generator=torch.Generator(self.train.device).manual_seed(0))
        if how == "each":
            return Standardise(x.mean(0), x.std(0).clamp(min=max(min_std, 1e-8)))
        if how == "all":
            return Standardise(x.mean().expand(x.shape[1]).clone(), x.std().clamp(min=1e-8).expand(x.shape[1]).clone())
        if how == "none":
            return Standardise(torch.zeros_like(x[0]), torch.ones_like(x[0]))
        raise ValueError(f"expected standardise in 'each', 'all', 'none'; got {how!r}")


def flat_data(name: str, *, limit: int | None = None, noise: float = 0.0) -> FlatData:
    """The data set `name` as rows; `gmm2d` and `gmm2d_anisotropic` are 1000 and 4000 fixed draws of `three_gaussians`."""
    if name in PLANE:
        mixture = three_gaussians(anisotropic=PLANE[name])
        g = torch.Generator().manual_seed(1234)
        rows = mixture.sample(limit or 1000, generator=g)
        return FlatData(rows, mixture.sample(4000, generator=g), (2,), noise=noise)
    train, test = datasets.load(name, split="train", limit=limit), datasets.load(name, split="test")
    return FlatData(train.x.flatten(1), test.x.flatten(1), train.event_shape, train.levels, noise, test.y)


def warn_unless_standardised(x: Tensor) -> None:
    """Warn, with the numbers, when columns of x are far from mean 0 and standard deviation 1."""
    mean, std = x.mean(0), x.std(0)
    far = int(mean.abs().argmax())
    high, low = int(std.argmax()), int(std.argmin())
    if float(mean[far].abs()) > 0.5 or float(std[high]) > 2 or float(std[low]) < 0.02:
        warnings.warn(
            f"the data are not standardised: the largest |mean| is {float(mean[far].abs()):.3g} (column {far}), standard deviations run from "
            f"{float(std[low]):.3g} (column {low}) to {float(std[high]):.3g} (column {high}). The first variances and weights are for columns "
            "of mean 0 and standard deviation 1: use standardise='each'",
            stacklevel=3,
        )
