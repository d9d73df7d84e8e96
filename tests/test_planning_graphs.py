"""Graphs from energies: edges by hand, costs against enumeration, replanning, and what bad input says."""

import itertools
import math

import pytest
import torch

from ebmlearn.planning import (
    EnergyGraph,
    PointRobot,
    edge_rates,
    follow,
    length,
    oracle,
    soft_risk,
    threshold_at,
    wall_world,
)

ROBOT = PointRobot(max_step=0.3)


def flat(s, t):
    return torch.zeros(len(s))


def gen(seed):
    return torch.Generator().manual_seed(seed)


def test_threshold_keeps_the_quantile_of_training_transitions():
    e = torch.randn(5000, generator=gen(0))
    tau = threshold_at(e, 0.95)
    assert abs((e < tau).double().mean() - 0.95) <= 1 / 5000
    assert threshold_at(e, 1.0) == e.max().item()
    for bad, q in ((torch.zeros(0), 0.9), (torch.tensor([math.nan]), 0.9), (e, 0.0), (e, 1.1)):
        with pytest.raises(ValueError, match="quantile"):
            threshold_at(bad, q)


def test_edges_are_the_pairs_below_threshold_within_the_radius():
    s = torch.rand(40, 2, generator=gen(1))
    energy = lambda a, b: (a[:, 0] - b[:, 1]) * 3  # not symmetric
    graph = EnergyGraph(s, energy, threshold=0.2, radius=0.5)
    expected = {
        (i, j) for i, j in itertools.permutations(range(40), 2) if (s[i] - s[j]).norm() < 0.5 and (s[i, 0] - s[j, 1]) * 3 < 0.2
    }
    assert set(graph.graph.edges) == expected and 0 < len(expected) < 40 * 39
    assert {tuple(e) for e in graph.edges().tolist()} == expected
    for i, j in list(expected)[:20]:
        assert graph.graph[i][j]["cost"] == pytest.approx((s[i] - s[j]).norm().item())


def test_joining_states_later_gives_the_same_graph():
    s = torch.rand(20, 2, generator=gen(2))
    energy = lambda a, b: (a[:, 0] - b[:, 1]) * 3
    whole = EnergyGraph(s, energy, threshold=0.2, radius=0.5)
    grown = EnergyGraph(s[:17], energy, threshold=0.2, radius=0.5)
    assert [grown.join(p) for p in s[17:]] == [17, 18, 19]
    assert dict(whole.graph.edges.items()).keys() == dict(grown.graph.edges.items()).keys()
    assert torch.equal(whole.states, grown.states)


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_the_cheapest_path_against_all_paths(weight):
    s = torch.rand(7, 2, generator=gen(3))
    noise = torch.randn(7, 7, generator=gen(4))
    index = {tuple(p.tolist()): i for i, p in enumerate(s)}
    energy = lambda a, b: torch.stack(
        [noise[index[tuple(x.tolist())], index[tuple(y.tolist())]] for x, y in zip(a, b, strict=True)]
    )
    graph = EnergyGraph(s, energy, threshold=0.8, radius=math.inf, cost=soft_risk(weight))

    def cost(nodes):
        total = 0.0
        for i, j in itertools.pairwise(nodes):
            if noise[i, j] >= 0.8:
                return math.inf
            total += (s[i] - s[j]).norm().item() + weight * math.log1p(math.exp(noise[i, j]))
        return total

    best = min(cost((0, *mid, 6)) for k in range(6) for mid in itertools.permutations(range(1, 6), k))
    found = graph.path(0, 6)
    assert found.cost == pytest.approx(best) and cost(found.nodes) == pytest.approx(best)
    assert found.nodes[0] == 0 and found.nodes[-1] == 6 and found.found
    assert found.length == pytest.approx(sum((s[i] - s[j]).norm().item() for i, j in itertools.pairwise(found.nodes)))


def test_soft_risk_prefers_the_safe_detour():
    s = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.3]])
    risky = lambda a, b: torch.where((a[:, 1] == 0) & (b[:, 1] == 0), 4.0, -6.0)  # the direct move may well fail
    assert EnergyGraph(s, risky, threshold=5.0, radius=2.0).path(0, 1).nodes == (0, 1)
    assert EnergyGraph(s, risky, threshold=5.0, radius=2.0, cost=soft_risk(0.1)).path(0, 1).nodes == (0, 2, 1)


def test_a_disconnected_graph_says_so_and_gives_the_nearest_reachable_waypoint():
    s = torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.2, 0.0], [0.15, 0.05], [0.9, 0.0]])
    path = EnergyGraph(s, flat, threshold=1.0, radius=0.12).path(0, 4)
    assert not path.found and path.cost == math.inf
    assert path.nodes == (0, 1, 2) and torch.equal(path.states[-1], s[2])
    assert "cannot be reached" in path.message and "4 of 5" in path.message and "node 2" in path.message
    alone = EnergyGraph(s[[0, 4]], flat, threshold=1.0, radius=0.12).path(0, 1)
    assert alone.nodes == (0,) and not alone.found


