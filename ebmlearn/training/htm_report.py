"""What hallucinative topological memory is worth: planning tasks in worlds never seen, beside three baselines."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ..planning.graphs import EdgeCost, EnergyGraph, edge_rates, follow, length, oracle
from ..planning.htm import HTM
from ..planning.worlds import PointRobot, World
from .htm_model import RADIUS, HTMConfig, draw_worlds


class Tasks(NamedTuple):
    """One task in each of n worlds: contexts `[n, *context]`, starts and goals `[n, 2]`, shortest ways `[n]`."""

    world: World
    contexts: Tensor
    start: Tensor
    goal: Tensor
    shortest: Tensor


def draw_tasks(config: HTMConfig, n: int, *, generator: torch.Generator, margin: float = 0.1) -> Tasks:
    """Tasks in new worlds: start and goal `margin` or more away from the wall, and the wall between them."""
    world, contexts = draw_worlds(config, n, generator=generator)
    left, right = world.boxes[:, :, 0].amin(1) - margin, world.boxes[:, :, 2].amax(1) + margin
    u = torch.rand(n, 4, generator=generator)
    a = torch.stack([u[:, 0] * left, u[:, 1]], -1)
    b = torch.stack([right + u[:, 2] * (1 - right), u[:, 3]], -1)
    turn = torch.rand(n, 1, generator=generator) < 0.5
    start, goal = torch.where(turn, b, a), torch.where(turn, a, b)
    return Tasks(world, contexts, start, goal, world.geodesic(start[:, None], goal[:, None])[:, 0])


class Nodes(NamedTuple):
    """Hallucinated nodes of every task, and the share of them, before and after pruning, that are no wall."""

    kept: list[Tensor]
    valid_raw: float
    valid: float


def hallucinate(model: HTM, tasks: Tasks, n: int, *, prune: bool = True, generator: torch.Generator) -> Nodes:
    """n states a task from the model's generator, those of high energy dropped."""
    raw = model.generator.sample(tasks.contexts, n, generator=generator)
    free = tasks.world.free(raw)
    keep = torch.ones_like(free)
    if prune:
        with torch.no_grad():
            keep = model.state_energy(raw, tasks.contexts) <= model.state_threshold
    kept = [raw[i, keep[i]] for i in range(len(raw))]
    return Nodes(kept, float(free.double().mean()), float(free[keep].double().mean()))


def run_tasks(tasks: Tasks, graph_of: Callable[[int], EnergyGraph], *, replans: int = 10) -> dict[str, float]:
    """Plan and walk every task.

    The strict executor fails at the first blocked move; the patient one deletes the edge and searches again, up to
    `replans` times. One walk gives both.

    Args:
        graph_of: task number -> graph over its nodes, without start and goal.

    Returns:
        valid nodes; wrong kept (impossible near pairs of valid nodes that are edges), wrong kept, all (walls' nodes
        included), free kept: means over tasks; found (the first search reaches the goal), strict and replans: shares
        of tasks; length: the strict successes' way over the shortest, absent where there are none.
    """
    robot, rows, ratio = PointRobot(max_step=RADIUS), [], []
    for i in range(len(tasks.start)):
        world, graph = tasks.world[i], graph_of(i)
        r = edge_rates(graph, world)
        a, b = graph.join(tasks.start[i]), graph.join(tasks.goal[i])
        walk = follow(graph, a, b, partial(robot.move, world), replans=replans)
        strict = walk.reached and walk.blocked == 0
        if strict:
            ratio.append(walk.length / float(tasks.shortest[i]))
        rows.append((r.valid_nodes, r.wrong_kept, r.wrong_kept_all, r.free_kept, walk.found, strict, walk.reached))
    names = ("valid nodes", "wrong kept", "wrong kept, all", "free kept", "found", "strict", f"{replans} replans")
    means = torch.tensor(rows, dtype=torch.float64).nanmean(0)  # a task without impossible pairs says nothing about them
    out = dict(zip(names, means.tolist(), strict=True))
    return out | {"length": sum(ratio) / len(ratio)} if ratio else out


def straight_line(tasks: Tasks) -> float:
    """The share of tasks that going straight to the goal solves."""
    return float(tasks.world.segment_free(tasks.start[:, None], tasks.goal[:, None]).double().mean())


def with_energy(model: HTM, tasks: Tasks, nodes: Sequence[Tensor], *, cost: EdgeCost = length) -> Callable[[int], EnergyGraph]:
    """Edges from the model's pair energy."""
    return lambda i: model.graph(tasks.contexts[i], nodes[i], cost=cost)


def with_oracle(tasks: Tasks, nodes: Sequence[Tensor]) -> Callable[[int], EnergyGraph]:
    """Exactly the possible moves as edges: what these nodes allow."""
    return lambda i: EnergyGraph(nodes[i], oracle(tasks.world[i]), threshold=1.0, radius=RADIUS)


def euclidean(nodes: Sequence[Tensor]) -> Callable[[int], EnergyGraph]:
    """Every pair within reach as an edge."""
    return lambda i: EnergyGraph(nodes[i], lambda s, t: torch.zeros(len(s)), threshold=math.inf, radius=RADIUS)


def with_errors(
    tasks: Tasks, nodes: Sequence[Tensor], rate: float, *, generator: torch.Generator
) -> Callable[[int], EnergyGraph]:
    """The possible moves, and each impossible one with probability `rate`: what wrong edges alone do."""
    if not 0 <= rate <= 1:
        raise ValueError(f"expected a rate in [0, 1]; got {rate}")

    def graph(i: int) -> EnergyGraph:
        true = oracle(tasks.world[i])

        def energy(s: Tensor, t: Tensor) -> Tensor:
            lucky = torch.rand(len(s), generator=generator) < rate
            return torch.where(lucky, torch.zeros(()), true(s, t))

        return EnergyGraph(nodes[i], energy, threshold=1.0, radius=RADIUS)

    return graph


def report(model: HTM, config: HTMConfig, *, tasks: int = 60, nodes: int = 1000, seed: int = 0) -> dict[str, dict[str, float]]:
    """Energy, oracle, Euclidean edges and the straight line on the same tasks and nodes: method -> numbers."""
    generator = torch.Generator().manual_seed(10_000 + seed)
    task = draw_tasks(config, tasks, generator=generator)
    found = hallucinate(model, task, nodes, generator=generator)
    out = {
        "energy": run_tasks(task, with_energy(model, task, found.kept)),
        "oracle": run_tasks(task, with_oracle(task, found.kept)),
        "Euclidean": run_tasks(task, euclidean(found.kept)),
        "straight line": {"strict": straight_line(task)},
    }
    out["energy"]["valid nodes, unpruned"] = found.valid_raw
    return out
