"""Recipe and reachability: exact resume, the density of transitions in closed form, distances by repetition, walks by hand."""

import dataclasses
import math

import pytest
import torch

from ebmlearn.cli import main
from ebmlearn.planning import PointRobot, World, empty_world, four_rooms
from ebmlearn.planning.reachability import (
    ACTIONS,
    DistanceCritic,
    Reachability,
    directions,
    follow_waypoints,
    one_step_back,
    random_walks,
)
from ebmlearn.pretrained import load_pretrained
from ebmlearn.training.planning import Loss, PlanningConfig, build_model, collect, load_planning, planning_preset, run_planning
from ebmlearn.training.planning_report import write_table
from ebmlearn.training.planning_weights import export_planning
from ebmlearn.training.state import RunOptions, read_checkpoint
from tests.helpers import same
from tests.stats import assert_mean

TINY = PlanningConfig(data="four-rooms", steps=7, batch_size=16, walks=20, walk_steps=10, hidden_features=(8,), frequencies=1)


def gen(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("model", ["transitions", "steps", "td"])
def test_stopped_and_resumed_equals_uninterrupted(tmp_path, model):
    config = dataclasses.replace(TINY, model=model, data="empty" if model == "transitions" else "four-rooms")
    run_planning(config, RunOptions(out=tmp_path / "whole"))
    for _ in range(3):
        run_planning(config, RunOptions(out=tmp_path / "parts", resume=True, max_minutes=1e-9))
    run_planning(config, RunOptions(out=tmp_path / "parts", resume=True))
    whole, parts = (read_checkpoint(tmp_path / part / "last.ckpt") for part in ("whole", "parts"))
    assert same(whole["state"], parts["state"]) and whole["config"] == parts["config"]
    trained, again = load_planning(tmp_path / "whole/last.ckpt")
    assert again == config
    s = torch.rand(5, 2, generator=gen(0))
    assert trained(s, s.flip(0)).shape == (5,) and not any(p.requires_grad for p in trained.parameters())


@pytest.mark.parametrize("objective", ["nce", "info-nce"])
def test_the_energy_of_transitions_is_minus_the_log_of_their_density(tmp_path, objective):
    config = dataclasses.replace(
        planning_preset("empty"), objective=objective, steps=400, walks=600, hidden_features=(48, 48), ema=0.95
    )
    run_planning(config, RunOptions(out=tmp_path, log_every=200))
    pair, _ = load_planning(tmp_path / "last.ckpt")
    angle = torch.arange(8) * math.pi / 4
    s = torch.tensor([0.5, 0.5]).expand(8, 2)
    ring = torch.stack([angle.cos(), angle.sin()], -1)
    near, edge, far = (pair(s, s + r * ring).mean() for r in (0.05, 0.11, 0.2))
    # uniform in a disc of radius .1: the density is 1 / (.01 pi) inside, 0 outside
    if objective == "nce":
        assert abs(near - math.log(0.01 * math.pi)) < 0.3
    assert edge > near + 1.0 and far > near + 5.0


def test_bad_settings():
    for change, words in (
        ({"data": "moon"}, "known: empty, maze, four-rooms"),
        ({"model": "q"}, "'transitions', 'steps' or 'td'"),
        ({"objective": "cd"}, "'nce' or 'info-nce'"),
        ({"data": "empty", "model": "steps"}, "four-rooms only"),
    ):
        with pytest.raises(ValueError, match=words):
            run_planning(dataclasses.replace(TINY, **change), RunOptions(out="/nowhere"))
    for name in ("empty", "maze", "four-rooms"):
        assert planning_preset(name).data == name
    with pytest.raises(ValueError, match="far_steps"):
        Reachability(low=0, high=1, horizon=8, far_steps=5)
    with pytest.raises(ValueError, match="nets"):
        Reachability(low=0, high=1, nets=0)
    with pytest.raises(ValueError, match="bins"):
        DistanceCritic(low=0, high=1, bins=1)
    with pytest.raises(ValueError, match="sticky"):
        random_walks(empty_world(), PointRobot(max_step=0.1), 5, 5, sticky=1.0)
    with pytest.raises(ValueError, match="states"):
        Reachability(low=0, high=1)(torch.zeros(3), torch.zeros(3))


def test_the_command_line_trains_it(tmp_path, capsys):
    argv = ["train", "planning", "--data", "maze", "--out", str(tmp_path), "--steps", "2", "--walks", "50", "--batch-size", "8"]
    assert main(argv) == 0
    assert "2 updates" in capsys.readouterr().out
    assert load_planning(tmp_path / "last.ckpt")[1].data == "maze"
    assert main(["train", "planning", "--data", "moon", "--out", str(tmp_path / "b")]) == 2


def test_the_distance_of_every_state_on_a_line_is_found_by_stepping_back():
    n, bins = 9, 6  # states 0..8, one action: to the right; the goal is state 8
    p = torch.full((n, bins), 1 / bins)
    after = torch.arange(n).add(1).clamp(max=n - 1)
    for _ in range(12):
        p = one_step_back(p[after], after == n - 1)
    expected = torch.tensor([min(n - 1 - i, bins) for i in range(n - 1)])
    assert torch.equal(p[:-1].argmax(-1) + 1, expected) and torch.equal(p[:-1].amax(-1), torch.ones(n - 1))
    q = torch.rand(50, bins, generator=gen(1)).softmax(-1)
    torch.testing.assert_close(one_step_back(q, torch.rand(50, generator=gen(2)) < 0.5).sum(-1), torch.ones(50))


def test_energies_are_the_most_pessimistic_expected_steps():
    s, g = torch.rand(2, 7, 2, generator=gen(3)) * 11
    model = Reachability(low=0.0, high=11.0, horizon=3, far_steps=10.0, nets=3, hidden_features=(8,), frequencies=2)
    steps = torch.tensor([1.0, 2.0, 3.0, 10.0])
    each = torch.stack([(logits.softmax(-1) * steps).sum(-1) for logits in model.logits(s, g)[1]])
    torch.testing.assert_close(model(s, g), each.amax(0))
    assert (model(s, g) >= 1).all() and (model(s, g) <= 10).all()
    assert model.act(s, g).shape == (7,) and int(model.act(s, g).max()) < ACTIONS
    critic = DistanceCritic(low=0.0, high=11.0, bins=4, hidden_features=(8,), frequencies=0)
    d = (critic.logits(s, g).softmax(-1) * torch.arange(1.0, 5)).sum(-1)
    torch.testing.assert_close(critic(s, g), d.amin(-1).amax(0))
    assert torch.equal(critic.act(s, g), d.mean(0).argmin(-1))


def test_goals_of_the_step_classifier_are_uniform_over_what_is_left_of_the_walk():
    config = dataclasses.replace(TINY, model="steps", horizon=4, walk_steps=6)
    world, states, actions = collect(config)
    seen = []

    class Spy(Reachability):
        def logits(self, s, g):
            seen.append((s, g))
            return super().logits(s, g)

    spy = Spy(low=world.low, high=world.high, horizon=4, hidden_features=(8,))
    rows = (torch.tensor([1]) * states.shape[1]).repeat(4000)  # time 1 of walk 0; 5 steps are left, so k = 1..4
    Loss(spy, config, states, actions)(rows, spy, gen(4))
    s, g = seen[0]
    assert torch.equal(s[:4000], states[1, 0].expand(4000, 2))
    for k in range(1, 5):
        same_place = (states[2:6, 0] == states[1 + k, 0]).all(-1).sum()  # a blocked robot stays where it was
        assert_mean((g[:4000] == states[1 + k, 0]).all(-1).double(), float(same_place) / 4)
    near_the_end = (torch.tensor([5]) * states.shape[1]).repeat(100)  # one step is left
    Loss(spy, config, states, actions)(near_the_end, spy, gen(5))
    assert torch.equal(seen[1][1][:100], states[6, 0].expand(100, 2))


def test_walks_are_the_actions_they_say():
    wide = World(boxes=torch.zeros(0, 4), discs=torch.zeros(0, 3), low=-1000, high=1000)
    walks = random_walks(wide, PointRobot(max_step=0.8, slide=True, substeps=5), 3000, 2, generator=gen(6))
    moves = directions(0.8)[walks.actions]
    inner = (walks.states[0].abs() < 990).all(-1)
    torch.testing.assert_close(walks.states.diff(dim=0)[:, inner], moves[:, inner], atol=1e-3, rtol=0)
    torch.testing.assert_close(directions(0.8).norm(dim=-1), torch.full((8,), 0.8))
    assert_mean((walks.actions[0] == walks.actions[1]).double(), 0.5 + 0.5 / 8)
    inside = random_walks(four_rooms(), PointRobot(max_step=0.8, slide=True, substeps=5), 50, 20, generator=gen(7))
    assert all(four_rooms().free(s).all() for s in inside.states)


class Compass:
    """A policy that knows the world is empty: the direction that points most to the goal."""

    def act(self, s, g):
        return ((g - s) @ directions(1.0).T).argmax(-1)


def test_waypoints_lead_where_a_compass_alone_does_not():
    world, robot = four_rooms(), PointRobot(max_step=0.8, slide=True, substeps=5)
    starts, goals = torch.tensor([[2.5, 2.5], [2.5, 1.0]]), torch.tensor([[8.5, 8.5], [2.5, 4.0]])
    doors = torch.tensor([[4.6, 2.5], [6.4, 2.5], [8.5, 3.6], [8.5, 5.4]])
    alone = follow_waypoints(Compass(), world, robot, starts, [g[None] for g in goals], random_action=0.0)
    assert alone.success.tolist() == [False, True]
    ways = [torch.cat([doors, goals[:1]]), goals[1:]]
    led = follow_waypoints(Compass(), world, robot, starts, ways, random_action=0.0)
    assert led.success.all()
    assert (led.length >= world.geodesic(starts, goals) - 0.7 - 1e-4).all() and led.length[0] < 20
    torch.testing.assert_close(led.length[1], alone.length[1])
    with pytest.raises(ValueError, match="waypoints"):
        follow_waypoints(Compass(), world, robot, starts, [goals[:1]])


def test_weights_come_back_with_their_card(tmp_path):
    config = dataclasses.replace(TINY, model="steps")
    model = build_model(config)
    export_planning(model, config, tmp_path, card={"name": "demo", "licence": "MIT"})
    again = load_pretrained(str(tmp_path))
    s, g = torch.rand(2, 5, 2, generator=gen(9)) * 11
    assert torch.equal(again(s, g), model(s, g)) and not again.training
    (tmp_path / "weights.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match="SHA-256"):
        load_pretrained(str(tmp_path))


def test_models_are_built_for_their_world():
    for data, model in (("maze", "transitions"), ("four-rooms", "steps"), ("four-rooms", "td")):
        config = dataclasses.replace(planning_preset(data), model=model, hidden_features=(4,))
        s = four_rooms().sample_free(3, generator=gen(8)) if data == "four-rooms" else torch.rand(3, 2)
        assert build_model(config)(s, s).shape == (3,)


def test_the_table_of_an_experiment_has_all_seeds_and_the_command_that_makes_it(tmp_path, capsys):
    asked = []

    def one_seed(seed, *, n, steps, scratch):
        asked.append((seed, n, steps, scratch))
        return [("a", seed, {"x": float(seed)}), ("b", seed, {"x": 2.0})]

    table = write_table(one_seed, name="demo", argv=["--out", str(tmp_path), "--runs", str(tmp_path / "runs"), "--steps", "7"])
    assert asked == [(s, 40, 7, tmp_path / "runs" / str(s)) for s in range(3)]
    assert table.values("a", "x") == [0, 1, 2]
    text = (tmp_path / "results" / "demo.md").read_text()
    assert text == table.markdown() and "Command: `python experiments/demo.py --steps 7`" in text
    assert len((tmp_path / "results" / "demo.csv").read_text().splitlines()) == 7
    again = write_table(one_seed, name="demo", tasks="a bin", argv=["--out", str(tmp_path), "--seeds", "1", "--tasks", "3"])
    assert again.command == "python experiments/demo.py --seeds 1 --tasks 3" and not asked[-1][-1].parent.exists()
    with pytest.raises(SystemExit):
        write_table(one_seed, name="demo", about="what it is", tasks="a bin", argv=["--help"])
    assert "what it is" in capsys.readouterr().out
