"""Graphs over states: edges where an energy says "can follow", shortest paths, and replanning when an edge was wrong."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from .worlds import World

if TYPE_CHECKING:  # networkx is imported where a graph is made, so that training needs torch only
    import networkx as nx

PairEnergy = Callable[[Tensor, Tensor], Tensor]  # s[m, d], s'[m, d] -> energy[m]; low = s' can follow s
EdgeCost = Callable[[Tensor, Tensor, Tensor], Tensor]  # s[m, d], s'[m, d], energy[m] -> cost[m] >= 0


def threshold_at(energies: Tensor, quantile: float) -> float:
    """The energy below which a fraction `quantile` of the given transitions lies; give transitions seen in training, no labels.

    Args:
        energies: `[n]`, of transitions that did happen.
        quantile: e.g. .99: one true edge in a hundred is given up.

    Example:
        >>> threshold_at(torch.arange(101.0), 0.99)
        99.0
    """
    if energies.numel() == 0 or not bool(torch.isfinite(energies).all()) or not 0 < quantile <= 1:
        raise ValueError(
            f"expected finite energies of at least one transition and 0 < quantile <= 1; got {energies.numel()} energies, "
            f"{int((~torch.isfinite(energies)).sum())} not finite, and quantile = {quantile}"
        )
    return float(torch.quantile(energies.detach().flatten().double(), quantile))


def length(s: Tensor, t: Tensor, energy: Tensor) -> Tensor:
    """The edge cost |s' - s|: shortest paths."""
    return (t - s).norm(dim=-1)


def own_energy(s: Tensor, t: Tensor, energy: Tensor) -> Tensor:
    """The edge cost E(s, s'), for an energy that is a number of steps."""
    return energy


def soft_risk(weight: float, *, level: float = 0.0) -> EdgeCost:
    """The edge cost |s' - s| + weight * softplus(E - level): length plus the price of an edge that may be wrong.

    With P(edge holds) = sigmoid(level - E), as binary contrastive training has it, softplus(E - level) = -log P, so a path's cost
    is its length - weight * log P(all its edges hold).

    Example:
        >>> a, b = torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])
        >>> round(soft_risk(1.0)(a, b, torch.zeros(1)).item(), 4)  # 5 + log 2
        5.6931
    """
    if weight < 0:
        raise ValueError(f"expected a weight >= 0; got {weight}")
    return lambda s, t, energy: length(s, t, energy) + weight * F.softplus(energy - level)


@dataclass(frozen=True, eq=False)
class Path:
    """What a search found: the states to visit in order, from the start's own.

    Args:
        nodes: names of the nodes in the graph.
        states: `[len(nodes), d]`.
        cost: sum of the edges' costs; infinity where the goal cannot be reached.
        found: whether the path ends at the goal; otherwise it ends at the reachable node that is nearest to the goal.
        message: one line for the reader.
    """

    nodes: tuple[int, ...]
    states: Tensor
    cost: float
    found: bool
    message: str

    @property
    def length(self) -> float:
        """Sum of the distances between consecutive states."""
        return float((self.states[1:] - self.states[:-1]).norm(dim=-1).sum())


