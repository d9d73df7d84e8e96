"""Energies for planning, learned from random walks: of transitions by noise-contrastive estimation, or of reachability."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..objectives import info_nce, noise_contrastive
from ..planning.reachability import DistanceCritic, Reachability, one_step_back, random_walks
from ..planning.transitions import DisplacementNoise, TransitionEnergy
from ..planning.worlds import PointRobot, World, empty_world, four_rooms, maze
from ..schedules import cosine
from .state import (
    BatchStream,
    Metrics,
    RunOptions,
    TrainState,
    ema_of,
    generator_of,
    gradient_norm,
    make_fabric,
    read_checkpoint,
    resume,
    run,
)

WORLDS = {"empty": empty_world, "maze": lambda: maze(4, seed=1), "four-rooms": four_rooms}
ROBOTS = {
    "empty": PointRobot(max_step=0.1),
    "maze": PointRobot(max_step=0.1),
    "four-rooms": PointRobot(max_step=0.8, slide=True, substeps=5),
}


@dataclass(frozen=True, kw_only=True)
class PlanningConfig:
    """Hyperparameters; `planning_preset(data)` has those that suit a world.

    Args:
        data: the world that is walked: empty, maze or four-rooms.
        model: transitions, E(s, s') = -log p(s' | s); steps, first action and step count (`Reachability`); td, distances by
            Q-learning (`DistanceCritic`).
        objective: of transitions: nce gives the level of E, info-nce leaves it free.
        seed: of the walks, the parameters and the batches.
        steps: parameter updates.
        batch_size: transitions an update.
        walks, walk_steps: number and length of the random walks.
        negatives: candidates for each transition (transitions).
        noise_scales: standard deviations of the candidates about s, in moves (transitions).
        horizon: steps that count as near (steps); bins are twice as many (td).
        nets: size of the ensemble (steps, td).
        frequencies: waves an axis that the networks read.
        hidden_features: widths of the networks.
        learning_rate: Adam's, falling along a cosine to 0.
        ema: decay of the parameters' moving average; for td it is the target network.
    """

    data: str = "empty"
    model: Literal["transitions", "steps", "td"] = "transitions"
    objective: Literal["nce", "info-nce"] = "nce"
    seed: int = 0
    steps: int = 1500
    batch_size: int = 256
    walks: int = 2000
    walk_steps: int = 20
    negatives: int = 8
    noise_scales: tuple[float, ...] = (0.4, 0.8, 1.5, 3.0)
    horizon: int = 8
    nets: int = 2
    frequencies: int = 0
    hidden_features: tuple[int, ...] = (64, 64)
    learning_rate: float = 3e-3
    ema: float = 0.99


def planning_preset(data: str) -> PlanningConfig:
    """The settings to start from."""
    if data not in WORLDS:
        raise ValueError(f"unknown world {data!r}; known: {', '.join(WORLDS)}")
    if data == "maze":
        return PlanningConfig(
            data=data, steps=3000, walks=4000, frequencies=8, hidden_features=(128, 128), noise_scales=(0.4, 0.7, 1.5, 3.0)
        )
    if data == "four-rooms":
        return PlanningConfig(
            data=data,
            model="steps",
            steps=2500,
            batch_size=512,
            walks=1500,
            walk_steps=30,
            frequencies=6,
            hidden_features=(128, 128),
            learning_rate=2e-3,
        )
    return PlanningConfig(data=data)


@dataclass
class PlanningState(TrainState):
    """Everything the future of a run depends on; `energy` is a `Loss` about the model, wrapped once."""

    energy: nn.Module
    optimizer: Any
    ema: nn.Module
    generator: torch.Generator
    batches: BatchStream


def build_model(config: PlanningConfig) -> TransitionEnergy | Reachability | DistanceCritic:
    """The untrained model."""
    world, robot = WORLDS[config.data](), ROBOTS[config.data]
    common: dict[str, Any] = {
        "low": world.low,
        "high": world.high,
        "frequencies": config.frequencies,
        "hidden_features": config.hidden_features,
    }
    if config.model == "transitions":
        return TransitionEnergy(scale=robot.max_step, **common)
    if config.model == "steps":
        return Reachability(horizon=config.horizon, nets=config.nets, **common)
    return DistanceCritic(bins=2 * config.horizon, nets=config.nets, **common)


def collect(config: PlanningConfig) -> tuple[World, Tensor, Tensor]:
    """The world, states `[walk_steps + 1, walks, 2]` and, where actions are numbered, actions `[walk_steps, walks]`."""
    world, robot, g = WORLDS[config.data](), ROBOTS[config.data], torch.Generator().manual_seed(config.seed)
    if config.model == "transitions":
        states = robot.walk(world, world.sample_free(config.walks, generator=g), config.walk_steps, generator=g)
        return world, states, torch.zeros(0)
    walks = random_walks(world, robot, config.walks, config.walk_steps, generator=g)
    return world, walks.states, walks.actions


class Loss(nn.Module):
    """The loss as the forward of one module, so that it can be wrapped: the model inside, and what it is compared with."""

    model: Any
    states: Tensor
    actions: Tensor

    def __init__(self, model: nn.Module, config: PlanningConfig, states: Tensor, actions: Tensor) -> None:
        super().__init__()
        self.model, self.config = model, config
        self.register_buffer("states", states, persistent=False)
        self.register_buffer("actions", actions, persistent=False)
        scale = ROBOTS[config.data].max_step
        self.noise = DisplacementNoise([scale * v for v in config.noise_scales])
        self.scale = scale

    def forward(self, rows: Tensor, target: nn.Module, generator: torch.Generator) -> Tensor:
        """Loss of the transitions whose numbers are `rows`; `target` is the moving average of the model."""
        t, walk = rows.div(self.states.shape[1], rounding_mode="floor"), rows % self.states.shape[1]
        s = self.states[t, walk]
        if self.config.model == "transitions":
            return self._contrast(s, self.states[t + 1, walk], generator)
        return self._steps(s, t, walk, generator) if self.config.model == "steps" else self._td(s, t, walk, target, generator)

    def _contrast(self, s: Tensor, after: Tensor, generator: torch.Generator) -> Tensor:
        k = self.config.negatives
        many = s.repeat_interleave(k, 0)
        other = self.noise.sample(many, generator=generator)
        e = self.model(torch.cat([s, many]), torch.cat([after, other]))
        e_pos, e_neg = e[: len(s)], e[len(s) :]
        log_q_pos, log_q_neg = self.noise.log_prob(s, after), self.noise.log_prob(many, other)
        if self.config.objective == "nce":
            return noise_contrastive(e_pos, e_neg, log_q_pos, log_q_neg)
        return info_nce(e_pos + log_q_pos, (e_neg + log_q_neg).reshape(-1, k))

    def _steps(self, s: Tensor, t: Tensor, walk: Tensor, generator: torch.Generator) -> Tensor:
        n, horizon = len(s), self.config.horizon
        room = (len(self.states) - 1 - t).clamp(max=horizon)  # k is uniform on what is left of the walk
        k = 1 + (torch.rand(n, generator=generator, device=s.device) * room).long().clamp(max=horizon - 1)
        goal = self.states[t + k, walk]
        first, steps = self.model.logits(torch.cat([s, s]), torch.cat([goal, self._far(s, generator)]))
        label = torch.cat([k - 1, torch.full_like(k, horizon)])
        each = [
            F.cross_entropy(a[:n], self.actions[t, walk]) + F.cross_entropy(b, label) for a, b in zip(first, steps, strict=True)
        ]
        return torch.stack(each).sum()

    def _far(self, s: Tensor, generator: torch.Generator) -> Tensor:
        """Half anywhere in the buffer, half about s: some are near after all, so that "far" is a probability."""
        at = [torch.randint(m, (len(s),), generator=generator, device=s.device) for m in self.states.shape[:2]]
        about = s + 3 * self.scale * torch.randn(s.shape, generator=generator, device=s.device)
        anywhere = torch.rand(len(s), 1, generator=generator, device=s.device) < 0.5
        return torch.where(anywhere, self.states[at[0], at[1]], about)

    def _td(self, s: Tensor, t: Tensor, walk: Tensor, target: Any, generator: torch.Generator) -> Tensor:
        n, after = len(s), self.states[t + 1, walk]
        ahead = 1 + torch.empty(n, device=s.device).geometric_(0.2, generator=generator).long()  # goals later in the same walk
        goal = self.states[torch.minimum(t + ahead, torch.full_like(t, len(self.states) - 1)), walk]
        other = torch.rand(n, 1, generator=generator, device=s.device) < 0.4
        goal = torch.where(other, self._far(s, generator), goal)
        rows = torch.arange(n, device=s.device)
        with torch.no_grad():
            best = target.distances(after, goal).argmin(-1)
            p = target.logits(after, goal).softmax(-1)
            p = torch.stack([q[rows, b] for q, b in zip(p, best, strict=True)])
            p = one_step_back(p, ((after - goal).norm(dim=-1) < self.scale).expand(len(p), n))
        log_p = self.model.logits(s, goal)[:, rows, self.actions[t, walk]].log_softmax(-1)
        return -(p * log_p).sum(-1).mean(-1).sum()


def train_planning(fabric: Any, state: PlanningState, *, model: nn.Module, learning_rate: float, steps: int) -> Iterator[Metrics]:
    """Train for ever, one update a `next`; the learning rate falls along a cosine over `steps`.

    Yields:
        loss, grad_norm.

    References:
        Noise-contrastive estimation: a new estimation principle for unnormalized statistical models (Gutmann, Hyvärinen, 2010).
        Search on the replay buffer: bridging planning and reinforcement learning (Eysenbach, Salakhutdinov, Levine, 2019).
    """
    while True:
        for group in state.optimizer.param_groups:
            group["lr"] = cosine(learning_rate, 0.0, steps=steps)(state.step)
        (rows,) = state.batches.next()
        loss = state.energy(rows, state.ema.module, state.generator)
        state.optimizer.zero_grad()
        fabric.backward(loss)
        norm = gradient_norm(state.energy)
        state.optimizer.step()
        state.ema.update_parameters(model)  # type: ignore[operator]
        state.step += 1
        yield {"loss": loss.detach(), "grad_norm": norm}


def run_planning(config: PlanningConfig, options: RunOptions, *, fabric: Any = None, on_log: Any = None) -> PlanningState:
    """Train from `config` into `options.out`: checkpoint and metrics.csv; resumable, exactly."""
    planning_preset(config.data)  # a world that is not known is refused
    if config.model not in ("transitions", "steps", "td") or config.objective not in ("nce", "info-nce"):
        raise ValueError(
            f"expected model 'transitions', 'steps' or 'td' and objective 'nce' or 'info-nce'; got {config.model!r} and {config.objective!r}"
        )
    if config.model != "transitions" and config.data != "four-rooms":
        raise ValueError(f"{config.model!r} learns from numbered actions, walked in four-rooms only; got data {config.data!r}")
    fabric = make_fabric() if fabric is None else fabric
    torch.manual_seed(config.seed)
    _, states, actions = collect(config)
    model = build_model(config)
    ema = ema_of(model, config.ema).to(fabric.device)
    loss = Loss(model, config, states, actions)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    wrapped, optimizer = fabric.setup(loss, optimizer)
    rows = torch.arange(config.walks * config.walk_steps)
    if config.model == "transitions":  # a blocked move says nothing of where one can go
        rows = rows[(states[1:] != states[:-1]).any(-1).flatten()]
    state = PlanningState(
        energy=wrapped,
        optimizer=optimizer,
        ema=ema,
        generator=generator_of(fabric, config.seed),
        batches=BatchStream.of(fabric, rows, batch_size=config.batch_size, seed=config.seed),
    )
    resume(fabric, state, recipe="planning", config=config, options=options)
    updates = train_planning(fabric, state, model=model, learning_rate=config.learning_rate, steps=config.steps)
    run(fabric, state, updates, recipe="planning", config=config, total=config.steps, options=options, on_log=on_log)
    return state


def load_planning(path: Any) -> tuple[nn.Module, PlanningConfig]:
    """The moving average of a checkpoint's model, in eval mode without gradients, and its configuration."""
    payload = read_checkpoint(path, recipe="planning")
    config = PlanningConfig(**payload["config"])
    average = ema_of(build_model(config), config.ema)
    average.load_state_dict(payload["state"]["ema"])
    return average.module.eval().requires_grad_(False), config
