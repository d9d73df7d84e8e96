"""Search, then descent: one learned energy of transitions in a maze draws the graph and repairs the path.

python experiments/planning_maze.py                                             # 3 seeds x 40 tasks: the table in data/results
python experiments/planning_maze.py --seeds 1 --tasks 4 --steps 100 --out /tmp/maze    # a quick look

The maze of 4 x 4 cells is known by random walks alone. Graph: 500 states of the walks, edges at most one move long, energy below its 0.9
quantile on training transitions. Refined: the path is the start of a descent (Adam) on the sum of the same energy, goal (x 500) and length.
Success: every move at most 1.05 times the robot's longest, none blocked, the robot ends within 0.05 of the goal.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ebmlearn.planning.graphs import EnergyGraph, edge_rates, follow, oracle, threshold_at
from ebmlearn.planning.trajectories import FollowEnergy, GoalEnergy, LengthEnergy, descend, execute, of_moves, states_of, straight
from ebmlearn.planning.worlds import World
from ebmlearn.training.planning import ROBOTS, collect, load_planning, planning_preset, run_planning
from ebmlearn.training.planning_report import Rows, write_table
from ebmlearn.training.state import RunOptions

ROBOT, NODES, REPLANS = ROBOTS["maze"], 500, 10


def seen(states: Tensor, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Transitions of the walks that moved."""
    s, t = states[:-1].reshape(-1, 2), states[1:].reshape(-1, 2)
    rows = (s != t).any(-1).nonzero()[:, 0]
    rows = rows[torch.randperm(len(rows), generator=generator)[:n]]
    return s[rows], t[rows]


def same_length(paths: list[Tensor]) -> Tensor:
    """Paths `[k, 2]` of several lengths as plans `[n, T + 1, 2]`, filled up with rests at the end."""
    longest = max(len(p) for p in paths)
    return torch.stack([torch.cat([p, p[-1:].expand(longest - len(p), 2)]) for p in paths])


def refine(pair: Any, paths: list[Tensor], goal: Tensor, *, length: float, steps: int = 300) -> list[Tensor]:
    """Descend the energy of whole trajectories from given paths; those of one number of moves together."""
    out = list(paths)
    for count in sorted({len(p) for p in paths}):
        group = [k for k, p in enumerate(paths) if len(p) == count]
        plan = torch.stack([paths[k] for k in group])
        energy = FollowEnergy(pair) + 500 * GoalEnergy(goal[group]) + length * LengthEnergy()
        moves = descend(of_moves(energy, plan[:, 0]), plan.diff(dim=-2), steps, learning_rate=0.001)
        for k, states in zip(group, states_of(plan[:, 0], moves), strict=True):
            out[k] = states
    return out


def search(graph: EnergyGraph, world: World, start: Tensor, goal: Tensor, replans: int) -> tuple[list[Tensor], list[Any]]:
    """Paths, and walks along them, one task after the other."""
    paths, walks = [], []
    for s, t in zip(start, goal, strict=True):
        own = graph.copy()
        i, j = own.join(s), own.join(t)
        path = own.path(i, j)
        paths.append(path.states if path.found else torch.stack([s, t]))
        walks.append(follow(own, i, j, lambda s, a: ROBOT.move(world, s, a), replans=replans))
    return paths, walks


def one_seed(seed: int, *, n: int, steps: int | None, scratch: Path) -> Rows:
    """All rows of one seed."""
    base = planning_preset("maze")
    began = time.process_time()
    run_planning(replace(base, seed=seed, steps=steps or base.steps), RunOptions(out=scratch, resume=True))
    trained = time.process_time() - began
    pair, config = load_planning(scratch / "last.ckpt")
    world, states, _ = collect(config)
    g = torch.Generator().manual_seed(1000 + seed)
    start, goal = (world.sample_free(n, generator=g, margin=0.02) for _ in range(2))
    shortest = world.geodesic(start, goal)
    buffer = states.reshape(-1, 2)
    nodes = buffer[torch.randperm(len(buffer), generator=g)[:NODES]]
    threshold = threshold_at(pair(*seen(states, 8000, g)), 0.9)
    rows: Rows = []

    def planned(name: str, plans: list[Tensor], began: float) -> None:
        took = (time.process_time() - began) / n
        out = execute(same_length(plans), goal, world, ROBOT)
        numbers = {"success": out.success.double().mean().item(), "CPU s a task": took}
        if bool(out.success.any()):
            numbers["length / geodesic"] = (out.length / shortest)[out.success].mean().item()
        rows.append((name, seed, numbers))

    line = states_of(start, straight(start, goal, int(1.5 / ROBOT.max_step)))
    planned("straight line", list(line), time.process_time())
    began = time.process_time()
    bent = torch.cat([line[:, :1], line[:, 1:] + 0.002 * torch.randn(line[:, 1:].shape, generator=g)], 1)
    planned("no search, descent", refine(pair, list(bent), goal, length=5), began)
    graphs = {
        "Euclidean edges": EnergyGraph(nodes, lambda s, t: torch.zeros(len(s)), threshold=1.0, radius=ROBOT.max_step),
        "oracle edges": EnergyGraph(nodes, oracle(world), threshold=1.0, radius=ROBOT.max_step),
        "learned edges": EnergyGraph(nodes, pair, threshold=threshold, radius=ROBOT.max_step),
    }
    for name, graph in graphs.items():
        began = time.process_time()
        paths, _ = search(graph, world, start, goal, 0)
        planned(name, paths, began)
        rates = edge_rates(graph, world)
        rows[-1][2].update({"wrong edges kept": rates.wrong_kept, "free edges kept": rates.free_kept})
        began = time.process_time()
        _, walks = search(graph, world, start, goal, REPLANS)
        reached = torch.tensor([w.reached for w in walks])
        ratio = torch.tensor([w.length for w in walks]) / shortest
        took = (time.process_time() - began) / n
        rows.append((f"{name}, {REPLANS} replans", seed, {"success": reached.double().mean().item(), "CPU s a task": took}))
        if bool(reached.any()):
            rows[-1][2]["length / geodesic"] = ratio[reached].mean().item()
        if name == "learned edges":
            for length in (5, 20):
                began = time.process_time()
                planned(f"learned edges, then descent, length x {length}", refine(pair, paths, goal, length=length), began)
    for row in rows:
        print(row, flush=True)
    print(f"seed {seed}: {trained:.0f} CPU s of training", flush=True)
    return rows


def main() -> None:
    write_table(one_seed, name="planning_maze", about=__doc__)


if __name__ == "__main__":
    main()
