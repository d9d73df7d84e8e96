"""Checkpoints are atomic and exact, batches resume in order, a diverged run is loud."""

import dataclasses
import os

import pytest
import torch
from torch import nn

from ebmlearn.samplers import ReplayBuffer
from ebmlearn.training.state import (
    BatchStream,
    CheckpointError,
    Diverged,
    RunOptions,
    TrainState,
    check_same_config,
    ema_of,
    make_fabric,
    plain,
    read_checkpoint,
    resume,
    run,
    save_atomic,
    save_checkpoint,
)
from tests.helpers import same


@dataclasses.dataclass(frozen=True)
class Config:
    rate: float = 0.1
    widths: tuple[int, ...] = (4,)


@dataclasses.dataclass
class Toy(TrainState):
    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: nn.Module
    generator: torch.Generator
    batches: BatchStream
    buffer: ReplayBuffer


def build(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.Linear(4, 1))
    g = torch.Generator().manual_seed(seed)
    return Toy(
        model=model,
        optimizer=torch.optim.Adam(model.parameters(), lr=0.01),
        ema=ema_of(model, 0.9),
        generator=g,
        batches=BatchStream(torch.randn(50, 3), batch_size=8, seed=seed),
        buffer=ReplayBuffer(torch.randn(20, 3), restart_prob=0.2),
    )


def steps_of(state, blow_up_at=None):
    while True:
        (x,) = state.batches.next()
        index, z = state.buffer.draw(torch.randn(8, 3, generator=state.generator), generator=state.generator)
        z = z + torch.randn(z.shape, generator=state.generator)
        state.buffer.store(index, z)
        loss = (state.model(x) - state.model(z)).square().mean()
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        state.ema.update_parameters(state.model)
        state.step += 1
        value = torch.tensor(float("nan")) if state.step == blow_up_at else loss.detach()
        yield {"loss": value, "e_pos": loss.detach()}


@pytest.fixture(scope="module")
def fabric():
    return make_fabric()


def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path, fabric):
    whole = build()
    run(fabric, whole, steps_of(whole), recipe="toy", config=Config(), total=40, options=RunOptions(out=tmp_path / "a"))
    first = build()
    run(fabric, first, steps_of(first), recipe="toy", config=Config(), total=17, options=RunOptions(out=tmp_path / "b"))
    second = build(seed=5)  # other numbers everywhere until the checkpoint is loaded
    second.batches.tensors = whole.batches.tensors
    options = RunOptions(out=tmp_path / "b", resume=True)
    assert resume(fabric, second, recipe="toy", config=Config(), options=options)
    assert second.step == 17
    run(fabric, second, steps_of(second), recipe="toy", config=Config(), total=40, options=options)
    assert same(whole.state_dict(), second.state_dict())
    # a resume that loses the generator would be seen
    second.generator.manual_seed(3)
    assert not same(whole.state_dict(), second.state_dict())


def test_csv_has_no_row_twice_after_a_resume(tmp_path, fabric):
    s = build()
    run(fabric, s, steps_of(s), recipe="toy", config=Config(), total=20, options=RunOptions(out=tmp_path, log_every=5))
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("25,1,1,1\n")  # what a killed run logged after its last checkpoint
    s2 = build()
    options = RunOptions(out=tmp_path, log_every=5, resume=True)
    resume(fabric, s2, recipe="toy", config=Config(), options=options)
    run(fabric, s2, steps_of(s2), recipe="toy", config=Config(), total=30, options=options)
    rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert [int(r.split(",")[0]) for r in rows[1:]] == [5, 10, 15, 20, 25, 30]


def test_existing_checkpoint_is_not_overwritten_without_resume(tmp_path, fabric):
    save_checkpoint(tmp_path / "last.ckpt", recipe="toy", config=Config(), state=build())
    with pytest.raises(CheckpointError, match="--resume"):
        resume(fabric, build(), recipe="toy", config=Config(), options=RunOptions(out=tmp_path))


def test_divergence_names_the_step_and_the_last_good_checkpoint(tmp_path, fabric):
    s = build()
    options = RunOptions(out=tmp_path, log_every=1, checkpoint_minutes=0.0)
    with pytest.raises(Diverged, match=r"step 7: loss not finite.*last\.ckpt \(step 6\)"):
        run(fabric, s, steps_of(s, blow_up_at=7), recipe="toy", config=Config(), total=20, options=options)
    payload = read_checkpoint(tmp_path / "last.ckpt", recipe="toy")
    assert payload["state"]["step"] == 6
    assert all(torch.isfinite(t).all() for t in payload["state"]["model"].values())


def test_energy_beyond_its_bound_is_divergence(tmp_path, fabric):
    s = build()
    with pytest.raises(Diverged, match="e_pos"):
        run(
            fabric,
            s,
            steps_of(s),
            recipe="toy",
            config=Config(),
            total=5,
            options=RunOptions(out=tmp_path, log_every=1, energy_bound=1e-9),
        )


def test_time_limit_stops_with_a_checkpoint(tmp_path, fabric):
    s = build()
    options = RunOptions(out=tmp_path, max_minutes=1e-6)
    assert run(fabric, s, steps_of(s), recipe="toy", config=Config(), total=10**6, options=options) == "time"
    assert read_checkpoint(tmp_path / "last.ckpt")["state"]["step"] == s.step == 1
    with pytest.raises(ValueError, match="max_minutes"):
        run(fabric, s, steps_of(s), recipe="toy", config=Config(), total=2, options=RunOptions(out=tmp_path, max_minutes=0.0))


