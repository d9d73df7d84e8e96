"""The widget of lesson 11: exact shares, long chains that reach them, controls that redraw."""

import math

import torch

from ebmlearn.widgets.lesson11 import SHARES, SweepExplorer, state_shares, three_units


def test_shares_are_those_of_the_tempered_machine():
    rbm, g = three_units(), torch.Generator().manual_seed(0)
    z = torch.tensor([1.0, 0.0, 0.0]).expand(20_000, 3)
    x = rbm.sample_x(z, generator=g)
    exact, found = state_shares(rbm, x, 1.0, g)
    assert abs(exact.sum().item() - 1) < 1e-5
    torch.testing.assert_close(exact[[1, 2, 4]], SHARES, atol=0.002, rtol=0)
    assert found[1] > 0.99  # every x came from the state with the first unit on, the lowest bit
    # exact draws of x from all eight components give the exact shares
    k = torch.multinomial(rbm.components(1 / 8.0)[0].exp(), 20_000, replacement=True, generator=g)
    z = torch.stack([(k >> j) & 1 for j in range(3)], 1).float()
    x = rbm.sample_x(z, temperature=8.0, generator=g)
    exact, found = state_shares(rbm, x, 8.0, g)
    assert ((found - exact).abs() < 5 * (exact * (1 - exact) / 20_000).sqrt() + 1e-4).all()
    assert exact[[0, 3, 7]].sum() > 0.05 and math.isfinite(float(exact.sum()))


def test_the_widget_redraws_when_a_control_moves():
    explorer = SweepExplorer()
    first = explorer.text
    assert "memory b = 0.15" in first and "After 1 sweep with" in first
    explorer.controls["step_size"].value = 0.05
    assert "memory b = 0.7" in explorer.text and explorer.text != first
    explorer.controls["sweeps"].value = 0
    assert explorer.text.startswith("After 0 sweeps")
