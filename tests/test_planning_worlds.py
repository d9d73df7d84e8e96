"""Worlds against geometry done by hand, by brute force, and on a grid."""

import math

import networkx as nx
import pytest
import torch

from ebmlearn.planning import (
    PointRobot,
    World,
    disc_world,
    empty_world,
    four_rooms,
    maze,
    random_walls,
    wall_world,
)

DOUBLE = torch.float64


def gen(seed):
    return torch.Generator().manual_seed(seed)


def inside_by_definition(world, p):
    """Whether points are in an obstacle or outside, written out."""
    x, y = p[..., 0:1], p[..., 1:2]
    b, d = world.boxes, world.discs
    box = ((b[:, 0] < x) & (x < b[:, 2]) & (b[:, 1] < y) & (y < b[:, 3])).any(-1)
    disc = ((x - d[:, 0]) ** 2 + (y - d[:, 1]) ** 2 < d[:, 2] ** 2).any(-1)
    return box | disc | (p < world.low).any(-1) | (p > world.high).any(-1)


BOTH = World(
    boxes=torch.tensor([[0.2, 0.3, 0.4, 0.9], [0.6, 0.1, 0.9, 0.2]], dtype=DOUBLE),
    discs=torch.tensor([[0.7, 0.7, 0.15]], dtype=DOUBLE),
)


def test_points_and_segments_agree_with_brute_force():
    p = torch.rand(2000, 2, generator=gen(0), dtype=DOUBLE) * 1.4 - 0.2
    assert torch.equal(BOTH.free(p), ~inside_by_definition(BOTH, p))
    a, b = torch.rand(2, 1500, 2, generator=gen(1), dtype=DOUBLE) * 1.1 - 0.05
    t = torch.linspace(0, 1, 2001, dtype=DOUBLE)[:, None, None]
    dense = ~inside_by_definition(BOTH, a + t * (b - a)).any(0)
    exact = BOTH.segment_free(a, b)
    assert not (exact & ~dense).any()  # a sampled point in a wall is a proof
    assert (dense & ~exact).float().mean() < 0.005  # a corner thinner than the sampling is not
    assert 0.1 < exact.float().mean() < 0.9
    assert torch.equal(exact, BOTH.segment_free(b, a))


def test_touching_a_wall_is_allowed_and_crossing_it_is_not():
    at = lambda *v: torch.tensor(v, dtype=DOUBLE)
    assert BOTH.free(at(0.2, 0.5)) and not BOTH.free(at(0.2 + 1e-6, 0.5))
    assert BOTH.segment_free(at(0.2, 0.0), at(0.2, 1.0))  # along its side
    assert BOTH.segment_free(at(0.1, 0.2), at(0.3, 0.3 - 1e-12))
    assert not BOTH.segment_free(at(0.1, 0.29), at(0.5, 0.32))  # through a corner
    assert not BOTH.segment_free(at(0.1, 0.5), at(0.1, -0.01))  # out of the square
    tangent = 0.7 - 0.15
    assert BOTH.segment_free(at(0.5, tangent), at(0.9, tangent))
    assert not BOTH.segment_free(at(0.5, tangent + 1e-4), at(0.9, tangent + 1e-4))


def test_clearance_is_the_distance_to_the_nearest_obstacle():
    at = torch.tensor([[0.5, 0.5], [0.1, 0.25], [0.3, 0.6], [0.7, 0.75], [-0.1, 0.5]], dtype=DOUBLE)
    to_disc = math.hypot(0.2, 0.2) - 0.15
    expected = torch.tensor([min(0.1, to_disc), 0.1, -0.1, -0.1, -0.1], dtype=DOUBLE)
    torch.testing.assert_close(BOTH.clearance(at), expected)
    p = torch.rand(500, 2, generator=gen(2), dtype=DOUBLE)
    assert torch.equal(BOTH.clearance(p) >= 0, BOTH.free(p))


def test_geodesic_through_the_door_by_hand():
    world = wall_world(torch.tensor([0.5, 0.5], dtype=DOUBLE), half_thickness=0.1, half_door=0.1)
    a = torch.tensor([[0.2, 0.1], [0.2, 0.5], [0.2, 0.1]], dtype=DOUBLE)
    b = torch.tensor([[0.8, 0.1], [0.9, 0.5], [0.3, 0.9]], dtype=DOUBLE)
    by_hand = [0.2 + 2 * math.hypot(0.2, 0.3), 0.7, math.hypot(0.1, 0.8)]
    torch.testing.assert_close(world.geodesic(a, b), torch.tensor(by_hand, dtype=DOUBLE))
    torch.testing.assert_close(world.geodesic(b, a), torch.tensor(by_hand, dtype=DOUBLE))


