"""What the shipped weights of hallucinative topological memory achieve, at about half the effect of the table in data/results/htm.md."""

import math
import shutil

import pytest
import torch

from ebmlearn.planning.worlds import PointRobot
from ebmlearn.pretrained import load_pretrained, read_card
from ebmlearn.resources import resource
from ebmlearn.training.htm_model import RADIUS, HTMConfig, htm_preset
from ebmlearn.training.htm_report import (
    draw_tasks,
    euclidean,
    hallucinate,
    report,
    run_tasks,
    with_energy,
    with_errors,
    with_oracle,
)


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def shipped():
    model = load_pretrained("htm-door")
    generator = gen(5)
    tasks = draw_tasks(HTMConfig(), 24, generator=generator)
    raw = hallucinate(model, tasks, 800, prune=False, generator=generator)
    return model, tasks, raw, hallucinate(model, tasks, 800, generator=generator)


def test_plans_through_imagined_states_beat_distance(shipped):
    model, tasks, raw, nodes = shipped
    assert nodes.valid >= 0.99 and nodes.valid >= raw.valid + 0.02
    energy = run_tasks(tasks, with_energy(model, tasks, nodes.kept))
    assert energy["wrong kept"] <= 0.02 and energy["free kept"] >= 0.8
    assert energy["strict"] >= 0.7 and energy["10 replans"] >= energy["strict"] and 1 - 1e-6 <= energy["length"] <= 1.2
    near = run_tasks(tasks, euclidean(nodes.kept))
    assert near["wrong kept"] == near["free kept"] == 1 and near["strict"] <= 0.4
    assert energy["strict"] - near["strict"] >= 0.35
    best = run_tasks(tasks, with_oracle(tasks, nodes.kept))
    assert best["wrong kept"] == 0 and best["free kept"] == 1 and best["strict"] == best["found"] >= 0.85
    some = run_tasks(tasks, with_errors(tasks, nodes.kept, 0.3, generator=gen()))
    assert abs(some["wrong kept"] - 0.3) < 0.05 and some["strict"] <= best["strict"] - 0.3


def test_the_pair_energy_is_high_across_walls_and_knows_no_length(shipped):
    model, tasks, _, _ = shipped
    world = tasks.world
    s = world.sample_free(2000, generator=gen(8))
    angle = 2 * math.pi * torch.rand(s.shape[:2], generator=gen(9))
    t = s + 0.09 * torch.stack([angle.cos(), angle.sin()], -1)
    inside, possible = world.free(t), world.segment_free(s, t)
    e = model.pair_energy(s, t, tasks.contexts)
    across = inside & ~possible
    assert (e[across] > model.pair_threshold).double().mean() > 0.9 > 0.05 > (e[possible] > model.pair_threshold).double().mean()
    short = model.pair_energy(s, s + (t - s) / 3, tasks.contexts)
    assert (e[possible].median() - short[possible].median()).abs() < 0.3 < (e[across].median() - e[possible].median()) / 5


def test_plans_from_pictures_need_a_margin():
    model, generator = load_pretrained("htm-picture"), gen(6)
    tasks = draw_tasks(htm_preset("door-picture"), 12, generator=generator)
    nodes = hallucinate(model, tasks, 800, generator=generator)
    assert nodes.valid >= 0.99
    careful = run_tasks(tasks, with_energy(model, tasks, nodes.kept))
    assert careful["strict"] >= 0.7 and careful["wrong kept"] <= 0.02 and careful["free kept"] >= 0.8
    model.margin = 0.0
    bold = run_tasks(tasks, with_energy(model, tasks, nodes.kept), replans=0)
    assert bold["wrong kept"] >= careful["wrong kept"] + 0.02 and bold["strict"] <= careful["strict"]


def test_the_shipped_model_says_what_it_is(tmp_path):
    card, model = read_card("htm-door"), load_pretrained("htm-door")
    assert model.radius == RADIUS == PointRobot(max_step=RADIUS).max_step
    assert card["kind"] == "htm" and card["results"]["strict"] >= 0.85 and not model.training
    folder = resource("data/checkpoints/htm-door")
    shutil.copytree(folder, tmp_path / "copy")
    again = load_pretrained(str(tmp_path / "copy"))
    c = torch.tensor([0.5, 0.5])
    assert torch.equal(again.nodes(c, 20, generator=gen()), model.nodes(c, 20, generator=gen()))
    for must in (card["command"], "licence", "limits"):
        assert must in (folder / "card.md").read_text()


def test_the_report_has_every_method(shipped):
    rows = report(shipped[0], HTMConfig(), tasks=2, nodes=100)
    assert list(rows) == ["energy", "oracle", "Euclidean", "straight line"]
    assert rows["energy"]["valid nodes, unpruned"] <= 1 and set(rows["straight line"]) == {"strict"}
