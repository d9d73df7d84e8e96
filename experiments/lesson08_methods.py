"""Lesson 08: one density in the plane learned by seven losses, judged by exact quantities.

python -m experiments.lesson08_methods                      # 4 seeds: the table in data/results
python -m experiments.lesson08_methods --seeds 1 --steps 50 --out /tmp/lesson08   # a quick look

The data are three Gaussians, two close together and one far from both, which holds 0.3 of the mass. Every loss trains the same
network with the same number of updates and fresh points in each; log Z and the densities are sums over a grid.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ebmlearn import score
from ebmlearn.energies import Energy, GaussianMixture, MLPEnergy
from ebmlearn.metrics import quadrature
from ebmlearn.objectives import denoising_score_matching, noise_contrastive, score_matching, sliced_score_matching
from ebmlearn.training.ablate import run_ablation
from ebmlearn.training.nce import NormalisedEnergy, fit_noise

COMMAND = "python -m experiments.lesson08_methods"
DATA = GaussianMixture([[-2.0, 0.8], [-2.0, -0.8], [2.0, 0.0]], [0.25, 0.25, 0.16], weights=[0.4, 0.3, 0.3])
BOX = {"low": -4.5, "high": 4.5}
Loss = Callable[[Energy, Tensor], Tensor]


def losses() -> dict[str, Loss]:
    """Name -> (energy, x) -> loss."""
    cells = quadrature(DATA, cells=60, **BOX)
    nodes = cells.x.reshape(-1, 2)
    noise = fit_noise(DATA.sample(5000, generator=torch.Generator().manual_seed(0)), scale=1.2)
    log_q = lambda x: -noise(x) - noise.log_partition()

    def likelihood(e: Energy, x: Tensor) -> Tensor:
        return e(x).mean() + torch.logsumexp(-e(nodes), 0) + cells.log_volume

    def nce(e: Energy, x: Tensor) -> Tensor:
        n = noise.sample(4 * len(x))
        both = e(torch.cat([x, n]))
        return noise_contrastive(both[: len(x)], both[len(x) :], log_q(x), log_q(n))

    denoising = lambda sigma: lambda e, x: denoising_score_matching(e, x, sigma)
    return {
        "likelihood, Z on a grid": likelihood,
        "explicit": score_matching,
        "sliced": sliced_score_matching,
        "denoising, 0.1": denoising(0.1),
        "denoising, 0.3": denoising(0.3),
        "denoising, 1": denoising(1.0),
        "NCE": nce,
    }


def train(loss_of: Loss, *, seed: int, steps: int) -> NormalisedEnergy:
    """One energy with a learned log Z, which only NCE uses."""
    torch.manual_seed(seed)
    energy = NormalisedEnergy(MLPEnergy(2, hidden_features=(64, 64), confinement=0.3))
    optimizer = torch.optim.Adam(energy.parameters(), lr=5e-3)
    anneal = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        loss = loss_of(energy, DATA.sample(256)) + 0 * energy.log_z
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        anneal.step()
    return energy


def measure(energy: Energy) -> dict[str, float]:
    """KL(data || model), Fisher divergence, mass of the far mode, log of the model's integral."""
    truth, model = quadrature(DATA, cells=180, **BOX), quadrature(energy, cells=180, **BOX)
    p, volume = truth.log_density.exp(), math.exp(truth.log_volume)
    x = DATA.sample(10_000, generator=torch.Generator().manual_seed(1))
    fisher = 0.5 * (score(energy, x) - score(DATA, x)).square().sum(-1).mean()
    return {
        "KL": float((p * (truth.log_density - model.log_density)).sum() * volume),
        "Fisher divergence": float(fisher),
        "mass of the far mode": float((model.log_density.exp() * (model.x[..., 0] > 0.4)).sum() * volume),
        "log integral": float(model.log_partition),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--out", type=Path, default=Path("data"), help="gets results/")
    args = parser.parse_args()
    torch.set_num_threads(1)
    settings = {
        name: lambda seed, loss_of=loss_of: measure(train(loss_of, seed=seed, steps=args.steps))
        for name, loss_of in losses().items()
    }
    log = lambda name, seed, m: print(name, seed, {k: round(v, 4) for k, v in m.items()}, flush=True)
    run_ablation(settings, range(args.seeds), command=COMMAND, on_row=log).write(args.out / "results" / "lesson08_methods")


if __name__ == "__main__":
    main()
