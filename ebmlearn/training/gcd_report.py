"""What a run of GCD is worth: samples against their floor, the energy against the true density, log Z two ways."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..datasets.registry import canonical
from ..datasets.toy import TOYS, Toy
from ..energies.base import Energy
from ..functional import EnergyFunction
from ..metrics.divergence import kl_on_grid, sliced_wasserstein
from ..metrics.ood import auroc
from ..objectives import effective_fraction, path_log_weight
from ..samplers.diffusion import Backward, DiffusionSampler
from .game import GcdConfig, build_state, write_weights
from .gcd import train_gcd
from .state import Guard, make_fabric


def grid(half_width: float = 6.0, cells: int = 240) -> tuple[Tensor, float]:
    """Cell centres of the square [-half_width, half_width]², `[cells, cells, 2]`, and the area of a cell."""
    side = 2 * half_width / cells
    a = torch.linspace(-half_width + side / 2, half_width - side / 2, cells)
    return torch.stack(torch.meshgrid(a, a, indexing="ij"), -1), side * side


def mean_distance(draw_x: object, draw_y: object, *, pairs: int, generator: torch.Generator) -> float:
    """Sliced Wasserstein distance between fresh draws, 200 projections, averaged over `pairs` draws."""
    total = 0.0
    for _ in range(pairs):
        total += sliced_wasserstein(draw_x(), draw_y(), n_projections=200, generator=generator).item()  # type: ignore[operator]
    return total / pairs


@torch.no_grad()
def report_points(
    truth: Toy,
    sampler: DiffusionSampler,
    energy: Energy | EnergyFunction,
    backward: Backward,
    *,
    temperature: float = 1.0,
    n: int = 10_000,
    pairs: int = 5,
    half_width: float = 6.0,
    seed: int = 1234,
) -> dict[str, float]:
    """Numbers that judge a sampler and an energy on a toy set whose density is known.

    Args:
        truth: the set; draws and scores.
        sampler, energy, backward: as `GcdState.trained` gives them.
        temperature: tau; the model is exp(-E/tau)/Z.
        n: points in a draw.
        pairs: of draws that a distance is averaged over; the floor takes twice as many.
        half_width: of the square on which the density is compared.

    Returns:
        sw, floor (sliced Wasserstein of sampler against data, of data against data), sir (of the sampler's points
        resampled with the path weights), auc (data against uniform on [-4, 4]² by the energy) and auc_true (by the true density),
        kl = KL(p || exp(-E/tau)/Z) on the grid, log_z_grid, log_z_paths, ess, gap = log Z - E[log w], ll (held-out
        log-likelihood of the energy) and ll_true.
    """
    g = torch.Generator().manual_seed(seed)

    def data() -> Tensor:
        return truth.sample(n, generator=g)

    def model() -> Tensor:
        return sampler.sample(n, generator=g)

    x, area = grid(half_width)
    log_p, log_model = truth.log_prob(x), -energy(x) / temperature
    log_z = torch.logsumexp(log_model.double().flatten(), 0).item() + math.log(area)
    path = sampler.path(2 * n, generator=g)
    log_w = path_log_weight(energy(path.x[0]), backward(path.x).sum(0), path.log_prob, temperature=temperature)
    resampled = path.x[0][torch.multinomial(torch.softmax(log_w, 0), n, replacement=True, generator=g)]
    test, uniform = data(), 8 * torch.rand(n, 2, generator=g) - 4
    return {
        "sw": mean_distance(model, data, pairs=pairs, generator=g),
        "floor": mean_distance(data, data, pairs=2 * pairs, generator=g),
        "sir": mean_distance(lambda: resampled, data, pairs=pairs, generator=g),
        "auc": float(auroc(-energy(test), -energy(uniform))),
        "auc_true": float(auroc(truth.log_prob(test), truth.log_prob(uniform))),
        "kl": kl_on_grid(log_p, log_model).item(),
        "log_z_grid": log_z,
        "log_z_paths": torch.logsumexp(log_w, 0).item() - math.log(len(log_w)),
        "ess": effective_fraction(log_w).item(),
        "gap": log_z - log_w.mean().item(),
        "ll": (-energy(test) / temperature).mean().item() - log_z,
        "ll_true": truth.log_prob(test).mean().item(),
    }


def report_run(
    config: GcdConfig, seed: int, *, on_log: Any = None, log_every: int = 25, weights: Path | None = None
) -> dict[str, float]:
    """Train a configuration with a seed in memory and judge it: `report_points`, the start's distance and the CPU seconds.

    Args:
        on_log: called with (step, metrics) every `log_every` updates.
        weights: folder for before (the pretrained sampler), sampler, energy and backward as safetensors.

    Raises:
        Diverged: the energies left the finite numbers or passed 1e6.
    """
    config = replace(config, seed=seed)
    truth = TOYS[canonical(config.data)]()
    began = time.process_time()
    fabric = make_fabric()
    state = build_state(config, fabric)
    guard = Guard(1e6, lambda: "none, the run kept none")
    start, spent = math.nan, 0.0
    total = config.pretrain_steps + config.steps
    if config.pretrain_steps == 0:
        start = _start(truth, state.trained[0])
    for metrics in train_gcd(fabric, state, config):
        if state.step % log_every == 0 or state.step == total:
            row = {k: float(v) for k, v in metrics.items()}
            guard.look(state.step, row)
            if on_log is not None:
                on_log(state.step, row)
        if state.step == config.pretrain_steps:
            pause = time.process_time()
            start = _start(truth, state.trained[0])
            if weights is not None:
                weights.mkdir(parents=True, exist_ok=True)
                write_weights(state.trained[0], weights / "before.safetensors")
            spent = time.process_time() - pause
        if state.step >= total:
            break
    seconds = time.process_time() - began - spent
    sampler, energy, backward = state.trained
    if weights is not None:
        for name, module in (("sampler", sampler), ("energy", energy), ("backward", backward)):
            write_weights(module, weights / f"{name}.safetensors")
    report = report_points(truth, sampler, energy, backward, temperature=config.temperature)
    sigmas = {f"sigma_{k + 1}": s for k, s in enumerate(sampler.log_sigma.exp().tolist()[:5])}
    return {**report, "sw_start": start, "cpu_seconds": seconds, **sigmas}


def _start(truth: Toy, sampler: DiffusionSampler) -> float:
    g = torch.Generator().manual_seed(4321)
    return mean_distance(
        lambda: sampler.sample(10_000, generator=g), lambda: truth.sample(10_000, generator=g), pairs=5, generator=g
    )


WIDE = GcdConfig(confinement=1 / 18)
"""A wider bowl than the default's: all comparisons are made in it."""
PLAIN = replace(WIDE, negatives="plain", lr_energy=2e-4)
BPTT = replace(WIDE, update="bptt", lr_sampler=1e-3, lr_sigma=5e-3)
SETTINGS: dict[str, GcdConfig] = {
    "weighted": GcdConfig(),
    "weighted, wide bowl": WIDE,
    "plain, wide bowl": PLAIN,
    "25 gaussians": replace(WIDE, data="25gaussians"),
    "25 gaussians, finer features": replace(WIDE, data="25gaussians", fourier_scale=3.0, last_sigma=0.05),
    "two spirals": replace(WIDE, data="two_spirals"),
    "two spirals, finer features": replace(WIDE, data="two_spirals", fourier_scale=3.0, last_sigma=0.05),
}
"""The main table: name -> configuration."""

