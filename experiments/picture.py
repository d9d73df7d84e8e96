"""The README's picture: an energy learned on two spirals, chains on it, digits from a trained energy (docs/picture.png)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from ebmlearn import datasets, viz
from ebmlearn.pretrained import load_pretrained
from ebmlearn.samplers import Langevin, sample, trajectory
from ebmlearn.training.cd import cd_preset, fresh_samples
from ebmlearn.training.nce import NCEConfig, run_nce
from ebmlearn.training.state import RunOptions

ROOT = Path(__file__).parent.parent


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        nce = NCEConfig(
            data="two_spirals", steps=2500, batch_size=512, hidden_features=(128, 128, 128), learning_rate=2e-3, ema=0.99
        )
        energy = run_nce(nce, RunOptions(out=Path(folder) / "spirals", log_every=500)).ema.module
    g = torch.Generator().manual_seed(1)
    digits = fresh_samples(load_pretrained("lesson07-digits"), cd_preset("digits"), (1, 8, 8), 48, generator=g)
    data = datasets.load("two_spirals", split="test").x
    bound = float(data.abs().max()) * 1.15
    box = {"extent": (-bound, bound, -bound, bound), "colorbar": False}
    fig, axes = plt.subplots(1, 3, figsize=(13.5, 4.4), layout="constrained")
    viz.energy_map(energy, axes[0], **box)
    axes[0].scatter(*data[:600].T, s=3, color="white", alpha=0.5, linewidths=0)
    axes[0].set_title("an energy learned on two spirals")
    start = (2 * torch.rand(400, 2, generator=g) - 1) * bound
    run = trajectory(energy, Langevin(step_size=2e-3), start, 400, generator=g)
    end = sample(energy, Langevin(step_size=2e-3), run.x[-1], 600, generator=g)
    viz.energy_map(energy, axes[1], **box)
    axes[1].plot(run.x[:, :12, 0], run.x[:, :12, 1], color="white", lw=0.5, alpha=0.7)
    axes[1].scatter(*end.T, s=5, color="tab:orange", edgecolors="black", linewidths=0.2)
    axes[1].set_title("Langevin chains that sample it")
    viz.image_grid(digits, axes[2], columns=8)
    axes[2].set_title("digits sampled from an energy")
    out = ROOT / "docs" / "picture.png"
    fig.savefig(out, dpi=110)
    print(out)


if __name__ == "__main__":
    main()
