"""Hallucinative topological memory: a generator of states, an energy of states and an energy of pairs, from random walks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..planning.htm import HTM
from ..schedules import cosine
from .htm_model import HTMConfig, Walks, build_htm, calibrate, collect, export_htm
from .state import Metrics, RunOptions, TrainState, generator_of, gradient_norm, make_fabric, resume, run

GAUSSIAN = 0.13  # standard deviation of the displacements that the ablation puts in the place of the data's own


def tell(e_pos: Tensor, e_neg: Tensor) -> Tensor:
    """mean softplus(E+) + mean softplus(-E-): tell pairs that were seen from as many that were not.

    Noise-contrastive estimation with the noise as base measure: the optimum is E = -log p / q, an absolute level.

    References:
        Noise-contrastive estimation: a new estimation principle for unnormalized statistical models (Gutmann, Hyvärinen, 2010).

    Example:
        >>> round(tell(torch.zeros(4), torch.zeros(4)).item(), 4)  # 2 log 2 when nothing tells them apart
        1.3863
    """
    return F.softplus(e_pos).mean() + F.softplus(-e_neg).mean()


class Objective(nn.Module):
    """The losses inside one forward call, as data-parallel training needs it.

    Args:
        model, config: as in `train_htm`.
        pairs_only: leave the generator and the state energy as they are.
    """

    def __init__(self, model: HTM, config: HTMConfig, *, pairs_only: bool = False) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.pairs_only = pairs_only

    def forward(self, c: Tensor, s: Tensor, pair: Tensor, generator: torch.Generator | None) -> dict[str, Tensor]:
        """The loss of each network, by name.

        Args:
            c: contexts, `[B, *context]`.
            s: visited states, `[B, n, 2]`.
            pair: (s, s'), `[B, n, 2, 2]`.
        """
        losses = {"loss_pair": self.pair_loss(c, pair, generator)}
        if not self.pairs_only:
            losses |= {"loss_state": self.state_loss(c, s, generator), "loss_generator": self.generator_loss(c, s, generator)}
        return losses

    def generator_loss(self, c: Tensor, s: Tensor, generator: torch.Generator | None) -> Tensor:
        """Minus the evidence lower bound."""
        shape = (*s.shape[:2], self.model.generator.latent_features)
        return self.model.generator(s, c, torch.randn(shape, generator=generator, device=s.device)).mean()

    def state_loss(self, c: Tensor, s: Tensor, generator: torch.Generator | None) -> Tensor:
        """Visited states against points of the square."""
        anywhere = torch.rand(s.shape, generator=generator, device=s.device)
        e = self.model.state_energy(torch.cat([s, anywhere], 1), c)
        return tell(*e.chunk(2, 1))

    def pair_loss(self, c: Tensor, pair: Tensor, generator: torch.Generator | None) -> Tensor:
        """Transitions (s, s') against (s, s + d), d the displacement of another transition."""
        b, n = pair.shape[:2]
        device = pair.device
        a, z = pair.unbind(-2)
        if self.config.negatives == "shuffled":  # a displacement of the same law of lengths, from another world or place
            order = torch.randperm(b * n, generator=generator, device=device)
            d = (z - a).reshape(-1, 2)[order].reshape(b, n, 2)
        else:
            d = GAUSSIAN * torch.randn(b, n, 2, generator=generator, device=device)
        a, z = torch.cat([a, a], 1), torch.cat([z, a + d], 1)
        if self.config.swap:
            flip = torch.rand(b, 2 * n, 1, generator=generator, device=device) < 0.5
            a, z = torch.where(flip, z, a), torch.where(flip, a, z)
        return tell(*self.model.pair_energy(a, z, c).chunk(2, 1))


@dataclass
class HTMState(TrainState):
    """Everything the future of a run depends on; `objective` is an `Objective`, wrapped once."""

    objective: nn.Module
    optimizer: Any
    generator: torch.Generator


def draw(walks: Walks, worlds: int, points: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A batch: `worlds` contexts with replacement, `points` states and pairs from each."""
    device = walks.contexts.device
    pick = lambda high, *shape: torch.randint(high, shape, generator=generator, device=device)
    k = pick(len(walks.contexts), worlds)
    i, j = (pick(t.shape[1], worlds, points) for t in (walks.states, walks.pairs))
    return walks.contexts[k], walks.states[k[:, None], i], walks.pairs[k[:, None], j]


def start_htm(fabric: Any, model: HTM, config: HTMConfig, *, pairs_only: bool = False) -> HTMState:
    """The state of a run before its first update."""
    objective = Objective(model, config, pairs_only=pairs_only)
    optimizer = torch.optim.Adam((model.pair_energy if pairs_only else model).parameters(), lr=config.learning_rate)
    wrapped, optimizer = fabric.setup(objective, optimizer)
    return HTMState(objective=wrapped, optimizer=optimizer, generator=generator_of(fabric, config.seed))


def train_htm(fabric: Any, state: HTMState, walks: Walks, *, config: HTMConfig) -> Iterator[Metrics]:
    """Train the three networks side by side for ever, one update a `next`.

    The energies are trained by telling what was seen from what was not, softplus(E(seen)) + softplus(-E(not seen)):
    states from uniform noise; transitions (s, s') from (s, s + d) with d the displacement of another transition, so that
    the length of a move says nothing and only the place can. Few of the negatives are impossible moves: the
    pair loss hardly falls below 2 log 2 and is no measure of progress.

    Yields:
        loss_pair, loss_state, loss_generator, grad_norm.

    References:
        Hallucinative topological memory for zero-shot visual planning (Liu et al., 2020).
        Noise-contrastive estimation: a new estimation principle for unnormalized statistical models (Gutmann, Hyvärinen, 2010).
    """
    while True:
        batch = draw(walks, config.batch_worlds, config.batch_points, state.generator)
        losses = state.objective(*batch, state.generator)
        for group in state.optimizer.param_groups:
            group["lr"] = cosine(config.learning_rate, 0.0, steps=config.steps)(state.step)
        state.optimizer.zero_grad()
        fabric.backward(torch.stack(list(losses.values())).sum())
        norm = gradient_norm(state.objective)
        state.optimizer.step()
        state.step += 1
        yield {name: loss.detach() for name, loss in losses.items()} | {"grad_norm": norm}


def run_htm(config: HTMConfig, options: RunOptions, *, fabric: Any = None, on_log: Any = None) -> HTMState:
    """Train from `config` into `options.out`: checkpoint and metrics.csv; resumable, exactly.

    At the end the thresholds are set and the model is written to `options.out/model`, for `load_pretrained`.
    """
    fabric = make_fabric() if fabric is None else fabric
    torch.manual_seed(config.seed)
    walks = collect(config, generator=torch.Generator().manual_seed(config.seed))
    walks = Walks(*(t.to(fabric.device) for t in walks))
    model = build_htm(config)
    state = start_htm(fabric, model, config)
    resume(fabric, state, recipe="htm", config=config, options=options)
    steps = train_htm(fabric, state, walks, config=config)
    why = run(fabric, state, steps, recipe="htm", config=config, total=config.steps, options=options, on_log=on_log)
    calibrate(model, walks, state_quantile=config.state_quantile, pair_quantile=config.pair_quantile)
    if why == "done" and fabric.global_rank == 0:
        export_htm(
            model,
            config,
            Path(options.out) / "model",
            card={"name": f"htm-{config.data}", "command": f"ebmlearn train htm --data {config.data}"},
        )
    return state
