"""Exercises of lesson 01: Boltzmann probabilities, the partition function on a grid, a change of variables."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..functional import EnergyFunction
from .base import Answer, problem, require, require_close, require_tensor


@problem(
    "Return the Boltzmann probabilities at a temperature, over the states along the last axis: energies[*batch, K] -> p[*batch, K].",
    hints=[
        "p is proportional to exp(-E/T); what must the probabilities of one row add up to?",
        "Only differences of energies matter: subtract something before exp, or use a function of torch that does it.",
    ],
)
def boltzmann(energies: Tensor, temperature: float) -> Tensor:
    return torch.softmax(-energies / temperature, dim=-1)


@boltzmann.property
def probabilities(f: Answer) -> None:
    e = torch.randn(4, 3, dtype=torch.float64)
    p = require_tensor(f(e, 0.7), (4, 3), "your result for energies of shape (4, 3)")
    require(bool((p >= 0).all()), "some probabilities are negative")
    require_close(p.sum(-1), torch.ones(4), "the probabilities of a row do not add up to 1")


@boltzmann.property
def low_is_likely(f: Answer) -> None:
    p = require_tensor(f(torch.tensor([0.0, 1.0], dtype=torch.float64), 1.0), (2,))
    require(p[0] > p[1], "the state with less energy is not the likelier one")
    require_close(p[0] / p[1], math.e, "at T = 1 an energy gap of 1 does not give the ratio e")


@boltzmann.property
def temperature_flattens(f: Answer) -> None:
    e = torch.tensor([0.0, 1.0], dtype=torch.float64)
    hot, cold = require_tensor(f(e, 4.0), (2,)), require_tensor(f(e, 0.25), (2,))
    require(cold[0] > hot[0], "a lower temperature does not favour the state with less energy")
    require_close(torch.log(cold[0] / cold[1]), 4.0, "at T = 1/4 an energy gap of 1 does not give the log ratio 4")


@boltzmann.property
def level_is_free(f: Answer) -> None:
    e = torch.tensor([0.3, -0.2, 1.0], dtype=torch.float64)
    target = f(e, 0.5)
    for c in (10.0, -5000.0, 5000.0):
        require_close(f(e + c, 0.5), target, f"adding {c:g} to every energy changes the probabilities")


@problem(
    "Return log Z on a grid: Z is the sum of exp(-E) times the cell's length dx, energies[K] -> a number.",
    hints=["log of a sum of exponentials: torch has it in one call, safe from overflow.", "log(a dx) = log a + log dx."],
)
def log_partition(energies: Tensor, dx: float) -> Tensor:
    return torch.logsumexp(-energies, dim=-1) + math.log(dx)


@log_partition.property
def of_the_normal(f: Answer) -> None:
    target = 0.5 * math.log(2 * math.pi)
    for n in (101, 401):
        x = torch.linspace(-10, 10, n, dtype=torch.float64)
        got = require_tensor(f(0.5 * x**2, 20 / (n - 1)), (), "your log Z")
        require_close(
            got, target, f"log Z of x²/2 is {float(got):.3f} on {n} points; it is log sqrt(2 pi) = {target:.3f} on any grid"
        )


@log_partition.property
def shifts_with_the_level(f: Answer) -> None:
    x = torch.linspace(-10, 10, 401, dtype=torch.float64)
    for c in (3.0, 2000.0, -2000.0):
        got = require_tensor(f(0.5 * x**2 + c, 0.05), (), f"log Z with {c:g} added to every energy")
        require_close(
            got, 0.5 * math.log(2 * math.pi) - c, f"adding {c:g} to every energy moves log Z by something else than {-c:g}"
        )


@problem(
    "Return the energy of y = exp(x) when x has the energy E: y[N, 1], all positive, and E: [N, 1] -> [N], give [N].",
    hints=[
        "Probability is mass: p_y(y) dy = p_x(x) dx. The density changes by |dx/dy|, the energy by -log of that.",
        "With x = log y, dx/dy = 1/y.",
    ],
)
def energy_of_exp(y: Tensor, energy: EnergyFunction) -> Tensor:
    return energy(y.log()) + y.log().squeeze(-1)


def _normal(x: Tensor) -> Tensor:
    return 0.5 * (x**2).sum(-1)


@energy_of_exp.property
def one_number_a_point(f: Answer) -> None:
    require_tensor(f(torch.tensor([[0.5], [1.0], [2.0]], dtype=torch.float64), _normal), (3,), "the energy of 3 points")


@energy_of_exp.property
def keeps_the_mass(f: Answer) -> None:
    y = torch.linspace(1e-4, 60, 600_001, dtype=torch.float64)[:, None]
    for energy, low, mass in ((_normal, 1.0, 0.5), (lambda x: _normal(x - 0.5), math.exp(0.5), 0.5)):
        p = torch.softmax(-require_tensor(f(y, energy), (len(y),)), 0)
        above = float(p[y[:, 0] > low].sum())
        require(
            abs(above - mass) < 2e-3, f"P(y > {low:.2f}) is {above:.3f}; it must equal P(x > {math.log(low):.2f}) = {mass:.3f}"
        )
