"""CLEL's recipe: gradients and their stops, exact resume, every latent, errors, slim weights, two processes, and digits end to end."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ebmlearn.training import clel
from ebmlearn.training.clel import build_state, clel_losses, load_clel, model_of, run_clel, train_clel
from ebmlearn.training.clel_model import (
    ENCODERS,
    PRESETS,
    ClelConfig,
    build_joint,
    build_learner,
    clel_preset,
    export_clel,
    import_clel,
    kernel_of,
    load_bytes,
    plain_ebm,
)
from ebmlearn.training.engine import OutOfMemory
from ebmlearn.training.state import Diverged, RunOptions, make_fabric

SMALL = ClelConfig(steps=6, batch_size=8, mcmc_steps=3, buffer_size=40, warm_up=2, project_features=16)


def _equal(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_equal, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_presets_of_the_paper():
    base = clel_preset("cifar10", "base")
    assert (base.batch_size, base.mcmc_steps, base.steps, base.buffer_size) == (64, 60, 100_000, 10_000)
    assert kernel_of(base).kernel.temperature == pytest.approx(5e-9)
    assert kernel_of(clel_preset("digits")).kernel.temperature == pytest.approx(5e-4)
    for config in PRESETS.values():
        channels = 3 if config.data == "cifar10" else 1
        assert config.network in ("base", "large", "medium") or build_joint(config, (channels, 8, 8)) is not None
    with pytest.raises(ValueError, match="cifar10: base"):
        clel_preset("cifar10", "enormous")
    with pytest.raises(ValueError, match="simclr"):
        ClelConfig(encoder="contrast")


def test_the_losses_stop_where_they_should():
    """The energy's loss sends nothing into the encoder, its E terms nothing into g; the encoder's loss nothing into f and g."""
    torch.manual_seed(0)
    config = replace(SMALL, beta=0.5)
    joint = build_joint(config, (1, 8, 8))
    learner = build_learner(config, (1, 8, 8), 32)
    x = torch.rand(8, 1, 8, 8)
    e, u = joint.parts(x)
    loss_encoder, z = learner(x[:4], x[:4].flip(-1), None, u[4:].detach())
    loss, cosine = clel_losses(e, u, 4, z, beta=config.beta, alpha=1.0)
    into_encoder = torch.autograd.grad(loss, list(learner.parameters()), retain_graph=True, allow_unused=True)
    into_energy = torch.autograd.grad(loss_encoder, list(joint.parameters()), retain_graph=True, allow_unused=True)
    assert all(g is None for g in (*into_encoder, *into_energy))
    only_e, _ = clel_losses(e, u, 4, z, beta=0.0, alpha=1.0)
    assert all(g is None for g in torch.autograd.grad(only_e, list(joint.g.parameters()), retain_graph=True, allow_unused=True))
    assert all(g is not None for g in torch.autograd.grad(loss, list(joint.parameters())))
    expected = e[:4].mean() - e[4:].mean() + e[:4].square().mean() + e[4:].square().mean()
    assert torch.allclose(only_e, expected)
    assert torch.allclose(loss, expected - 0.5 * cosine)


def test_one_forward_on_both_halves_is_two_forwards():
    joint = build_joint(replace(SMALL, network="tiny"), (1, 8, 8))
    a, b = torch.rand(2, 5, 1, 8, 8)
    e, u = joint.parts(torch.cat([a, b]))
    for x, part in ((a, slice(0, 5)), (b, slice(5, 10))):
        ex, ux = joint.parts(x)
        assert torch.allclose(e[part], ex, rtol=1e-5, atol=1e-9)
        assert torch.allclose(u[part], ux, rtol=1e-5, atol=1e-7)


def test_an_iteration_moves_the_drawn_chains_only_and_counts_its_forwards():
    fabric = make_fabric()
    x, y, levels = load_bytes("digits", "train")
    state = build_state(fabric, replace(SMALL, mcmc_steps=4), x, y)
    before = state.buffer.x.clone()
    joint = clel.bare(state.energy).joint
    calls = []
    joint.f.register_forward_hook(lambda *_: calls.append("training"))
    steps = train_clel(fabric, state, replace(SMALL, mcmc_steps=4), levels=levels)
    metrics = next(steps)
    # the twin is a deep copy made at the start and carries the hook along: 4 steps of the chain and one training forward
    assert len(calls) == 5
    changed = (state.buffer.x != before).flatten(1).any(-1)
    assert int(changed.sum()) == 8
    assert torch.equal(changed, state.buffer.age > 0)
    assert 0 <= state.buffer.x.min() and state.buffer.x.max() <= 1
    assert all(torch.isfinite(v) for v in metrics.values())


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_latent_trains_saves_and_loads(tmp_path, encoder):
    config = plain_ebm(SMALL) if encoder == "none" else replace(SMALL, encoder=encoder)
    config = replace(config, steps=2)
    state = run_clel(config, RunOptions(out=tmp_path / "run"))
    assert (state.learner is None) == (encoder == "none")
    assert (tmp_path / "run" / "samples.png").stat().st_size > 0
    model = load_clel(tmp_path / "run" / "last.ckpt")
    x = torch.rand(5, 1, 8, 8)
    own = model_of(state, config)
    assert torch.equal(model.energy()(x), own.energy()(x))
    if encoder == "none":
        with pytest.raises(ValueError, match="without an encoder"):
            model.latents(x)
    else:
        assert torch.allclose(model.latents(x).norm(dim=-1), torch.ones(5), atol=1e-6)
        e = model.joint(x, model.latents(x))
        score = model.ood_score(x, weight=config.beta)
        assert torch.allclose(score, -e.detach(), atol=1e-6)
    before = [p.clone() for p in build_state(make_fabric(), config, *load_bytes("digits", "train")[:2]).energy.parameters()]
    after = list(state.energy.parameters())
    moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert any(moved)
    if encoder == "none":
        assert sum(moved) == len(list(clel.bare(state.energy).joint.f.parameters()))  # g stays as it was


@pytest.mark.parametrize("network", ["mlp", "tiny"])
def test_resume_is_exact(tmp_path, network):
    config = replace(SMALL, network=network)
    whole = run_clel(config, RunOptions(out=tmp_path / "whole"))

    class Killed(Exception):
        pass

    def kill(step, metrics):
        if step == 4:
            raise Killed

    # checkpoints at every logged step; the run dies between the one of step 3 and the next
    options = RunOptions(out=tmp_path / "parts", checkpoint_minutes=0.0, log_every=1)
    with pytest.raises(Killed):
        run_clel(config, options, on_log=kill)
    parts = run_clel(config, replace(options, resume=True))
    assert parts.step == 6
    assert _equal(whole.state_dict(), parts.state_dict())


def test_divergence_is_reported_with_the_step(tmp_path):
    config = replace(SMALL, learning_rate=1e4, energy_l2=0.0, warm_up=0, steps=50)
    with pytest.raises(Diverged, match=r"diverged at step \d+.*Last good checkpoint"):
        run_clel(config, RunOptions(out=tmp_path, log_every=1))


def test_out_of_memory_names_the_settings_to_lower(tmp_path, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB")

    monkeypatch.setattr(clel, "build_state", full)
    with pytest.raises(OutOfMemory, match="--batch-size 4"):
        run_clel(SMALL, RunOptions(out=tmp_path))


def test_slim_weights_round_trip_in_parts_and_are_verified(tmp_path, monkeypatch):
    config = replace(SMALL, network="tiny", steps=1)
    state = run_clel(config, RunOptions(out=tmp_path / "run"))
    model = model_of(state, config)
    files = export_clel(model, tmp_path / "one", card={"hours": 0.1})
    assert [f.name for f in files] == ["weights.safetensors", "card.json"]
    monkeypatch.setattr("ebmlearn.training.weights.LIMIT", 30_000)
    files = export_clel(model, tmp_path / "many")
    assert len(files) > 2
    x = torch.rand(6, 1, 8, 8)
    for folder in ("one", "many"):
        again = import_clel(tmp_path / folder)
        assert again.config == replace(config, trunk="float32")
        e, f = again.energy()(x), model.energy()(x)
        assert torch.allclose(e, f, rtol=0.05)
        assert torch.allclose(again.latents(x), model.latents(x), atol=0.02)
    assert json.loads((tmp_path / "one" / "card.json").read_text())["hours"] == 0.1
    broken = tmp_path / "many" / files[0].name
    broken.write_bytes(broken.read_bytes()[:-1] + b"\0")
    with pytest.raises(ValueError, match="hash"):
        import_clel(tmp_path / "many")


def test_bf16_follows_float32(tmp_path):
    """One iteration from the same state: losses agree to bfloat16, images to the noise."""
    x, y, levels = load_bytes("digits", "train")
    found = {}
    for trunk in ("float32", "bf16"):
        config = replace(SMALL, network="tiny", trunk=trunk)
        fabric = make_fabric()
        state = build_state(fabric, config, x, y)
        metrics = next(train_clel(fabric, state, config, levels=levels))
        found[trunk] = (metrics, state.buffer.x.clone(), next(state.energy.parameters()).dtype)
    (a, xa, _), (b, xb, dtype) = found["float32"], found["bf16"]
    assert dtype == torch.float32
    assert torch.allclose(a["loss"], b["loss"], atol=2e-2)
    assert torch.allclose(a["loss_encoder"], b["loss_encoder"], rtol=0.05)
    assert torch.allclose(xa, xb, atol=1e-4)


TWO = """
import sys
from dataclasses import replace
import torch
from ebmlearn.contrastive import SimCLR
from ebmlearn.networks.encoder import ConvEncoder
from ebmlearn.training.clel import ClelConfig, Parts, clel_losses, gather_rows
from ebmlearn.training.clel_model import build_joint
from ebmlearn.training.state import make_fabric

