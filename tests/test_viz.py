"""Pictures show the numbers that they claim to show."""

import importlib

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ebmlearn import viz


def quadratic(x):
    return 0.5 * (x**2).sum(-1)


@pytest.fixture
def ax():
    return Figure().subplots()


def test_import_changes_nothing_and_style_sets_the_palette():
    before = dict(plt.rcParams)
    importlib.reload(viz)
    assert dict(plt.rcParams) == before
    with plt.rc_context():
        plt.rcdefaults()  # a test before this one may have set the style
        plain = dict(plt.rcParams)
        viz.style()
        colours = [to_hex(c) for c in plt.rcParams["axes.prop_cycle"].by_key()["color"]]
        assert dict(plt.rcParams) != plain
    assert colours == [viz.BLUE, viz.ORANGE, viz.GREEN, viz.RED, viz.PURPLE, viz.BROWN, viz.PINK, viz.GREY, viz.YELLOW, viz.CYAN]


def test_grid_orientation():
    points = viz.grid((-1.0, 1.0, 0.0, 4.0), 5)
    assert points[0, 0].tolist() == [-1.0, 0.0]
    assert points[0, -1].tolist() == [1.0, 0.0]  # columns: first coordinate
    assert points[-1, 0].tolist() == [-1.0, 4.0]  # rows: second coordinate, upwards


def test_energy_map_shows_the_energy_where_it_is(ax):
    out = viz.energy_map(lambda x: x[:, 0] + 10 * x[:, 1], ax, extent=(0.0, 1.0, 0.0, 1.0), resolution=11, contours=3)
    assert out is ax
    shown = ax.get_images()[0].get_array()
    assert np.isclose(shown[0, 10], 1.0) and np.isclose(shown[10, 0], 10.0)
    assert ax.get_images()[0].origin == "lower"


def test_density_integrates_to_one_and_matches_the_gaussian(ax):
    viz.energy_map(quadratic, ax, show="density", extent=(-6.0, 6.0, -6.0, 6.0), resolution=121)
    p = ax.get_images()[0].get_array()
    assert np.isclose(p.sum() * 0.1**2, 1.0, atol=1e-5)
    assert np.isclose(p[60, 60], 1 / (2 * np.pi), atol=1e-4)  # the mode of N(0, I)


def test_infinite_energies_are_drawn_as_high_and_as_zero_density():
    def disc(x):
        return torch.where((x**2).sum(-1) < 1, 0.0, torch.inf)

    one, two = Figure().subplots(1, 2)
    viz.energy_map(disc, one, resolution=31)
    viz.energy_map(disc, two, show="density", resolution=31)
    p = two.get_images()[0].get_array()
    assert p[0, 0] == 0 and p[15, 15] > 0


def test_module_energy_keeps_its_dtype(ax):
    class Double(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))

        def forward(self, x):
            assert x.dtype == torch.float64
            return (self.a * x**2).sum(-1)

    viz.energy_map(Double(), ax, resolution=5)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda ax: viz.energy_map(quadratic, ax, extent=(1.0, -1.0, 0.0, 1.0)), "left < right"),
        (lambda ax: viz.energy_map(quadratic, ax, resolution=1), "resolution >= 2"),
        (lambda ax: viz.energy_map(quadratic, ax, show="score"), "'energy' or 'density'"),
        (lambda ax: viz.energy_map(lambda x: (x**2).sum(-1, keepdim=True), ax), "energy"),
        (lambda ax: viz.energy_map(lambda x: torch.full(x.shape[:-1], torch.nan), ax), "not finite anywhere"),
        (lambda ax: viz.chain_path(torch.zeros(5, 3), ax), r"\[steps, 2\]"),
        (lambda ax: viz.points(torch.zeros(5, 3), ax), r"\[N, 2\]"),
        (lambda ax: viz.image_grid(torch.zeros(5, 2, 4, 4), ax), r"\[N, 3, H, W\]"),
        (lambda ax: viz.image_grid(torch.zeros(0, 4, 4), ax), "at least one image"),
        (lambda ax: viz.image_grid(torch.zeros(5, 4, 4), ax, limits=(1.0, 0.0)), "low < high"),
        (lambda ax: viz.dashboard({"loss": [1.0]}, [ax] * 5), "at least one of"),
        (lambda ax: viz.dashboard({"gap": [1.0]}, [ax] * 4), "expected 5 axes"),
    ],
)
def test_errors_say_what_was_expected(ax, call, match):
    with pytest.raises(ValueError, match=match):
        call(ax)


def test_chain_path_draws_each_chain_and_its_ends(ax):
    x = torch.arange(24.0).reshape(4, 3, 2)
    viz.chain_path(x, ax, label="chain")
    assert len(ax.lines) == 9  # path, start, end of three chains
    assert ax.lines[3].get_xdata().tolist() == [2.0, 8.0, 14.0, 20.0]
    assert [line.get_label() for line in ax.lines].count("chain") == 1


def test_histogram_is_a_density_even_with_samples_outside(ax):
    x = torch.tensor([0.1, 0.2, 0.6, 5.0])
    viz.histogram(x, ax, extent=(0.0, 1.0), bins=2)
    assert [float(bar.get_height()) for bar in ax.patches] == [1.0, 0.5]  # 2 of 4 and 1 of 4 in bars of width 1/2


def test_histogram_line_is_the_exact_density(ax):
    viz.histogram(torch.zeros(1), ax, energy=quadratic, extent=(-8.0, 8.0))
    u, p = ax.lines[0].get_data()
    assert np.allclose(p, np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi), atol=1e-4)


def test_tile_puts_images_row_by_row():
    images = torch.arange(1.0, 6.0).reshape(5, 1, 1, 1).expand(5, 1, 2, 2)
    picture = viz.tile(images, columns=3, padding=1, fill=0.0)[..., 0]
    assert picture.shape == (5, 8)
    assert picture[0].tolist() == [1, 1, 0, 2, 2, 0, 3, 3]
    assert picture[3].tolist() == [4, 4, 0, 5, 5, 0, 0, 0]
    assert picture[2].tolist() == [0] * 8


def test_image_grid_clips_and_takes_colour():
    one, two = Figure().subplots(1, 2)
    viz.image_grid(torch.tensor([[[-3.0, 0.0], [1.0, 9.0]]]), one, limits=(-1.0, 1.0), title="clipped")
    assert one.get_images()[0].get_array().tolist() == [[0.0, 0.5], [1.0, 1.0]]
    viz.image_grid(torch.rand(4, 3, 2, 2), two)
    assert two.get_images()[0].get_array().shape == (5, 5, 3)


def test_dashboard_reads_a_metrics_file(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,e_pos,e_neg,grad_norm,buffer_age\n20,1.0,3.0,0.5,10\n40,1.0,1.5,0.1,30\n")
    axes = viz.dashboard(viz.read_metrics(path), Figure().subplots(1, 5))
    assert axes[0].lines[-1].get_ydata().tolist() == [2.0, 0.5]  # E(x-) - E(x+)
    assert axes[0].lines[-1].get_xdata().tolist() == [20.0, 40.0]
    assert axes[1].get_yscale() == "log"
    assert [bool(ax.texts) for ax in axes] == [False, False, True, True, False]  # not recorded: acceptance, temperature