def test_geodesic_around_a_disc_by_hand():
    r, d = 0.2, 0.4
    a, b = torch.tensor([[0.5 - d, 0.5]]), torch.tensor([[0.5 + d, 0.5]])
    exact = 2 * math.sqrt(d**2 - r**2) + r * (math.pi - 2 * math.acos(r / d))
    found = disc_world(radius=r).geodesic(a, b).item()
    assert exact <= found <= 1.001 * exact
    assert empty_world().geodesic(a, b).item() == pytest.approx(0.8)


def test_geodesic_is_a_metric_and_beats_a_grid():
    world = four_rooms()
    p = world.sample_free(30, generator=gen(3)).double()
    i, j = torch.meshgrid(torch.arange(30), torch.arange(30), indexing="ij")
    d = world.geodesic(p[i.flatten()], p[j.flatten()]).reshape(30, 30)
    torch.testing.assert_close(d, d.T)
    assert torch.isfinite(d).all() and (d.diagonal() == 0).all()
    assert (d <= d[:, :, None].add(d[None]).amin(1) + 1e-9).all()
    assert (d >= torch.cdist(p, p) - 1e-9).all()
    # eight-connected moves on a fine grid are at most 8.3 % longer than the geodesic, and never shorter
    cells = torch.arange(0.25, 11, 0.5, dtype=DOUBLE)
    nodes = torch.cartesian_prod(cells, cells)
    near = torch.cdist(nodes, nodes) < 0.75
    u, v = near.nonzero(as_tuple=True)
    ok = world.segment_free(nodes[u], nodes[v]) & (u != v)
    grid = nx.Graph()
    grid.add_weighted_edges_from(
        zip(u[ok].tolist(), v[ok].tolist(), (nodes[u] - nodes[v]).norm(dim=-1)[ok].tolist(), strict=True)
    )
    start = int((nodes - torch.tensor([0.25, 0.25])).norm(dim=-1).argmin())
    on_grid = nx.single_source_dijkstra_path_length(grid, start)
    ends = torch.tensor(sorted(on_grid))[::7]
    exact = world.geodesic(nodes[start].expand(len(ends), 2), nodes[ends])
    walked = torch.tensor([on_grid[int(e)] for e in ends], dtype=DOUBLE)
    assert len(on_grid) == int(world.free(nodes).sum())  # every room is reached
    assert (exact <= walked + 1e-9).all() and (walked <= 1.12 * exact + 0.5).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_maze_has_one_way_between_any_two_cells(seed):
    n = 4
    world = maze(n, seed=seed).to(DOUBLE)
    centres = (torch.cartesian_prod(torch.arange(n), torch.arange(n)).double() + 0.5) / n
    near = torch.cdist(centres, centres) < 1.01 / n
    i, j = near.triu(1).nonzero(as_tuple=True)
    free = world.segment_free(centres[i], centres[j])
    graph = nx.Graph(zip(i[free].tolist(), j[free].tolist(), strict=True))
    assert nx.is_tree(graph) and len(graph) == n * n
    d = world.geodesic(centres[:1].expand(n * n, 2), centres)
    hops = nx.single_source_shortest_path_length(graph, 0)
    steps = torch.tensor([hops[k] for k in range(n * n)], dtype=DOUBLE) / n
    assert (d <= steps + 1e-9).all() and (d >= 0.5 * steps).all()
    assert torch.equal(maze(n, seed=seed).boxes, world.boxes.float())
    assert not any(torch.equal(maze(n, seed=seed).boxes, maze(n, seed=seed + k).boxes) for k in (1, 2, 3))


def test_a_batch_of_worlds_is_each_world_alone():
    contexts = random_walls(5, generator=gen(4))
    assert (contexts[:, 0] >= 0.3).all() and (contexts[:, 0] <= 0.7).all()
    worlds = wall_world(contexts)
    p = worlds.sample_free(40, generator=gen(5), margin=0.03)
    assert p.shape == (5, 40, 2) and (worlds.clearance(p) >= 0.03).all()
    a, b = p[:, :20], p[:, 20:]
    for k in range(5):
        alone = worlds[k]
        assert torch.equal(alone.segment_free(a[k], b[k]), worlds.segment_free(a, b)[k])
        torch.testing.assert_close(alone.geodesic(a[k], b[k]), worlds.geodesic(a, b)[k])
        torch.testing.assert_close(alone.clearance(a[k]), worlds.clearance(a)[k])


