"""Homework C: restricted Boltzmann machines, binary and Gaussian."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from .base import Answer, require, require_close, require_tensor
from .homework import graded

TITLE = "Homework C: restricted Boltzmann machines"
MANUAL: dict[str, int] = {}
DRAWS = 2000  # points of the sampling problem; its bands are 5 standard errors wide


def _randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def _states(n: int, low: float = 0.0) -> Tensor:
    return torch.tensor(list(itertools.product([low, 1.0], repeat=n)), dtype=torch.float64)


def _machine(d: int, h: int, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    return scale * _randn(d, h), _randn(d), _randn(h)


def _binary(*shape: int) -> Tensor:
    return (torch.rand(*shape, dtype=torch.float64) < 0.5).double()


def _joint(x: Tensor, z: Tensor, W: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """E(x, z) of every pair, [N, M]."""
    return -(x @ a)[:, None] - (z @ b)[None] - x @ W @ z.T


def _pair(answer: Any, what: str) -> tuple[Any, Any]:
    require(isinstance(answer, tuple | list) and len(answer) == 2, f"expected a pair ({what})")
    return answer[0], answer[1]


@graded(
    "E(x, z) = -a·x - b·z - xᵀ W z with x and z of zeros and ones. Return the pair of probabilities (p(z_j = 1 | x) [*batch, H], "
    "p(x_i = 1 | z) [*batch, D]) at the given x [*batch, D] and z [*batch, H].",
    points=4,
    hints=[
        "Given x, each z_j is on its own: compare the energies with z_j = 1 and z_j = 0.",
        "sigmoid of minus that difference. For x from z, W is used the other way round.",
    ],
)
def conditionals(x: Tensor, z: Tensor, W: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]: ...


@conditionals.property
def shapes(f: Answer) -> None:
    W, a, b = _machine(3, 4)
    for batch in ((5,), (2, 6)):
        p, r = _pair(f(_binary(*batch, 3), _binary(*batch, 4), W, a, b), "p(z = 1 | x), p(x = 1 | z)")
        require_tensor(p, (*batch, 4), "p(z = 1 | x)")
        require_tensor(r, (*batch, 3), "p(x = 1 | z)")


@conditionals.property
def without_weights(f: Answer) -> None:
    a, b = _randn(3), _randn(4)
    p, r = _pair(f(_binary(5, 3), _binary(5, 4), torch.zeros(3, 4, dtype=torch.float64), a, b), "...")
    require_close(p, (b.exp() / (1 + b.exp())).expand(5, 4), "with W = 0, p(z = 1 | x) does not follow from the bias b alone")
    require_close(r, (a.exp() / (1 + a.exp())).expand(5, 3), "with W = 0, p(x = 1 | z) does not follow from the bias a alone")


@conditionals.property
def by_enumeration(f: Answer) -> None:
    W, a, b = _machine(3, 4)
    x, z, all_x, all_z = _binary(6, 3), _binary(6, 4), _states(3), _states(4)
    p, r = _pair(f(x, z, W, a, b), "p(z = 1 | x), p(x = 1 | z)")
    exact_p = torch.softmax(-_joint(x, all_z, W, a, b), 1) @ all_z
    exact_r = torch.softmax(-_joint(all_x, z, W, a, b), 0).T @ all_x
    require_close(p, exact_p, "p(z = 1 | x) differs from the sum over all z")
    require_close(r, exact_r, "p(x = 1 | z) differs from the sum over all x")


@graded(
    "The same energy, but hidden units of -1 and +1. Return the free energy F(x) = -log sum_z exp(-E(x, z)), [*batch].",
    points=5,
    hints=[
        "The sum factors: one unit with field c_j contributes exp(c_j) + exp(-c_j).",
        "log(exp(c) + exp(-c)) overflows for large c; logaddexp(c, -c) does not.",
    ],
)
def spin_free_energy(x: Tensor, W: Tensor, a: Tensor, b: Tensor) -> Tensor: ...


@spin_free_energy.property
def one_number_a_point(f: Answer) -> None:
    W, a, b = _machine(3, 4)
    require_tensor(f(_binary(5, 3), W, a, b), (5,), "the free energy of 5 points")
    require_tensor(f(_binary(2, 6, 3), W, a, b), (2, 6), "the free energy of 2 x 6 points")


@spin_free_energy.property
def without_couplings(f: Answer) -> None:
    x, a = _binary(5, 3), _randn(3)
    off = torch.zeros(3, 4, dtype=torch.float64), a, torch.zeros(4, dtype=torch.float64)
    require_close(f(x, *off), -(x @ a) - 4 * math.log(2), "with W = 0 and b = 0 it is not -a·x less the entropy of 4 free units")


@spin_free_energy.property
def symmetric(f: Answer) -> None:
    W, a, b = _machine(3, 4)
    x = _binary(6, 3)
    require_close(f(x, -W, a, -b), f(x, W, a, b), "turning W and b to -W and -b, which only renames -1 and +1, changes it")


@spin_free_energy.property
def by_the_sum(f: Answer) -> None:
    for d, h in ((3, 4), (5, 1), (2, 6)):
        W, a, b = _machine(d, h)
        x = _binary(6, d)
        exact = -torch.logsumexp(-_joint(x, _states(h, -1.0), W, a, b), 1)
        require_close(f(x, W, a, b), exact, f"with {h} hidden units it differs from the sum over all {2**h} of their states")


@spin_free_energy.property
def stays_finite(f: Answer) -> None:
    W = torch.full((1, 2), 900.0, dtype=torch.float64)
    zero = torch.zeros(1, dtype=torch.float64)
    x = torch.ones(1, 1, dtype=torch.float64)
    require_close(
        require_tensor(f(x, W, zero, zero.expand(2)), (1,), "F with fields near 900"), [-1800.0], "wrong with fields near 900"
    )


@graded(
    "Return log Z of the binary machine (zeros and ones), exact. One side may have up to 200 units; the smaller has at most 12.",
    points=6,
    hints=[
        "Sum one side by hand: log Z = log sum_x exp(-F(x)) over all x. Which side is cheap to list?",
        "Exchange the sides when the hidden one is smaller: Wᵀ, b, a describe the same machine.",
        "4096 states times 200 units is one matrix product; torch.logsumexp at the end.",
    ],
)
def log_partition(W: Tensor, a: Tensor, b: Tensor) -> Tensor: ...


@log_partition.property
def counts_states(f: Answer) -> None:
    for d, h in ((3, 5), (6, 2)):
        zero = torch.zeros(d, h, dtype=torch.float64), torch.zeros(d, dtype=torch.float64), torch.zeros(h, dtype=torch.float64)
        require_close(f(*zero), (d + h) * math.log(2), f"{d} and {h} units without parameters do not have 2^{d + h} states")


@log_partition.property
def independent_units(f: Answer) -> None:
    a, b = _randn(40), _randn(7)
    exact = (1 + a.exp()).log().sum() + (1 + b.exp()).log().sum()
    require_close(f(torch.zeros(40, 7, dtype=torch.float64), a, b), exact, "with W = 0 it is not the sum over independent units")


@log_partition.property
def small_machines(f: Answer) -> None:
    for d, h in ((4, 5), (6, 3)):
        W, a, b = _machine(d, h)
        exact = torch.logsumexp(-_joint(_states(d), _states(h), W, a, b).flatten(), 0)
        require_close(
            f(W, a, b), exact, f"for {d} visible and {h} hidden units it differs from the sum over all 2^{d + h} states"
        )


@log_partition.property
def a_wide_machine_either_way(f: Answer) -> None:
    W, a, b = _machine(200, 9, 0.3)
    one, other = require_tensor(f(W, a, b), (), "log Z"), require_tensor(f(W.T, b, a), (), "log Z")
    require_close(one, other, "a machine of 200 and 9 units has another log Z when the two sides are exchanged")
    renamed = require_tensor(f(-W, a + W.sum(1), -b), (), "log Z") + b.sum()
    require_close(renamed, one, "renaming 0 and 1 of the hidden units of a wide machine changes log Z")


@graded(
    "From data x [N, D] and samples y [M, D] of a binary machine return the gradient of the mean negative log-likelihood, a triple "
    "(dW [D, H], da [D], db [H]), hidden units summed out.",
    points=5,
    hints=[
        "Means of dF/dW over data minus means over samples; the two sets may differ in size.",
        "dF/dW is minus the outer product of x and p(z = 1 | x); dF/da = -x; dF/db = -p(z = 1 | x).",
    ],
)
def gradients(x: Tensor, y: Tensor, W: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]: ...


def _mean_free_energy(x: Tensor, W: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return -torch.logsumexp(-_joint(x, _states(len(b)), W, a, b), 1).mean()


def _triple(f: Answer, x: Tensor, y: Tensor, W: Tensor, a: Tensor, b: Tensor) -> list[Tensor]:
    answer = f(x, y, W, a, b)
    require(isinstance(answer, tuple | list) and len(answer) == 3, "expected a triple (dW, da, db)")
    return [require_tensor(g, p.shape, f"d{name}") for g, p, name in zip(answer, (W, a, b), "Wab", strict=True)]


@gradients.property
def zero_where_they_agree(f: Answer) -> None:
    x = _binary(8, 3)
    for g, name in zip(_triple(f, x, x.clone(), *_machine(3, 4)), "Wab", strict=True):
        require(g.abs().max() < 1e-9, f"with the same points as data and as samples d{name} is not zero")


@gradients.property
def means(f: Answer) -> None:
    x, y, machine = _binary(6, 3), _binary(4, 3), _machine(3, 4)
    for g, e, name in zip(_triple(f, x.repeat(3, 1), y, *machine), _triple(f, x, y, *machine), "Wab", strict=True):
        require_close(g, e, f"giving every data point three times changes d{name}: sums for means?")


@gradients.property
def by_autograd(f: Answer) -> None:
    x, y, machine = _binary(9, 3), _binary(5, 3), _machine(3, 4)
    leaves = [p.clone().requires_grad_(True) for p in machine]
    exact = torch.autograd.grad(_mean_free_energy(x, *leaves) - _mean_free_energy(y, *leaves), leaves)
    for g, e, name in zip(_triple(f, x, y, *machine), exact, "Wab", strict=True):
        require((g + e).abs().max() > 1e-6, f"d{name}: the sign; a step against it would make the data less likely")
        require_close(g, e, f"d{name} is not what autograd gives for the difference of mean free energies")


@graded(
    "Return the transition matrix M[i, j] = P(x_i -> x_j) [2^D, 2^D] of one step of block Gibbs, x -> z -> x', on the visible states of "
    "a binary machine, in the order of itertools.product([0, 1], repeat=D). D and H are at most 5.",
    points=5,
    hints=[
        "M is a product of two matrices: p(z | x), [2^D, 2^H], and p(x' | z), [2^H, 2^D].",
        "p(z | x) of a whole vector is a product over its units; or a softmax over all z of -E(x, z).",
    ],
)
def gibbs_matrix(W: Tensor, a: Tensor, b: Tensor) -> Tensor: ...


def _visible_law(W: Tensor, a: Tensor, b: Tensor) -> Tensor:
    joint = -_joint(_states(len(a)), _states(len(b)), W, a, b)
    return torch.softmax(torch.logsumexp(joint, 1), 0)


@gibbs_matrix.property
def rows_sum_to_one(f: Answer) -> None:
    m = require_tensor(f(*_machine(3, 2)), (8, 8), "M of a machine with 3 visible units")
    require((m >= -1e-12).all(), "a transition probability is negative")
    require_close(m.sum(1), torch.ones(8), "a row of M does not add up to 1")


@gibbs_matrix.property
def forgets_without_weights(f: Answer) -> None:
    a, b = _randn(3), _randn(2)
    W = torch.zeros(3, 2, dtype=torch.float64)
    law = torch.softmax(_states(3) @ a, 0)
    m = require_tensor(f(W, a, b), (8, 8), "M")
    require_close(m, law.expand(8, 8), "with W = 0 a step does not draw x afresh from its biases: the order of the states?")


@gibbs_matrix.property
def leaves_the_machine_as_it_is(f: Answer) -> None:
    for d, h in ((3, 4), (4, 2)):
        machine = _machine(d, h)
        p, m = _visible_law(*machine), require_tensor(f(*machine), (2**d, 2**d), "M")
        require_close(p @ m, p, "the machine's law of x is not stationary under M", atol=1e-8)
        flow = p[:, None] * m
        require_close(flow, flow.T, "the flow between two visible states is not the same both ways", atol=1e-8)


@gibbs_matrix.property
def one_step_exactly(f: Answer) -> None:
    W, a, b = _machine(2, 2, 2.0)
    xs, zs = _states(2), _states(2)
    joint = torch.softmax(-_joint(xs, zs, W, a, b).flatten(), 0).reshape(4, 4)
    exact = (joint / joint.sum(1, keepdim=True)) @ (joint / joint.sum(0, keepdim=True)).T
    require_close(f(W, a, b), exact, "stationary, but not one step x -> z -> x': how many times are the hidden units drawn?")


@graded(
    "Return n independent draws [n, D] of x from a Gaussian-Bernoulli machine, E(x, z) = sum_i (x_i - mu_i)²/(2 s_i²) - "
    "(x/s²)ᵀ W z - b·z with s² = exp(log_var). At most 8 hidden units. The same seed gives the same draws.",
    points=5,
    hints=[
        "Summed over z it is a mixture of 2^H Gaussians with means mu + W z and variance s²: which weights have they?",
        "GaussianBernoulliRBM.components() knows the weights; or run many chains of Gibbs for long from different starts.",
        "Set the parameters of a GaussianBernoulliRBM(D, H) with .copy_ under torch.no_grad().",
    ],
)
def grbm_draw(W: Tensor, b: Tensor, mu: Tensor, log_var: Tensor, n: int, seed: int) -> Tensor: ...


def _grbm(d: int, h: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return 1.2 * _randn(d, h), 0.7 * _randn(h), _randn(d), 0.4 * _randn(d)


def _mixture(W: Tensor, b: Tensor, mu: Tensor, log_var: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    z, s2 = _states(len(b)), log_var.exp()
    means = mu + z @ W.T
    return torch.softmax(z @ b + ((means**2 - mu**2) / (2 * s2)).sum(-1), 0), means, s2


@grbm_draw.property
def seeded_and_independent(f: Answer) -> None:
    machine = _grbm(3, 4)
    x = require_tensor(f(*machine, 300, 5), (300, 3), "300 draws")
    require(torch.equal(x, require_tensor(f(*machine, 300, 5), (300, 3))), "the same seed gives other draws")
    require(len(x.unique(dim=0)) > 290, "some points come more than once")
    d = x - x.mean(0)
    lag = (d[1:] * d[:-1]).mean(0) / d.square().mean(0)
    require(lag.abs().max() < 5 / math.sqrt(300), "each draw resembles the one before it: they are not independent")


@grbm_draw.property
def moments(f: Answer) -> None:
    for i in range(2):
        machine = _grbm(2, 4)
        weights, means, s2 = _mixture(*machine)
        x = require_tensor(f(*machine, DRAWS, 20 + i), (DRAWS, 2), "the draws")
        mean = weights @ means
        variance = weights @ (means - mean) ** 2 + s2
        off = (x.mean(0) - mean).abs() / (variance / DRAWS).sqrt()
        require(off.max() < 5, f"the mean of the draws is {float(off.max()):.0f} standard errors from that of the machine")
        centred = means - mean
        fourth = weights @ (centred**4 + 6 * centred**2 * s2 + 3 * s2**2)
        off = ((x - mean).square().mean(0) - variance).abs() / ((fourth - variance**2) / DRAWS).sqrt()
        require(off.max() < 5, f"the variance of the draws is {float(off.max()):.0f} standard errors from that of the machine")


@grbm_draw.property
def law_along_a_line(f: Answer) -> None:
    machine = _grbm(1, 3)
    weights, means, s2 = _mixture(*machine)
    x = require_tensor(f(*machine, DRAWS, 31), (DRAWS, 1), "the draws")[:, 0].sort().values
    cdf = (0.5 * (1 + torch.erf((x[:, None] - means[:, 0]) / (2 * s2).sqrt())) * weights).sum(1)
    gap = (cdf - torch.arange(1, DRAWS + 1) / DRAWS).abs().max()
    require(
        gap < 2.7 / math.sqrt(DRAWS), f"with one visible unit the draws' distribution is off by {float(gap):.3f} (Kolmogorov)"
    )
