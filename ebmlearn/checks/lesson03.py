"""Exercises of lesson 03: the most offending answer, PCA as an energy, the terms of VICReg that forbid collapse."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Answer, problem, require, require_close, require_tensor


@problem(
    "Return for each row the lowest energy among the candidates farther than delta from the right answer: energies[B, K], answers[K], y[B] -> [B].",
    hints=[
        "Which candidates are wrong? A mask [B, K]: distance to y larger than delta.",
        "Put infinity where a candidate is not wrong, then take the minimum along the last axis.",
    ],
)
def most_offending(energies: Tensor, answers: Tensor, y: Tensor, delta: float) -> Tensor:
    wrong = (answers - y[:, None]).abs() > delta
    return torch.where(wrong, energies, torch.inf).min(dim=-1).values


@most_offending.property
def one_energy_a_row(f: Answer) -> None:
    answers = torch.linspace(0, 1, 11, dtype=torch.float64)
    e = torch.rand(4, 11, dtype=torch.float64)
    require_tensor(f(e, answers, torch.rand(4, dtype=torch.float64), 0.2), (4,), "your result for 4 rows")


@most_offending.property
def ignores_the_neighbours(f: Answer) -> None:
    answers = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    for low in (-100.0, 5.0):
        energies = torch.tensor([[low, 6.0, 7.0]], dtype=torch.float64)
        got = require_tensor(f(energies, answers, torch.tensor([0.1], dtype=torch.float64), 0.2), (1,), "your result for a row")
        require(got.item() != low, "a candidate within delta of the right answer counts as wrong")
        require_close(got, [6.0], "of two wrong candidates with the energies 6 and 7 the lowest is not 6")


@most_offending.property
def by_loops(f: Answer) -> None:
    answers = torch.linspace(-1, 1, 21, dtype=torch.float64)
    for delta in (0.07, 0.33, 0.81):
        e = 10 * torch.randn(30, 21, dtype=torch.float64)
        y = 2 * torch.rand(30, dtype=torch.float64) - 1
        expected = [min(e[i, k].item() for k in range(21) if abs(answers[k] - y[i]) > delta) for i in range(30)]
        require_close(
            f(e, answers, y, delta),
            expected,
            f"delta = {delta}: it is not the lowest energy of the candidates farther away than that",
        )


@problem(
    "Return the energies |(I - W W^T)(x - m)|² of points x[*batch, D], with the mean m and the k leading principal directions W of data[N, D].",
    hints=[
        "Centre the data; the right singular vectors of the centred data are the principal directions, the largest first.",
        "residual = (x - m) - (x - m) W W^T; its squared length.",
        "The mean is that of the data, also for x. torch.linalg.svd(data - m, full_matrices=False) gives directions as rows of the third output.",
    ],
)
def pca_energy(x: Tensor, data: Tensor, k: int) -> Tensor:
    mean = data.mean(0)
    _, _, rows = torch.linalg.svd(data - mean, full_matrices=False)
    residual = (x - mean) - (x - mean) @ rows[:k].T @ rows[:k]
    return residual.square().sum(-1)


def _cloud() -> tuple[Tensor, Tensor, Tensor]:
    """Data whose principal directions are the columns of a known rotation, far from the origin."""
    turn, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    z = torch.randn(400, 5, dtype=torch.float64)
    z = z - z.mean(0)
    z = z @ torch.linalg.inv(torch.linalg.cholesky(z.T @ z / len(z))).T  # exactly white
    mean = torch.tensor([3.0, -2.0, 1.0, 0.0, 5.0], dtype=torch.float64)
    return z * torch.tensor([3.0, 2.0, 1.5, 1.0, 0.5], dtype=torch.float64) @ turn.T + mean, turn, mean


@pca_energy.property
def any_batch(f: Answer) -> None:
    data, _, _ = _cloud()
    for shape in ((7,), (2, 3), ()):
        require_tensor(
            f(torch.randn(*shape, 5, dtype=torch.float64), data, 2), shape, f"your result for a batch of shape {shape}"
        )


@pca_energy.property
def zero_on_the_subspace(f: Answer) -> None:
    data, turn, mean = _cloud()
    for k in (1, 3):
        on = mean + torch.randn(6, k, dtype=torch.float64) @ turn[:, :k].T
        require_close(
            f(on, data, k), torch.zeros(6), f"k = {k}: points of the leading subspace through the data's mean have energy"
        )


@pca_energy.property
def squared_distance_off_it(f: Answer) -> None:
    data, turn, mean = _cloud()
    for k in (0, 1, 3):
        step = torch.tensor([0.5, 2.0, -3.0], dtype=torch.float64)
        off = mean + step[:, None] * turn[:, k]
        got = require_tensor(f(off, data, k), (3,))
        require_close(got, step**2, f"k = {k}: a point at distance d from the subspace does not have the energy d²")


@pca_energy.property
def mean_is_the_small_eigenvalues(f: Answer) -> None:
    data, _, _ = _cloud()
    for k, rest in ((1, 4 + 2.25 + 1 + 0.25), (4, 0.25), (5, 0.0)):
        got = f(data, data, k)
        require_close(
            require_tensor(got, (400,)).mean(), rest, f"k = {k}: its mean over the data is not the sum of the other eigenvalues"
        )


@problem(
    "Return (mean_j relu(1 - sqrt(Var z_j + 1e-4)), sum over i != j of C_ij² / d) for embeddings z[n, d].",
    hints=[
        "Centre z along the batch; C = centred^T centred/(n - 1) holds the variances on its diagonal.",
        "The variance term is an average over coordinates of what is missing to 1; more than 1 costs nothing.",
        "For the second, the sum of all C_ij² minus that of the diagonal, over d.",
    ],
)
def spread_terms(z: Tensor) -> tuple[Tensor, Tensor]:
    centred = z - z.mean(0)
    c = centred.T @ centred / (len(z) - 1)
    variance = torch.relu(1 - (c.diagonal() + 1e-4).sqrt()).mean()
    covariance = (c.square().sum() - c.diagonal().square().sum()) / z.shape[1]
    return variance, covariance


def _white(n: int, d: int) -> Tensor:
    z = torch.randn(n, d, dtype=torch.float64)
    z = z - z.mean(0)
    return z @ torch.linalg.inv(torch.linalg.cholesky(z.T @ z / (n - 1))).T


def _pair(f: Answer, z: Tensor) -> tuple[Tensor, Tensor]:
    pair = f(z)
    require(isinstance(pair, tuple | list) and len(pair) == 2, "it does not return a pair")
    return require_tensor(pair[0], (), "the variance term"), require_tensor(pair[1], (), "the covariance term")


@spread_terms.property
def collapsed(f: Answer) -> None:
    variance, covariance = _pair(f, torch.full((50, 6), 2.0, dtype=torch.float64))
    require_close(variance, 0.99, "all embeddings are the same point, far from 0: the variance term should be 1 - 0.01")
    require_close(covariance, 0.0, "all embeddings are the same point: the covariance term should be 0")


@spread_terms.property
def what_is_missing(f: Answer) -> None:
    z = _white(40, 3)
    scales = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    expected = torch.relu(1 - (scales**2 + 1e-4).sqrt()).mean()
    variance, _ = _pair(f, z * scales + 4)
    require_close(variance, expected, "standard deviations 0.5, 1 and 3: the variance term is wrong", atol=1e-6)
    variance, _ = _pair(f, 5 * z)
    require_close(variance, 0.0, "every standard deviation is 5: nothing is missing, yet the variance term is not 0")


@spread_terms.property
def repeats(f: Answer) -> None:
    z = _white(30, 4)
    _, covariance = _pair(f, 2 * z - 1)
    require_close(covariance, 0.0, "uncorrelated coordinates of variance 4: the covariance term is not 0")
    same = z[:, :1].expand(30, 4) * 2**0.5
    _, covariance = _pair(f, same)
    require_close(
        covariance, 12.0, "four equal coordinates of variance 2, so 12 off-diagonal entries of 2: the covariance term is wrong"
    )
    _, covariance = _pair(f, torch.cat([z[:, :1], -z[:, :1]], 1))
    require_close(covariance, 1.0, "two coordinates of opposite sign: the covariance term is wrong")
