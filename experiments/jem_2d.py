"""A classifier read as an energy, in the plane: cross-entropy alone against the joint energy model, three seeds -> data/results/jem_2d.md

python -m experiments.jem_2d                                              # about a minute of one core
python -m experiments.jem_2d --seeds 1 --steps 50 --out /tmp/results      # a quick look

Both settings have the same network, data and optimiser. Only the joint one also asks for E(x) = -log sum_y exp f(x)[y] to be -log p(x).
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from torch import Tensor

from ebmlearn.energies import GaussianMixture
from ebmlearn.energies.joint import ClassifierEnergy
from ebmlearn.metrics.ood import auroc
from ebmlearn.metrics.partition import quadrature
from ebmlearn.networks import MLP
from ebmlearn.objectives import joint_energy_model
from ebmlearn.samplers import Langevin, ReplayBuffer, sample
from ebmlearn.training.ablate import run_ablation

COMMAND = "python -m experiments.jem_2d"
CLASSES = GaussianMixture([[-1.5, 0.0], [1.5, 0.0], [0.0, 1.8]], 0.45**2)  # a class is a component
HALF_WIDTH = 6.0  # of the box in which chains start, densities are normalised and far points lie
FAR = 1.8  # far points are at least so far from every mean: four standard deviations


def labelled(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points `[n, 2]` and their classes `[n]`."""
    y = torch.randint(len(CLASSES.means), (n,), generator=generator)
    return CLASSES.means[y] + 0.45 * torch.randn(n, 2, generator=generator), y


def far_points(n: int, generator: torch.Generator) -> Tensor:
    """Uniform points of the box that are far from all classes, `[n, 2]`."""
    x = HALF_WIDTH * (2 * torch.rand(4 * n, 2, generator=generator) - 1)
    return x[torch.cdist(x, CLASSES.means).amin(-1) > FAR][:n]


def train(*, joint: bool, seed: int, steps: int = 600) -> ClassifierEnergy:
    """A classifier of three classes, by cross-entropy alone or as a joint energy model with a replay buffer."""
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    model = ClassifierEnergy(MLP(2, 3, hidden_features=(64, 64, 64)))
    energy = model.marginalise()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=0.05, total_iters=steps)
    fresh = lambda n: HALF_WIDTH * (2 * torch.rand(n, 2, generator=g) - 1)
    buffer = ReplayBuffer(fresh(2000), restart_prob=0.05)
    for _ in range(steps):
        x, y = labelled(128, g)
        logits = model.logits(x)
        loss = torch.nn.functional.cross_entropy(logits, y)
        if joint:
            index, chains = buffer.draw(fresh(128), generator=g)
            chains = sample(energy, Langevin(step_size=0.01), chains, 20, generator=g)
            buffer.store(index, chains)
            loss = joint_energy_model(logits, y, energy(chains))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.requires_grad_(False)


def measure(model: ClassifierEnergy, *, seed: int, n: int = 4000) -> dict[str, float]:
    """On `n` held-out points and as many far ones; log Z by quadrature on the box, and what it gains when the box is doubled."""
    g = torch.Generator().manual_seed(1000 + seed)
    (x, y), far = labelled(n, g), far_points(n, g)
    p_in, p_far = (torch.softmax(model.logits(v), -1) for v in (x, far))
    energy = model.marginalise()
    log_z = [quadrature(energy, low=-w, high=w, cells=60 * w).log_partition.item() for w in (6, 12)]
    return {
        "accuracy": (p_in.argmax(-1) == y).float().mean().item(),
        "AUROC of -E": auroc(-energy(x), -energy(far)),
        "AUROC of confidence": auroc(p_in.amax(-1), p_far.amax(-1)),
        "confidence, far points": p_far.amax(-1).mean().item(),
        "held-out NLL": energy(x).mean().item() + log_z[0],
        "log Z gained, box doubled": log_z[1] - log_z[0],
    }


class Truth(torch.nn.Module):
    """Logits log p(y) p(x | y) of the law that made the data: the best that any classifier can do, and E = -log p."""

    def forward(self, x: Tensor) -> Tensor:
        return -(x.unsqueeze(-2) - CLASSES.means).square().sum(-1) / (2 * 0.45**2) - math.log(3 * 2 * math.pi * 0.45**2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--out", type=Path, default=Path("data/results"))
    args = parser.parse_args()
    torch.set_num_threads(1)

    def learned(joint: bool):
        def one(seed: int) -> dict[str, float]:
            begin = time.process_time()
            model = train(joint=joint, seed=seed, steps=args.steps)
            seconds = time.process_time() - begin
            return {**measure(model, seed=seed), "CPU s": seconds}

        return one

    settings = {
        "the true law": lambda seed: measure(ClassifierEnergy(Truth()), seed=seed),
        "cross-entropy": learned(False),
        "joint energy model": learned(True),
    }
    log = lambda name, seed, m: print(name, seed, {k: round(v, 3) for k, v in m.items()}, flush=True)
    table = run_ablation(settings, range(args.seeds), command=COMMAND, on_row=log)
    table.write(args.out / "jem_2d")
    path = (args.out / "jem_2d").with_suffix(".md")
    path.write_text(
        path.read_text()
        + "\nThree Gaussian classes of standard deviation 0.45; MLP 2-64-64-64-3; 600 updates of 128 points, Adam, 2e-3 falling to 1e-4. "
        "4000 held-out points; 4000 far points, uniform on [-6, 6]² and more than 1.8 from every mean. NLL in nats, normalised on [-6, 6]². "
        "Confidence is max p(y given x). A log Z that still grows when the box is doubled belongs to an energy without a density on the plane. "
        "CPU s: processor seconds of one thread for training.\n"
    )
    print(path.read_text())


if __name__ == "__main__":
    main()
