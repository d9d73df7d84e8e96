"""Exercises of lesson 07: the surrogate loss, the law of a chain after k steps, and writing chains back where they were read."""

from __future__ import annotations

import torch
from torch import Tensor

from ..energies import MLPEnergy
from ..functional import EnergyFunction
from ..samplers import ReplayBuffer
from .base import Answer, problem, require, require_close, require_tensor


@problem(
    "Return the loss whose gradient in the parameters is E_data[dE] - E_model[dE]: energy, data x_pos[P, D], samples x_neg[N, D] "
    "-> a number. The samples are constants: no gradient goes back into how they were made.",
    hints=[
        "Data go down, samples go up. Means, not sums: the two batches may differ in size.",
        "x_neg may carry a graph from the sampler. Which method of a tensor cuts it?",
    ],
)
def surrogate(energy: EnergyFunction, x_pos: Tensor, x_neg: Tensor) -> Tensor:
    return energy(x_pos).mean() - energy(x_neg.detach()).mean()


def _quadratic(k: Tensor) -> EnergyFunction:
    return lambda x: 0.5 * k * (x**2).sum(-1)


@surrogate.property
def known_gradient(f: Answer) -> None:
    k = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    x_pos, x_neg = torch.randn(6, 2, dtype=torch.float64), 2 * torch.randn(9, 2, dtype=torch.float64)
    loss = f(_quadratic(k), x_pos, x_neg)
    require(isinstance(loss, Tensor) and loss.ndim == 0 and loss.requires_grad, "the loss is not one differentiable number")
    (grad,) = torch.autograd.grad(loss, k)
    wanted = 0.5 * ((x_pos**2).sum(-1).mean() - (x_neg**2).sum(-1).mean())
    require_close(grad, wanted, "the gradient in the parameter is not E_data[dE] - E_model[dE]")


@surrogate.property
def samples_are_constants(f: Answer) -> None:
    energy = MLPEnergy(2, hidden_features=(8,)).double()
    start = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    loss = f(energy, torch.randn(4, 2, dtype=torch.float64), 3 * start)
    require(isinstance(loss, Tensor) and loss.requires_grad, "the loss does not depend on the energy's parameters")
    (grad,) = torch.autograd.grad(loss, start, allow_unused=True)
    require(grad is None or bool((grad == 0).all()), "a gradient flows back into the sampler")


@surrogate.property
def level_is_free(f: Answer) -> None:
    x = torch.randn(4, 2, dtype=torch.float64)
    k = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    e = _quadratic(k)
    a, b = (require_tensor(f(lambda x, c=c: e(x) + c, x, 2 * x), (), "your loss") for c in (0.0, 7.0))
    require_close(a, b, "a constant added to the energy changes the loss")


@problem(
    "Return the law after k steps: the transition matrix M[n, n] (rows sum to 1: M[i, j] is the probability to go from i to j) and "
    "a law p[n] -> the law [n] of a chain that starts from p and takes k steps.",
    hints=[
        "After one step, the probability of j collects p_i M_ij over all i: from which side does p multiply?",
        "k = 0 changes nothing. Probabilities add up to 1 at every k.",
    ],
)
def after_steps(M: Tensor, p: Tensor, k: int) -> Tensor:
    for _ in range(k):
        p = p @ M
    return p


def _chain(n: int) -> Tensor:
    t = torch.rand(n, n, dtype=torch.float64) ** 3
    return t / t.sum(1, keepdim=True)


@after_steps.property
def two_states_by_hand(f: Answer) -> None:
    M = torch.tensor([[0.9, 0.1], [0.4, 0.6]], dtype=torch.float64)
    p = torch.tensor([1.0, 0.0], dtype=torch.float64)
    require_close(f(M, p, 0), p, "zero steps change the law")
    require_close(f(M, p, 1), torch.tensor([0.9, 0.1]), "one step from state 0 is not the first row of M")
    require_close(f(M, p, 2), torch.tensor([0.85, 0.15]), "two steps from state 0 are wrong")


@after_steps.property
def probabilities_and_limit(f: Answer) -> None:
    M, p = _chain(5), torch.softmax(torch.randn(5, dtype=torch.float64), 0)
    q = require_tensor(f(M, p, 3), (5,))
    require_close(q.sum(), 1.0, "after three steps the probabilities do not add up to 1")
    require_close(f(M, p, 7), torch.linalg.matrix_power(M.T, 7) @ p, "seven steps are wrong")
    far = require_tensor(f(M, p, 400), (5,))
    require_close(far @ M, far, "after many steps the law is not stationary")


@problem(
    "One turn of persistent chains: buffer (a ReplayBuffer), fresh[batch, D], move(x) -> x (k sampler steps). Draw, move, store; "
    "return the moved points [batch, D].",
    hints=[
        "buffer.draw gives two things. What is the first one for?",
        "Chains live on only if they go back to the slots that they were read from.",
    ],
)
def persistent_step(buffer: ReplayBuffer, fresh: Tensor, move: Answer) -> Tensor:
    index, x = buffer.draw(fresh)
    x = move(x)
    buffer.store(index, x)
    return x


@persistent_step.property
def every_chain_keeps_its_ancestor(f: Answer) -> None:
    buffer = ReplayBuffer(torch.arange(40.0)[:, None], restart_prob=0.0)
    for _ in range(60):
        out = require_tensor(f(buffer, torch.full((8, 1), -100.0), lambda x: x.clone()), (8, 1))
        require((out >= 0).all(), "the points do not come from the buffer: fresh points are for restarted chains only")
    require(
        torch.equal(buffer.x.flatten().sort().values, torch.arange(40.0)),
        "with a sampler that does not move, some chains were copied and others lost",
    )


@persistent_step.property
def chains_advance(f: Answer) -> None:
    buffer = ReplayBuffer(torch.zeros(12, 2), restart_prob=0.0)
    out = require_tensor(f(buffer, torch.zeros(4, 2), lambda x: x + 1.0), (4, 2))
    require_close(out, torch.ones(4, 2), "the points that come back were not moved exactly once")
    require_close(buffer.x.sum(), 8.0, "the buffer does not hold the moved points, each once")
    for _ in range(29):
        f(buffer, torch.zeros(4, 2), lambda x: x + 1.0)
    require_close(buffer.x.sum(), 30 * 8.0, "after thirty turns the chains have not made thirty moves in all")


@persistent_step.property
def restarts_are_honoured(f: Answer) -> None:
    buffer = ReplayBuffer(torch.zeros(12, 1), restart_prob=1.0)
    out = require_tensor(f(buffer, torch.full((4, 1), 5.0), lambda x: x + 1.0), (4, 1))
    require_close(out, torch.full((4, 1), 6.0), "a restarted chain does not begin from its fresh point")
