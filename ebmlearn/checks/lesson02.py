"""Exercises of lesson 02: inference as argmin, the hinge loss over all pairs, mismatched pairs as negatives."""

from __future__ import annotations

import torch
from torch import Tensor

from ..functional import EnergyFunction
from .base import Answer, problem, require, require_close, require_tensor


def _two_branches(points: Tensor) -> Tensor:
    """Low where y = 1 + x or, a little less, where y = -1 + x."""
    x, y = points.unbind(-1)
    up, down = (y - x - 1) ** 2, (y - x + 1) ** 2 + 0.1
    return torch.minimum(up, down) + 5.0


@problem(
    "Return the answer to each question: energy(points[*batch, 2]) -> [*batch] of pairs (x, y); x[B], candidates[K] -> y_hat[B], "
    "the candidate of lowest energy.",
    hints=[
        "First the energies of all B x K pairs, with the question in the first coordinate; then one choice for each question.",
        "torch.stack(torch.broadcast_tensors(x[:, None], candidates), -1) are the pairs. Which of argmin and min is an answer?",
    ],
)
def infer(energy: EnergyFunction, x: Tensor, candidates: Tensor) -> Tensor:
    pairs = torch.stack(torch.broadcast_tensors(x[:, None], candidates), dim=-1)
    return candidates[energy(pairs).argmin(dim=-1)]


@infer.property
def answers_are_candidates(f: Answer) -> None:
    candidates = torch.linspace(-4, 4, 33, dtype=torch.float64)
    y = require_tensor(f(_two_branches, torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64), candidates), (3,))
    energies = _two_branches(torch.stack([torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64), y], -1))
    nearest = (y[:, None] - candidates).abs().min(-1).values
    require((nearest < 1e-9).all(), "what comes back is not among the candidates: is it an answer, an energy, or an index?")
    require((energies < 5.0 + 1e-9).all(), "some answers are not the candidate of lowest energy")


@infer.property
def each_question_has_its_own_answer(f: Answer) -> None:
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    candidates = torch.linspace(-4, 4, 65, dtype=torch.float64).flip(0)
    y = f(_two_branches, x, candidates)
    require_close(y, x + 1, "the answers do not follow the questions")
    y = f(lambda p: _two_branches(p) - 100.0, x, candidates)
    require_close(y, x + 1, "a constant added to the energy changes the answers")


@problem(
    "Return the hinge loss over all pairs: e_pos[P], e_neg[N], margin m -> the mean over the P x N pairs of max(0, m + E(x+) - E(x-)).",
    hints=[
        "Every positive meets every negative: give the two vectors axes that broadcast to P x N.",
        "Which of the two must lie lower? A pair whose gap is already m costs nothing.",
    ],
)
def hinge_all_pairs(e_pos: Tensor, e_neg: Tensor, margin: float) -> Tensor:
    return (margin + e_pos[:, None] - e_neg[None, :]).clamp(min=0).mean()


@hinge_all_pairs.property
def by_hand(f: Answer) -> None:
    e_pos, e_neg = torch.tensor([0.0, 2.0], dtype=torch.float64), torch.tensor([0.5, 1.0, 5.0], dtype=torch.float64)
    wanted = (0.5 + 0.0 + 0.0 + 2.5 + 2.0 + 0.0) / 6
    given = require_tensor(f(e_pos, e_neg, 1.0), (), "the loss")
    require_close(
        given, wanted, f"e_pos (0, 2), e_neg (0.5, 1, 5), margin 1: you give {given:.3f}, which is not the value by hand"
    )


@hinge_all_pairs.property
def zero_when_apart(f: Answer) -> None:
    low, high = torch.zeros(4, dtype=torch.float64), torch.full((4,), 2.0, dtype=torch.float64)
    require_close(f(low, high, 1.5), 0.0, "a gap wider than the margin still costs something")
    require_close(f(high, low, 1.5), 3.5, "a gap on the wrong side does not cost margin + gap")
    require_close(f(low, low, 0.3), 0.3, "a flat energy does not cost exactly the margin")


@hinge_all_pairs.property
def pushes_the_right_way(f: Answer) -> None:
    e_pos, e_neg = (
        torch.zeros(3, dtype=torch.float64, requires_grad=True),
        torch.zeros(5, dtype=torch.float64, requires_grad=True),
    )
    loss = f(e_pos, e_neg, 1.0)
    require(
        isinstance(loss, Tensor) and loss.requires_grad,
        "the loss does not depend on the energies through differentiable operations",
    )
    d_pos, d_neg = torch.autograd.grad(loss, [e_pos, e_neg], allow_unused=True)
    require(d_pos is not None and d_neg is not None, "one of the two kinds of energies is never pushed")
    require_close(d_pos, torch.full((3,), 1 / 3), "descending the loss does not lower the data's energies by the mean's share")
    require_close(
        d_neg, torch.full((5,), -1 / 5), "descending the loss does not raise the negatives' energies by the mean's share"
    )


@problem(
    "Return negatives from mismatched pairs: x[B, 1], y[B, 1] -> y_neg[B, 1], where row i gets the y of another row, and every y is used once.",
    hints=[
        "A shuffle that may leave a row where it is makes a true pair and calls it false.",
        "Is there a shift that moves every row?",
    ],
)
def mismatched(x: Tensor, y: Tensor) -> Tensor:
    return y.roll(1, dims=0)


@mismatched.property
def every_row_gets_anothers(f: Answer) -> None:
    for n in [2, 3, 5, 8, 31] * 6:
        x, y = torch.randn(n, 1, dtype=torch.float64), torch.randn(n, 1, dtype=torch.float64)
        y_neg = require_tensor(f(x.clone(), y.clone()), (n, 1))
        require(
            torch.equal(y_neg.flatten().sort().values, y.flatten().sort().values),
            "the negatives are not the batch's own answers, each used once",
        )
        require((y_neg != y).all(), "some rows keep their own answer: a true pair among the negatives")
