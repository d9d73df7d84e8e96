"""Score matching: train an energy from its gradient, without samples and without Z."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .. import datasets
from ..energies.base import Energy
from ..energies.neural import MLPEnergy
from ..objectives import denoising_score_matching, score_matching, sliced_score_matching
from .state import BatchStream, Metrics, RunOptions, TrainState, ema_of, generator_of, gradient_norm, make_fabric, resume, run

OBJECTIVES = ("denoising", "sliced", "explicit")


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """Hyperparameters of score matching; the defaults are for points in the plane.

    Args:
        data: a name from `ebmlearn data`, or a path to own data.
        seed: of the parameters, the batch order and the noise.
        steps: parameter updates.
        batch_size: data points an update.
        objective: "denoising", "sliced" or "explicit".
        sigma: noise of the denoising objective; the energy learned is that of the data blurred by it.
        hidden_features: widths of the network.
        confinement: quadratic term of the energy.
        learning_rate: Adam's, constant.
        ema: decay of the parameters' moving average.
    """

    data: str = "8gaussians"
    seed: int = 0
    steps: int = 2000
    batch_size: int = 256
    objective: str = "denoising"
    sigma: float = 0.2
    hidden_features: tuple[int, ...] = (128, 128, 128)
    confinement: float = 0.05
    learning_rate: float = 1e-3
    ema: float = 0.998


def score_preset(data: str) -> ScoreConfig:
    """The settings to start from; images in [0, 1] take the same with less noise."""
    points = len(datasets.load(data, split="test", limit=1).event_shape) == 1
    return ScoreConfig(data=data) if points else ScoreConfig(data=data, sigma=0.1, confinement=0.0)


class ScoreObjective(nn.Module):
    """A score objective inside one forward call, as data-parallel training needs it.

    A gradient in x taken outside the wrapped module's forward bypasses the averaging of parameter gradients between
    processes without an error. Here the gradient in x and the loss are both inside; `0 * sum(p)` makes every parameter
    part of the graph, also those that the gradient in x does not reach, such as the last bias.

    Args:
        energy: the energy to train.
        objective: (energy, x, generator) -> loss.
    """

    def __init__(self, energy: Energy, objective: Callable[[Energy, Tensor, torch.Generator | None], Tensor]) -> None:
        super().__init__()
        self.energy = energy
        self.objective = objective

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        loss = self.objective(self.energy, x, generator)
        return loss + 0 * torch.stack([p.sum() for p in self.energy.parameters()]).sum()


@dataclass
class ScoreState(TrainState):
    """Everything the future of a run depends on; `objective` is a `ScoreObjective`, wrapped once."""

    objective: nn.Module
    optimizer: Any
    ema: nn.Module
    generator: torch.Generator
    batches: BatchStream


def train_score(fabric: Any, state: ScoreState, *, energy: Energy, prepare: Any = None) -> Iterator[Metrics]:
    """Train for ever, one update a `next`.

    Args:
        fabric: from `make_fabric`.
        state: advanced in place, one `state.step` before each yield.
        energy: the bare energy inside `state.objective`.
        prepare: (x, generator) -> x, applied to each batch, e.g. fresh dequantisation noise.

    Yields:
        loss and grad_norm.

    References:
        Estimation of non-normalized statistical models by score matching (Hyvärinen, 2005).
        A connection between score matching and denoising autoencoders (Vincent, 2011).
        Sliced score matching: a scalable approach to density and score estimation (Song et al., 2019).
    """
    while True:
        (x,) = state.batches.next()
        x = x if prepare is None else prepare(x, state.generator)
        loss = state.objective(x, state.generator)
        state.optimizer.zero_grad()
        fabric.backward(loss)
        norm = gradient_norm(state.objective)
        state.optimizer.step()
        state.ema.update_parameters(energy)  # type: ignore[operator]
        state.step += 1
        yield {"loss": loss.detach(), "grad_norm": norm}


def objective_of(config: ScoreConfig) -> Callable[[Energy, Tensor, torch.Generator | None], Tensor]:
    """(energy, x, generator) -> loss of a configuration."""
    if config.objective == "denoising":
        return lambda e, x, g: denoising_score_matching(e, x, config.sigma, generator=g)
    if config.objective == "sliced":
        return lambda e, x, g: sliced_score_matching(e, x, generator=g)
    if config.objective == "explicit":
        return lambda e, x, g: score_matching(e, x)
    raise ValueError(f"expected objective to be one of {OBJECTIVES}; got {config.objective!r}")


def run_score(config: ScoreConfig, options: RunOptions, *, fabric: Any = None, on_log: Any = None) -> ScoreState:
    """Train from `config` into `options.out`: checkpoint and metrics.csv; resumable, exactly."""
    fabric = make_fabric() if fabric is None else fabric
    torch.manual_seed(config.seed)
    data = datasets.load(config.data, split="train")
    levels = data.levels
    energy = MLPEnergy(data.event_shape, hidden_features=config.hidden_features, confinement=config.confinement)
    ema = ema_of(energy, config.ema).to(fabric.device)
    objective = ScoreObjective(energy, objective_of(config))
    optimizer = torch.optim.Adam(objective.parameters(), lr=config.learning_rate)
    wrapped, optimizer = fabric.setup(objective, optimizer)
    state = ScoreState(
        objective=wrapped,
        optimizer=optimizer,
        ema=ema,
        generator=generator_of(fabric, config.seed),
        batches=BatchStream.of(fabric, data.x, batch_size=config.batch_size, seed=config.seed),
    )
    resume(fabric, state, recipe="score", config=config, options=options)
    prepare = None if levels is None else lambda x, g: datasets.dequantise(x, levels=levels, generator=g)
    steps = train_score(fabric, state, energy=energy, prepare=prepare)
    run(fabric, state, steps, recipe="score", config=config, total=config.steps, options=options, on_log=on_log)
    return state
