"""The stored class latents of lesson 16, and the program that makes them and measures how they steer."""

import torch

from ebmlearn.datasets.augment import dequantise_bytes
from ebmlearn.pretrained import load_pretrained
from ebmlearn.resources import resource
from ebmlearn.training.clel_model import load_bytes
from experiments import class_latents


def test_the_stored_latents_are_ten_different_directions():
    z = class_latents.read_latents(resource("data/results/latents_clel-fashion-mnist.csv"))
    assert z.shape == (10, 128)
    assert (z.norm(dim=-1) - 1).abs().max() < 1e-3
    assert ((z @ z.mT) - torch.eye(10)).max() < 0.9


def test_written_latents_steer_the_digits(tmp_path, monkeypatch):
    monkeypatch.setattr(class_latents, "FOLDER", tmp_path)
    z = class_latents.read_latents(class_latents.write_latents("clel-digits", images=600, views=1))
    pixels, labels, levels = load_bytes("digits", "test")
    x = dequantise_bytes(pixels, levels=levels, generator=torch.Generator().manual_seed(0))
    guess = (load_pretrained("clel-digits").latents(x) @ z.mT).argmax(-1)
    assert (guess == labels).double().mean() > 0.7  # the nearest class latent is a classifier of unseen digits
    rows = class_latents.measure(
        "clel-digits", "digits-classifier", weights=(0.0, 1.0), device="cpu", per_class=6, rounds=2, steps=30
    )
    share = [float(row[1].split()[0]) for row in rows]
    assert [row[0] for row in rows] == ["0", "1"]
    assert share[0] < 0.35 < 0.6 < share[1]  # 60 samples: chance 0.1 has standard error 0.04
