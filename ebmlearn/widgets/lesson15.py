"""Widget of lesson 15: start, goal and an obstacle; the graph that is left, the path on it, and the plan after descent."""

from __future__ import annotations

import math
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Circle
from torch import Tensor, nn

from ..planning.graphs import EnergyGraph, soft_risk
from ..planning.trajectories import FollowEnergy, GoalEnergy, LengthEnergy, ObstacleEnergy, descend, execute, of_moves, states_of
from ..planning.worlds import PointRobot, disc_world
from ..viz import BLUE, GREEN, GREY, ORANGE
from .explorer import Explorer, slider

ROBOT, TOLERANCE = PointRobot(max_step=0.1), 0.05
LEGEND: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14), "ncol": 2, "fontsize": 8}


def plan_around(
    pair: nn.Module, nodes: Tensor, threshold: float, start: Tensor, goal: Tensor, obstacle: ObstacleEnergy, *, steps: int = 150
) -> tuple[EnergyGraph, Any, Tensor]:
    """Search on states whose edges are the learned energy plus the obstacle's, then descent on the sum over the whole trajectory.

    Args:
        pair: learned energy of transitions; it has not seen the obstacle.
        nodes: states `[n, 2]`.
        threshold: of the learned energy.
        start, goal: `[2]`.

    Returns:
        The graph with start and goal joined, the path, and the plan `[T + 1, 2]` (the path itself where the goal is not reached).
    """

    def both(s: Tensor, t: Tensor) -> Tensor:
        return pair(s, t) + 1e4 * obstacle(torch.stack([s, t], -2))

    graph = EnergyGraph(nodes, both, threshold=threshold, radius=ROBOT.max_step, cost=soft_risk(0.0))
    path = graph.path(graph.join(start), graph.join(goal))
    if not path.found:
        return graph, path, path.states
    energy = FollowEnergy(pair) + 500 * GoalEnergy(goal[None]) + 3000 * obstacle + 20 * LengthEnergy()
    moves = descend(of_moves(energy, start[None]), path.states.diff(dim=0)[None], steps, learning_rate=0.001)
    return graph, path, states_of(start[None], moves)[0]


def draw_plan(
    ax: Axes,
    pair: nn.Module,
    nodes: Tensor,
    threshold: float,
    *,
    start: tuple[float, float] = (0.1, 0.5),
    goal: tuple[float, float] = (0.9, 0.5),
    centre: tuple[float, float] = (0.5, 0.5),
    radius: float = 0.2,
) -> str:
    """Graph in grey, path dashed, plan solid, the unseen disc hatched; returns what is seen."""
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="$s_1$", ylabel="$s_2$")
    ax.add_patch(Circle(centre, radius, facecolor="white", edgecolor="black", hatch="//", zorder=2))
    a, b, c = (torch.tensor(v) for v in (start, goal, centre))
    world = disc_world(radius=radius, centre=centre)
    for p, name, marker, color in ((a, "start", "o", BLUE), (b, "goal", "*", ORANGE)):
        ax.plot(*p.tolist(), marker, color=color, markersize=13, markeredgecolor="black", zorder=5, label=name)
        if not bool(world.free(p)):
            ax.set_title(f"the {name} is in the disc")
            ax.legend(**LEGEND)
            return f"The {name} is inside the obstacle: nothing to plan. Move one of them."
    graph, path, plan = plan_around(pair, nodes, threshold, a, b, ObstacleEnergy(c, radius=radius, margin=0.02))
    edges = graph.edges()
    ax.add_collection(LineCollection(graph.states[edges].tolist(), colors=GREY, linewidths=0.4, alpha=0.6, zorder=1))
    ax.plot(*path.states.T, "--", color=GREEN, linewidth=1.5, zorder=3, label="path on the graph")
    if not path.found:
        ax.set_title("no path")
        ax.legend(**LEGEND)
        return f"{path.message[0].upper()}{path.message[1:]}."
    ax.plot(*plan.T, "-", color=BLUE, linewidth=2.5, marker=".", markersize=6, zorder=4, label="plan after descent")
    ax.legend(**LEGEND)
    out = execute(plan[None], b[None], world, ROBOT, tolerance=TOLERANCE)
    shortest = float(world.geodesic(a[None], b[None]))
    says = "reaches the goal" if bool(out.success) else "fails (a move is blocked, too long, or ends elsewhere)"
    ratios = [v / shortest if shortest > 0 else math.nan for v in (path.length, float(out.length))]
    return (
        f"{len(edges)} edges. Path {ratios[0]:.2f} times the shortest way, plan {ratios[1]:.2f} times; {len(plan) - 1} moves. "
        f"The robot that follows the plan {says}."
    )


class PlanExplorer(Explorer):
    """Start, goal and disc on sliders; the learned energy never changes."""

    def __init__(self, pair: nn.Module, nodes: Tensor, threshold: float) -> None:
        def draw(ax: Axes, start: float, goal: float, across: float, up: float, radius: float) -> str:
            return draw_plan(
                ax, pair, nodes, threshold, start=(0.08, start), goal=(0.92, goal), centre=(across, up), radius=radius
            )

        super().__init__(
            draw,
            {
                "start": slider(0.5, 0.05, 0.95, label="height of the start", step=0.05),
                "goal": slider(0.5, 0.05, 0.95, label="height of the goal", step=0.05),
                "across": slider(0.5, 0.0, 1.0, label="disc, across", step=0.05),
                "up": slider(0.5, 0.0, 1.0, label="disc, up", step=0.05),
                "radius": slider(0.2, 0.05, 0.5, label="radius of the disc", step=0.05),
            },
            figsize=(5.4, 5.0),
        )
