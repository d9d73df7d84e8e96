"""Two processes under torchrun train as one at the same global batch: the same curve, the same gradients on both, for every recipe.

Each process draws its own random numbers, so one process that is to be compared must draw what the two draw: the reference
draws each half of a batch from the generator of that half's process. The two processes run the package as it is.
"""

import csv
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.overrides import TorchFunctionMode

from ebmlearn.samplers import ReplayBuffer
from ebmlearn.training import cd, clel, game, gcd, rbm, rbm_config, score
from ebmlearn.training.clel_model import ClelConfig, load_bytes
from ebmlearn.training.state import RunOptions, make_fabric

B = 8  # the global batch; no other axis of any random number has this length
STEPS = 5
# gamma > 0 pins the constant of the energy: without it, its gradient is rounding noise, which Adam scales up to a whole step
POINTS = {
    "pretrain_steps": 2,
    "steps": 3,
    "batch_size": B,
    "pretrain_batch_size": B,
    "sampler_steps": 3,
    "warm_up": 1,
    "gamma": 0.1,
}
IMAGES = {**POINTS, "data": "digits", "table": 20, "width": 4, "multipliers": (1, 2), "blocks": 1, "energy_width": 4}
CONFIGS = {
    "clel": ClelConfig(steps=STEPS, batch_size=B, mcmc_steps=3, buffer_size=20, warm_up=2, project_features=16, restart_prob=0.3),
    "clel-resnet": ClelConfig(
        steps=3, batch_size=B, mcmc_steps=2, buffer_size=20, project_features=16, network="tiny", encoder_width=4, encoder="mae"
    ),
    "gcd-pg": game.GcdConfig(**POINTS, hidden_features=(9, 9), fourier_features=4, update="pg"),
    "gcd-bptt": game.GcdConfig(**POINTS, hidden_features=(9, 9), fourier_features=4, update="bptt"),
    "gcd-dp": game.GcdConfig(**POINTS, hidden_features=(9, 9), fourier_features=4, update="dp"),
    "gcd-images": game.GcdConfig(**IMAGES, update="bptt", negatives="plain", backward="forward"),
    "score": score.ScoreConfig(steps=STEPS, batch_size=B, hidden_features=(9,)),
    "cd": cd.CDConfig(
        data="8gaussians", steps=STEPS, batch_size=B, hidden_features=(9,), mcmc_steps=3, buffer_size=20, augment=False
    ),
    "rbm-pcd": rbm.RBMConfig(steps=STEPS, batch_size=B, n_chains=B, n_hidden=9, sweeps=2, limit=100),
    "rbm-annealed": dataclasses.replace(
        rbm_config.GMM, steps=STEPS, batch_size=B, n_chains=B, n_hidden=9, sweeps=3, limit=100, negatives="annealed"
    ),
}
RUNS = {"clel": clel.run_clel, "gcd": gcd.run_gcd, "score": score.run_score, "cd": cd.run_cd, "rbm": rbm.run_rbm}


def gradients(state):
    """What the last step's backward passes left, in every module of a state."""
    modules = [getattr(state, f.name) for f in dataclasses.fields(state)]
    found = [p.grad for m in modules if isinstance(m, torch.nn.Module) for p in m.parameters() if p.grad is not None]
    return [g.clone() for g in found]


def parameters(state):
    modules = [getattr(state, f.name) for f in dataclasses.fields(state)]
    return [p.detach().clone() for m in modules if isinstance(m, torch.nn.Module) for p in m.parameters()]


def worker(out):
    """One of the processes that torchrun starts."""
    torch.set_num_threads(1)
    game.POOL = 2000
    fabric = make_fabric(devices=2)
    for name, config in CONFIGS.items():
        more = {"draw": False} if name.startswith("rbm") else {}
        state = RUNS[name.split("-")[0]](config, RunOptions(out=out / name, log_every=1), fabric=fabric, **more)
        rank = fabric.global_rank
        torch.save({"grads": gradients(state), "parameters": parameters(state)}, out / name / f"seen{rank}.pt")
    interrupted(out / "interrupted", fabric)


class Stopped(Exception):
    pass


def interrupted(out, fabric):
    """The first run again, stopped on both processes after its third update and continued from their checkpoints."""

    options = RunOptions(out=out, log_every=1, checkpoint_minutes=0.0)
    steps = clel.train_clel

    def cut(*args, **kwargs):
        for i, metrics in enumerate(steps(*args, **kwargs)):
            if i == 3:
                raise Stopped
            yield metrics

    clel.train_clel = cut
    try:
        clel.run_clel(CONFIGS["clel"], options, fabric=fabric)
    except Stopped:
        pass
    clel.train_clel = steps
    state = clel.run_clel(CONFIGS["clel"], dataclasses.replace(options, resume=True), fabric=fabric)
    torch.save({"parameters": parameters(state), "buffer": state.buffer.x}, out / f"seen{fabric.global_rank}.pt")


