"""The explorers of lessons 02 and 07: pure pictures, exact pieces, shipped weights."""

import matplotlib
import pytest
import torch
from matplotlib.figure import Figure

from ebmlearn.datasets import toy
from ebmlearn.widgets import lesson02, lesson07

matplotlib.use("Agg")


def test_every_shipped_spiral_energy_loads_and_ranks_the_curve_low():
    curve = toy.spiral().curve(300)[0].float()
    square = 6 * torch.rand(2000, 2, generator=torch.Generator().manual_seed(0)) - 3
    for width in lesson02.WIDTHS:
        for noise in lesson02.NOISES.values():
            energy = lesson02.spiral_energy(width, noise)
            assert energy(curve).mean() < energy(square).mean() - 0.5
    with pytest.raises(ValueError, match="width of"):
        lesson02.spiral_energy(5, 0.1)


def test_reached():
    curve = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    assert lesson02.reached(torch.tensor([[0.0, 0.1], [5.0, 5.0], [0.1, 0.0], [9.0, 9.0]]), curve) == (0.5, 0.5)


def test_resolution_explorer_draws_again_and_noise_on_the_data_keeps_coverage():
    explorer = lesson02.ResolutionExplorer()
    first = explorer.text
    explorer.controls["width"].value = 128
    assert explorer.text != first and "Width 128" in explorer.text
    coverage = {}
    for noise in (0.0, 0.1):
        x = explorer.draw(Figure().subplots(), width=128, noise=noise, steps=200, temperature=0.0)
        coverage[noise] = float(x.split("points are on the spiral, ")[1].split("%")[0])
    assert coverage[0.1] > coverage[0.0] + 25


def test_metropolis_matrix_is_exact():
    e = lesson07.THETA @ lesson07.FEATURES
    for scale in (0.1, 0.3, 2.0):
        T = lesson07.metropolis(e, scale)
        p = torch.softmax(-e, 0)
        assert T.min() >= 0
        torch.testing.assert_close(T.sum(1), torch.ones(len(e), dtype=torch.float64), rtol=0, atol=1e-12)
        torch.testing.assert_close(p[:, None] * T, (p[:, None] * T).T, rtol=0, atol=1e-14)  # detailed balance


def test_cd_explorer_bias_falls_with_k():
    explorer = lesson07.CDExplorer()
    away = []
    for k in (1.0, 10.0, 100.0, 1000.0):
        explorer.controls["k"].value = k
        assert f"k = {round(k)}," in explorer.text
        away.append(float(explorer.text.split("gradient is ")[1].split("%")[0]))
    assert away == sorted(away, reverse=True) and away[0] > 50 and away[-1] < 0.1
