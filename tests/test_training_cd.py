"""Contrastive divergence: the right gradient, exact resume, loud divergence, two processes as one."""

import dataclasses
import math
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from ebmlearn.energies import Energy
from ebmlearn.samplers import Langevin, ReplayBuffer
from ebmlearn.training.ablate import Table, run_ablation
from ebmlearn.training.cd import CDConfig, CDState, cd_preset, learning_rate_at, load_cd, run_cd, train_cd
from ebmlearn.training.state import BatchStream, CheckpointError, Diverged, RunOptions, ema_of, make_fabric, read_checkpoint
from tests.helpers import same, same_checkpoint

TINY = CDConfig(data="8gaussians", steps=12, batch_size=32, hidden_features=(8,), out_features=0, step_size=0.01, noise=None, mcmc_steps=3,
                buffer_size=64, low=-4.0, high=4.0, clamp=False, augment=False, warm_up=0, energy_l2=0.0)  # fmt: skip


class Quadratic(Energy):
    """E = a x²/2 with one parameter: p = N(0, 1/a)."""

    def __init__(self, a):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(float(a)))

    def forward(self, x):
        return 0.5 * self.a * x.square().sum(-1)


def state_for(energy, data, *, lr=0.0, batch=256, buffer=None, seed=0):
    g = torch.Generator().manual_seed(seed)
    return CDState(
        energy=energy,
        optimizer=torch.optim.SGD(energy.parameters(), lr=lr),
        ema=ema_of(energy, 0.5),
        generator=g,
        batches=BatchStream(data, batch_size=batch, seed=seed),
        buffer=buffer,
    )


def test_the_gradient_is_that_of_the_negative_log_likelihood():
    """d/da NLL = E_data[x²]/2 - 1/(2a); long chains from data, so that the negatives come from the model."""
    a, var, batch = 2.0, 0.25, 2048
    data = math.sqrt(var) * torch.randn(batch, 1)
    s = state_for(Quadratic(a), data, batch=batch)
    steps = train_cd(
        make_fabric(), s, kernel=Langevin(step_size=0.02), mcmc_steps=120, fresh=lambda n: torch.randn(n, 1), negatives="noise"
    )
    next(steps)
    exact = data.square().mean().item() / 2 - 1 / (2 * a * (1 - 0.02 * a / 2))  # ULA's own variance
    error = 0.5 * math.sqrt(2 / batch) / a  # of the mean of x²/2 over chains
    assert abs(s.energy.a.grad.item() - exact) < 5 * error
    assert abs(-s.energy.a.grad.item() - exact) > 5 * error, "the wrong sign would be seen"


def test_training_finds_the_variance():
    data = 0.5 * torch.randn(4000, 1)
    s = state_for(Quadratic(1.0), data, lr=0.5, buffer=ReplayBuffer(torch.randn(512, 1), restart_prob=0.02))
    steps = train_cd(
        make_fabric(), s, kernel=Langevin(step_size=0.05), mcmc_steps=10, fresh=lambda n: torch.randn(n, 1, generator=s.generator)
    )
    tail = []
    for step, _ in zip(range(600), steps):
        if step >= 400:
            tail.append(s.energy.a.item())
    a = sum(tail) / len(tail)
    # ULA with a: variance 1/(a (1 - .05 a/2)) = .25 gives a = 4.4; restarts pull it up a little
    assert 3.8 < a < 5.2


def test_kinds_of_negatives():
    data = torch.randn(64, 2)
    for negatives in ("data", "noise"):
        s = state_for(Quadratic(1.0), data, batch=16)
        m = next(
            train_cd(
                make_fabric(),
                s,
                kernel=Langevin(step_size=0.1),
                mcmc_steps=2,
                fresh=lambda n: torch.zeros(n, 2),
                negatives=negatives,
            )
        )
        assert set(m) == {"e_pos", "e_neg", "loss", "grad_norm"} and s.step == 1
    with pytest.raises(ValueError, match="'buffer', 'data' or 'noise'"):
        next(
            train_cd(
                make_fabric(),
                s,
                kernel=Langevin(step_size=0.1),
                mcmc_steps=2,
                fresh=lambda n: torch.zeros(n, 2),
                negatives="nois",
            )
        )
    with pytest.raises(ValueError, match="state.buffer"):
        next(train_cd(make_fabric(), s, kernel=Langevin(step_size=0.1), mcmc_steps=2, fresh=lambda n: torch.zeros(n, 2)))


def test_resume_is_exact(tmp_path):
    run_cd(TINY, RunOptions(out=tmp_path / "whole"))
    run_cd(dataclasses.replace(TINY, steps=5), RunOptions(out=tmp_path / "parts"))
    run_cd(TINY, RunOptions(out=tmp_path / "parts", resume=True, override=("steps",)))
    a = read_checkpoint(tmp_path / "whole/last.ckpt")["state"]
    b = read_checkpoint(tmp_path / "parts/last.ckpt")["state"]
    assert a["step"] == 12
    # the learning rate depends on `steps` only after 60 % of the shorter run
    if not same(a["optimizer"]["param_groups"], b["optimizer"]["param_groups"]):
        raise AssertionError("optimizers differ")
    with pytest.raises(CheckpointError, match="batch_size: 32 in the checkpoint, 16 now"):
        run_cd(dataclasses.replace(TINY, batch_size=16), RunOptions(out=tmp_path / "whole", resume=True))


