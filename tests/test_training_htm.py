"""Hallucinative topological memory: data, losses against known optima, resume, shipped weights, and what they achieve."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from ebmlearn.pretrained import load_pretrained
from ebmlearn.training.htm import Objective, draw, run_htm, start_htm, tell, train_htm
from ebmlearn.training.htm_model import RADIUS, HTMConfig, build_htm, calibrate, collect, draw_worlds, htm_preset, pairs_of
from ebmlearn.training.htm_report import draw_tasks, straight_line
from ebmlearn.training.state import RunOptions, bare, make_fabric
from tests.stats import assert_mean

SMALL = HTMConfig(worlds=6, walks=5, walk_steps=8, batch_worlds=4, batch_points=6, steps=6)
PICTURE = replace(SMALL, data="door-picture", picture=16, width=4, pair="local")


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


# Data


def test_pairs_by_hand():
    stay = torch.tensor([0.0, 1.0, 1.0, 3.0])
    paths = torch.stack([stay, stay], -1).reshape(1, 1, 4, 2)
    pairs = pairs_of(paths, max_steps=1, generator=gen())
    assert sorted(pairs[0, :, :, 0].tolist()) == [[0.0, 1.0], [1.0, 3.0]]  # the step that stays is left out
    with pytest.raises(ValueError, match="at least one move"):
        pairs_of(torch.zeros(1, 1, 4, 2), max_steps=1, generator=gen())


def test_walks_are_possible_moves_in_their_own_world():
    config = replace(SMALL, worlds=20)
    world, _ = draw_worlds(config, 20, generator=gen(1))
    walks = collect(config, generator=gen(1))
    assert world.free(walks.states).all() and walks.states.shape == (20, 5 * 9, 2)
    s, t = walks.pairs.unbind(-2)
    assert world.segment_free(s, t).all() and ((t - s).norm(dim=-1) <= RADIUS + 1e-6).all()
    wrong = walks.pairs.roll(1, 0)  # the walks of another world do not fit
    assert not world.segment_free(*wrong.unbind(-2)).all()
    far = pairs_of(walks.states.reshape(20, 5, 9, 2), max_steps=4, generator=gen())
    assert (far[:, :, 0] - far[:, :, 1]).norm(dim=-1).max() > RADIUS


def test_batches_keep_states_with_their_contexts():
    walks = collect(SMALL, generator=gen())
    c, s, pair = draw(walks, 50, 3, gen(2))
    for b in range(50):
        k = int((walks.contexts == c[b]).all(-1).nonzero()[0])
        assert all(bool((walks.states[k] == s[b, i]).all(-1).any()) for i in range(3))
        assert all(bool((walks.pairs[k] == pair[b, i]).all((-1, -2)).any()) for i in range(3))


# Losses


def test_telling_apart_has_its_minimum_at_minus_log_p_over_q():
    p, q = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.1, 0.3, 0.6]).double()
    e = -(p / q).log()
    loss = lambda e: (p * torch.nn.functional.softplus(e)).sum() + (q * torch.nn.functional.softplus(-e)).sum()
    leaf = e.clone().requires_grad_(True)
    (grad,) = torch.autograd.grad(loss(leaf), leaf)
    assert torch.allclose(grad, torch.zeros_like(grad), atol=1e-12)
    count = lambda w: torch.tensor(list(itertools.chain.from_iterable([k] * round(10 * float(v)) for k, v in enumerate(w))))
    assert torch.allclose(tell(e[count(p)], e[count(q)]), loss(e), atol=1e-12)


class Spy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = None

    def forward(self, s, t, c):
        self.seen = (s, t)
        return torch.zeros(s.shape[:2]) + 0 * s.sum(-1)


def negatives(config, pairs):
    model = build_htm(config)
    model.pair_energy = Spy()
    Objective(model, config).pair_loss(torch.rand(len(pairs), 2), pairs, gen())
    s, t = model.pair_energy.seen
    n = pairs.shape[1]
    return s[:, :n], t[:, :n], s[:, n:], t[:, n:]


def test_negatives_have_the_lengths_of_the_data_and_swaps_are_fair():
    pairs = torch.rand(100, 50, 2, 2, generator=gen(3))
    length = lambda a, b: (b - a).norm(dim=-1).flatten().sort().values
    s, t, s_neg, t_neg = negatives(replace(SMALL, swap=False), pairs)
    assert torch.equal(s, pairs[..., 0, :]) and torch.equal(t, pairs[..., 1, :]) and torch.equal(s_neg, s)
    assert torch.allclose(length(s, t), length(s_neg, t_neg), atol=1e-6)  # a permutation of the displacements
    assert ((t - s) - (t_neg - s_neg)).norm(dim=-1).gt(1e-3).double().mean() > 0.95
    swapped = negatives(SMALL, pairs)
    for a, b, first, second in ((swapped[0], swapped[1], s, t), (swapped[2], swapped[3], s_neg, t_neg)):
        kept, turned = (a == first).all(-1) & (b == second).all(-1), (a == second).all(-1) & (b == first).all(-1)
        assert (kept ^ turned).all()
        assert_mean(turned.flatten().double(), 0.5)
    gauss = negatives(replace(SMALL, swap=False, negatives="gaussian"), pairs)
    assert_mean(((gauss[3] - gauss[2]) / 0.13).square().flatten(), 1.0)


def test_pairs_only_leaves_the_other_networks_alone():
    torch.manual_seed(0)
    model, walks = build_htm(SMALL), collect(SMALL, generator=gen())
    before = {k: v.clone() for k, v in model.state_dict().items()}
    fabric = make_fabric()
    state = start_htm(fabric, model, SMALL, pairs_only=True)
    metrics = next(train_htm(fabric, state, walks, config=SMALL))
    assert set(metrics) == {"loss_pair", "grad_norm"}
    changed = {k.split(".")[0] for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"pair_energy"}


# Runs


@pytest.mark.parametrize("config", [SMALL, PICTURE], ids=["door", "picture"])
def test_interrupted_and_resumed_equals_uninterrupted(config, tmp_path):
    whole = run_htm(config, RunOptions(out=tmp_path / "whole"))
    cut = run_htm(config, RunOptions(out=tmp_path / "cut", max_minutes=1e-9))
    assert cut.step < 6
    again = run_htm(config, RunOptions(out=tmp_path / "cut", resume=True))
    a, b = (bare(state.objective).model.state_dict() for state in (whole, again))
    assert whole.step == again.step == 6 and a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    saved = load_pretrained(str(tmp_path / "cut" / "model")).state_dict()
    assert all(torch.equal(a[k], saved[k]) for k in a)
    assert math.isfinite(a["state_threshold"]) and math.isfinite(a["pair_threshold"])


def test_calibration_keeps_the_quantiles_of_training_data():
    config = replace(SMALL, worlds=30, walks=20)
    torch.manual_seed(1)
    model, walks = build_htm(config), collect(config, generator=gen())
    calibrate(model, walks, state_quantile=0.9, pair_quantile=0.7)
    with torch.no_grad():
        states = model.state_energy(walks.states, walks.contexts) <= model.state_threshold
        pairs = model.pair_energy(*walks.pairs.unbind(-2), walks.contexts) <= model.pair_threshold
    assert abs(states.double().mean() - 0.9) < 0.03 and abs(pairs.double().mean() - 0.7) < 0.03


@pytest.mark.parametrize(
    "change",
    [{"data": "maze"}, {"negatives": "hard"}, {"pair": "lstm"}, {"max_steps": 0}, {"max_steps": 99}],
    ids=lambda c: next(iter(c)),
)
def test_bad_settings(change):
    with pytest.raises(ValueError, match="expected"):
        HTMConfig(**change)


def test_tasks_need_the_door():
    tasks = draw_tasks(HTMConfig(), 200, generator=gen(7))
    world = tasks.world
    x = tasks.contexts[:, 0]
    assert ((tasks.start[:, 0] - x) * (tasks.goal[:, 0] - x) < 0).all()
    for p in (tasks.start, tasks.goal):
        assert ((p[:, 0] - x).abs() >= 0.12 - 1e-6).all() and world.free(p[:, None]).all()
    direct = (tasks.goal - tasks.start).norm(dim=-1)
    assert (tasks.shortest >= direct - 1e-6).all() and 0.05 < straight_line(tasks) < 0.35


def test_presets():
    assert htm_preset("door") == HTMConfig()
    assert htm_preset("door-picture").batch_points > 1
