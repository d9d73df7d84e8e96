"""Sampling a ring AND a bar from the summed scores of their diffusions: five samplers at equal numbers of score calls.

python experiments/product_sampling.py                                # 6 seeds, three budgets: the table in data/results
python experiments/product_sampling.py --seeds 1 --points 200 --out /tmp/products   # a quick look

Each factor is a Gaussian mixture, so its noised score is exact: all errors are the sampler's. Reverse diffusion spends its
calls on levels, the others on eight calls a level: one for the reverse step, one to start the kernel, six for its moves.
Step sizes are chosen once, on seeds that the table does not use.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ebmlearn.energies import GaussianMixture
from ebmlearn.functional import value_and_grad
from ebmlearn.metrics import energy_distance
from ebmlearn.samplers import HMC, MALA, Kernel, Langevin
from ebmlearn.samplers.annealed_product import annealed_product, cosine_levels, noised
from ebmlearn.training.ablate import run_ablation

COMMAND = "python experiments/product_sampling.py"
WIDTH = 0.06  # standard deviation of a spot of the ring
CELLS, SIDE = 24, 0.9  # of the histogram over [-SIDE, SIDE]²
BUDGETS = (240, 480, 960)
CALLS = 8  # a level, with MCMC
TUNING = (100, 101)  # seeds for the choice of step sizes
SCALES = (0.5, 1.0, 2.0, 4.0, 8.0)


def factors() -> tuple[GaussianMixture, GaussianMixture]:
    """A ring of eight spots of radius 1/2, and a bar: a column of 21 spots along the second axis."""
    angle = torch.arange(8) * (math.pi / 4)
    ring = GaussianMixture(0.5 * torch.stack([angle.cos(), angle.sin()], -1), WIDTH**2)
    column = torch.linspace(-1, 1, 21)
    return ring, GaussianMixture(torch.stack([torch.zeros(21), column], -1), 0.12**2)


def product(a: GaussianMixture, b: GaussianMixture) -> GaussianMixture:
    """a AND b in closed form: all pairs of components, weighted by how far they agree."""
    pa, pb = a.precisions[:, None], b.precisions[None]
    covariance = torch.linalg.inv(pa + pb)
    shift = (pa @ a.means[:, None, :, None] + pb @ b.means[None, :, :, None])[..., 0]
    mean = (covariance @ shift[..., None])[..., 0]
    spread = torch.linalg.inv(pa) + torch.linalg.inv(pb)
    gap = a.means[:, None] - b.means[None]
    distance = (gap[..., None, :] @ torch.linalg.inv(spread) @ gap[..., None])[..., 0, 0]
    log_w = a.log_weights[:, None] + b.log_weights[None] - 0.5 * (distance + torch.logdet(spread))
    return GaussianMixture(mean.flatten(0, 1), covariance.flatten(0, 1), weights=torch.softmax(log_w.flatten(), 0))


class Counted:
    """The sum of two energies, with its gradient in closed form; counts how often it is asked for a score."""

    event_ndim = 1
    calls = 0

    def __init__(self, *parts: GaussianMixture) -> None:
        self.parts = parts

    def __call__(self, x: Tensor) -> Tensor:
        return torch.stack([p(x) for p in self.parts]).sum(0)

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        Counted.calls += 1
        both = [value_and_grad(p, x) for p in self.parts]
        return torch.stack([e for e, _ in both]).sum(0), torch.stack([g for _, g in both]).sum(0)


def step_size(abar: float) -> float:
    """A Langevin step in proportion to the narrowest variance of a level."""
    return 0.1 * (0.8 * abar * WIDTH**2 + 1 - abar)


KERNELS: dict[str, tuple[Callable[[float], Kernel] | None, int]] = {  # kernel of a Langevin step, moves a level
    "reverse diffusion alone": (None, 0),
    "+ ULA": (lambda h: Langevin(step_size=h), 6),
    "+ MALA": (lambda h: MALA(step_size=h), 6),
    "+ U-HMC": (lambda h: HMC(step_size=1.5 * math.sqrt(2 * h), n_leapfrog=3, adjusted=False), 2),
    "+ HMC": (lambda h: HMC(step_size=1.5 * math.sqrt(2 * h), n_leapfrog=3), 2),
}


def points(method: str, budget: int, scale: float, *, n: int, seed: int) -> Tensor:
    """n points by one method, with exactly `budget` score calls."""
    kernel, moves = KERNELS[method]
    ring, bar = factors()
    g = torch.Generator().manual_seed(seed)
    before = Counted.calls
    x = annealed_product(
        lambda a: Counted(noised(ring, a), noised(bar, a)) if a < 1 else Counted(ring, bar),
        cosine_levels(budget if kernel is None else budget // CALLS),
        torch.randn(n, 2, generator=g),
        kernel_at=None if kernel is None else lambda a: kernel(scale * step_size(a)),
        steps=moves,
        generator=g,
    )
    if Counted.calls - before != budget:
        raise RuntimeError(f"{method}: {Counted.calls - before} score calls, not {budget}")
    return x


def truth() -> tuple[GaussianMixture, Tensor]:
    """The product, and its mass in every cell by a fine grid."""
    target = product(*factors())
    fine = 16
    centre = (torch.arange(CELLS * fine, dtype=torch.float64) + 0.5) * (2 * SIDE / (CELLS * fine)) - SIDE
    x = torch.stack(torch.meshgrid(centre, centre, indexing="ij"), -1)
    p = torch.softmax(-torch.cat([target(part) for part in x.reshape(-1, 2).split(1 << 14)]), 0)
    return target, p.reshape(CELLS, fine, CELLS, fine).sum((1, 3))


def total_variation(x: Tensor, cells: Tensor) -> float:
    """Half the sum of |share of points - mass| over cells, and the points outside."""
    index = ((x + SIDE) * (CELLS / (2 * SIDE))).floor().long()
    inside = ((index >= 0) & (index < CELLS)).all(-1)
    counts = torch.bincount(index[inside] @ torch.tensor([CELLS, 1]), minlength=CELLS * CELLS)
    share = counts.to(torch.float64).reshape(CELLS, CELLS) / len(x)
    return float(0.5 * ((share - cells).abs().sum() + 1 - share.sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--points", type=int, default=1500)
    parser.add_argument("--out", type=Path, default=Path("data"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    target, cells = truth()

    def measure(x: Tensor, seed: int) -> dict[str, float]:
        exact = target.sample(args.points, generator=torch.Generator().manual_seed(seed + 1000))
        return {"total variation": total_variation(x, cells), "energy distance": float(energy_distance(x, exact))}

    def one(method: str, scale: float, seed: int) -> float:
        try:
            return total_variation(points(method, BUDGETS[1], scale, n=args.points, seed=seed), cells)
        except (FloatingPointError, ValueError):  # the step is too large: points at infinity
            return 1.0

    def tuned(method: str) -> float:
        """The scale of the steps with the least total variation at the middle budget, on the tuning seeds."""
        if KERNELS[method][0] is None:
            return 1.0
        scores = {c: sum(one(method, c, seed) for seed in TUNING) for c in SCALES}
        print(method, {c: round(v / len(TUNING), 3) for c, v in scores.items()}, flush=True)
        return min(scores, key=scores.__getitem__)

    def run(method: str, budget: int, scale: float, seed: int) -> dict[str, float]:
        begin = time.process_time()
        x = points(method, budget, scale, n=args.points, seed=seed)
        return {**measure(x, seed), "step scale": scale, "CPU seconds": time.process_time() - begin}

    scales = {method: tuned(method) for method in KERNELS}
    settings: dict[str, Callable[[int], dict[str, float]]] = {
        f"{budget} calls, {method}": lambda seed, m=method, b=budget: run(m, b, scales[m], seed)  # type: ignore[misc]
        for budget in BUDGETS
        for method in KERNELS
    }
    settings["exact samples"] = lambda seed: measure(
        target.sample(args.points, generator=torch.Generator().manual_seed(seed)), seed
    )
    table = run_ablation(
        settings,
        range(args.seeds),
        command=COMMAND,
        on_row=lambda name, seed, m: print(name, seed, {k: round(v, 4) for k, v in m.items()}, flush=True),
    )
    table.write(args.out / "results" / "product_sampling")
    print(table.markdown())


if __name__ == "__main__":
    main()