def test_truncated_checkpoint(tmp_path):
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, recipe="toy", config=Config(), state=build())
    data = path.read_bytes()
    for n in (0, 10, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:n])
        with pytest.raises(CheckpointError, match="truncated or not a checkpoint"):
            read_checkpoint(path)


def test_checkpoint_of_another_recipe_version_or_model(tmp_path):
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, recipe="toy", config=Config(), state=build())
    with pytest.raises(CheckpointError, match="recipe 'toy'; expected 'cd'"):
        read_checkpoint(path, recipe="cd")
    payload = read_checkpoint(path)
    save_atomic(path, {**payload, "format": 99})
    with pytest.raises(CheckpointError, match="format 99"):
        read_checkpoint(path)
    other = build()
    other.model = nn.Linear(5, 1)
    with pytest.raises(CheckpointError, match="'model' does not fit"):
        other.load_state_dict(payload["state"])
    with pytest.raises(CheckpointError, match="parts"):
        build().load_state_dict({k: v for k, v in payload["state"].items() if k != "buffer"})


def test_a_pickle_with_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.system, ("true",))

    torch.save({"format": 1, "recipe": "toy", "config": Evil(), "state": {}}, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "x.ckpt")


def test_changed_hyperparameters_need_override():
    saved = plain(Config())
    check_same_config(saved, Config())
    with pytest.raises(CheckpointError, match=r"rate: 0.1 in the checkpoint, 0.2 now.*--override"):
        check_same_config(saved, Config(rate=0.2))
    check_same_config(saved, Config(rate=0.2), override=("rate",))
    with pytest.raises(CheckpointError, match="does not have"):
        check_same_config(saved, Config(), override=("speed",))


def test_configuration_is_plain():
    @dataclasses.dataclass
    class Bad:
        x: object = dataclasses.field(default_factory=lambda: torch.zeros(1))

    with pytest.raises(ValueError, match="x is Tensor"):
        plain(Bad())


def test_batches_visit_every_row_once_an_epoch_and_resume_in_order():
    stream = BatchStream(torch.arange(12), batch_size=4, seed=1)
    epoch = torch.cat([stream.next()[0] for _ in range(3)])
    assert sorted(epoch.tolist()) == list(range(12))
    stream.next()
    saved = stream.state_dict()
    ahead = [stream.next()[0] for _ in range(5)]
    other = BatchStream(torch.arange(12), batch_size=4, seed=9)
    other.load_state_dict(saved)
    assert all(torch.equal(a, other.next()[0]) for a in ahead)
    with pytest.raises(CheckpointError, match="12 rows; the data have 13"):
        BatchStream(torch.arange(13), batch_size=4).load_state_dict(saved)


def test_ranks_share_the_global_batches_of_one_process():
    one = BatchStream(torch.arange(40), batch_size=8, seed=3)
    two = [BatchStream(torch.arange(40), batch_size=4, seed=3, rank=r, world_size=2) for r in range(2)]
    for _ in range(11):
        assert torch.equal(one.next()[0], torch.cat([t.next()[0] for t in two]))


def test_batch_stream_refuses_bad_sizes():
    with pytest.raises(ValueError, match="batch size <= 5"):
        BatchStream(torch.zeros(5), batch_size=6)
    with pytest.raises(ValueError, match="one length"):
        BatchStream(torch.zeros(5), torch.zeros(4), batch_size=2)


def test_tensorboard_gets_every_logged_row(tmp_path, fabric, monkeypatch):
    import ebmlearn.training.state as module

    seen = []

    class Board:
        def __init__(self, folder, step):
            seen.append((folder.name, step))

        def add_scalar(self, name, value, step):
            seen.append((name, step))

    monkeypatch.setattr(module, "scalar_writer", Board)
    s = build()
    options = RunOptions(out=tmp_path, log_every=5, tensorboard=True)
    run(fabric, s, steps_of(s), recipe="toy", config=Config(), total=10, options=options)
    assert seen == [("tensorboard", 0)] + [(name, step) for step in (5, 10) for name in ("loss", "e_pos")]


def test_sessions_say_who_trained(tmp_path, fabric):
    for total in (3, 5):
        s = build()
        options = RunOptions(out=tmp_path, resume=True, command=f"to {total}")
        resume(fabric, s, recipe="toy", config=Config(), options=options)
        run(fabric, s, steps_of(s), recipe="toy", config=Config(), total=total, options=options)
    found = read_checkpoint(tmp_path / "last.ckpt")["sessions"]
    assert [(f["command"], f["first_step"], f["last_step"], f["processes"]) for f in found] == [
        ("to 3", 0, 3, 1),
        ("to 5", 3, 5, 1),
    ]
    assert all(f["seconds"] > 0 and f["device"].startswith("CPU") and f["commit"] for f in found)


def test_a_younger_setting_is_at_its_default():
    saved = plain(Config())
    del saved["widths"]
    check_same_config(saved, Config())
    with pytest.raises(CheckpointError, match=r"widths: \(4,\) in the checkpoint"):
        check_same_config(saved, Config(widths=(5,)))
