"""Score matching and noise-contrastive recipes: they learn, they resume exactly, ranks get equal gradients."""

import dataclasses
import os
import subprocess
import sys

import pytest
import torch

from ebmlearn import datasets
from ebmlearn.metrics.divergence import energy_distance
from ebmlearn.metrics.partition import quadrature
from ebmlearn.training.nce import NCEConfig, nce_preset, run_nce
from ebmlearn.training.samples import samples_from_checkpoint
from ebmlearn.training.score import ScoreConfig, objective_of, run_score, score_preset
from ebmlearn.training.state import RunOptions, read_checkpoint
from tests.helpers import same_checkpoint

SMALL_SCORE = ScoreConfig(data="8gaussians", steps=9, batch_size=32, hidden_features=(8,))
SMALL_NCE = NCEConfig(data="8gaussians", steps=9, batch_size=32, hidden_features=(8,))


@pytest.mark.parametrize("config, go", [(SMALL_SCORE, run_score), (SMALL_NCE, run_nce)])
def test_stopped_and_resumed_equals_uninterrupted(tmp_path, config, go):
    go(config, RunOptions(out=tmp_path / "whole"))
    for _ in range(4):
        go(config, RunOptions(out=tmp_path / "parts", resume=True, max_minutes=1e-9))
    go(config, RunOptions(out=tmp_path / "parts", resume=True))
    assert same_checkpoint(read_checkpoint(tmp_path / "whole/last.ckpt"), read_checkpoint(tmp_path / "parts/last.ckpt"))


def test_nce_learns_the_density_and_its_log_z(tmp_path):
    config = NCEConfig(data="8gaussians", steps=800, hidden_features=(64, 64), learning_rate=5e-3, ema=0.95)
    state = run_nce(config, RunOptions(out=tmp_path, log_every=100))
    q = quadrature(lambda x: state.ema.module(x), low=-6, high=6, cells=200)
    assert abs(q.log_partition.item()) < 0.15, "E + log Z normalises itself"
    x = datasets.load("8gaussians", split="test").x
    nll = (state.ema.module(x).mean() + q.log_partition).item()
    gauss = torch.distributions.MultivariateNormal(x.mean(0), torch.cov(x.T))
    assert nll < -gauss.log_prob(x).mean().item() - 0.4, "far better than one Gaussian"
    drawn = samples_from_checkpoint(tmp_path / "last.ckpt", 500)  # what `ebmlearn sample` draws
    assert energy_distance(drawn, x) < 0.25 * energy_distance(gauss.sample((500,)), x)


def test_denoising_learns_the_score_of_the_blurred_data(tmp_path):
    config = ScoreConfig(data="8gaussians", steps=400, hidden_features=(64, 64), learning_rate=3e-3, sigma=0.5, ema=0.95)
    state = run_score(config, RunOptions(out=tmp_path, log_every=100))
    x = datasets.load("8gaussians", split="test").x
    start = run_score(dataclasses.replace(config, steps=1), RunOptions(out=tmp_path / "one"))
    loss = lambda s: objective_of(config)(s.ema.module, x, torch.Generator().manual_seed(0)).item()
    assert loss(state) < loss(start) - 0.5
    drawn = samples_from_checkpoint(tmp_path / "last.ckpt", 500)
    gauss = torch.distributions.MultivariateNormal(x.mean(0), torch.cov(x.T))
    assert energy_distance(drawn, x) < 0.5 * energy_distance(gauss.sample((500,)), x)


def test_bad_settings():
    with pytest.raises(ValueError, match="'denoising', 'sliced', 'explicit'"):
        objective_of(ScoreConfig(objective="denoise"))
    with pytest.raises(ValueError, match="noise_ratio"):
        run_nce(dataclasses.replace(SMALL_NCE, noise_ratio=0), RunOptions(out="/nowhere"))
    assert nce_preset("moons").data == "moons" and score_preset("moons").confinement > 0


RANKS = """
import sys, torch
from pathlib import Path
from ebmlearn.energies import MLPEnergy
from ebmlearn.training.score import ScoreObjective, ScoreConfig, objective_of
from ebmlearn.training.state import make_fabric
out = Path({out!r})
fabric = make_fabric(devices={devices})
torch.manual_seed(0)
data = torch.randn(64, 2, generator=torch.Generator().manual_seed(7))
energy = MLPEnergy(2, hidden_features=(16,), confinement=0.1)
objective = ScoreObjective(energy, objective_of(ScoreConfig(objective="explicit")))
wrapped, optimizer = fabric.setup(objective, torch.optim.SGD(objective.parameters(), lr=0.1))
part = data.chunk({devices})[fabric.global_rank]
fabric.backward(wrapped(part))
grads = [p.grad.clone() for p in energy.parameters()]
torch.save(grads, out / f"right{{fabric.global_rank}}of{devices}.pt")
if {devices} > 1:  # the silent error: the gradient in x taken outside the wrapped forward
    optimizer.zero_grad()
    bare, _ = fabric.setup(MLPEnergy(2, hidden_features=(16,), confinement=0.1), torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1))
    leaf = part.clone().requires_grad_(True)
    (s,) = torch.autograd.grad(bare(leaf).sum(), leaf, create_graph=True)
    fabric.backward(s.square().sum(-1).mean())
    torch.save([p.grad.clone() if p.grad is not None else None for p in bare.parameters()], out / f"wrong{{fabric.global_rank}}.pt")
"""


def test_score_objective_has_equal_gradients_across_ranks(tmp_path):
    for devices in (1, 2):
        script = tmp_path / f"ranks{devices}.py"
        script.write_text(RANKS.format(out=str(tmp_path), devices=devices))
        done = subprocess.run(
            [sys.executable, str(script)], env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr[-2000:]
    one = torch.load(tmp_path / "right0of1.pt")
    two = [torch.load(tmp_path / f"right{r}of2.pt") for r in range(2)]
    for a, b, c in zip(one, two[0], two[1]):
        assert torch.equal(b, c) and torch.allclose(a, b, atol=1e-6)
    wrong = [torch.load(tmp_path / f"wrong{r}.pt") for r in range(2)]
    differ = [a is None or b is None or not torch.allclose(a, b, atol=1e-5) for a, b in zip(*wrong)]
    assert any(differ), "the gradient taken outside the wrapped forward is not averaged: this test would see it"