ABLATION: dict[str, GcdConfig] = {
    "weighted": WIDE,
    "plain": PLAIN,
    "plain, energy rate 1e-3": replace(PLAIN, lr_energy=1e-3),
    "IPM critic, no entropy, gamma = 1": replace(PLAIN, entropy=False, gamma=1.0, lr_energy=1e-3),
    "weighted, fixed noising kernel": replace(WIDE, backward="forward"),
    "plain, gamma = 1": replace(PLAIN, gamma=1.0),
    "weighted, no average": replace(WIDE, ema=0.0),
    "weighted, BPTT, sampler rate 1e-3": BPTT,
    "weighted, PG, sampler rate 1e-3": replace(WIDE, lr_sampler=1e-3, lr_sigma=5e-3),
    "weighted, DP": replace(WIDE, update="dp"),
    "plain, DP": replace(PLAIN, update="dp"),
    "weighted, energy first, then frozen": replace(WIDE, warm_up=750, freeze_energy_at=750),
    "weighted, no Fourier features": replace(WIDE, fourier_features=0),
    "weighted, not pretrained": replace(WIDE, pretrain_steps=0),
    "plain, gamma = 1, tau = 0.02": replace(PLAIN, gamma=1.0, temperature=0.02, lr_energy=1e-3),
    "plain, fixed noising kernel": replace(PLAIN, backward="forward"),
    "weighted, random-walk kernel": replace(WIDE, backward="walk"),
    "weighted, tau = 0.3": replace(WIDE, temperature=0.3),
    "weighted, tau = 3": replace(WIDE, temperature=3.0),
    "weighted, T = 3": replace(WIDE, sampler_steps=3),
    "plain, no average": replace(PLAIN, ema=0.0),
    "plain, gamma = 0.01": replace(PLAIN, gamma=0.01),
    "plain, gamma = 0.05": replace(PLAIN, gamma=0.05),
    "IPM critic, no entropy, gamma = 0.05": replace(PLAIN, entropy=False, gamma=0.05, lr_energy=1e-3),
    "plain, gamma = 1, tau = 0.02, DP": replace(PLAIN, gamma=1.0, temperature=0.02, lr_energy=1e-3, update="dp", lr_sampler=5e-5),
    "plain, BPTT, sampler rate 1e-3": replace(BPTT, negatives="plain", lr_energy=2e-4),
    "plain, BPTT, energy rate 1e-3": replace(BPTT, negatives="plain", lr_energy=1e-3, lr_sampler=5e-4),
    "weighted, BPTT, sampler rate 2e-4": replace(WIDE, update="bptt"),
    "weighted, T = 10": replace(WIDE, sampler_steps=10),
    "plain, energy rate 2e-3": replace(PLAIN, lr_energy=2e-3),
}
"""The ablation on 8 Gaussians: name -> configuration."""


def ablate_gcd(steps: int | None = None) -> dict[str, Callable[[int], dict[str, float]]]:
    """The ablation on 8 Gaussians as functions of the seed, for `run_ablation`.

    Args:
        steps: updates of the game and at most as many of the pretraining; default the settings' own.
    """
    shown = ("sw", "floor", "sir", "auc", "kl", "log_z_grid", "log_z_paths", "ess", "cpu_seconds")

    def made(config: GcdConfig) -> Callable[[int], dict[str, float]]:
        if steps is not None:
            config = replace(config, steps=steps, pretrain_steps=min(steps, config.pretrain_steps))

        def one(seed: int) -> dict[str, float]:
            report = report_run(config, seed)
            return {k: report[k] for k in shown}

        return one

    return {name: made(config) for name, config in ABLATION.items()}
