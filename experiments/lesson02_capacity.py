"""Lesson 02: resolution of an energy on a spiral against the network's width, judged twice: AUROC, and coverage after descent.

python experiments/lesson02_capacity.py                      # 3 seeds: the table in data/results and the weights of seed 0
python experiments/lesson02_capacity.py --seeds 1 --steps 50 --out /tmp/lesson02   # a quick look

Each energy is an MLP with three hidden layers, trained by the hinge loss over all pairs of a batch of the spiral (with noise of
standard deviation 0.1, or without) and a batch of uniform points of the square [-3, 3]².
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from torch import Tensor

from ebmlearn.datasets import toy
from ebmlearn.energies import MLPEnergy
from ebmlearn.energies.bundle import export_energies
from ebmlearn.metrics.ood import auroc
from ebmlearn.objectives import hinge
from ebmlearn.samplers import Langevin, sample
from ebmlearn.training.ablate import run_ablation

SPIRAL = toy.spiral()
WIDTHS = (4, 8, 16, 32, 64, 128)
NOISES = (0.0, 0.1)
RADIUS = 0.15  # a point within this distance of the curve has reached it
COMMAND = "python experiments/lesson02_capacity.py"


def on_curve(n: int, generator: torch.Generator) -> Tensor:
    """n points of the spiral without noise."""
    return SPIRAL.curves[0](torch.rand(n, generator=generator))


def train(width: int, noise: float, *, seed: int, steps: int) -> MLPEnergy:
    """One energy, trained on the spiral."""
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    energy = MLPEnergy(2, hidden_features=(width,) * 3)
    optimizer = torch.optim.Adam(energy.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x = on_curve(256, g)
        x_pos = x + noise * torch.randn(x.shape, generator=g)
        x_neg = 6 * torch.rand(256, 2, generator=g) - 3
        loss = hinge(energy(x_pos)[:, None], energy(x_neg)[None])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return energy


def found(x: Tensor, curve: Tensor) -> tuple[float, float]:
    """Precision (share of points that have reached the curve) and coverage (share of the curve that a point has reached)."""
    near = torch.cdist(x, curve) < RADIUS
    return near.any(1).float().mean().item(), near.any(0).float().mean().item()


def measure(energy: MLPEnergy) -> dict[str, float]:
    """AUROC of curve against square, then precision and coverage of 500 starts after 300 steps, without noise and at T = 0.1."""
    g = torch.Generator().manual_seed(1)
    curve = SPIRAL.curve(1000)[0]
    square = 6 * torch.rand(4000, 2, generator=g) - 3
    with torch.no_grad():
        out = {"AUROC": auroc(-energy(on_curve(4000, g)), -energy(square))}
    start = 6 * torch.rand(500, 2, generator=g) - 3
    for name, temperature in (("descent", 0.0), ("T 0.1", 0.1)):
        kernel = Langevin.at_temperature(step_size=0.01, temperature=temperature)
        x = sample(energy, kernel, start, 300, generator=g)
        out[f"precision, {name}"], out[f"coverage, {name}"] = found(x, curve)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--out", type=Path, default=Path("data"), help="gets results/ and checkpoints/")
    args = parser.parse_args()
    torch.set_num_threads(1)
    energies: dict[str, MLPEnergy] = {}

    def setting(width: int, noise: float):
        def one(seed: int) -> dict[str, float]:
            energy = train(width, noise, seed=seed, steps=args.steps)
            if seed == 0:
                energies[f"{'smooth' if noise else 'sharp'}-{width}"] = energy
            return measure(energy)

        return one

    began = time.process_time()
    settings = {f"noise {noise:g}, width {width}": setting(width, noise) for noise in NOISES for width in WIDTHS}
    log = lambda name, seed, m: print(name, seed, {k: round(v, 3) for k, v in m.items()}, flush=True)
    table = run_ablation(settings, range(args.seeds), command=COMMAND, on_row=log)
    table.write(args.out / "results" / "lesson02_capacity")
    card = {
        "name": "lesson02-spirals",
        "command": COMMAND,
        "model": "MLPEnergy(2), three hidden layers of one width; sharp: trained without noise on the data, smooth: with 0.1",
        "data": "toy.spiral, drawn afresh at every step; uniform negatives in [-3, 3]²",
        "seed": 0,
        "steps": args.steps,
        "cpu_seconds_of_the_command": math.ceil(time.process_time() - began),
        "torch": torch.__version__.split("+")[0],
        "licence": "MIT",
        "meant_for": "the pictures and the widget of lesson 02",
    }
    export_energies(energies, args.out / "checkpoints" / "lesson02-spirals", card=card, text=table.markdown())


if __name__ == "__main__":
    main()
