"""Widget of lesson 15 without a browser: plans are judged by the true world, and impossible tasks are said to be so."""

import pytest
import torch
from matplotlib.figure import Figure

from ebmlearn.planning import disc_world
from ebmlearn.planning.trajectories import ObstacleEnergy
from ebmlearn.pretrained import load_pretrained
from ebmlearn.widgets.lesson15 import PlanExplorer, draw_plan, plan_around

NODES = torch.rand(350, 2, generator=torch.Generator().manual_seed(0))
THRESHOLD = -2.0


@pytest.fixture(scope="module")
def pair():
    return load_pretrained("planning-empty")


def test_the_plan_bends_around_a_disc_that_the_energy_has_not_seen(pair):
    world, centre = disc_world(radius=0.2), torch.tensor([0.5, 0.5])
    a, b = torch.tensor([0.1, 0.5]), torch.tensor([0.9, 0.5])
    graph, path, plan = plan_around(pair, NODES, THRESHOLD, a, b, ObstacleEnergy(centre, radius=0.2, margin=0.02), steps=100)
    edges = graph.edges()
    blocked = ~world.segment_free(graph.states[edges[:, 0]], graph.states[edges[:, 1]])
    assert blocked.float().mean() < 0.01 and len(edges) > 500
    assert path.found and world.segment_free(plan[:-1], plan[1:]).all()
    assert (plan[-1] - b).norm() < 0.05 and torch.equal(plan[0], a)
    length = plan.diff(dim=0).norm(dim=-1).sum()
    assert length < path.length and length < 1.15 * world.geodesic(a[None], b[None]).item()


def test_pictures_say_what_happened(pair):
    says = lambda **kwargs: draw_plan(Figure().subplots(), pair, NODES, THRESHOLD, **kwargs)
    assert "reaches the goal" in says()
    assert "The start is inside the obstacle" in says(centre=(0.1, 0.5))
    assert "The goal is inside the obstacle" in says(centre=(0.9, 0.5))
    assert "cannot be reached" in says(radius=0.5, centre=(0.55, 0.5), start=(0.08, 0.9), goal=(0.92, 0.05))


def test_the_explorer_answers_each_control(pair):
    explorer = PlanExplorer(pair, NODES[:150], THRESHOLD)
    seen = {explorer.text}
    for name, value in (("start", 0.2), ("radius", 0.1), ("up", 0.9)):
        explorer.controls[name].value = value
        seen.add(explorer.text)
    assert len(seen) == 4
