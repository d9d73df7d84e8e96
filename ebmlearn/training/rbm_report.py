"""What a trained RBM has learned: log-likelihood (exact or by AIS) beside a Gaussian's, samples, filters and variances as pictures."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import Tensor

from ..energies.rbm import GaussianBernoulliRBM
from ..metrics.partition import quadrature
from ..metrics.partition_rbm import path_from_data, rbm_ais
from .engine import write_png
from .files import write_atomic
from .rbm_data import FlatData, Standardise

BOX = 6.0  # half width of the square, in standardised units, on which a density in the plane is integrated


@torch.no_grad()
def log_likelihood(
    rbm: GaussianBernoulliRBM,
    train: Tensor,
    test: Tensor,
    *,
    sweeps: int = 1500,
    chains: int = 400,
    generator: torch.Generator | None = None,
) -> dict[str, float]:
    """Mean log p of standardised points, in nats; log Z by quadrature in the plane, else by AIS.

    Returns:
        test, train, log_z and log_z_error; for AIS also ess, the effective number of its chains.
    """
    if rbm.n_visible == 2:
        log_z = quadrature(rbm.marginalise(), low=-BOX, high=BOX, cells=600).log_partition
        quality = {"log_z_error": 0.0}
    else:
        z = rbm_ais(rbm, path_from_data(rbm, train), sweeps=sweeps, n=chains, generator=generator)
        log_z = z.log_partition
        quality = {"log_z_error": float(z.standard_error), "ess": float(z.ess), "chains": float(chains)}
    free = rbm.marginalise()

    def mean(x: Tensor) -> float:
        return float(torch.cat([-free(b) - log_z for b in x.split(4096)]).mean())

    return {"test": mean(test), "train": mean(train), "log_z": float(log_z), **quality}


@torch.no_grad()
def gaussian_log_likelihood(train: Tensor, test: Tensor, *, ridge: float = 1e-4) -> float:
    """Mean log p of test points under one Gaussian with the training points' mean and covariance plus ridge I: the baseline to beat."""
    train, test = train.double(), test.double()
    d = train.shape[1]
    factor = torch.linalg.cholesky(train.T.cov() + ridge * torch.eye(d, dtype=train.dtype, device=train.device))
    y = torch.linalg.solve_triangular(factor, (test - train.mean(0)).T, upper=False)
    return float((-0.5 * y.square().sum(0)).mean() - 0.5 * d * math.log(2 * math.pi) - factor.diagonal().log().sum())


def as_images(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Flat pixels as images `[N, C, H, W]`, clamped to [0, 1]."""
    return x.reshape(-1, *shape).clamp(0, 1)


def normalised(x: Tensor) -> Tensor:
    """Each row scaled so that 0 is grey 1/2 and its largest entry black or white."""
    return 0.5 + 0.5 * x / x.abs().amax(1, keepdim=True).clamp(min=1e-12)


def density_picture(rbm: GaussianBernoulliRBM, x: Tensor, *, cells: int = 160, half: float = 3.0) -> Tensor:
    """Two pictures `[2, 1, n, n]`: exp(-F) on the square, and a histogram of the points x; dark is dense."""
    axis = (torch.arange(cells) + 0.5) / cells * 2 * half - half
    grid = torch.stack(torch.meshgrid(axis, axis.flip(0), indexing="xy"), -1)  # rows are y, downwards
    with torch.no_grad():
        e = rbm.marginalise()(grid.reshape(-1, 2).to(rbm.W)).reshape(cells, cells).cpu()
    p = (-(e - e.min())).exp()
    counts = torch.histogramdd(x.cpu().float(), bins=[cells, cells], range=[-half, half, -half, half]).hist
    return 1 - torch.stack([p / p.max(), (counts / counts.max().clamp(min=1)).T.flip(0)]).unsqueeze(1)


def pictures(rbm: GaussianBernoulliRBM, scale: Standardise, shape: tuple[int, ...], out: Path, x: Tensor, mean: Tensor) -> None:
    """samples.png (and means.png, filters.png, variances.png for images) into `out`.

    samples.png shows chains' last positions, means.png the conditional means they were drawn around: two different things.
    """
    if len(shape) != 3:
        if shape == (2,):
            write_png(out / "samples.png", density_picture(rbm, x), columns=2, scale=2)
        return
    zoom = 4 if shape[-1] < 16 else 1
    write_png(out / "samples.png", as_images(scale.back(x), shape)[:100], scale=zoom)
    write_png(out / "means.png", as_images(scale.back(mean), shape)[:100], scale=zoom)
    strongest = rbm.W.detach().norm(dim=0).argsort(descending=True)[:100]
    write_png(out / "filters.png", as_images(normalised(rbm.W.detach().T[strongest]), shape), scale=zoom)
    s = (rbm.variance.detach().sqrt() * scale.std).reshape(1, *shape)
    write_png(out / "variances.png", s / s.max(), columns=1, scale=8)


def report(
    rbm: GaussianBernoulliRBM,
    scale: Standardise,
    data: FlatData,
    out: Path,
    *,
    samples: tuple[Tensor, Tensor],
    generator: torch.Generator,
    chains: int = 400,
    sweeps: int = 1500,
) -> dict[str, float]:
    """Measure, draw, and write what was measured to results.json.

    Args:
        scale: the units that rbm works in.
        samples: chains' last positions and conditional means, standardised.
        chains: of AIS.
        sweeps: of AIS; 0 measures nothing but the Gaussian's log-likelihood.
    """
    device, g = rbm.W.device, generator
    points = [scale(data.points(rows[:5000].to(device), generator=g)) for rows in (data.train, data.test)]
    result = log_likelihood(rbm, *points, chains=chains, sweeps=sweeps, generator=g) if sweeps else {}
    result["gaussian_test"] = gaussian_log_likelihood(*points)
    if data.shape == (2,):  # in the data's own units, where the truth is known
        for key in {"test", "train", "gaussian_test"} & set(result):
            result[key] -= float(scale.log_det)
    out.mkdir(parents=True, exist_ok=True)
    pictures(rbm, scale, data.shape, out, *samples)
    write_atomic(out / "results.json", json.dumps(result, indent=1) + "\n")
    return result