def test_replanning_deletes_the_wrong_edge_and_reaches_the_goal():
    world = wall_world(torch.tensor([0.5, 0.7]))
    states = torch.tensor([[0.4, 0.3], [0.6, 0.3], [0.4, 0.5], [0.6, 0.5], [0.42, 0.7], [0.6, 0.7]])
    graph = lambda: EnergyGraph(states, flat, threshold=1.0, radius=0.25)
    move = lambda s, a: ROBOT.move(world, s, a)
    strict = follow(graph(), 0, 1, move)
    assert strict.found and not strict.reached and strict.blocked == 1
    tried = graph()
    walk = follow(tried, 0, 1, move, replans=5)
    assert walk.reached and walk.found and 1 <= walk.blocked <= 5
    assert torch.equal(walk.states[-1], states[1])
    assert not tried.graph.has_edge(0, 1) and not tried.graph.has_edge(1, 0)
    assert walk.length == pytest.approx((walk.states[1:] - walk.states[:-1]).norm(dim=-1).sum().item())
    perfect = EnergyGraph(states, oracle(world), threshold=math.inf, radius=0.25)
    sure = follow(perfect, 0, 1, move)
    assert sure.reached and sure.blocked == 0
    closed = wall_world(torch.tensor([0.5, 0.15]))
    never = follow(graph(), 0, 1, lambda s, a: ROBOT.move(closed, s, a), replans=50)
    assert never.found and not never.reached and "cannot be reached" in never.message


def test_edge_rates_by_hand():
    world = wall_world(torch.tensor([0.5, 0.7]))
    states = torch.tensor([[0.4, 0.3], [0.6, 0.3], [0.4, 0.4], [0.5, 0.2]])  # the last one stands in the wall
    blind = edge_rates(EnergyGraph(states, flat, threshold=1.0, radius=0.21), world)
    assert (blind.wrong_kept, blind.wrong_kept_all, blind.free_kept, blind.valid_nodes) == (1.0, 1.0, 1.0, 0.75)
    perfect = edge_rates(EnergyGraph(states, oracle(world), threshold=math.inf, radius=0.21), world)
    assert (perfect.wrong_kept, perfect.wrong_kept_all, perfect.free_kept) == (0.0, 0.0, 1.0)
    wall_only = lambda s, t: torch.where((s[:, 0] == 0.5) | (t[:, 0] == 0.5), -1.0, 1.0)
    half = edge_rates(EnergyGraph(states, wall_only, threshold=0.0, radius=0.21), world)
    assert half.wrong_kept == 0 and half.free_kept == 0 and 0 < half.wrong_kept_all < 1
    lonely = edge_rates(EnergyGraph(states[:1], flat, threshold=1.0, radius=0.21), world)
    assert math.isnan(lonely.wrong_kept) and math.isnan(lonely.free_kept)


def test_bad_input_is_refused_with_the_fix():
    s = torch.rand(4, 2, generator=gen(5))
    with pytest.raises(ValueError, match="empty buffer"):
        EnergyGraph(torch.zeros(0, 2), flat, threshold=1.0, radius=1.0)
    with pytest.raises(ValueError, match="finite states"):
        EnergyGraph(s * math.nan, flat, threshold=1.0, radius=1.0)
    with pytest.raises(ValueError, match="radius"):
        EnergyGraph(s, flat, threshold=1.0, radius=0.0)
    with pytest.raises(ValueError, match="shape"):
        EnergyGraph(s, lambda a, b: torch.zeros(len(a), 1), threshold=1.0, radius=2.0)
    with pytest.raises(ValueError, match="NaN"):
        EnergyGraph(s, lambda a, b: flat(a, b) * math.nan, threshold=1.0, radius=2.0)
    with pytest.raises(ValueError, match="costs >= 0"):
        EnergyGraph(s, flat, threshold=1.0, radius=2.0, cost=lambda a, b, e: e - 1)
    with pytest.raises(ValueError, match="weight"):
        soft_risk(-1.0)
    graph = EnergyGraph(s, flat, threshold=1.0, radius=2.0, cost=length)
    with pytest.raises(ValueError, match="state of shape"):
        graph.join(torch.zeros(3))
    with pytest.raises(ValueError, match="finite state"):
        graph.join(torch.tensor([0.0, math.inf]))
    with pytest.raises(ValueError, match="replans"):
        follow(graph, 0, 1, lambda s, a: (s + a, torch.tensor(False)), replans=-1)
