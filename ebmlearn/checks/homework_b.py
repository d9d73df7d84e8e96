"""Homework B: learning an energy, latent variables, the partition function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..energies import DoubleWell, Energy, Gaussian
from ..metrics.partition import quadrature
from .base import Answer, Wrong, require, require_close, require_tensor
from .homework import graded

TITLE = "Homework B: learning, latent variables, free energy"
MANUAL: dict[str, int] = {}


def _randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def _probabilities(*shape: int) -> Tensor:
    return torch.softmax(_randn(*shape), -1)


def _log_likelihood(theta: Tensor, statistics: Tensor, p_data: Tensor) -> Tensor:
    """Of the family E(s) = -theta . T(s) on K states."""
    logits = statistics @ theta
    return p_data @ (logits - torch.logsumexp(logits, 0))


def _slope(theta: Tensor, statistics: Tensor, p_data: Tensor) -> Tensor:
    """d log-likelihood / d theta by central differences."""
    h = 1e-5
    steps = h * torch.eye(len(theta), dtype=torch.float64)
    up, down = ([_log_likelihood(theta + sign * s, statistics, p_data) for s in steps] for sign in (1, -1))
    return (torch.stack(up) - torch.stack(down)) / (2 * h)


@graded(
    "K states have statistics T [K, D] and the energy E(s) = -theta·T(s). Data are a distribution p_data [K]. Return the gradient "
    "[D] of the mean negative log-likelihood in theta.",
    points=4,
    hints=[
        "Every energy-based model has the same gradient: E_data[dE/dtheta] - E_model[dE/dtheta].",
        "dE/dtheta of a state is -T(s).",
    ],
)
def nll_gradient(theta: Tensor, statistics: Tensor, p_data: Tensor) -> Tensor: ...


@nll_gradient.property
def one_number_a_parameter(f: Answer) -> None:
    require_tensor(f(_randn(3), _randn(6, 3), _probabilities(6)), (3,), "the gradient")


@nll_gradient.property
def vanishes_at_the_model(f: Answer) -> None:
    theta, t = _randn(3), _randn(6, 3)
    require_close(
        f(theta, t, torch.softmax(t @ theta, 0)), torch.zeros(3), "it is not zero where the data have the model's distribution"
    )


@nll_gradient.property
def is_the_slope(f: Answer) -> None:
    for k, d in ((6, 3), (4, 5)):
        theta, t, p = _randn(d), _randn(k, d), _probabilities(k)
        found, exact = require_tensor(f(theta, t, p), (d,)), -_slope(theta, t, p)
        require(not torch.allclose(found, -exact, atol=1e-4), "the sign: a step against it makes the data less likely")
        require_close(found, exact, "it is not the slope of the negative log-likelihood")


@graded(
    "As before, with a chain of transition matrix M [K, K] (rows sum to 1) that leaves the model invariant. Return what CD-k descends "
    "on average, [D]: the model's term is taken after k steps of the chain from the data.",
    points=5,
    hints=[
        "The law after k steps from the data is p_data times M, k times, from the left.",
        "At k = 0 both terms are the same; as k grows, the second becomes that of the model.",
    ],
)
def cd_direction(theta: Tensor, statistics: Tensor, p_data: Tensor, M: Tensor, k: int) -> Tensor: ...


def _metropolis(p: Tensor) -> Tensor:
    n = len(p)
    move = (p[None] / p[:, None]).clamp(max=1) / n
    move = move - torch.diag(move.diagonal())
    return move + torch.diag(1 - move.sum(1))


def _cd_problem() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    theta, t, p_data = _randn(3), _randn(6, 3), _probabilities(6)
    return theta, t, p_data, _metropolis(torch.softmax(t @ theta, 0))


@cd_direction.property
def no_steps_no_direction(f: Answer) -> None:
    require_close(f(*_cd_problem(), 0), torch.zeros(3), "after no step data and samples are the same; it should be zero")


@cd_direction.property
def many_steps_are_the_gradient(f: Answer) -> None:
    theta, t, p, M = _cd_problem()
    found = require_tensor(f(theta, t, p, M, 3000), (3,), "the direction")
    exact = -_slope(theta, t, p)
    require(not torch.allclose(found, -exact, atol=1e-4), "the sign: after many steps it is minus the gradient")
    require_close(found, exact, "after many steps it is not the gradient of the negative log-likelihood")


@cd_direction.property
def few_steps_are_not(f: Answer) -> None:
    theta, t, p, M = _cd_problem()
    found, exact = require_tensor(f(theta, t, p, M, 1), (3,)), -_slope(theta, t, p)
    require(not torch.allclose(found, exact, atol=1e-4), "after one step it is the exact gradient already: is the chain used?")
    moved = torch.zeros(6, dtype=torch.float64)
    for i in range(6):  # where each state goes, one by one
        for j in range(6):
            moved[j] += p[i] * M[i, j]
    require_close(found, (moved - p) @ t, "one step from the data leads elsewhere: from which side does M act?")


@cd_direction.property
def between(f: Answer) -> None:
    theta, t, p, M = _cd_problem()
    later = p @ torch.linalg.matrix_power(M, 3)
    first = require_tensor(f(theta, t, p, M, 3), (3,))
    rest = require_tensor(f(theta, t, later, M, 2), (3,))
    require_close(
        require_tensor(f(theta, t, p, M, 5), (3,)), first + rest, "five steps are not three, and two more from where three lead"
    )


@graded(
    "Return theta [D] of maximum likelihood for the family E(s) = -theta·T(s) on K states; p_data [K] is positive.",
    points=5,
    hints=[
        "Descend the gradient of the first problem; the likelihood is concave, so nothing can go wrong but the step.",
        "Done when the model's mean statistics are those of the data. Newton's method: its Hessian is the covariance of T.",
    ],
)
def fit(statistics: Tensor, p_data: Tensor) -> Tensor: ...


@fit.property
def moments_match(f: Answer) -> None:
    for k, d in ((5, 2), (12, 3)):
        t, p = _randn(k, d), _probabilities(k)
        theta = require_tensor(f(t, p), (d,), "theta")
        start = _log_likelihood(torch.zeros(d, dtype=torch.float64), t, p)
        require(_log_likelihood(theta, t, p) >= start - 1e-9, "the data are less likely under it than under theta = 0")
        gap = (torch.softmax(t @ theta, 0) @ t - p @ t).abs().max().item()
        require(gap < 1e-3, f"the mean statistics of model and data differ by up to {gap:.2g}; 0.001 is near enough")


@fit.property
def finds_the_truth(f: Answer) -> None:
    t, truth = _randn(20, 2), 0.7 * _randn(2)
    require_close(f(t, torch.softmax(t @ truth, 0)), truth, "data made with a known theta do not give it back", atol=0.01)


@graded(
    "The score at x [*batch, D] of data [N, D] blurred by N(0, sigma² I): the gradient of log p of a mixture of N Gaussians.",
    points=5,
    hints=[
        "Differentiate log sum_i exp(-|x - x_i|²/(2 sigma²)): a weighted mean of (x_i - x)/sigma².",
        "The weights are a softmax over the data. In high dimension one point gets nearly all of it: use torch.softmax.",
        "This is what the minimiser of denoising score matching is, at every x.",
    ],
)
def blurred_score(x: Tensor, data: Tensor, sigma: float) -> Tensor: ...


@blurred_score.property
def one_vector_a_point(f: Answer) -> None:
    require_tensor(f(_randn(5, 2), _randn(7, 2), 0.5), (5, 2), "the score of 5 points")
    require_tensor(f(_randn(4, 3, 2), _randn(7, 2), 0.5), (4, 3, 2), "the score of 4 x 3 points")


@blurred_score.property
def of_one_point(f: Answer) -> None:
    x, centre = _randn(6, 3), _randn(1, 3)
    for sigma in (0.5, 2.0):
        found, exact = require_tensor(f(x, centre, sigma), (6, 3)), (centre - x) / sigma**2
        require(not torch.allclose(found, -exact, atol=1e-6), "it points away from the data: the sign")
        require_close(found, exact, f"with one data point and sigma = {sigma} it is not that of one Gaussian")


@blurred_score.property
def is_the_gradient(f: Answer) -> None:
    x, data = _randn(5, 2), _randn(9, 2)
    for sigma in (0.4, 1.5):
        leaf = x.clone().requires_grad_(True)
        log_p = torch.logsumexp(-(leaf[:, None] - data).square().sum(-1) / (2 * sigma**2), -1)
        (exact,) = torch.autograd.grad(log_p.sum(), leaf)
        require_close(f(x, data, sigma), exact, f"at sigma = {sigma} it is not the gradient of the log-density")


@blurred_score.property
def does_not_underflow(f: Answer) -> None:
    data = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    x = torch.tensor([[300.0, 5.0]], dtype=torch.float64)
    found = require_tensor(f(x, data, 0.1), (1, 2), "the score far from the data")
    require_close(found, (data[1:] - x) / 0.01, "far from the data it does not point to the nearest of them")


@graded(
    "At each of a batch of x there are energies E(x, z_k) [*batch, K] and their gradients in x [*batch, K, D]. Return the gradient "
    "[*batch, D] of the free energy F_beta(x) = -1/beta log sum_k exp(-beta E(x, z_k)).",
    points=5,
    hints=[
        "Differentiate the logarithm: a weighted sum of the gradients appears, and beta cancels in front.",
        "The weights are p(z | x) at inverse temperature beta.",
    ],
)
def free_energy_gradient(energies: Tensor, gradients: Tensor, beta: float) -> Tensor: ...


def _latent_problem(*batch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, and E(x, z_k) = a_k |x - c_k|²/2 + b_k: energies and gradients, by autograd."""
    x = _randn(*batch, 2).requires_grad_(True)
    a, b, c = 0.5 + torch.rand(4, dtype=torch.float64), _randn(4), _randn(4, 2)
    energies = a * (x[..., None, :] - c).square().sum(-1) / 2 + b
    gradients = torch.stack([torch.autograd.grad(energies[..., k].sum(), x, retain_graph=True)[0] for k in range(4)], -2)
    return x, energies, energies.detach(), gradients


