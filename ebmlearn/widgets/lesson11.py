"""Widget of lesson 11: a GRBM of three units, sweep by sweep, with its weights, the step and the temperature in hand."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from torch import Tensor

from ..energies import GaussianBernoulliRBM
from ..samplers import GibbsLangevin, sample
from ..viz import BLUE, ORANGE, energy_map, points
from .explorer import Explorer, slider

MODES = torch.tensor([[-5.0, -5.0], [5.0, -5.0], [0.0, 5.0]])
SHARES = torch.tensor([0.33, 0.33, 0.34])
CHAINS = 400


def three_units(strength: float = 6.0, scale: float = 1.0) -> GaussianBernoulliRBM:
    """The hand-built machine of the lesson; `scale` multiplies its weights, `strength` is the push to have a unit on."""
    rbm = GaussianBernoulliRBM.from_modes(MODES, SHARES, strength=strength)
    with torch.no_grad():
        rbm.W.mul_(scale)
    return rbm


def state_shares(rbm: GaussianBernoulliRBM, x: Tensor, temperature: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Shares of the 2^H hidden states: exact at temperature T, and as drawn from p(z | x) at the points x; first unit the lowest bit."""
    with torch.no_grad():
        z = rbm.sample_z(x, temperature=temperature, generator=generator)
        codes = (z @ (2.0 ** torch.arange(rbm.n_hidden))).long()
        counts = torch.bincount(codes, minlength=2**rbm.n_hidden).float() / len(x)
        return rbm.components(1 / temperature)[0].exp(), counts


def draw_sweeps(
    axes: tuple[Axes, Axes], sweeps: int, step_size: float, inner: int, temperature: float, scale: float, strength: float
) -> str:
    """Left: the free energy and 400 chains from N(0, I). Right: shares of the hidden states. Returns what is seen."""
    rbm = three_units(strength, scale)
    g = torch.Generator().manual_seed(0)
    left, right = axes
    kernel = GibbsLangevin(step_size=step_size * temperature, n_inner=inner, temperature=temperature)
    x = sample(rbm, kernel, torch.randn(CHAINS, 2, generator=g), sweeps, generator=g)
    free = rbm.marginalise(1 / temperature)
    energy_map(lambda v: free(v).detach(), left, extent=(-9.0, 9.0, -9.0, 9.0), colorbar=False)
    points(x, left, size=6)
    exact, found = state_shares(rbm, x, temperature, g)
    right.bar([k - 0.2 for k in range(8)], exact.tolist(), 0.38, color=BLUE, hatch="//", label="exact")
    right.bar([k + 0.2 for k in range(8)], found.tolist(), 0.38, color=ORANGE, label=f"{CHAINS} chains")
    right.set_xticks(range(8), [f"{k & 1}{k >> 1 & 1}{k >> 2 & 1}" for k in range(8)])
    right.set(xlabel="hidden state $z_1 z_2 z_3$", ylabel="share", ylim=(0, 1))
    right.legend()
    b = float(kernel.coefficients(torch.ones(1))[0])
    one = float(exact[[1, 2, 4]].sum())
    crowd = float((found - exact).abs().sum()) / 2
    return (
        f"After {sweeps} sweep{'s' * (sweeps != 1)} with memory b = {b:.2f} at temperature {temperature:.2g}: exactly one unit is on in {one:.0%} of the "
        f"model; the chains' states are {crowd:.0%} away from it (total variation)."
    )


class SweepExplorer(Explorer):
    """Weights, step, inner steps and temperature of Gibbs-Langevin on three units, sweep by sweep."""

    def __init__(self) -> None:
        super().__init__(
            lambda axes, sweeps, inner, **rest: draw_sweeps(axes, round(sweeps), inner=round(inner), **rest),
            {
                "sweeps": slider(1, 0, 60, label="sweeps", step=1),
                "step_size": slider(0.3, 0.01, 1.9, label="step / (T s²)", log=True),
                "inner": slider(10, 1, 20, label="inner steps K", step=1),
                "temperature": slider(1.0, 0.3, 20.0, label="temperature T", log=True),
                "scale": slider(1.0, 0.2, 1.2, label="weights x", step=0.05),
                "strength": slider(6.0, 0.0, 12.0, label="push to be on", step=0.5),
            },
            figsize=(9.0, 4.0),
            panels=2,
        )
