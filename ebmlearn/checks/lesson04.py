"""Exercises of lesson 04: a Langevin step, the acceptance ratio of MALA, and what a step and a noise mean together."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .base import Answer, problem, require, require_close, require_tensor

N = 40_000  # chains of a statistical property; its bands are 5 standard errors wide


def _bowl(x: Tensor) -> Tensor:
    return 0.5 * (x**2).sum(-1)


def _wells(x: Tensor) -> Tensor:
    return ((x**2 - 1) ** 2).sum(-1) + 0.3 * x[..., 0]


def _image_bowl(x: Tensor) -> Tensor:
    return 0.5 * (x**2).sum((-1, -2, -3))


def _start(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@problem(
    "Return x after one unadjusted Langevin step on any energy: x - eta grad E(x) + sqrt(2 eta) N(0, I).",
    hints=[
        "Two parts: a descent step as in lesson 00, and noise of x's own shape.",
        "torch.autograd.grad(energy(x).sum(), x) has the gradient of every point, since energies do not look at their neighbours; "
        "x must require gradients first, and the result should not.",
        "The variance of the noise is 2 eta, so its standard deviation is the square root of that.",
    ],
)
def ula_step(energy: Callable[[Tensor], Tensor], x: Tensor, step_size: float) -> Tensor:
    x = x.detach().requires_grad_(True)
    (grad,) = torch.autograd.grad(energy(x).sum(), x)
    return x.detach() - step_size * grad + math.sqrt(2 * step_size) * torch.randn_like(x)


@ula_step.property
def keeps_the_shape(f: Answer) -> None:
    require_tensor(f(_bowl, _start(5, 2), 0.1), (5, 2), "5 points after a step")
    require_tensor(f(_bowl, _start(4, 3, 2), 0.1), (4, 3, 2), "4 x 3 points after a step")
    require_tensor(f(_image_bowl, _start(6, 1, 4, 4), 0.1), (6, 1, 4, 4), "6 images after a step")


@ula_step.property
def leaves_its_input(f: Answer) -> None:
    x = _start(5, 2)
    before = x.clone()
    out = f(_bowl, x, 0.1)
    require(torch.equal(x, before), "the step changed the points that it was given, in place")
    require(
        not getattr(out, "requires_grad", False),
        "the returned points still require gradients, so a chain would remember all its steps and its memory would grow",
    )


@ula_step.property
def noise_is_fresh(f: Answer) -> None:
    x = torch.zeros(N, 2, dtype=torch.float64)
    step = require_tensor(f(_bowl, x, 0.1), (N, 2))
    require(
        step.std(0).min() > 1e-9, "all points of a batch move in the same way: is there noise, and one draw for each of them?"
    )
    require(step.mean(0).abs().max() < 5 * step.std() / math.sqrt(N), "the noise is not centred at 0")
    correlation = torch.corrcoef(step.T)[0, 1].abs()
    require(correlation < 5 / math.sqrt(N), "the noise of the two coordinates of a point is the same draw")
    again = require_tensor(f(_bowl, x, 0.1), (N, 2))
    require(not torch.equal(step, again), "two calls draw the same noise")


@ula_step.property
def drifts_downhill(f: Answer) -> None:
    x = torch.full((N, 1), 3.0, dtype=torch.float64)
    for eta in (0.05, 0.4):
        moved = (require_tensor(f(_bowl, x, eta), (N, 1)) - x).mean().item()
        band = 5 * math.sqrt(2 * eta / N)
        require(moved < 0, "from x = 3 on the bowl the mean step goes uphill")
        require(moved > -3 * eta * 3, "the mean step is several times too long")
        require(
            abs(moved + 3 * eta) < band + 1e-3 * eta,
            f"on the bowl at x = 3, with eta = {eta}, the mean move is {moved:.4f}: not the drift asked for",
        )


@ula_step.property
def noise_has_the_right_size(f: Answer) -> None:
    x = torch.zeros(N, 1, dtype=torch.float64)
    for eta in (0.02, 0.1, 0.5):
        var = require_tensor(f(_bowl, x, eta), (N, 1)).var().item()
        band = 5 * 2 * eta * math.sqrt(2 / N)
        require(abs(var - 2 * eta) < band, f"with eta = {eta} the noise has variance {var:.4f}: not that of temperature 1")


@ula_step.property
def noise_is_gaussian(f: Answer) -> None:
    step = require_tensor(f(_bowl, torch.zeros(N, 1, dtype=torch.float64), 0.1), (N, 1))
    kurtosis = ((step / step.std()) ** 4).mean().item()
    require(
        abs(kurtosis - 3) < 5 * math.sqrt(24 / N),
        f"the noise is not normal: its fourth moment is {kurtosis:.2f} variances squared",
    )


@ula_step.property
def works_on_any_energy(f: Answer) -> None:
    x = torch.tensor([[-1.5, 0.4]], dtype=torch.float64).expand(N, 2)
    eta = 0.05
    force = -(4 * x * (x**2 - 1))[0] - torch.tensor([0.3, 0.0], dtype=torch.float64)
    moved = (require_tensor(f(_wells, x, eta), (N, 2)) - x).mean(0)
    require((moved - eta * force).abs().max() < 5 * math.sqrt(2 * eta / N), "on another energy (two wells) the drift is wrong")


@problem(
    "Return the log of MALA's acceptance ratio for moves x -> y: one number for each chain.",
    hints=[
        "Metropolis and Hastings: log p(y) + log q(x|y) - log p(x) - log q(y|x). The partition function cancels.",
        "q(y|x) is normal with mean x - eta grad E(x) and variance 2 eta in every direction; for the way back swap x and y, gradient included.",
        "A normal density with variance s has the exponent -|distance|² / (2 s). Sum over the coordinates of a point, not over points.",
    ],
)
def mala_log_ratio(energy: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, step_size: float) -> Tensor:
    def value_and_grad(x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.detach().requires_grad_(True)
        e = energy(x)
        return e.detach(), torch.autograd.grad(e.sum(), x)[0]

    def log_q(to: Tensor, start: Tensor, grad: Tensor) -> Tensor:
        return -((to - start + step_size * grad) ** 2).sum(-1) / (4 * step_size)

    (ex, gx), (ey, gy) = value_and_grad(x), value_and_grad(y)
    return ex - ey + log_q(x, y, gy) - log_q(y, x, gx)


def _pairs(*shape: int) -> tuple[Tensor, Tensor]:
    return _start(*shape), _start(*shape)


@mala_log_ratio.property
def one_number_a_chain(f: Answer) -> None:
    require_tensor(f(_bowl, *_pairs(5, 2), 0.3), (5,), "the log ratio of 5 chains")
    require_tensor(f(_bowl, *_pairs(4, 3, 2), 0.3), (4, 3), "the log ratio of 4 x 3 chains")


@mala_log_ratio.property
def chains_do_not_meet(f: Answer) -> None:
    x, y = _pairs(6, 2)
    alone = torch.stack([torch.as_tensor(f(_bowl, x[i : i + 1], y[i : i + 1], 0.3))[0] for i in range(6)])
    require_close(f(_bowl, x, y, 0.3), alone, "the ratio of a chain changes with the other chains of the batch")


@mala_log_ratio.property
def the_way_back(f: Answer) -> None:
    x, y = _pairs(20, 2)
    require_close(f(_wells, x, x.clone(), 0.2), torch.zeros(20), "staying in place (y = x) does not have the ratio 1")
    there, back = require_tensor(f(_wells, x, y, 0.2), (20,)), require_tensor(f(_wells, y, x, 0.2), (20,))
    require(torch.allclose(there, -back, atol=1e-6), "the log ratios of x -> y and of y -> x do not cancel")


@mala_log_ratio.property
def known_on_the_normal(f: Answer) -> None:
    x, y = _pairs(50, 1)
    for eta in (0.05, 0.5, 1.5):
        exact = -(eta / 4) * (y**2 - x**2)[:, 0]
        found = require_tensor(f(_bowl, x, y, eta), (50,))
        require(
            not torch.allclose(found, -exact, atol=1e-6),
            "on N(0, 1) every ratio is upside down: moves are accepted where they should be refused",
        )
        require(torch.allclose(found, exact, atol=1e-6), f"on N(0, 1), with eta = {eta}, the log ratio is not -(eta/4)(y² - x²)")


@mala_log_ratio.property
def detailed_balance(f: Answer) -> None:
    x, y = _pairs(50, 2)
    eta = 0.15

    def log_q(to: Tensor, start: Tensor) -> Tensor:
        leaf = start.clone().requires_grad_(True)
        (g,) = torch.autograd.grad(_wells(leaf).sum(), leaf)
        return torch.distributions.Normal(start - eta * g, math.sqrt(2 * eta)).log_prob(to).sum(-1)

    exact = -_wells(y) + log_q(x, y) + _wells(x) - log_q(y, x)
    require_close(f(_wells, x, y, eta), exact, "on another energy (two wells) the flow x -> y does not balance the flow y -> x")


@problem(
    "Return the temperature at which `x - step_size * grad E(x) + noise * N(0, I)` samples.",
    hints=[
        "At temperature 1 the noise is sqrt(2 eta). Which energy E/T makes the given pair look like that?",
        "x - eta grad E = x - (eta T) grad(E/T): a plain Langevin step on E/T whose step is eta T.",
        "So noise² = 2 eta T.",
    ],
)
def temperature_of(step_size: float, noise: float) -> float:
    return noise**2 / (2 * step_size)


@temperature_of.property
def one_at_the_langevin_noise(f: Answer) -> None:
    for eta in (0.01, 0.5, 2.0):
        require_close(f(eta, math.sqrt(2 * eta)), 1.0, "the noise sqrt(2 eta) should be temperature 1, for every eta")


@temperature_of.property
def scales_as_it_should(f: Answer) -> None:
    require_close(
        f(0.1, 0.6), 4 * torch.as_tensor(f(0.1, 0.3), dtype=torch.float64), "twice the noise is not four times the temperature"
    )
    require_close(
        f(0.2, 0.3),
        0.5 * torch.as_tensor(f(0.1, 0.3), dtype=torch.float64),
        "twice the step at the same noise is not half the temperature",
    )
    require_close(float(f(10.0, 0.005)) * 1e6, 1.25, "a step of 10 with noise 0.005 gives another temperature than it should")


@temperature_of.property
def zero_without_noise(f: Answer) -> None:
    require_close(f(0.1, 0.0), 0.0, "without noise, which is descent, the temperature should be 0")
