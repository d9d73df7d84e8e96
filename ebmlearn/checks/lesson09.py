"""Exercises of lesson 09: zero temperature, the normalised free energy, and the variational bound."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .base import Answer, problem, require, require_close, require_tensor


def _energies(*shape: int) -> Tensor:
    return 3 * torch.randn(*shape, dtype=torch.float64)


def _distributions(*shape: int) -> Tensor:
    return torch.softmax(torch.randn(*shape, dtype=torch.float64), -1)


@problem(
    "From energies [*batch, K] of K latents and the latents [K, d], return the pair (F_inf [*batch], z* [*batch, d]).",
    hints=[
        "One of the two is an energy, the other a latent. Which one is a min, which one an argmin?",
        "energies.min(dim=-1) has both: values and indices. An index is not yet a latent.",
        "latents[index] with an index of shape [*batch] has the shape [*batch, d].",
    ],
)
def zero_temperature(energies: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
    lowest, index = energies.min(dim=-1)
    return lowest, latents[index]


def _pair(answer: Any) -> tuple[Any, Any]:
    require(isinstance(answer, (tuple, list)) and len(answer) == 2, "expected a pair (F_inf, z*)")
    return answer[0], answer[1]


@zero_temperature.property
def a_pair_of_the_right_shapes(f: Answer) -> None:
    for batch in ((5,), (4, 3)):
        lowest, z = _pair(f(_energies(*batch, 7), _energies(7, 2)))
        require_tensor(lowest, batch, "F_inf")
        require_tensor(z, (*batch, 2), "z*")


@zero_temperature.property
def first_an_energy_then_a_latent(f: Answer) -> None:
    energies = torch.tensor([[3.0, 1.0, 2.0], [-4.0, 5.0, 0.0]], dtype=torch.float64)
    latents = torch.tensor([[10.0], [20.0], [30.0]], dtype=torch.float64)
    lowest, z = _pair(f(energies, latents))
    require_close(lowest, [1.0, -4.0], "F_inf is not the lowest energy of each row")
    require_close(z, [[20.0], [10.0]], "z* is not the latent of the lowest energy: is it an index, or a mean?")


@zero_temperature.property
def the_latent_has_the_energy(f: Answer) -> None:
    x, latents = _energies(6, 2), _energies(50, 2)
    energies = (x[:, None] - latents).square().sum(-1)
    lowest, z = _pair(f(energies, latents))
    z = require_tensor(z, (6, 2), "z*")
    require_close((x - z).square().sum(-1), lowest, "the energy of z* is not F_inf")
    require((torch.as_tensor(lowest)[:, None] <= energies + 1e-9).all(), "some latent has an energy below F_inf")


@problem(
    "From energies [*batch, K], return the normalised free energy -1/beta log mean_k exp(-beta E_k), [*batch], for any beta > 0.",
    hints=[
        "A mean is a sum divided by K; a logarithm turns the division into a difference.",
        "torch.logsumexp(-beta * energies, dim=-1) does not overflow.",
        "Minus 1/beta times (logsumexp minus log K).",
    ],
)
def free_energy(energies: Tensor, beta: float) -> Tensor:
    return -(torch.logsumexp(-beta * energies, dim=-1) - math.log(energies.shape[-1])) / beta


@free_energy.property
def one_number_for_each_row(f: Answer) -> None:
    require_tensor(f(_energies(5, 7), 1.0), (5,), "the free energy of 5 rows")
    require_tensor(f(_energies(4, 3, 7), 1.0), (4, 3), "the free energy of 4 x 3 rows")


@free_energy.property
def of_a_constant(f: Answer) -> None:
    for beta in (0.3, 1.0, 4.0):
        require_close(
            f(torch.full((2, 8), 1.5, dtype=torch.float64), beta),
            [1.5, 1.5],
            f"eight latents of energy 1.5 do not have the free energy 1.5, at beta = {beta}: sign, or normalisation?",
        )


@free_energy.property
def between_min_and_mean(f: Answer) -> None:
    energies = _energies(20, 9)
    for beta in (0.1, 1.0, 10.0):
        found = require_tensor(f(energies, beta), (20,))
        require((found >= energies.amin(-1) - 1e-9).all(), f"at beta = {beta} it lies below the lowest energy")
        require((found <= energies.mean(-1) + 1e-9).all(), f"at beta = {beta} it lies above the mean energy")


@free_energy.property
def two_limits(f: Answer) -> None:
    energies = _energies(6, 9)
    require_close(f(energies, 1e-7), energies.mean(-1), "for beta -> 0 it is not the mean energy")
    require_close(f(energies, 1e7), energies.amin(-1), "for beta -> infinity it is not the lowest energy")


@free_energy.property
def at_finite_beta(f: Answer) -> None:
    energies = _energies(6, 9)
    for beta in (0.5, 2.0):
        exact = -torch.exp(-beta * energies).mean(-1).log() / beta
        require_close(f(energies, beta), exact, f"both limits are right, but at beta = {beta} it is another number")


@free_energy.property
def survives_large_numbers(f: Answer) -> None:
    energies = _energies(4, 5)
    for level in (-5000.0, 5000.0):
        require_close(
            require_tensor(f(energies + level, 2.0), (4,), f"at energies near {level:g} the free energy") - level,
            -torch.exp(-2 * energies).mean(-1).log() / 2,
            f"energies near {level:g} give a wrong number",
        )


@problem(
    "From energies [*batch, K] and probabilities q [*batch, K], return E_q[E] - H(q)/beta, [*batch]; q may contain zeros.",
    hints=[
        "Two sums over the last axis: q E, and the entropy H(q) = -sum q log q.",
        "0 log 0 counts as 0; on a computer it is nan. torch.xlogy(q, q) knows.",
        "The entropy is divided by beta: at a high temperature spreading out pays more.",
    ],
)
def variational_bound(energies: Tensor, q: Tensor, beta: float) -> Tensor:
    return (q * energies).sum(-1) + torch.xlogy(q, q).sum(-1) / beta


@variational_bound.property
def one_number_for_each_pair(f: Answer) -> None:
    require_tensor(f(_energies(5, 7), _distributions(5, 7), 1.0), (5,), "the bound of 5 rows")
    require_tensor(f(_energies(4, 3, 7), _distributions(4, 3, 7), 1.0), (4, 3), "the bound of 4 x 3 rows")


@variational_bound.property
def a_sure_latent_has_no_entropy(f: Answer) -> None:
    energies, sure = _energies(4, 4), torch.eye(4, dtype=torch.float64)
    require_close(
        f(energies, sure, 2.0), energies.diagonal(), "a q that is sure of one latent does not give that latent's energy"
    )


@variational_bound.property
def uniform_on_a_constant(f: Answer) -> None:
    q = torch.full((1, 8), 0.125, dtype=torch.float64)
    for beta in (0.5, 3.0):
        found = require_tensor(f(torch.zeros(1, 8, dtype=torch.float64), q, beta), (1,)).item()
        require(found < 0, "with all energies 0 and q uniform the bound is not negative: the sign of the entropy")
        require_close(found * beta / torch.tensor(8.0).log().item(), -1.0, f"the entropy has the wrong weight at beta = {beta}")


@variational_bound.property
def touches_at_the_posterior(f: Answer) -> None:
    energies = _energies(10, 6)
    for beta in (0.3, 1.0, 5.0):
        exact = -torch.logsumexp(-beta * energies, -1) / beta
        posterior = torch.softmax(-beta * energies, -1)
        require_close(f(energies, posterior, beta), exact, f"at the posterior the bound is not F_beta, beta = {beta}")
        other = require_tensor(f(energies, _distributions(10, 6), beta), (10,))
        require((other >= exact - 1e-9).all(), f"another q gives less than F_beta, beta = {beta}")
