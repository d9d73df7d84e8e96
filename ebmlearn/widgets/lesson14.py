"""Widget of lesson 14: the game on a histogram, round by round, with and without entropy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..viz import BLUE, GREEN, ORANGE
from .explorer import Explorer, slider


class Game(NamedTuple):
    """A played game: the sampler `[rounds + 1, K]`, the energy `[rounds + 1, K]` and half of sum |p - pi| of each round."""

    sampler: Tensor
    energy: Tensor
    distance: Tensor


def data_histogram(n: int = 24) -> Tensor:
    """Two humps of unequal mass over n bins, `[n]`."""
    x = torch.linspace(-3, 3, n)
    p = 0.7 * torch.exp(-2 * (x + 1.3) ** 2) + 0.3 * torch.exp(-4 * (x - 1.5) ** 2) + 1e-3
    return p / p.sum()


def play(p: Tensor, *, tau: float, rounds: int, rate: float = 2.0) -> Game:
    """The minimax game on a histogram, the sampler answering best in every round.

    The energy steps down E_p[E] - E_pi[E], bin by bin: E <- E - rate (p - pi). The sampler answers with what minimises
    E_pi[E] - tau H(pi), which is softmax(-E/tau); at tau = 0 that is all mass on the lowest bin.
    """
    e = torch.zeros_like(p)
    samplers, energies = [], []
    for _ in range(rounds + 1):
        pi = torch.softmax(-e / tau, 0) if tau > 0 else torch.nn.functional.one_hot(e.argmin(), len(e)).to(p.dtype)
        samplers.append(pi)
        energies.append(e)
        e = e - rate * (p - pi)
    s = torch.stack(samplers)
    return Game(s, torch.stack(energies), 0.5 * (s - p).abs().sum(-1))


def draw_game(axes: np.ndarray, tau: float, rounds: int, rate: float) -> str:
    """Data, sampler and energy after so many rounds, and the distance round by round; returns what is seen."""
    p = data_histogram()
    game = play(p, tau=tau, rounds=rounds, rate=rate)
    left, middle, right = axes
    x = np.linspace(-3, 3, len(p))
    left.bar(x, p.numpy(), width=0.25, color=BLUE, alpha=0.5, label="data $p$")
    left.step(x, game.sampler[-1].numpy(), where="mid", color=ORANGE, label=r"sampler $\pi$")
    left.set(xlabel="$x$", ylabel="mass of a bin")
    left.legend()
    e = game.energy[-1]
    middle.plot(x, (e - e.mean()).numpy(), color=GREEN, label="energy $E$")
    truth = -tau * p.log()
    middle.plot(x, (truth - truth.mean()).numpy(), "k:", label=r"$-\tau \log p$")
    middle.set(xlabel="$x$", ylabel="energy, mean 0")
    middle.legend()
    right.plot(game.distance.numpy(), color=ORANGE)
    right.set(xlabel="round", ylabel=r"total variation of $\pi$ and $p$", ylim=(0, 1))
    late = game.distance[-max(1, rounds // 4) :]
    state = "has settled" if float(late.max() - late.min()) < 0.02 else "still moves"
    return f"tau = {tau:g}, {rounds} rounds: total variation {float(game.distance[-1]):.3f}; the sampler {state}."


class GameExplorer(Explorer):
    """The weight of the entropy, the rounds and the energy's rate against where the game goes."""

    def __init__(self) -> None:
        super().__init__(
            draw_game,
            {
                "tau": slider(0.3, 0.0, 1.0, step=0.05, label="entropy weight tau", help="0: the sampler only seeks low energy"),
                "rounds": slider(200, 0, 1000, step=20, label="rounds"),
                "rate": slider(2.0, 0.2, 10.0, step=0.2, label="rate of the energy"),
            },
            figsize=(10.0, 3.2),
            panels=3,
        )