def test_stopped_by_time_and_resumed_equals_uninterrupted(tmp_path):
    run_cd(TINY, RunOptions(out=tmp_path / "whole"))
    options = RunOptions(out=tmp_path / "parts", max_minutes=1e-9, resume=True)
    for _ in range(3):  # one step each
        run_cd(TINY, options)
    assert read_checkpoint(tmp_path / "parts/last.ckpt")["state"]["step"] == 3
    run_cd(TINY, RunOptions(out=tmp_path / "parts", resume=True))
    assert same_checkpoint(read_checkpoint(tmp_path / "whole/last.ckpt"), read_checkpoint(tmp_path / "parts/last.ckpt"))
    energy, config, event_shape = load_cd(tmp_path / "whole/last.ckpt")
    assert config == TINY and event_shape == (2,) and energy(torch.zeros(3, 2)).shape == (3,)


def test_divergence_is_loud(tmp_path):
    wild = dataclasses.replace(TINY, learning_rate=1e4, steps=400)
    with pytest.raises(Diverged, match=r"at step \d+: .*Last good checkpoint: none yet"):
        run_cd(wild, RunOptions(out=tmp_path, log_every=1))
    # between two looks of the guard the chains are the first to see it, and say the same
    with pytest.raises(Diverged, match=r"at step \d+: the .* finite.*Last good checkpoint: none yet"):
        run_cd(dataclasses.replace(wild, learning_rate=1e30), RunOptions(out=tmp_path, log_every=10**6))


def test_presets():
    assert cd_preset("digits").clamp and not cd_preset("moons").clamp
    assert cd_preset("moons").noise is None, "points in the plane are sampled at temperature 1"


def test_learning_rate_schedule():
    lr = [learning_rate_at(s, peak=1.0, warm_up=10, steps=100) for s in (0, 9, 30, 60, 80, 100, 500)]
    assert lr == pytest.approx([0.1, 1.0, 1.0, 1.0, 0.525, 0.05, 0.05])


TWO = """
import sys, torch
from pathlib import Path
import dataclasses
sys.path.insert(0, {here!r})
import test_training_cd as t
from ebmlearn.training.state import make_fabric
out, devices = Path({out!r}), {devices}
fabric = make_fabric(devices=devices)
data = torch.randn(512, 2, generator=torch.Generator().manual_seed(7))
torch.manual_seed(1)
net = t.Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
ema = t.ema_of(net, 0.5)
wrapped, optimizer = fabric.setup(net, optimizer)
s = t.CDState(energy=wrapped, optimizer=optimizer, ema=ema, generator=torch.Generator().manual_seed(0),
              batches=t.BatchStream(data, batch_size=64 // devices, seed=0, rank=fabric.global_rank, world_size=devices), buffer=None)
rows = [float(m["loss"]) for _, m in zip(range(6), t.train_cd(fabric, s, kernel=t.Langevin(step_size=0.05, noise=0.0), mcmc_steps=3,
        fresh=lambda n: torch.zeros(n, 2), negatives="data"))]
weights = [p.detach().tolist() for p in wrapped.parameters()]
torch.save({{"loss": rows, "weights": [torch.tensor(w) for w in weights]}}, out / f"rank{{fabric.global_rank}}-of-{{devices}}.pt")
"""


class Net(Energy):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 16), nn.SiLU(), nn.Linear(16, 1))

    def forward(self, x):
        return self.net(x).squeeze(-1) + 0.5 * x.square().sum(-1)


def test_two_processes_train_as_one_at_the_same_global_batch(tmp_path):
    """Noiseless chains from the data, so that one process and two see the same negatives."""
    here = os.path.dirname(__file__)
    for devices in (1, 2):
        script = tmp_path / f"two{devices}.py"
        script.write_text(TWO.format(here=here, out=str(tmp_path), devices=devices))
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
    one = torch.load(tmp_path / "rank0-of-1.pt")
    two = [torch.load(tmp_path / f"rank{r}-of-2.pt") for r in range(2)]
    for a, b in zip(two[0]["weights"], two[1]["weights"]):
        assert torch.equal(a, b), "ranks must hold the same parameters"
    for a, b in zip(one["weights"], two[0]["weights"]):
        assert torch.allclose(a, b, atol=1e-5)
    mean = [(x + y) / 2 for x, y in zip(two[0]["loss"], two[1]["loss"])]
    assert one["loss"] == pytest.approx(mean, abs=1e-5)


def test_ablation_table(tmp_path):
    def run(seed):
        if seed == 2:
            raise Diverged("the run diverged at step 3")
        return {"x": float(seed)}

    table = run_ablation({"a": run, "b": lambda seed: {"x": 2.0}}, seeds=[0, 1, 2], command="ebmlearn ablate demo")
    assert table.mean_and_error("a", "x") == (0.5, 0.5)
    assert table.mean_and_error("b", "x") == (2.0, 0.0)
    assert table.values("a", "diverged") == [1.0]
    table.write(tmp_path / "t")
    assert "ebmlearn ablate demo" in (tmp_path / "t.md").read_text() and "0.5 ± 0.5" in (tmp_path / "t.md").read_text()
    assert Table.read(tmp_path / "t.csv", command="c").rows == table.rows
    with pytest.raises(ValueError, match="at least one"):
        run_ablation({}, seeds=[0], command="x")
