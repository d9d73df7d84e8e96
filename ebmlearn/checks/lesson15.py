"""Exercises of lesson 15: the energy of a plan, the price of a risky edge, and what wrong edges cost."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Answer, problem, require, require_close, require_tensor


@problem(
    "Return the energy [*batch] of trajectories x[*batch, T + 1, 2]: the sum of pair(s_t, s_{t+1}) over all moves, plus weight * |s_T - goal|².",
    hints=[
        "x[..., :-1, :] are the states before the moves; what are those after them?",
        "pair maps s[*, 2], s'[*, 2] to [*]: sum its result over the axis of time, the last one that is left.",
    ],
)
def plan_energy(x: Tensor, pair: Callable[[Tensor, Tensor], Tensor], goal: Tensor, weight: float) -> Tensor:
    moves = pair(x[..., :-1, :], x[..., 1:, :]).sum(-1)
    return moves + weight * (x[..., -1, :] - goal).square().sum(-1)


def _lopsided(s: Tensor, t: Tensor) -> Tensor:
    return (s[..., 0] - 2 * t[..., 1]) ** 2 + t[..., 0]


@plan_energy.property
def one_energy_a_trajectory(f: Answer) -> None:
    for shape in ((3, 6, 2), (2, 3, 4, 2)):
        x = torch.rand(shape, dtype=torch.float64)
        require_tensor(f(x, _lopsided, torch.zeros(2, dtype=x.dtype), 1.0), shape[:-2], f"your result for x of shape {shape}")


@plan_energy.property
def every_move_once_in_its_direction(f: Answer) -> None:
    x = torch.rand(4, 6, 2, dtype=torch.float64)
    by_hand = torch.stack([_lopsided(x[:, t], x[:, t + 1]) for t in range(5)]).sum(0)
    got = f(x, _lopsided, torch.zeros(2, dtype=x.dtype), 0.0)
    backwards = torch.stack([_lopsided(x[:, t + 1], x[:, t]) for t in range(5)]).sum(0)
    turned = torch.allclose(torch.as_tensor(got), backwards)
    require(not turned, "the moves are scored backwards: pair(s, s') asks whether s' can follow s")
    require_close(got, by_hand, "with weight 0 it is not the sum of pair over the five moves of six states")


@plan_energy.property
def the_last_state_is_pulled(f: Answer) -> None:
    x = torch.rand(4, 6, 2, dtype=torch.float64)
    nothing = lambda s, t: torch.zeros(s.shape[:-1], dtype=s.dtype)
    goal = torch.rand(4, 2, dtype=torch.float64)
    expected = 3.0 * ((x[:, 5] - goal) ** 2).sum(-1)
    require_close(
        f(x, nothing, goal, 3.0), expected, "with pair = 0 it is not weight * |s_T - goal|², one goal for each trajectory"
    )


@problem(
    "An edge of the given length holds with probability sigmoid(-energy). Return its cost [*batch], so that the cost of a path is its length "
    "minus weight * log P(all its edges hold, independently).",
    hints=[
        "The probability of a path is a product; its logarithm is a sum over edges.",
        "-log sigmoid(-E) = log(1 + exp(E)) = softplus(E); torch.nn.functional.softplus does it without overflow.",
    ],
)
def risk_cost(length: Tensor, energy: Tensor, weight: float) -> Tensor:
    return length + weight * F.softplus(energy)


@risk_cost.property
def no_weight_is_length(f: Answer) -> None:
    length, energy = torch.rand(3, 5, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    require_close(f(length, energy, 0.0), length, "with weight 0 the cost is not the length")


@risk_cost.property
def paths_add_up(f: Answer) -> None:
    energy = torch.tensor([-3.0, 0.0, 1.5], dtype=torch.float64)
    got = require_tensor(f(torch.zeros(3, dtype=torch.float64), energy, 2.0), (3,), "the costs of three edges")
    holds = torch.sigmoid(-energy).prod().item()
    require_close(
        got.sum(),
        -2.0 * math.log(holds),
        f"three edges that all hold with probability {holds:.4f}: the cost of the path is wrong",
    )


@risk_cost.property
def worse_edges_cost_more(f: Answer) -> None:
    energy = torch.linspace(-5, 5, 11, dtype=torch.float64)
    got = require_tensor(f(torch.ones(11, dtype=torch.float64), energy, 0.5), (11,))
    require(
        bool((got.diff() > 0).all()) and bool((got >= 1).all()),
        "a higher energy must cost more, and no edge less than its length",
    )


@risk_cost.property
def large_energies(f: Answer) -> None:
    energy = torch.tensor([2000.0, -2000.0], dtype=torch.float64)
    expected = torch.tensor([2001.0, 1.0], dtype=torch.float64)
    require_close(
        f(torch.ones(2, dtype=torch.float64), energy, 1.0), expected, "energies of 2000 and -2000 do not cost 2001 and 1"
    )


@problem(
    "m wrong shortcuts are each kept with probability rate, independently, and the search takes every kept one until it has failed. Return "
    "the probability that at most `replans` of them are kept: the task is then solved.",
    hints=[
        "Without replanning none may be kept: (1 - rate)^m.",
        "The number kept is binomial; sum its probabilities from 0 to replans. math.comb counts the choices.",
    ],
)
def solved(rate: float, m: int, replans: int) -> float:
    return sum(math.comb(m, k) * rate**k * (1 - rate) ** (m - k) for k in range(min(replans, m) + 1))


@solved.property
def strict(f: Answer) -> None:
    for rate, m in ((0.01, 50), (0.3, 4), (0.0, 9)):
        require_close(
            f(rate, m, 0), (1 - rate) ** m, f"rate {rate}, {m} shortcuts, no replanning: every one of them must have been pruned"
        )


@solved.property
def by_enumeration(f: Answer) -> None:
    for rate, m, replans in ((0.2, 5, 1), (0.4, 6, 3), (0.1, 3, 2)):
        total = 0.0
        for kept in range(2**m):
            k = bin(kept).count("1")
            total += rate**k * (1 - rate) ** (m - k) if k <= replans else 0.0
        require_close(
            f(rate, m, replans), total, f"rate {rate}, {m} shortcuts, {replans} replans: not the sum over all {2**m} outcomes"
        )


@solved.property
def enough_replans(f: Answer) -> None:
    require_close(f(0.7, 3, 3), 1.0, "3 shortcuts and 3 replans always suffice")
    require_close(f(0.7, 3, 50), 1.0, "3 shortcuts and 50 replans always suffice")
