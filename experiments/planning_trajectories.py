"""Plan by an energy over whole trajectories: learned transitions plus goal plus an obstacle that no training data have seen.

python experiments/planning_trajectories.py                                     # 3 seeds x 40 tasks: the table in data/results
python experiments/planning_trajectories.py --seeds 1 --tasks 5 --steps 100 --out /tmp/plan    # a quick look

The transitions are random walks in the empty unit square, moves uniform in a disc of radius 0.1. At test time a disc of radius 0.2 stands
in the middle; start and goal lie on a circle of radius 0.42, about opposite; 20 moves. Success: every move at most 1.05 times the
robot's longest, none blocked, the robot ends within 0.05 of the goal.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import torch
from torch import Tensor

from ebmlearn.energies import Energy
from ebmlearn.planning.trajectories import (
    FollowEnergy,
    GoalEnergy,
    LengthEnergy,
    ObstacleEnergy,
    SquaredLengthEnergy,
    descend,
    execute,
    mppi,
    of_moves,
    states_of,
    straight,
)
from ebmlearn.planning.worlds import PointRobot, disc_world
from ebmlearn.samplers import Langevin, sample
from ebmlearn.training.planning import load_planning, planning_preset, run_planning
from ebmlearn.training.planning_report import Rows, write_table
from ebmlearn.training.state import RunOptions

MOVES = 20
WORLD, ROBOT = disc_world(radius=0.2), PointRobot(max_step=0.1)
OBSTACLE = ObstacleEnergy(torch.tensor([0.5, 0.5]), radius=0.2, margin=0.03)


def tasks(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Starts on a circle about the disc, goals about opposite."""
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    opposite = angle + math.pi + 0.3 * torch.randn(n, generator=generator)
    on_circle = lambda a: 0.5 + 0.42 * torch.stack([a.cos(), a.sin()], -1)
    return on_circle(angle), on_circle(opposite)


def energies(pair: torch.nn.Module, goal: Tensor) -> dict[str, Energy]:
    """The compositions that are compared; no term is retrained for another."""
    follow, to_goal, away = FollowEnergy(pair), 500 * GoalEnergy(goal), 3000 * OBSTACLE
    return {
        "goal + obstacle": to_goal + away,
        "learned + goal": follow + to_goal,
        "learned + goal + obstacle": follow + to_goal + away,
        "learned + goal + obstacle + length": follow + to_goal + away + 20 * LengthEnergy(),
        "goal + obstacle + length": to_goal + away + 20 * LengthEnergy(),
        "goal + obstacle + squared length": to_goal + away + 10 * SquaredLengthEnergy(),
    }


def plan(energy: Energy, start: Tensor, moves: Tensor, how: str, generator: torch.Generator) -> Tensor:
    """Trajectories of low energy, `[n, MOVES + 1, 2]`."""
    of = of_moves(energy, start)
    if how == "MPPI":
        return states_of(start, mppi(of, moves, 100, noise=0.01, temperature=1.0, samples=32, generator=generator))
    if how == "Adam":
        return states_of(start, descend(of, moves, 500, learning_rate=0.001))
    temperature = float(how.removeprefix("Langevin, T "))
    kernel = Langevin.at_temperature(step_size=1e-5, temperature=temperature)
    return states_of(start, sample(of, kernel, moves, 500, generator=generator))


def one_seed(seed: int, *, n: int, steps: int | None, scratch: Path) -> Rows:
    """All rows of one seed."""
    base = planning_preset("empty")
    fields = {**vars(base), "seed": seed, "steps": steps or base.steps}
    began = time.process_time()
    run_planning(type(base)(**fields), RunOptions(out=scratch, resume=True))
    trained = time.process_time() - began
    pair, _ = load_planning(scratch / "last.ckpt")
    g = torch.Generator().manual_seed(1000 + seed)
    start, goal = tasks(n, g)
    shortest = WORLD.geodesic(start, goal)
    line = straight(start, goal, MOVES)
    first = line + 0.002 * torch.randn(line.shape, generator=g)  # the straight line is a saddle: something must break the tie
    settings = [(name, "Langevin, T 0.1") for name in energies(pair, goal)]
    settings += [("learned + goal + obstacle + length", how) for how in ("Langevin, T 0.0", "Langevin, T 1.0", "MPPI", "Adam")]
    settings += [("learned + goal + obstacle", "MPPI")]
    rows = []
    for name, how in [("straight line", "")] + settings:
        began = time.process_time()
        states = plan(energies(pair, goal)[name], start, first, how, g) if how else states_of(start, line)
        took = time.process_time() - began
        out = execute(states, goal, WORLD, ROBOT)
        metrics = {
            "success": out.success.double().mean().item(),
            "not blocked": (~out.blocked).double().mean().item(),
            "longest move / 0.1": (out.longest / ROBOT.max_step).mean().item(),
            "CPU s a task": took / n,
        }
        if bool(out.success.any()):
            metrics["length / geodesic"] = (out.length / shortest)[out.success].mean().item()
        rows.append((f"{name}; {how}" if how else name, seed, metrics))
        print(rows[-1], flush=True)
    print(f"seed {seed}: {trained:.0f} CPU s of training", flush=True)
    return rows


def main() -> None:
    write_table(one_seed, name="planning_trajectories", about=__doc__)


if __name__ == "__main__":
    main()