class AsTwo(TorchFunctionMode):
    """Random numbers that `generator` would give for a batch of B come in two halves from two generators instead."""

    def __init__(self, generator, streams):
        self.generator, self.streams = generator, streams

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if kwargs.get("generator") is not self.generator:
            return func(*args, **kwargs)
        if func in (torch.Tensor.uniform_, torch.Tensor.normal_):
            for half, g in zip(args[0].chunk(2, args[0].shape.index(B)), self.streams, strict=True):
                func(half, generator=g)
            return args[0]
        assert func in (torch.rand, torch.randn, torch.randint), f"{func} is not known to the reference"
        bounds, shape = (args[:2], args[2]) if func is torch.randint else ((), args)
        shape = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else tuple(shape)
        axis = shape.index(B)
        half = (*shape[:axis], B // 2, *shape[axis + 1 :])
        return torch.cat([func(*bounds, half, **{**kwargs, "generator": g}) for g in self.streams], axis)


class TwoBuffers:
    """The buffers of two processes, seen by one."""

    def __init__(self, buffers, streams):
        self.buffers, self.streams = buffers, streams

    def draw(self, fresh, *, generator):
        drawn = [b.draw(f, generator=g) for b, f, g in zip(self.buffers, fresh.chunk(2), self.streams, strict=True)]
        return [i for i, _ in drawn], torch.cat([x for _, x in drawn])

    def store(self, index, x):
        for b, i, part in zip(self.buffers, index, x.chunk(2), strict=True):
            b.store(i, part)

    @property
    def age(self):
        return torch.cat([b.age for b in self.buffers])


def reference(name, monkeypatch):
    """Rows of metrics and the gradients at the end, from one process that draws what two draw."""
    config, fabric = CONFIGS[name], make_fabric()
    streams = [torch.Generator().manual_seed(config.seed + 1000 * (r + 1)) for r in range(2)]
    kind = name.split("-")[0]
    if kind == "clel":
        x, y, levels = load_bytes(config.data, "train")
        state = clel.build_state(fabric, config, x, y)
        steps = clel.train_clel(fabric, state, config, levels=levels)
        starts = [torch.rand(config.buffer_size // 2, *x.shape[1:], generator=g) for g in streams]
        state.buffer = TwoBuffers([ReplayBuffer(s, restart_prob=config.restart_prob) for s in starts], streams)
    elif kind == "gcd":
        state = game.build_state(config, fabric)
        steps = gcd.train_gcd(fabric, state, config)
    elif kind == "rbm":
        state, _, steps = rbm.build(config, fabric)
        if state.chains is not None:
            state.chains = torch.cat([torch.randn(B // 2, state.chains.shape[1], generator=g) for g in streams])
    else:
        module = {"score": score, "cd": cd}[kind]
        caught = {}

        def catch(fabric, state, steps, **_):
            caught.update(state=state, steps=steps)

        monkeypatch.setattr(module, "run", catch)
        RUNS[kind](config, RunOptions(out=Path("unused")), fabric=fabric)
        state, steps = caught["state"], caught["steps"]
        if kind == "cd":
            width = config.high - config.low
            starts = [config.low + width * torch.rand((config.buffer_size // 2, 2), generator=g) for g in streams]
            state.buffer = TwoBuffers([ReplayBuffer(s, restart_prob=config.restart_prob) for s in starts], streams)
    total = config.steps + getattr(config, "pretrain_steps", 0)
    with AsTwo(state.generator, streams):
        rows = [{k: float(v) for k, v in next(steps).items()} for _ in range(total)]
    return rows, gradients(state)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    out = tmp_path_factory.mktemp("two")
    root = Path(__file__).parent.parent
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__, str(out)]
    done = subprocess.run([sys.executable, *words], env=env, cwd=root, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.mark.parametrize("name", CONFIGS)
def test_two_processes_train_as_one(two, name, monkeypatch):
    monkeypatch.setattr(game, "POOL", 2000)
    seen = [torch.load(two / name / f"seen{rank}.pt", weights_only=True) for rank in range(2)]
    for part in ("grads", "parameters"):
        assert len(seen[0][part]) > 0
        assert all(torch.equal(a, b) for a, b in zip(seen[0][part], seen[1][part], strict=True)), (
            f"{part} differ between processes"
        )
    rows, grads = reference(name, monkeypatch)
    with open(two / name / "metrics.csv") as file:
        found = list(csv.DictReader(file))
    assert len(found) == len(rows) >= 3
    for i, (a, b) in enumerate(zip(found, rows, strict=True)):
        for key, value in b.items():
            assert float(a[key]) == pytest.approx(value, rel=2e-3, abs=2e-5), f"{key} of update {i + 1}"
    for a, b in zip(seen[0]["grads"], grads, strict=True):
        assert torch.allclose(a, b, rtol=2e-2, atol=1e-5 + 1e-3 * float(b.abs().max()))


def test_two_processes_resume_exactly(two):
    for rank in range(2):
        whole, parts = (torch.load(two / name / f"seen{rank}.pt", weights_only=True) for name in ("clel", "interrupted"))
        assert all(torch.equal(a, b) for a, b in zip(whole["parameters"], parts["parameters"], strict=True))
    last = torch.load(two / "interrupted" / "last.ckpt", weights_only=True)
    assert last["processes"] == 2 and [s["last_step"] for s in last["sessions"]] == [3, STEPS]
    with open(two / "interrupted" / "metrics.csv") as file:
        assert [int(r["step"]) for r in csv.DictReader(file)] == list(range(1, STEPS + 1))


def test_each_process_draws_its_own_numbers(two):
    """So the two halves of a batch differ, and equal gradients on both are averages."""
    for name in CONFIGS:
        rank0 = torch.load(two / name / "last.ckpt", weights_only=True)["state"]["generator"]
        (part,) = (two / name).glob("rank1-step*.ckpt")
        assert not torch.equal(rank0, torch.load(part, weights_only=True)["state"]["generator"]), name


if __name__ == "__main__":
    worker(Path(sys.argv[1]))
