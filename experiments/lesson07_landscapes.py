"""Lesson 07: where negatives come from, and what regularisers do to the landscape, on eight Gaussians with an exact KL.

python experiments/lesson07_landscapes.py                     # 3 seeds: the table in data/results and the weights of seed 0
python experiments/lesson07_landscapes.py --seeds 1 --steps 50 --out /tmp/lesson07   # a quick look

Every run is `train_cd` with the same network, data, Langevin kernel (step 0.01, temperature 1, 20 steps an update) and learning rate.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

from ebmlearn.datasets import toy
from ebmlearn.energies import MLPEnergy
from ebmlearn.energies.bundle import export_energies
from ebmlearn.functional import value_and_grad
from ebmlearn.metrics.divergence import kl_on_grid
from ebmlearn.metrics.partition import quadrature
from ebmlearn.samplers import Langevin, ReplayBuffer
from ebmlearn.training.ablate import run_ablation
from ebmlearn.training.cd import CDState, learning_rate_at, train_cd
from ebmlearn.training.state import BatchStream, Diverged, ema_of, make_fabric

COMMAND = "python experiments/lesson07_landscapes.py"
DATA = toy.eight_gaussians()
# name -> arguments of train_cd, and whether the layers are spectrally normalised
SETTINGS: dict[str, dict] = {
    "buffer": {},
    "chains from data": {"negatives": "data"},
    "chains from noise": {"negatives": "noise"},
    "energy L2 0.1": {"l2": 0.1},
    "gradient penalty 0.1": {"penalty": 0.1},
    "spectral norm": {"spectral": True},
}


def train(setting: dict, *, seed: int, steps: int) -> MLPEnergy:
    """One energy; the moving average of its parameters."""
    setting = dict(setting)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    energy = MLPEnergy(2, hidden_features=(64, 64, 64), confinement=0.05)
    spectral = setting.pop("spectral", False)
    if spectral:
        for layer in energy.net.layers:
            if isinstance(layer, nn.Linear):
                spectral_norm(layer)
    data = DATA.sample(5000, generator=g).float()
    fresh = lambda n: 8 * torch.rand(n, 2, generator=g) - 4
    buffer = ReplayBuffer(fresh(1000), restart_prob=0.02)
    optimizer = torch.optim.Adam(energy.parameters(), lr=5e-3, betas=(0.0, 0.999))
    fabric = make_fabric()
    ema = ema_of(energy, 0.99)
    wrapped, optimizer = fabric.setup(energy, optimizer)
    batches = BatchStream(data, batch_size=128, seed=seed)
    state = CDState(energy=wrapped, optimizer=optimizer, ema=ema, generator=g, batches=batches, buffer=buffer)
    rate = lambda step: learning_rate_at(step, peak=5e-3, warm_up=0, steps=steps)
    run = train_cd(fabric, state, kernel=Langevin(step_size=0.01), mcmc_steps=20, fresh=fresh, learning_rate=rate, **setting)
    for metrics in run:
        if state.step % 20 == 0 and not abs(float(metrics["e_pos"])) < 1e4:
            raise Diverged(f"energies beyond 1e4 at step {state.step}")
        if state.step >= steps:
            break
    if not spectral:
        return ema.module
    energy.eval()  # the averaged copy holds stale singular vectors: take the last parameters, normalised once and for all
    for layer in energy.net.layers:
        if isinstance(layer, nn.Linear):
            parametrize.remove_parametrizations(layer, "weight")
    return energy


def measure(energy: MLPEnergy) -> dict[str, float]:
    """KL(data || model) on a grid over [-6, 6]², and the slopes and heights of the landscape over [-4, 4]²."""
    energy = energy.requires_grad_(False)
    model, true = (quadrature(e, low=-6, high=6, cells=240) for e in (energy, DATA))
    square = quadrature(energy, low=-4, high=4, cells=80).x.reshape(-1, 2)
    e, grad = value_and_grad(energy, square)
    slope = grad.norm(dim=-1)
    return {
        "KL": kl_on_grid(true.log_density, model.log_density).item(),
        "median slope": slope.median().item(),
        "steepest slope": slope.max().item(),
        "highest - lowest": (e.max() - e.min()).item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--out", type=Path, default=Path("data"), help="gets results/ and checkpoints/")
    args = parser.parse_args()
    torch.set_num_threads(1)
    energies: dict[str, MLPEnergy] = {}

    def setting(name: str):
        def one(seed: int) -> dict[str, float]:
            energy = train(SETTINGS[name], seed=seed, steps=args.steps)
            if seed == 0:
                energies[name.replace(" ", "-").replace(".", "_")] = energy
            return measure(energy)

        return one

    began = time.process_time()
    log = lambda name, seed, m: print(
        name, seed, {k: round(v, 3) for k, v in m.items()}, f"{time.process_time() - began:.0f} s", flush=True
    )
    table = run_ablation({name: setting(name) for name in SETTINGS}, range(args.seeds), command=COMMAND, on_row=log)
    table.write(args.out / "results" / "lesson07_landscapes")
    card = {
        "name": "lesson07-landscapes",
        "command": COMMAND,
        "model": "MLPEnergy(2), three hidden layers of 64, confinement 0.05; trained by train_cd, one setting each",
        "data": "8gaussians, 5000 points",
        "seed": 0,
        "steps": args.steps,
        "cpu_seconds_of_the_command": math.ceil(time.process_time() - began),
        "torch": torch.__version__.split("+")[0],
        "licence": "MIT",
        "meant_for": "the pictures and the widget of lesson 07",
    }
    export_energies(energies, args.out / "checkpoints" / "lesson07-landscapes", card=card, text=table.markdown())


if __name__ == "__main__":
    main()
