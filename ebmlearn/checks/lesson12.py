"""Exercises of lesson 12: the NT-Xent loss, the marginal over the circle, the energy of a composed condition."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Answer, problem, require, require_close, require_tensor


@problem(
    "Return NT-Xent of p1[B, d] and p2[B, d]: for each of the 2B views, -log of the softmax of cos/tau at its partner, over all views but itself; the mean.",
    hints=[
        "Normalise the 2B vectors; one matrix product gives all cosines.",
        "A view must not be compared with itself: put -inf on the diagonal before the softmax.",
        "Row i's partner is row i + B, and row i + B's is row i; F.cross_entropy takes logits and partners.",
    ],
)
def contrast(p1: Tensor, p2: Tensor, tau: float) -> Tensor:
    b = len(p1)
    p = F.normalize(torch.cat([p1, p2]), dim=-1)
    logits = (p @ p.mT / tau).fill_diagonal_(float("-inf"))
    return F.cross_entropy(logits, torch.arange(2 * b).roll(b))


def _views(b: int = 5, d: int = 4) -> tuple[Tensor, Tensor]:
    return torch.randn(b, d, dtype=torch.float64), torch.randn(b, d, dtype=torch.float64)


@contrast.property
def equal_views_leave_a_guess(f: Answer) -> None:
    for b in (3, 8):
        same = torch.ones(b, 4, dtype=torch.float64)
        got = require_tensor(f(same, same, 0.2), (), "your loss")
        require_close(
            got, math.log(2 * b - 1), f"with {2 * b} equal views the loss is not log {2 * b - 1}: how many choices has each view?"
        )


@contrast.property
def sees_directions_only(f: Answer) -> None:
    p1, p2 = _views()
    require_close(f(3 * p1, 0.2 * p2, 0.5), f(p1, p2, 0.5), "the loss changes when a vector gets longer")


@contrast.property
def is_symmetric(f: Answer) -> None:
    p1, p2 = _views()
    require_close(f(p2, p1, 0.5), f(p1, p2, 0.5), "exchanging the two views changes the loss")


@contrast.property
def is_the_mean_over_all_views(f: Answer) -> None:
    for tau in (0.2, 1.0):
        p1, p2 = _views()
        p = F.normalize(torch.cat([p1, p2]), dim=-1)
        total = 0.0
        for i in range(10):
            others = torch.stack([p[i] @ p[j] / tau for j in range(10) if j != i])
            total += float(torch.logsumexp(others, 0) - p[i] @ p[(i + 5) % 10] / tau) / 10
        require_close(f(p1, p2, tau), total, f"at tau = {tau:g} the loss is not the mean over the 2B views")


@problem(
    "Return F = -log of the integral of exp(-E(x, z)) over z on the unit circle, for E = e - beta u·z, a number e and a unit vector u[2]; by quadrature.",
    hints=[
        "z = (cos t, sin t), t from 0 to 2 pi: the integral is over t.",
        "Take many equally spaced t (without the end point, which is the first again) and the mean of exp(-E), times 2 pi.",
        "logsumexp keeps large beta from overflowing.",
    ],
)
def circle_free_energy(e: float, u: Tensor, beta: float) -> Tensor:
    t = torch.arange(2000, dtype=torch.float64) * (2 * math.pi / 2000)
    z = torch.stack([t.cos(), t.sin()], dim=-1)
    energies = e - beta * (z @ u.double())
    return -(torch.logsumexp(-energies, 0) + math.log(2 * math.pi / 2000))


def _unit() -> Tensor:
    return F.normalize(torch.randn(2, dtype=torch.float64), dim=0)


@circle_free_energy.property
def empty_condition(f: Answer) -> None:
    got = require_tensor(f(0.7, _unit(), 0.0), (), "your free energy")
    require_close(
        got, 0.7 - math.log(2 * math.pi), "at beta = 0 F is not e minus the log of the circle's length", atol=2e-3, rtol=0
    )


@circle_free_energy.property
def direction_drops_out(f: Answer) -> None:
    for beta in (0.5, 5.0):
        require_close(
            f(0.0, _unit(), beta), f(0.0, _unit(), beta), f"at beta = {beta:g} F depends on the direction of u", atol=2e-3, rtol=0
        )


@circle_free_energy.property
def is_the_bessel_constant(f: Answer) -> None:
    for beta in (0.5, 3.0, 800.0):
        b = torch.tensor(beta, dtype=torch.float64)
        target = -0.3 - math.log(2 * math.pi) - float(torch.special.i0e(b).log() + b)
        require_close(f(-0.3, _unit(), beta), target, f"at beta = {beta:g} F is not e - log(2 pi I0(beta))", atol=5e-3, rtol=1e-3)


@problem(
    "Return the energies e_i - sum_k w_k cos(u_i, z_k): e[N], u[N, d] not normalised, latents z[K, d], weights w[K].",
    hints=[
        "cos needs both vectors normalised: u along its last axis, z too.",
        "All N x K cosines are one matrix product; weigh them with w and sum over K.",
    ],
)
def steer(e: Tensor, u: Tensor, z: Tensor, w: Tensor) -> Tensor:
    return e - F.normalize(u, dim=-1) @ F.normalize(z, dim=-1).mT @ w


def _terms(n: int = 6, k: int = 2, d: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return tuple(torch.randn(*s, dtype=torch.float64) for s in ((n,), (n, d), (k, d), (k,)))  # type: ignore[return-value]


@steer.property
def no_weight_no_change(f: Answer) -> None:
    e, u, z, w = _terms()
    require_close(
        require_tensor(f(e, u, z, 0 * w), (6,), "your energies of 6 points"), e, "with weights 0 the energies are not e"
    )


@steer.property
def agreement_lowers(f: Answer) -> None:
    e, u, _, _ = _terms(k=1)
    one = torch.ones(1, dtype=torch.float64)
    got = require_tensor(f(e, u, u[:1], one), (6,))
    require_close(
        got[0], e[0] - 1, "a point whose u points along z, at weight 1, does not lie exactly 1 lower than without the condition"
    )


@steer.property
def lengths_do_not_matter(f: Answer) -> None:
    e, u, z, w = _terms()
    require_close(f(e, 4 * u, 0.3 * z, w), f(e, u, z, w), "longer vectors change the energy: cos sees directions only")


@steer.property
def is_the_sum(f: Answer) -> None:
    for k in (1, 3):
        e, u, z, w = _terms(k=k)
        target = e.clone()
        for i in range(k):
            target = target - w[i] * F.cosine_similarity(u, z[i : i + 1], dim=-1)
        require_close(f(e, u, z, w), target, f"with {k} condition(s) the energies are not e - sum of w cos")
        require(
            bool((require_tensor(f(e, u, z, -w), (6,)) - e + (target - e)).abs().max() < 1e-6),
            "a negative weight does not raise what a positive one lowers",
        )