@free_energy_gradient.property
def one_vector_for_each_x(f: Answer) -> None:
    for batch in ((5,), (4, 3)):
        _, _, e, g = _latent_problem(*batch)
        require_tensor(f(e, g, 1.0), (*batch, 2), "the gradient")


@free_energy_gradient.property
def one_latent_is_no_latent(f: Answer) -> None:
    g = _randn(5, 1, 3)
    for beta in (0.5, 4.0):
        require_close(
            f(_randn(5, 1), g, beta), g[:, 0], f"with one latent, at beta = {beta}, it is not that latent's own gradient"
        )


@free_energy_gradient.property
def hot_limit(f: Answer) -> None:
    _, _, e, g = _latent_problem(6)
    require_close(f(e, g, 1e-6), g.mean(-2), "for beta -> 0, where all latents count alike, it is not the mean gradient")


@free_energy_gradient.property
def cold_limit(f: Answer) -> None:
    _, _, e, g = _latent_problem(6)
    lowest = g[torch.arange(6), e.argmin(-1)]
    require_close(
        f(e, g, 1e6),
        lowest,
        "for beta -> infinity it is not the gradient at the best latent (or it overflows): who gets the weight?",
    )


@free_energy_gradient.property
def follows_from_autograd(f: Answer) -> None:
    for beta in (0.3, 1.0, 5.0):
        x, graph, e, g = _latent_problem(6)
        (exact,) = torch.autograd.grad((-torch.logsumexp(-beta * graph, -1) / beta).sum(), x)
        require_close(f(e, g, beta), exact, f"at beta = {beta} it is not the gradient of F_beta")


