"""Search on the replay buffer in four rooms: no search, Euclidean, learned and oracle edges; what waves, ensemble and Q-learning do.

python experiments/planning_search.py                                              # 3 seeds x 3 bins x 40 tasks: data/results
python experiments/planning_search.py --seeds 1 --tasks 3 --steps 100 --out /tmp/search    # a quick look

1500 random walks of 30 actions are all the data. The goal is 5 to 25 cells away by the shortest path; 100 actions, one in ten of them random;
reached within 0.7 cells. 250 states of the buffer are the nodes. Edges: energy (expected steps) below its 0.9 quantile on training pairs
1 to 8 steps apart; Euclidean and oracle edges: distance below 2.8 cells, oracle edges must not cross a wall. All walk by the policy
that was learned with the edges; Euclidean, oracle and "no search" by that of the ensemble.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ebmlearn.planning.graphs import EnergyGraph, oracle, own_energy, threshold_at
from ebmlearn.planning.reachability import Reachability, follow_waypoints
from ebmlearn.planning.worlds import World
from ebmlearn.training.planning import ROBOTS, PlanningConfig, collect, load_planning, planning_preset, run_planning
from ebmlearn.training.planning_report import Rows, write_table
from ebmlearn.training.state import RunOptions

ROBOT = ROBOTS["four-rooms"]
BINS = ((5.0, 10.0), (10.0, 15.0), (15.0, 25.0))
NODES, NEAR = 250, 2.8


class First(nn.Module):
    """The first net of an ensemble alone."""

    def __init__(self, model: Reachability) -> None:
        super().__init__()
        self.model = model

    def forward(self, s: Tensor, g: Tensor) -> Tensor:
        nets = self.model.nets.nets
        self.model.nets.nets = nets[:1]
        e = self.model(s, g)
        self.model.nets.nets = nets
        return e


def tasks(world: World, low: float, high: float, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Starts, goals and the shortest ways between them, low <= way < high."""
    found: list[tuple[Tensor, ...]] = []
    while sum(len(d) for _, _, d in found) < n:
        a, b = (world.sample_free(400, generator=generator) for _ in range(2))
        d = world.geodesic(a, b)
        ok = (d >= low) & (d < high)
        found.append((a[ok], b[ok], d[ok]))
    a, b, d = (torch.cat(part)[:n] for part in zip(*found, strict=True))
    return a, b, d


def training_pairs(states: Tensor, horizon: int, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """States of one walk 1, ..., `horizon` steps apart."""
    k = torch.randint(1, horizon + 1, (n,), generator=generator)
    t = (torch.rand(n, generator=generator) * (len(states) - k)).long()
    walk = torch.randint(states.shape[1], (n,), generator=generator)
    return states[t, walk], states[t + k, walk]


def edge_shares(graph: EnergyGraph, world: World) -> dict[str, float]:
    """Of pairs nearer than NEAR: the share kept behind walls (the way is more than twice the distance), and in free sight."""
    s = graph.states
    i, j = ((torch.cdist(s, s) < NEAR) & ~torch.eye(len(s), dtype=torch.bool)).nonzero(as_tuple=True)
    kept = torch.zeros(len(s), len(s), dtype=torch.bool)
    edges = graph.edges()
    kept[edges[:, 0], edges[:, 1]] = True
    behind = world.geodesic(s[i], s[j]) > 2 * (s[j] - s[i]).norm(dim=-1)
    free = world.segment_free(s[i], s[j])
    return {
        "wrong edges kept": kept[i, j][behind].double().mean().item(),
        "free edges kept": kept[i, j][free].double().mean().item(),
    }


def waypoints(graph: EnergyGraph, start: Tensor, goal: Tensor) -> tuple[Tensor, bool]:
    """What a search finds, without the start; only the goal where nothing is found."""
    own = graph.copy()
    path = own.path(own.join(start), own.join(goal))
    return (path.states[1:], True) if path.found else (goal[None], False)


def measure(world: World, model: Any, graph: EnergyGraph | None, drawn: list[tuple[Tensor, ...]], seed: int) -> dict[str, float]:
    """Success and length in each bin, tasks and noise the same for every setting."""
    g = torch.Generator().manual_seed(2000 + seed)
    out: dict[str, float] = {}
    ratios, found, began = [], [], time.process_time()
    for (low, high), (a, b, d) in zip(BINS, drawn, strict=True):
        ways = [waypoints(graph, s, t) if graph else (t[None], True) for s, t in zip(a, b, strict=True)]
        rollout = follow_waypoints(model, world, ROBOT, a, [w for w, _ in ways], generator=g)
        out[f"success, {low:.0f}-{high:.0f} cells"] = rollout.success.double().mean().item()
        ratios.append((rollout.length / d)[rollout.success])
        found += [f for _, f in ways]
    if len(torch.cat(ratios)):
        out["length / geodesic"] = torch.cat(ratios).mean().item()
    out["path found"] = sum(found) / len(found)
    out["CPU s a task"] = (time.process_time() - began) / len(found)
    return out


def one_seed(seed: int, *, n: int, steps: int | None, scratch: Path) -> Rows:
    """All rows of one seed."""
    base = replace(planning_preset("four-rooms"), seed=seed)
    base = replace(base, steps=steps or base.steps)
    kinds: dict[str, PlanningConfig] = {
        "learned edges": base,
        "learned edges, no waves": replace(base, frequencies=0),
        "Q-learning": replace(base, model="td", ema=0.995),
    }
    models: dict[str, Any] = {}
    for name, config in kinds.items():
        began = time.process_time()
        run_planning(config, RunOptions(out=scratch / name, resume=True))
        models[name] = load_planning(scratch / name / "last.ckpt")[0]
        print(f"seed {seed}, {name}: {time.process_time() - began:.0f} CPU s of training", flush=True)
    world, states, _ = collect(base)
    g = torch.Generator().manual_seed(1000 + seed)
    drawn = [tasks(world, low, high, n, g) for low, high in BINS]
    buffer = states.reshape(-1, 2)
    nodes = buffer[torch.randperm(len(buffer), generator=g)[:NODES]]
    s, t = training_pairs(states, base.horizon, 8000, g)

    def graph(energy: nn.Module) -> EnergyGraph:
        threshold = threshold_at(energy(s, t), 0.9)
        return EnergyGraph(nodes, energy, threshold=threshold, radius=math.inf, cost=own_energy)

    ours, no_waves, critic = models.values()
    distance = lambda a, b: (b - a).norm(dim=-1)
    settings: dict[str, tuple[Any, EnergyGraph | None]] = {
        "no search": (ours, None),
        "Euclidean edges": (ours, EnergyGraph(nodes, distance, threshold=math.inf, radius=NEAR)),
        "oracle edges": (ours, EnergyGraph(nodes, oracle(world), threshold=math.inf, radius=NEAR)),
        "learned edges": (ours, graph(ours)),
        "learned edges, one net": (ours, graph(First(ours))),
        "no search, no waves": (no_waves, None),
        "learned edges, no waves": (no_waves, graph(no_waves)),
        "no search, Q-learning": (critic, None),
        "Q-learning": (critic, graph(critic)),
    }
    rows = []
    for name, (model, one) in settings.items():
        metrics = measure(world, model, one, drawn, seed)
        if one is not None:
            metrics |= edge_shares(one, world)
        rows.append((name, seed, metrics))
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    write_table(one_seed, name="planning_search", about=__doc__, tasks="a seed and bin")


if __name__ == "__main__":
    main()
