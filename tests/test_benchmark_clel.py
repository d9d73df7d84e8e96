"""The CLEL benchmark runs at tiny size, its FLOP counts are those of the networks, and the plain port trains the same model."""

import sys

import pytest
import torch

from benchmarks import clel as benchmark
from ebmlearn.networks.encoder import ResNetEncoder
from ebmlearn.networks.resnet import energy_resnet


def test_the_table_at_tiny_size(monkeypatch, tmp_path, capsys):
    out = tmp_path / "table.md"
    monkeypatch.setattr(sys, "argv", ["clel", "--iterations", "1", "--batch-size", "4", "--mcmc-steps", "2", "--out", str(out)])
    benchmark.main()
    text = out.read_text()
    assert text in capsys.readouterr().out + "\n"
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| ebmlearn") or line.startswith("| plain")]
    assert len(rows) == 2
    assert all(float(row[2]) > float(row[3]) > 0 for row in rows)  # Langevin is a part of the iteration
    assert "Ratio of the plain loop" in text


def test_flops_of_a_forward():
    # CLEL-Base: 1.864 GFLOP an image by hand, layer by layer; the encoder 1.113
    assert benchmark.forward_flops(energy_resnet("base"), (3, 32, 32)) == pytest.approx(1.864e9, rel=2e-3)
    assert benchmark.forward_flops(ResNetEncoder().eval(), (3, 32, 32)) == pytest.approx(1.113e9, rel=2e-3)


def test_the_plain_port_keeps_chains_in_the_box_and_learns():
    torch.manual_seed(0)
    from dataclasses import replace

    from ebmlearn.training.clel_model import clel_preset

    config = replace(clel_preset("cifar10", "tiny"), batch_size=4, mcmc_steps=2, buffer_size=8)
    port = benchmark.PlainLoop(config, torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8), torch.device("cpu"))
    before = [p.detach().clone() for p in port.f.parameters()]
    assert all(torch.isfinite(torch.tensor(port.iteration())) for _ in range(2))
    assert port.buffer.min() >= 0 and port.buffer.max() <= 1
    assert any(not torch.equal(a, b) for a, b in zip(before, port.f.parameters(), strict=True))
