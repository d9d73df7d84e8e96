"""What a run of contrastive divergence is worth: digit samples with their baselines and floor, and an ablation in the plane."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from .. import datasets
from ..energies.base import Energy
from ..energies.gaussian import Gaussian
from ..metrics.divergence import energy_distance, kl_on_grid
from ..metrics.images import Report, report
from ..samplers import Langevin, sample
from .cd import CDConfig, cd_preset, fresh_samples, kernel_of, run_cd
from .state import RunOptions

FRESH, BUFFER, GAUSSIAN, UNIFORM = "from fresh noise", "from the buffer", "full Gaussian", "uniform noise"


def report_digits(
    energy: Energy, config: CDConfig, buffer: Tensor, classifier: Any, *, n: int = 500, seed: int = 0, baselines: bool = True
) -> Report:
    """Digit samples in the classifier's features, beside one full Gaussian, uniform noise and the floor.

    Args:
        energy: the averaged energy.
        buffer: persistent chains `[N, 1, 8, 8]`; `n` of them take 60 more steps, so that no fresh start is among them.
        classifier: maps images to logits and has `.features`.
        n: images a set; the test set has 500.
        baselines: also the Gaussian with the training pixels' mean and covariance (clamped to [0, 1]) and uniform noise.
    """
    g = torch.Generator().manual_seed(seed)
    train = datasets.dequantise(datasets.digits("train")[0], generator=g)
    test = datasets.dequantise(datasets.digits("test")[0], generator=g)
    pick = torch.randperm(len(buffer), generator=g)[:n]
    sets = {
        FRESH: fresh_samples(energy, config, (1, 8, 8), n, generator=g),
        BUFFER: sample(energy, kernel_of(config), buffer[pick], 60, generator=g),
    }
    if baselines:
        flat = train.flatten(1).double()
        gaussian = Gaussian(flat.mean(0), flat.T.cov() + 1e-6 * torch.eye(64, dtype=torch.float64))
        sets[GAUSSIAN] = gaussian.sample(n, generator=g).float().clamp(0, 1).reshape(-1, 1, 8, 8)
        sets[UNIFORM] = torch.rand(n, 1, 8, 8, generator=g)
    return report(sets, train=train, test=test, features=classifier.features, logits=classifier, n=n)


def score_points(energy: Energy, name: str, *, n: int = 2000, seed: int = 0) -> dict[str, float]:
    """KL(p || exp(-E)/Z) on a grid, and the energy distance of 1000 Langevin steps from the data's own box, for a toy set."""
    truth = datasets.toy.TOYS[datasets.registry.canonical(name)]()
    g = torch.Generator().manual_seed(seed)
    c = torch.linspace(-5, 5, 160)
    x = torch.cartesian_prod(c, c)
    with torch.no_grad():
        kl = float(kl_on_grid(truth.log_prob(x), -energy(x)))
    starts = 8 * torch.rand(n, 2, generator=g) - 4
    drawn = sample(energy, Langevin(step_size=0.01), starts, 1000, generator=g)
    return {"KL": kl, "energy distance": float(energy_distance(drawn, truth.sample(n, generator=g)))}


def ablate_cd(*, steps: int | None = None) -> Mapping[str, Callable[[int], Mapping[str, float]]]:
    """Settings for `run_ablation`: where the negatives of contrastive divergence come from, and energy L2, on eight Gaussians."""
    base = cd_preset("eight_gaussians")
    base = base if steps is None else replace(base, steps=steps)
    variants = {
        "buffer (persistent chains)": base,
        "data (CD-k)": replace(base, negatives="data"),
        "noise (short runs)": replace(base, negatives="noise"),
        "buffer, energy L2 0.1": replace(base, energy_l2=0.1),
    }

    def setting(config: CDConfig) -> Callable[[int], Mapping[str, float]]:
        def one(seed: int) -> Mapping[str, float]:
            with TemporaryDirectory() as folder:
                state = run_cd(replace(config, seed=seed), RunOptions(out=Path(folder)))
            return score_points(state.ema.module, config.data, seed=seed)  # type: ignore[arg-type]

        return one

    return {name: setting(config) for name, config in variants.items()}