@dataclass(eq=False)
class EnergyGraph:
    """A directed graph over states with an edge s -> s' where |s' - s| < radius and E(s, s') < threshold.

    Args:
        states: `[n, d]`; nodes 0, 1, ..., n - 1. Start and goals are joined later and go on from n.
        energy: scores pairs, low = "s' can follow s".
        threshold: edges with a higher energy are pruned; `math.inf` keeps all pairs within the radius.
        radius: longest edge; `math.inf` for any pair. Never longer than the transitions that the energy was trained on.
        cost: of an edge, from (s, s', energy): `length`, `soft_risk(w)` or your own.

    Raises:
        ValueError: no states (an empty buffer), NaN in states or energies, an energy of the wrong shape.

    References:
        Hallucinative topological memory for zero-shot visual planning (Liu, Kurutach, Tung, Abbeel, Tamar, 2020).
        Search on the replay buffer: bridging planning and reinforcement learning (Eysenbach, Salakhutdinov, Levine, 2019).

    Example:
        >>> line = torch.arange(5.0)[:, None] * torch.tensor([1.0, 0.0])
        >>> graph = EnergyGraph(line, lambda s, t: torch.zeros(len(s)), threshold=1.0, radius=1.5)
        >>> graph.path(0, 4).nodes
        (0, 1, 2, 3, 4)
        >>> graph.remove_edge(2, 3)
        >>> print(graph.path(0, 4).message)
        the goal cannot be reached from the start: 3 of 5 nodes can. The nearest of them to the goal is node 2, 2 away from it
    """

    states: Tensor
    energy: PairEnergy
    threshold: float
    radius: float
    cost: EdgeCost = length
    graph: nx.DiGraph = field(init=False)

    def __post_init__(self) -> None:
        if self.states.ndim != 2 or len(self.states) == 0:
            raise ValueError(
                f"expected states [n, d] with n >= 1; got {tuple(self.states.shape)}. An empty buffer has nothing to plan with: collect "
                "states first"
            )
        if not bool(torch.isfinite(self.states).all()):
            raise ValueError("expected finite states; got NaN or infinity among them")
        if not self.radius > 0 or math.isnan(self.threshold):
            raise ValueError(f"expected radius > 0 and a threshold; got {self.radius} and {self.threshold}")
        import networkx as nx

        self.graph = nx.DiGraph()
        self.graph.add_nodes_from(range(len(self.states)))
        nodes = torch.arange(len(self.states))
        self._connect(nodes, nodes)

    def __len__(self) -> int:
        return len(self.states)

    def _connect(self, sources: Tensor, targets: Tensor) -> None:
        a, b = self.states[sources], self.states[targets]
        near = (torch.cdist(a, b) < self.radius) & (sources[:, None] != targets[None, :]).to(a.device)
        i, j = near.nonzero(as_tuple=True)
        if not len(i):
            return
        with torch.no_grad():
            s, t = a[i], b[j]
            e = self.energy(s, t)
            if e.shape != (len(i),):
                raise ValueError(f"expected the energy of {len(i)} pairs to have the shape ({len(i)},); got {tuple(e.shape)}")
            if bool(torch.isnan(e).any()):
                raise ValueError(f"the energy of {int(torch.isnan(e).sum())} of {len(e)} pairs is NaN")
            keep = e < self.threshold
            cost = self.cost(s, t, e)[keep]
        if bool((cost < 0).any()):
            raise ValueError("expected edge costs >= 0, shortest paths need them; use soft_risk, or shift the energy")
        ends = zip(sources[i.cpu()][keep.cpu()].tolist(), targets[j.cpu()][keep.cpu()].tolist(), cost.tolist(), strict=True)
        self.graph.add_weighted_edges_from(ends, weight="cost")

    def join(self, state: Tensor) -> int:
        """Add a state with edges to and from all others by the same rule; the number of the new node."""
        if state.shape != self.states.shape[1:]:
            raise ValueError(f"expected a state of shape {tuple(self.states.shape[1:])}; got {tuple(state.shape)}")
        if not bool(torch.isfinite(state).all()):
            raise ValueError("expected a finite state; got NaN or infinity")
        self.states = torch.cat([self.states, state[None].to(self.states)])
        new = len(self.states) - 1
        self.graph.add_node(new)
        others, own = torch.arange(new), torch.tensor([new])
        self._connect(own, others)
        self._connect(others, own)
        return new

    def copy(self) -> EnergyGraph:
        """A copy that can be joined and pruned without changing this graph."""
        other = copy.copy(self)
        other.graph = self.graph.copy()
        return other

    def remove_edge(self, i: int, j: int) -> None:
        """Take an edge out, both ways: it turned out to be wrong."""
        self.graph.remove_edges_from([(i, j), (j, i)])

    def edges(self) -> Tensor:
        """All edges (i, j), `[m, 2]`."""
        return torch.tensor(list(self.graph.edges), dtype=torch.long).reshape(-1, 2)

    def path(self, start: int, goal: int) -> Path:
        """The cheapest path by Dijkstra's algorithm; where the goal cannot be reached, one to the nearest node that can."""
        import networkx as nx

        cost, paths = nx.single_source_dijkstra(self.graph, start, weight="cost")
        if goal in cost:
            nodes = tuple(paths[goal])
            return Path(nodes, self.states[list(nodes)], cost[goal], True, f"{len(nodes) - 1} edges, cost {cost[goal]:.4g}")
        reached = sorted(cost)
        gap = (self.states[reached] - self.states[goal]).norm(dim=-1)
        nearest = reached[int(gap.argmin())]
        nodes = tuple(paths[nearest])
        message = (
            f"the goal cannot be reached from the start: {len(reached)} of {len(self)} nodes can. The nearest of them to the goal is "
            f"node {nearest}, {float(gap.min()):.3g} away from it"
        )
        return Path(nodes, self.states[list(nodes)], math.inf, False, message)