torch.set_num_threads(1)
n = int(sys.argv[1])
fabric = make_fabric(devices=n)
torch.manual_seed(0)
joint = build_joint(ClelConfig(network="tiny", project_features=16), (1, 8, 8)).double()
learner = SimCLR(ConvEncoder((1, 8, 8)).double(), gather=gather_rows)
energy, _ = fabric.setup(Parts(joint), torch.optim.SGD(joint.parameters(), lr=1.0))
learner, _ = fabric.setup(learner, torch.optim.SGD(learner.parameters(), lr=1.0))
g = torch.Generator().manual_seed(1)
x_pos, x_neg, v1, v2 = torch.rand(4, 8, 1, 8, 8, generator=g, dtype=torch.float64)
rows = slice(8 // n * fabric.global_rank, 8 // n * (fabric.global_rank + 1))
x_pos, x_neg, v1, v2 = (t[rows] for t in (x_pos, x_neg, v1, v2))
e, u = energy(torch.cat([x_pos, x_neg]))
loss_encoder, z = learner(v1, v2, None, u[len(x_pos):].detach())
loss, _ = clel_losses(e, u, len(x_pos), z, beta=0.5, alpha=1.0)
fabric.backward(loss)
fabric.backward(loss_encoder)
grads = [p.grad for m in (energy, learner) for p in m.parameters()]
if fabric.global_rank == n - 1:  # the last rank: what it holds must be the average too
    torch.save(grads, sys.argv[2])
"""


@pytest.mark.slow
def test_two_processes_have_the_gradients_of_one(tmp_path):
    """The same global batch in one process and in two: equal gradients of the energy and, through gathered negatives, of the encoder."""
    script = tmp_path / "two.py"
    script.write_text(TWO)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    out = []
    for n in (1, 2):
        path = tmp_path / f"{n}.pt"
        done = subprocess.run([sys.executable, script, str(n), path], env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        out.append(torch.load(path, weights_only=True))
    assert len(out[0]) == len(out[1]) > 20
    for a, b in zip(*out, strict=True):
        assert float(a.abs().max()) > 0
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-14)
