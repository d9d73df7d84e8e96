"""Exercises of lesson 14: the game on a histogram, the critic that gamma makes, one backup of soft value iteration."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Answer, problem, require, require_close, require_tensor


def _histograms(n: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    p, pi = (torch.rand(n, dtype=torch.float64) + 0.1 for _ in range(2))
    return p / p.sum(), pi / pi.sum(), torch.randn(n, dtype=torch.float64)


@problem(
    "Return KL(p||q) - KL(pi||q) for histograms p[K], pi[K] and q proportional to exp(-E/tau), energies[K], without computing Z.",
    hints=[
        "Write both divergences out. Which terms contain log q, and what does log Z multiply in each?",
        "log Z stands in both and cancels: what is left is an average energy under p, one under pi, and two entropies.",
        "The energies come divided by tau; the entropy of pi has a plus sign, that of p a minus sign.",
    ],
)
def game_value(p: Tensor, pi: Tensor, energies: Tensor, tau: float) -> Tensor:
    gap = ((p - pi) * energies).sum() / tau
    return gap - (pi * pi.log()).sum() + (p * p.log()).sum()


@game_value.property
def is_the_difference(f: Answer) -> None:
    for tau in (0.5, 1.0, 3.0):
        p, pi, e = _histograms()
        q = torch.softmax(-e / tau, 0)
        target = (p * (p / q).log()).sum() - (pi * (pi / q).log()).sum()
        got = require_tensor(f(p, pi, e, tau), (), "your value")
        require_close(
            got, target, f"at tau = {tau:g} your value is {float(got):.4f}; the two divergences differ by {float(target):.4f}"
        )


@game_value.property
def vanishes_at_the_data(f: Answer) -> None:
    p, _, e = _histograms()
    require_close(f(p, p, e, 0.7), 0.0, "with pi = p the value is not 0, whatever the energy")


@game_value.property
def level_is_free(f: Answer) -> None:
    p, pi, e = _histograms()
    require_close(f(p, pi, e + 1e3, 1.0), f(p, pi, e, 1.0), "adding 1000 to every energy changes the value", atol=1e-6)


@problem(
    "For a fixed sampler pi, return the energies[K] that minimise sum p E - sum pi E + gamma (sum p E² + sum pi E²).",
    hints=[
        "Every bin is a problem of its own: a parabola in one number.",
        "Set its derivative in E to zero: p - pi + 2 gamma (p + pi) E = 0.",
    ],
)
def critic(p: Tensor, pi: Tensor, gamma: float) -> Tensor:
    return -(p - pi) / (2 * gamma * (p + pi))


@critic.property
def low_on_data(f: Answer) -> None:
    p, pi, _ = _histograms()
    e = require_tensor(f(p, pi, 0.3), (6,), "your energies for 6 bins")
    more = p > pi
    require(
        bool((e[more] < 0).all() and (e[~more] > 0).all()), "the energy is not low where the data have more mass than the sampler"
    )


@critic.property
def is_bounded(f: Answer) -> None:
    p, pi, _ = _histograms()
    for gamma in (0.1, 1.0):
        e = require_tensor(f(p, pi, gamma), (6,))
        require(
            bool((e.abs() <= 0.5 / gamma + 1e-9).all()),
            f"at gamma = {gamma:g} some energies pass 1/(2 gamma) = {0.5 / gamma:g} in size",
        )


@critic.property
def is_the_minimum(f: Answer) -> None:
    for gamma in (0.1, 0.5, 2.0):
        p, pi, _ = _histograms()

        def loss(e: Tensor, p: Tensor = p, pi: Tensor = pi, gamma: float = gamma) -> Tensor:
            return ((p - pi) * e).sum() + gamma * ((p + pi) * e**2).sum()

        e = require_tensor(f(p, pi, gamma), (6,))
        best = -((p - pi) ** 2 / (p + pi)).sum() / (4 * gamma)
        require(float(loss(e)) < float(best) + 1e-8, f"at gamma = {gamma:g} other energies have a smaller loss than yours")


@problem(
    "Return V_t[S] from V_{t+1}[S], both in units of tau: costs cost[S, A], next states move[S, A], temperature tau.",
    hints=[
        "V_{t+1}[move] has the shape [S, A]: what each action leads to.",
        "An ordinary backup takes the minimum over actions of cost/tau + what follows. Soften it: minus the log of a sum of exp(-...).",
    ],
)
def soft_backup(cost: Tensor, move: Tensor, value_next: Tensor, tau: float) -> Tensor:
    return -torch.logsumexp(-(cost / tau + value_next[move]), dim=-1)


def _process() -> tuple[Tensor, Tensor, Tensor]:
    return torch.rand(4, 3, dtype=torch.float64), torch.randint(0, 4, (4, 3)), torch.randn(4, dtype=torch.float64)


@soft_backup.property
def one_value_a_state(f: Answer) -> None:
    cost, move, value = _process()
    require_tensor(f(cost, move, value, 1.0), (4,), "your result for 4 states")


@soft_backup.property
def counts_the_ways(f: Answer) -> None:
    move = torch.zeros(2, 3, dtype=torch.long)
    got = f(torch.zeros(2, 3, dtype=torch.float64), move, torch.zeros(2, dtype=torch.float64), 1.0)
    require_close(
        got,
        -torch.log(torch.full((2,), 3.0)),
        "with three free actions the value is not -log 3: every way through must be counted",
    )


@soft_backup.property
def becomes_the_minimum_when_cold(f: Answer) -> None:
    cost, move, value = _process()
    tau = 1e-3
    got = tau * require_tensor(f(cost, move, value / tau, tau), (4,))
    target = (cost + value[move]).min(-1).values
    require_close(got, target, "at tau = 0.001 the value is not the cost of the best action", atol=0.01)


@soft_backup.property
def sums_the_futures(f: Answer) -> None:
    cost, move, value = _process()
    for tau in (0.5, 2.0):
        target = -torch.exp(-cost / tau - value[move]).sum(-1).log()
        require_close(
            f(cost, move, value, tau),
            target,
            f"at tau = {tau:g} exp(-V_t) is not the sum over actions of exp(-cost/tau - V next)",
        )