@dataclass(frozen=True, eq=False)
class Walk:
    """What happened when a plan was followed.

    Args:
        states: `[steps + 1, d]`, where the robot was.
        reached: whether it stands at the goal.
        found: whether the first search found a path to the goal.
        blocked: moves that were blocked.
        message: of the last search.
    """

    states: Tensor
    reached: bool
    found: bool
    blocked: int
    message: str

    @property
    def length(self) -> float:
        """Length of the way that was walked."""
        return float((self.states[1:] - self.states[:-1]).norm(dim=-1).sum())


def follow(
    graph: EnergyGraph, start: int, goal: int, move: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], *, replans: int = 0
) -> Walk:
    """Search, walk from waypoint to waypoint in straight moves, and at a blocked move delete the edge and search again.

    Args:
        graph: is changed: edges that were wrong are removed, both ways.
        start, goal: nodes; the robot begins at the start's state. It stops where no path to the goal is left.
        move: (state `[d]`, action `[d]`) -> (next state, blocked): one move, e.g. `PointRobot.move` in a world. A blocked move must leave
            the robot where it was, and an edge must not be longer than a move.
        replans: searches allowed after the first; 0 is the strict executor, whose first blocked move is a failure.

    Example:
        >>> from ebmlearn.planning.worlds import PointRobot, wall_world
        >>> world, robot = wall_world(torch.tensor([0.5, 0.5])), PointRobot(max_step=0.3)
        >>> states = torch.tensor([[0.4, 0.2], [0.6, 0.2], [0.4, 0.48], [0.6, 0.48]])
        >>> blind = EnergyGraph(states, lambda s, t: torch.zeros(len(s)), threshold=1.0, radius=0.3)
        >>> walk = follow(blind, 0, 1, lambda s, a: robot.move(world, s, a), replans=1)
        >>> walk.reached, walk.blocked, [round(v, 2) for v in walk.states[:, 0].tolist()]
        (True, 1, [0.4, 0.4, 0.6, 0.6])
    """
    if replans < 0:
        raise ValueError(f"expected replans >= 0; got {replans}")
    path = graph.path(start, goal)
    found, blocked, at = path.found, 0, start
    visited = [graph.states[start]]
    while path.found and at != goal:
        for node in path.nodes[1:]:
            after, stopped = move(visited[-1], graph.states[node] - visited[-1])
            if bool(stopped):
                blocked += 1
                graph.remove_edge(at, node)
                break
            visited.append(after)
            at = node
        if at == goal or blocked > replans:
            break
        path = graph.path(at, goal)
    return Walk(torch.stack(visited), at == goal, found, blocked, path.message)


@dataclass(frozen=True)
class EdgeRates:
    """How well a graph's edges fit the world, over ordered pairs of nodes within the radius.

    Args:
        wrong_kept: share of impossible pairs that are edges, both ends free.
        wrong_kept_all: the same over all pairs, nodes inside walls included.
        free_kept: share of possible pairs that are edges.
        valid_nodes: share of nodes that are free.
    """

    wrong_kept: float
    wrong_kept_all: float
    free_kept: float
    valid_nodes: float


def edge_rates(graph: EnergyGraph, world: World) -> EdgeRates:
    """Compare a graph's edges with the true collision oracle; NaN for a share of no pairs."""
    states = graph.states
    i, j = ((torch.cdist(states, states) < graph.radius) & ~torch.eye(len(states), dtype=torch.bool)).nonzero(as_tuple=True)
    edges = graph.edges()
    kept = torch.zeros(len(states), len(states), dtype=torch.bool)
    kept[edges[:, 0], edges[:, 1]] = True
    possible, free = world.segment_free(states[i], states[j]), world.free(states)
    both, kept = free[i] & free[j], kept[i, j]
    share = lambda of: float(kept[of].double().mean()) if bool(of.any()) else math.nan
    return EdgeRates(share(~possible & both), share(~possible), share(possible), float(free.double().mean()))


def oracle(world: World) -> PairEnergy:
    """The perfect pair energy: 0 where the straight move is possible, infinity where it is not; for tests and as a bound."""
    return lambda s, t: torch.where(world.segment_free(s, t), 0.0, math.inf)
