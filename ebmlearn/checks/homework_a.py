"""Homework A: energies, Boltzmann's distribution, Markov chains that sample it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..energies import DoubleWell, Energy, Gaussian
from ..functional import value_and_grad
from ..metrics.partition import quadrature
from .base import Answer, require, require_close, require_tensor
from .homework import graded

TITLE = "Homework A: energies and sampling"
MANUAL: dict[str, int] = {}
DRAWS = 1000  # points of the sampling problem; its bands are 5 standard errors wide


def _randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), dtype=torch.float64))


def _pair(answer: Any, what: str) -> tuple[Any, Any]:
    require(isinstance(answer, tuple | list) and len(answer) == 2, f"expected a pair ({what})")
    return answer[0], answer[1]


@graded(
    "From energies [*batch, K] of K states, return their probabilities [*batch, K] at temperature T > 0.",
    points=4,
    hints=[
        "p is proportional to exp(-E/T), and adds up to 1 over the last axis.",
        "Energies near 5000 must work: subtract the lowest energy first, or use a function that does.",
    ],
)
def boltzmann(energies: Tensor, temperature: float) -> Tensor: ...


@boltzmann.property
def probabilities(f: Answer) -> None:
    for batch in ((5,), (4, 3)):
        p = require_tensor(f(3 * _randn(*batch, 6), 1.0), (*batch, 6), "the probabilities")
        require((p >= 0).all(), "a probability is negative")
        require_close(p.sum(-1), torch.ones(batch), "the probabilities of the states do not add up to 1")


@boltzmann.property
def low_is_likely(f: Answer) -> None:
    energies = 2 * _randn(1, 6)
    p = require_tensor(f(energies, 1.0), (1, 6))
    require(p.argmax() == energies.argmin(), "the state of lowest energy is not the most likely one")


@boltzmann.property
def ratios(f: Answer) -> None:
    energies = _randn(3, 5)
    for temperature in (0.5, 1.0, 3.0):
        log_p = require_tensor(f(energies, temperature), (3, 5)).log()
        found = log_p[:, :1] - log_p[:, 1:]
        exact = (energies[:, 1:] - energies[:, :1]) / temperature
        require_close(found, exact, f"at T = {temperature} the ratio of two states does not follow from their energies")


@boltzmann.property
def survives_large_energies(f: Answer) -> None:
    energies = _randn(2, 5)
    for level in (-5000.0, 5000.0):
        p = require_tensor(f(energies + level, 0.7), (2, 5), f"the probabilities at energies near {level:g}")
        require_close(p, f(energies, 0.7), f"energies near {level:g} give other probabilities than the same ones near 0")


@graded(
    "From energies [K] of all states, return the pair (U, C) at temperature T: the mean energy and the heat capacity C = dU/dT.",
    points=4,
    hints=[
        "U is a mean under the probabilities of the first problem.",
        "Differentiate U in T: the derivative of p has a factor 1/T².",
        "C is the variance of the energy, divided by T².",
    ],
)
def thermal(energies: Tensor, temperature: float) -> tuple[Tensor, Tensor]: ...


def _log_z(energies: Tensor, beta: float) -> float:
    return float(torch.logsumexp(-beta * energies, 0))


@thermal.property
def mean_energy(f: Answer) -> None:
    for temperature in (0.5, 1.0, 4.0):
        energies, h = 2 * _randn(7), 1e-5
        u, _ = _pair(f(energies, temperature), "U, C")
        exact = -(_log_z(energies, 1 / temperature + h) - _log_z(energies, 1 / temperature - h)) / (2 * h)
        require_close(u, exact, f"U is not the mean energy at T = {temperature}")


@thermal.property
def grows_with_temperature(f: Answer) -> None:
    energies = 2 * _randn(7)
    c = require_tensor(_pair(f(energies, 1.0), "U, C")[1], (), "C")
    require(c >= 0, "the heat capacity is negative: U would fall when it gets warmer")


@thermal.property
def two_levels(f: Answer) -> None:
    gap = _uniform(0.5, 2.0)
    for temperature in (0.5, 2.0):
        c = _pair(f(torch.tensor([0.0, gap], dtype=torch.float64), temperature), "U, C")[1]
        r = gap / temperature
        exact = r**2 * math.exp(-r) / (1 + math.exp(-r)) ** 2
        require_close(c, exact, f"two states, a gap of {gap:.3f}, T = {temperature}: C is not what is known (Schottky's bump)")


@thermal.property
def is_the_derivative(f: Answer) -> None:
    energies, h = 2 * _randn(9), 1e-4
    for temperature in (0.6, 1.7):
        up, down = (require_tensor(_pair(f(energies, temperature + s * h), "U, C")[0], (), "U") for s in (1, -1))
        c = _pair(f(energies, temperature), "U, C")[1]
        require_close(c, (up - down) / (2 * h), f"C is not the slope of your own U at T = {temperature}", atol=1e-5)


@graded(
    "From energies [K] and a proposal matrix q[i, j] = q(j | i) [K, K], not symmetric, return the Metropolis-Hastings transition "
    "matrix M[i, j] = P(i -> j), [K, K], at temperature 1.",
    points=5,
    hints=[
        "Off the diagonal M is the proposal times the probability of accepting it.",
        "The acceptance ratio has two factors: of the energies, and of proposing the way back over the way there.",
        "What is refused stays where it is: the diagonal makes each row add up to 1.",
    ],
)
def metropolis_hastings(energies: Tensor, proposal: Tensor) -> Tensor: ...


def _proposal(k: int) -> Tensor:
    q = 0.1 + torch.rand(k, k, dtype=torch.float64) ** 3
    return q / q.sum(1, keepdim=True)


@metropolis_hastings.property
def a_transition_matrix(f: Answer) -> None:
    for k in (3, 6):
        m = require_tensor(f(_randn(k), _proposal(k)), (k, k), "M")
        require((m >= -1e-12).all(), "a transition probability is negative")
        require_close(m.sum(1), torch.ones(k), "a row of M does not add up to 1: where do refused moves go?")


@metropolis_hastings.property
def a_symmetric_proposal(f: Answer) -> None:
    energies, q = _randn(5), torch.rand(5, 5, dtype=torch.float64) / 5
    q = (q + q.T) / 2
    q = q - torch.diag(q.diagonal()) + torch.diag(1 - q.sum(1) + q.diagonal())
    p = torch.softmax(-energies, 0)
    m = require_tensor(f(energies, q), (5, 5), "M")
    require(not torch.allclose(m, q), "every move is accepted, whatever the energies")
    require_close(p @ m, p, "with a symmetric proposal Boltzmann's distribution is not stationary: the energies' part", atol=1e-8)


@metropolis_hastings.property
def equal_energies(f: Answer) -> None:
    m = require_tensor(f(torch.zeros(5, dtype=torch.float64), _proposal(5)), (5, 5), "M")
    require_close(m.sum(0), torch.ones(5), "with equal energies some states are visited more: the proposal's part", atol=1e-8)


@metropolis_hastings.property
def leaves_boltzmann(f: Answer) -> None:
    energies, q = _randn(5), _proposal(5)
    p = torch.softmax(-energies, 0)
    m = require_tensor(f(energies, q), (5, 5), "M")
    require_close(p @ m, p, "Boltzmann's distribution is not stationary under M", atol=1e-8)


@metropolis_hastings.property
def detailed_balance(f: Answer) -> None:
    energies, q = _randn(5), _proposal(5)
    flow = torch.softmax(-energies, 0)[:, None] * require_tensor(f(energies, q), (5, 5), "M")
    require_close(flow, flow.T, "the flow i -> j does not balance the flow j -> i", atol=1e-8)


@metropolis_hastings.property
def accepts_as_much_as_it_can(f: Answer) -> None:
    energies, q = _randn(5), _proposal(5)
    m = require_tensor(f(energies, q), (5, 5), "M")
    flow, offered = torch.softmax(-energies, 0)[:, None] * m, torch.softmax(-energies, 0)[:, None] * q
    off = ~torch.eye(5, dtype=torch.bool)
    require(
        ((flow - offered.minimum(offered.T))[off].abs() < 1e-8).all(),
        "in balance, but of each pair of moves one should always be accepted: some acceptance rule other than Metropolis's",
    )


@graded(
    "The energy is E(x) = sum_d k_d (x_d - m_d)²/2. Unadjusted Langevin with step eta starts at x0. Return the pair (mean [D], "
    "variance [D]) of the chain after n steps.",
    points=5,
    hints=[
        "One step multiplies x - m by a = 1 - eta k and adds noise of variance 2 eta.",
        "The variance obeys v <- a² v + 2 eta, from v = 0. A loop is a right answer.",
        "For n = infinity v is 2 eta / (1 - a²), not 1/k: that is the bias of the step.",
    ],
)
def ula_law(k: Tensor, m: Tensor, eta: float, x0: Tensor, n: int) -> tuple[Tensor, Tensor]: ...


def _bowl(d: int) -> tuple[Tensor, Tensor, Tensor]:
    return 0.3 + torch.rand(d, dtype=torch.float64), _randn(d), 3 * _randn(d)


def _law(f: Answer, k: Tensor, m: Tensor, eta: float, x0: Tensor, n: int) -> tuple[Tensor, Tensor]:
    mean, variance = _pair(f(k, m, eta, x0, n), "mean, variance")
    return require_tensor(mean, k.shape, "the mean"), require_tensor(variance, k.shape, "the variance")


@ula_law.property
def no_step_and_one_step(f: Answer) -> None:
    k, m, x0 = _bowl(3)
    mean, variance = _law(f, k, m, 0.2, x0, 0)
    require_close(mean, x0, "without a step the mean is not x0")
    require_close(variance, torch.zeros(3), "without a step there is a variance")
    mean, variance = _law(f, k, m, 0.2, x0, 1)
    require_close(mean, x0 - 0.2 * k * (x0 - m), "one step does not move the mean by -eta times the gradient at x0")
    require_close(variance, torch.full((3,), 0.4), "one step does not have the variance of its noise, 2 eta")


@ula_law.property
def far_from_the_start(f: Answer) -> None:
    k, m, x0 = _bowl(3)
    mean, variance = _law(f, k, m, 0.5, x0, 5000)
    require_close(mean, m, "after many steps the mean is not at the bottom of the bowl")
    require(
        (variance - 1 / k).abs().max() > 1e-3,
        "after many steps the variance is 1/k, as without a step size: an unadjusted chain is biased",
    )
    require_close(variance * k * (1 - 0.25 * k), torch.ones(3), "after many steps the variance is not that of the biased chain")


@ula_law.property
def steps_compose(f: Answer) -> None:
    k, m, x0 = _bowl(4)
    eta, n = _uniform(0.1, 0.6), 6
    half, v_half = _law(f, k, m, eta, x0, n)
    whole, v_whole = _law(f, k, m, eta, x0, 2 * n)
    again, _ = _law(f, k, m, eta, half, n)
    require_close(whole, again, f"{2 * n} steps from x0 are not {n} steps from where {n} steps lead on average")
    a = 1 - eta * k
    require_close(v_whole, v_half + a ** (2 * n) * v_half, f"the variance of {2 * n} steps is not that of {n} and {n} more")


@graded(
    "n leapfrog steps of size eps for H(x, v) = E(x) + |v|²/2: from x, v [*batch, D] return the pair (x', v').",
    points=6,
    hints=[
        "Half a kick, a drift, half a kick: v -= eps/2 grad E(x); x += eps v; v -= eps/2 grad E(x).",
        "ebmlearn.value_and_grad(energy, x) returns energies and gradients for a batch.",
        "The two half kicks between drifts may be joined; the first and the last may not be left out.",
    ],
)
def leapfrog(energy: Energy, x: Tensor, v: Tensor, eps: float, n: int) -> tuple[Tensor, Tensor]: ...


def _hills() -> Energy:
    return DoubleWell(2, height=_uniform(0.5, 1.0)) + Gaussian(_randn(2), 2.0)


def _move(f: Answer, energy: Energy, x: Tensor, v: Tensor, eps: float, n: int) -> tuple[Tensor, Tensor]:
    y, w = _pair(f(energy, x, v, eps, n), "x', v'")
    return require_tensor(y, x.shape, "x'"), require_tensor(w, v.shape, "v'")


@leapfrog.property
def first_order(f: Answer) -> None:
    energy, x, v, eps = _hills(), _randn(6, 2), _randn(6, 2), 1e-4
    y, w = _move(f, energy, x, v, eps, 1)
    require_close((y - x) / eps, v, "in a very short step x does not move with the velocity v", atol=0.01, rtol=0.01)
    force, found = -value_and_grad(energy, x)[1], (w - v) / eps
    require(not torch.allclose(found, -force, rtol=0.01, atol=0.01), "in a very short step v is pushed uphill")
    require_close(found, force, "in a very short step v does not change by minus the gradient", atol=0.01, rtol=0.01)


@leapfrog.property
def one_step_on_a_bowl(f: Answer) -> None:
    bowl = Gaussian(torch.zeros(2, dtype=torch.float64), 1.0)
    x, v, eps = _randn(5, 2), _randn(5, 2), _uniform(0.2, 0.5)
    y, w = _move(f, bowl, x, v, eps, 1)
    require_close(y, x + eps * v - eps**2 / 2 * x, "one step on the bowl |x|²/2 does not move x as half a kick and a drift do")
    require_close(w, v - eps / 2 * (x + y), "one step on the bowl |x|²/2: the two half kicks are not at the old and the new x")
    _move(f, bowl, _randn(3, 4, 2), _randn(3, 4, 2), eps, 2)


@leapfrog.property
def turns_back(f: Answer) -> None:
    energy, x, v = _hills(), 0.7 * _randn(6, 2), _randn(6, 2)
    y, w = _move(f, energy, x, v, 0.1, 9)
    back, u = _move(f, energy, y, -w, 0.1, 9)
    require_close(back, x, "with the velocity turned round the path does not lead back to where it began", atol=1e-6)
    require_close(-u, v, "with the velocity turned round the path comes back with another velocity", atol=1e-6)


@leapfrog.property
def keeps_the_energy(f: Answer) -> None:
    energy, x, v = _hills(), 0.7 * _randn(40, 2), _randn(40, 2)
    total = lambda x, v: energy(x) + (v**2).sum(-1) / 2
    errors = [(total(*_move(f, energy, x, v, 0.8 / n, n)) - total(x, v)).abs().mean() for n in (20, 40)]
    require(errors[0] < 0.2, f"along the path E + |v|²/2 changes by {float(errors[0]):.2g} on average; it should nearly stay")
    require(
        errors[1] < errors[0] / 2.8,
        f"half the step should make the error in E + |v|²/2 four times smaller; it becomes {float(errors[0] / errors[1]):.1f} times smaller",
    )


@leapfrog.property
def step_by_step(f: Answer) -> None:
    energy, x, v = _hills(), 0.7 * _randn(4, 2), _randn(4, 2)
    whole = _move(f, energy, x, v, 0.1, 7)
    for _ in range(7):
        x, v = _move(f, energy, x, v, 0.1, 1)
    require_close(whole[0], x, "seven steps are not one step seven times", atol=1e-7)
    require_close(whole[1], v, "after seven steps the velocity is not that of one step seven times", atol=1e-7)


@graded(
    "Return n independent draws [n, 2] from p(x) ∝ exp(-E(x)), where E has several deep wells of unequal weight. Any method; the "
    "same seed gives the same draws; at most half a minute.",
    points=6,
    hints=[
        "Chains that start in a well stay there: look at the share of each well from two different starts.",
        "ParallelTempering exchanges chains between temperatures; the hot ones cross. Run n chains and keep the last cold points.",
        "Have the temperatures from 1 to about the height of the barrier, and an MALA kernel for each.",
    ],
)
def draw(energy: Energy, n: int, seed: int) -> Tensor: ...


def _wells() -> Energy:
    centre = torch.tensor([_uniform(0.3, 0.6), _uniform(-0.6, -0.3)], dtype=torch.float64)
    return DoubleWell(2, height=_uniform(6.0, 8.0)) + Gaussian(centre, 1.5)


@draw.property
def independent_points(f: Answer) -> None:
    energy = _wells()
    x = require_tensor(f(energy, 400, 3), (400, 2), "400 draws")
    require(torch.equal(x, require_tensor(f(energy, 400, 3), (400, 2))), "the same seed gives other draws")
    require(len(x.unique(dim=0)) > 390, "some points come more than once")
    d = x - x.mean(0)
    lag = (d[1:] * d[:-1]).mean(0) / d.square().mean(0)
    require(lag.abs().max() < 5 / math.sqrt(400), "each draw resembles the one before it: they are not independent")


@draw.property
def shares_and_shapes(f: Answer) -> None:
    energy = _wells()
    x = require_tensor(f(energy, DRAWS, 7), (DRAWS, 2), "the draws")
    q = quadrature(energy, low=-2.6, high=2.6, cells=300, dtype=torch.float64)
    p = (q.log_density + q.log_volume).exp()
    for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        s = torch.tensor(signs)
        share = float(p[((q.x * s) > 0).all(-1)].sum())
        found = float(((x * s) > 0).all(-1).double().mean())
        band = 5 * math.sqrt(share * (1 - share) / DRAWS)
        require(
            abs(found - share) < band,
            f"the well at {signs} should have a share of {share:.3f}; your draws have {found:.3f}, {band:.3f} would be chance",
        )
    e_grid = energy(q.x)
    mean = float((p * e_grid).sum())
    band = 5 * math.sqrt((float((p * e_grid**2).sum()) - mean**2) / DRAWS)
    found = float(energy(x).mean())
    require(
        abs(found - mean) < band,
        f"the mean energy of the draws is {found:.3f}; at temperature 1 it is {mean:.3f}, {band:.3f} would be chance: a wrong "
        "temperature, or a biased step",
    )
    virial = (value_and_grad(energy, x)[1] * x).sum(-1)  # E[x . grad E] = D
    require(
        abs(float(virial.mean()) - 2) < 5 * float(virial.std()) / math.sqrt(DRAWS),
        "shares and energies are right, but inside the wells the draws lie in the wrong places",
    )