@graded(
    "Return the pair (log Z, standard error) for an energy E of two dimensions, by any method; the same seed gives the same "
    "numbers. The error must be honest, and below 0.05.",
    points=6,
    hints=[
        "importance_sampling and annealed_importance_sampling return both numbers; the base must be wider than the target.",
        "If the effective sample size is a small part of n, the standard error is not to be trusted: choose another base.",
        "In two dimensions a grid is a right answer too; its error is what doubling the cells changes.",
    ],
)
def log_partition(energy: Energy, seed: int) -> tuple[Tensor, Tensor]: ...


def _estimate(f: Answer, energy: Energy, seed: int) -> tuple[float, float]:
    answer: Any = f(energy, seed)
    if not (isinstance(answer, tuple | list) and len(answer) == 2):
        raise Wrong("expected a pair (log Z, standard error)")
    return require_tensor(answer[0], (), "log Z").item(), require_tensor(answer[1], (), "the standard error").item()


@log_partition.property
def a_gaussian(f: Answer) -> None:
    energy = Gaussian(_randn(2), 0.5 + torch.rand(2, dtype=torch.float64))
    value, error = _estimate(f, energy, 1)
    exact = energy.log_partition().item()
    require(0 <= error < 0.05, f"the standard error should be from 0 to 0.05; it is {error:.3g}")
    off, band = value - exact, 5 * error + 1e-4
    require(abs(off) < band or abs(value + exact) > band, "on a Gaussian it is minus log Z")
    require(abs(off) < band, f"on a Gaussian it is off by {off:.3g}, with a standard error of {error:.2g}")
    require(_estimate(f, energy, 1) == (value, error), "the same seed gives another number")


@log_partition.property
def wells(f: Answer) -> None:
    for i in range(4):
        shift = torch.rand(2, dtype=torch.float64) - 0.5
        energy = DoubleWell(2, height=2.0 + float(torch.rand(()))) + Gaussian(shift, 2.0)
        exact = quadrature(energy, low=-4, high=4, cells=400, dtype=torch.float64).log_partition.item()
        value, error = _estimate(f, energy, 10 + i)
        require(0 <= error < 0.05, f"on four wells the standard error should be below 0.05; it is {error:.3g}")
        require(
            abs(value - exact) < 5 * error + 1e-4,
            f"on four wells it is off by {value - exact:.3g}, with a standard error of {error:.2g}",
        )