def test_free_points_are_uniform():
    world = disc_world(radius=0.3)
    p = world.sample_free(20_000, generator=gen(6))
    assert world.free(p).all()
    corner = (p < 0.2).all(-1).double()  # an area of .04 of 1 - .09 pi
    share = 0.04 / (1 - 0.09 * math.pi)
    assert abs(corner.mean() - share) < 5 * math.sqrt(share / len(p))


def test_a_blocked_move_is_cancelled_or_slides():
    world = wall_world(torch.tensor([0.5, 0.5], dtype=DOUBLE))
    s = torch.tensor([[0.45, 0.2], [0.45, 0.5], [0.1, 0.1]], dtype=DOUBLE)
    action = torch.tensor([[0.08, 0.06], [0.08, 0.06], [3.0, 4.0]], dtype=DOUBLE)
    after, blocked = PointRobot(max_step=0.1).move(world, s, action)
    assert blocked.tolist() == [True, False, False]
    expected = torch.tensor([[0.45, 0.2], [0.53, 0.56], [0.16, 0.18]], dtype=DOUBLE)  # the long action is cut to .1
    torch.testing.assert_close(after, expected)
    after, blocked = PointRobot(max_step=0.1, slide=True, substeps=4).move(world, s, action)
    assert blocked.tolist() == [True, False, False]
    torch.testing.assert_close(after[0], torch.tensor([0.47, 0.26], dtype=DOUBLE))  # up along the wall, one part to the right


def test_a_walk_stays_free_and_its_steps_are_uniform_in_a_disc():
    robot, world = PointRobot(max_step=0.1), wall_world(random_walls(4, generator=gen(7)))
    s = world.sample_free(50, generator=gen(8))
    states = robot.walk(world, s, 30, generator=gen(9))
    assert states.shape == (31, 4, 50, 2)
    assert all(world.free(t).all() for t in states)
    assert world.segment_free(states[:-1].movedim(0, 2).flatten(1, 2), states[1:].movedim(0, 2).flatten(1, 2)).all()
    assert torch.equal(states, robot.walk(world, s, 30, generator=gen(9)))
    open_world = World(boxes=torch.zeros(0, 4), discs=torch.zeros(0, 3), low=-99, high=99)
    moves = robot.walk(open_world, torch.zeros(20_000, 2), 1, generator=gen(10)).diff(dim=0)[0]
    r2 = (moves.norm(dim=-1) / 0.1) ** 2  # uniform in (0, 1) for a uniform disc
    assert (r2 <= 1 + 1e-5).all() and abs(r2.mean() - 0.5) < 5 / math.sqrt(12 * len(r2))


def test_bad_input_is_refused_with_the_fix():
    world = wall_world(torch.tensor([0.5, 0.5]))
    inside, fine = torch.tensor([[0.5, 0.1]]), torch.tensor([[0.1, 0.1]])
    with pytest.raises(ValueError, match="the start must be inside the square"):
        world.geodesic(inside, fine)
    with pytest.raises(ValueError, match="the goal must be"):
        world.geodesic(fine, inside)
    with pytest.raises(ValueError, match="the goal must be"):
        world.check_free(torch.tensor([[1.2, 0.1]]), "goal")
    with pytest.raises(ValueError, match="finite"):
        world.check_free(torch.tensor([[math.nan, 0.1]]))
    with pytest.raises(ValueError, match="points of shape"):
        world.free(torch.zeros(3))
    with pytest.raises(ValueError, match="context"):
        wall_world(torch.zeros(5, 3))
    with pytest.raises(ValueError, match="doors inside"):
        wall_world(torch.tensor([0.5, 0.99]))
    with pytest.raises(ValueError, match="expected boxes"):
        World(boxes=torch.zeros(2, 3), discs=torch.zeros(0, 3))
    with pytest.raises(ValueError, match="same worlds"):
        World(boxes=torch.zeros(2, 0, 4), discs=torch.zeros(0, 3))
    with pytest.raises(ValueError, match="radii"):
        disc_world(radius=0.0)
    with pytest.raises(ValueError, match="half a cell"):
        maze(5, thickness=0.2)
    with pytest.raises(ValueError, match="free space"):
        disc_world(radius=0.4).sample_free(3, margin=0.3, generator=gen(0))
    with pytest.raises(ValueError, match="one world"):
        world[0]
    with pytest.raises(ValueError, match="max_step"):
        PointRobot(max_step=0.0)


def test_no_way_is_infinite():
    world = World(boxes=torch.tensor([[0.4, -1.0, 0.6, 2.0]]), discs=torch.zeros(0, 3))
    assert world.geodesic(torch.tensor([[0.1, 0.1]]), torch.tensor([[0.9, 0.1]])).item() == math.inf
