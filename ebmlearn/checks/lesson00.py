"""Exercises of lesson 00: energies of points, scores, and what not attempted means."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Answer, problem, require, require_close, require_tensor


def _points(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@problem(
    "Return the bowl's energy |x|²/2 of every point: x[*batch, 2] -> energy[*batch].",
    hints=[
        "Square, then sum over one axis only.",
        "The last axis holds the coordinates of one point; all other axes are the batch.",
    ],
)
def bowl(x: Tensor) -> Tensor:
    return 0.5 * (x**2).sum(-1)


@bowl.property
def one_number_a_point(f: Answer) -> None:
    require_tensor(f(_points(5, 2)), (5,), "the energy of 5 points")
    require_tensor(f(_points(4, 3, 2)), (4, 3), "the energy of 4 x 3 points")


@bowl.property
def no_neighbours(f: Answer) -> None:
    x = _points(6, 2)
    alone = torch.stack([torch.as_tensor(f(x[i : i + 1]))[0] for i in range(6)])
    require_close(f(x), alone, "the energy of a point changes with its neighbours in the batch")


@bowl.property
def right_values(f: Answer) -> None:
    require_close(f(torch.zeros(1, 2, dtype=torch.float64)), [0.0], "the energy at the origin is not 0")
    require(f(_points(50, 2)).min() >= 0, "some energies are below that of the origin, the bottom of the bowl")
    require_close(f(torch.tensor([[3.0, 4.0]])), [12.5], "the energy of (3, 4), at distance 5, is not 12.5")


@problem(
    "Return the score of p(x) ∝ exp(-|x|²/2), the gradient of log p: x[*batch, 2] -> [*batch, 2].",
    hints=["log p(x) = -E(x) - log Z. Which part depends on x?", "Check one point: at (3, 4), which way is more likely?"],
)
def bowl_score(x: Tensor) -> Tensor:
    return -x


@bowl_score.property
def one_vector_a_point(f: Answer) -> None:
    require_tensor(f(_points(5, 2)), (5, 2), "the score of 5 points")


@bowl_score.property
def points_to_likely(f: Answer) -> None:
    x = _points(20, 2)
    s = require_tensor(f(x), (20, 2))
    require(((s * x).sum(-1) < 0).all(), "a small step along your score makes a point less likely")


@bowl_score.property
def finite_difference(f: Answer) -> None:
    x, h = _points(20, 2), 1e-5
    s = require_tensor(f(x), (20, 2))
    for i in range(2):
        d = torch.zeros(2, dtype=torch.float64)
        d[i] = h
        slope = (-0.5 * ((x + d) ** 2).sum(-1) + 0.5 * ((x - d) ** 2).sum(-1)) / (2 * h)
        require_close(s[:, i], slope, "the score differs from a finite difference of log p", atol=1e-5)


@problem(
    "Return x after one step of gradient descent on the energy |x|²/2: x - eta grad E(x).",
    hints=[
        "The gradient of the energy is minus the score.",
        "With eta = 1 one step of descent lands on the minimum of this bowl.",
    ],
)
def descend(x: Tensor, eta: float) -> Tensor:
    return x - eta * x


@descend.property
def keeps_the_shape(f: Answer) -> None:
    require_tensor(f(_points(4, 3, 2), 0.1), (4, 3, 2), "the moved points")


@descend.property
def leaves_its_input(f: Answer) -> None:
    x = _points(3, 2)
    before = x.clone()
    f(x, 0.5)
    require(torch.equal(x, before), "your function changes the tensor that it was given")


@descend.property
def a_small_step_lowers_the_energy(f: Answer) -> None:
    x = _points(50, 2)
    y = require_tensor(f(x, 0.1), (50, 2))
    require((y**2).sum(-1).lt((x**2).sum(-1)).all(), "a step with eta = 0.1 does not lower the energy")


@descend.property
def linear_in_eta(f: Answer) -> None:
    x = _points(10, 2)
    require_close(f(x, 0.0), x, "with eta = 0 the points move")
    require_close(f(x, 1.0), torch.zeros_like(x), "a step with eta = 1 does not land on the minimum of the bowl", atol=1e-6)
    require_close(f(x, 0.25), 0.75 * x, "a step with eta = 0.25 does not go a quarter of the way to the minimum")
