"""GCD on the 8x8 digits: T = 5 before and after, beside T = 10, 100 and DDIM, in the features of the digits classifier.

python -m experiments.gcd_digits                                   # every setting and seed, into data/results/gcd_digits.{md,csv}
python -m experiments.gcd_digits --job "digits|preset|0" --out runs/gcd-digits
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace
from pathlib import Path

import torch

from ebmlearn.metrics.images import frechet_distance
from ebmlearn.metrics.ood import auroc, standard_sets
from ebmlearn.pretrained import load_pretrained
from ebmlearn.training.game import GcdConfig, build_state, gcd_preset, training_points, write_weights
from ebmlearn.training.gcd import train_gcd
from ebmlearn.training.state import Guard, make_fabric

DIGITS = gcd_preset("digits")
SETTINGS: dict[str, GcdConfig] = {
    "preset": DIGITS,
    "sampler rate 3e-6": replace(DIGITS, lr_sampler=3e-6),
    "sampler rate 3e-6, gamma = 0.1, tau = 1e-3": replace(DIGITS, lr_sampler=3e-6, gamma=0.1, temperature=1e-3),
    "energy rate 3e-3": replace(DIGITS, lr_energy=3e-3),
}
SEEDS = range(3)


def digits_run(config: GcdConfig, seed: int, *, weights: Path | None = None, every: int = 50, n: int = 1297) -> dict[str, float]:
    """Pretrain, play, and judge; the best of the distances seen every 50 updates is kept beside the last one."""
    from ebmlearn.datasets import load

    config = replace(config, seed=seed)
    fabric = make_fabric()
    began = time.process_time()
    state = build_state(config, fabric)
    classifier = load_pretrained("digits-classifier")
    g = torch.Generator().manual_seed(99)
    guard = Guard(1e6, lambda: "none")
    with torch.no_grad():
        pixels = lambda x: classifier.features((x.clamp(-1, 1) + 1) / 2)
        train, test = pixels(training_points("digits")), pixels(training_points("digits", split="test"))

        def distance(draw) -> float:
            return float(frechet_distance(train, pixels(draw(n, generator=g))))

    found: dict[str, float] = {"floor": float(frechet_distance(train, test))}
    best = math.inf
    for metrics in train_gcd(fabric, state, config):
        step = state.step - config.pretrain_steps
        sampler, energy, _ = state.trained
        if step == 0:
            found["T = 5, before"] = distance(sampler.sample)
            found |= {f"T = {t}": distance(sampler.with_steps(t).sample) for t in (10, 100)}
            found["T = 5, DDIM"] = distance(sampler.ddim)
            if weights is not None:
                weights.mkdir(parents=True, exist_ok=True)
                write_weights(sampler, weights / "before.safetensors", half=True)
        if step > 0 and step % 10 == 0:
            guard.look(state.step, {k: float(v) for k, v in metrics.items()})
        if step > 0 and (step % every == 0 or step == config.steps):
            last = distance(sampler.sample)
            if last < best:
                best, found["best at"] = last, float(step)
                if weights is not None:
                    write_weights(sampler, weights / "sampler.safetensors", half=True)
                    write_weights(energy, weights / "energy.safetensors", half=True)
                x, y = load("digits", split="test").x, load("digits", split="test").y
                assert y is not None
                with torch.no_grad():
                    inside = -energy(2 * x - 1)
                    sets = standard_sets(x, y, generator=torch.Generator().manual_seed(0))
                    found |= {f"auroc {k}": float(auroc(inside, -energy(2 * v - 1))) for k, v in sets.items()}
        if step >= config.steps:
            break
    return {**found, "T = 5, after (best)": best, "T = 5, after (last)": last, "cpu_seconds": time.process_time() - began}


def main() -> None:
    from .ablate_gcd import gather, run_job

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job")
    parser.add_argument("--out", type=Path, default=Path("runs/gcd-digits"))
    a = parser.parse_args()
    torch.set_num_threads(1)
    for job in [a.job] if a.job else [f"digits|{name}|{seed}" for name in SETTINGS for seed in SEEDS]:
        run_job(job, a.out)
    if not a.job:
        gather(a.out, Path("data/results"))


if __name__ == "__main__":
    main()
