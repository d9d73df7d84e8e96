"""What a run of GCD is worth: samples against their floor, the energy against the true density, log Z two ways."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..datasets.toy import Toy
from ..energies.base import Energy
from ..functional import EnergyFunction
from ..metrics.divergence import kl_on_grid, sliced_wasserstein
from ..metrics.ood import auroc
from ..objectives import effective_fraction, path_log_weight
from ..samplers.diffusion import Backward, DiffusionSampler


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
