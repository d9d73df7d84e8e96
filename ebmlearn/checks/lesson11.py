"""Exercises of lesson 11: the free energy of a Gaussian-Bernoulli RBM, the collapsed Langevin loop, the gradient in W."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from .base import Answer, problem, require, require_tensor


def _machine(seed: int, d: int, h: int) -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=g)
    return 0.7 * draw(d, h), draw(h), draw(d), 0.8 * draw(d)


def _points(seed: int, *shape: int) -> Tensor:
    return 1.5 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _by_enumeration(x: Tensor, W: Tensor, b: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    z = torch.tensor(list(itertools.product([0.0, 1.0], repeat=len(b))), dtype=x.dtype)
    s2 = log_var.exp()
    quadratic = 0.5 * ((x - mu) ** 2 / s2).sum(-1)
    return quadratic - torch.logsumexp((x / s2) @ W @ z.T + z @ b, -1)


@problem(
    "Return the free energy F(x) = -log sum over z of exp(-E(x, z)) of a Gaussian-Bernoulli RBM, for x of shape [*batch, D].",
    hints=[
        "The sum over all z factors: given x, every hidden unit is summed by itself.",
        "One unit contributes log(1 + exp(a_j)), a = Wᵀ(x / s²) + b: torch.nn.functional.softplus does it without overflow.",
        "What does not contain z stays as it is: half the sum of (x - mu)² / s². Sum over the last axes only.",
    ],
)
def free_energy(x: Tensor, W: Tensor, b: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    s2 = log_var.exp()
    a = (x / s2) @ W + b
    return 0.5 * ((x - mu) ** 2 / s2).sum(-1) - torch.nn.functional.softplus(a).sum(-1)


@free_energy.property
def one_number_for_each_point(f: Answer) -> None:
    p = _machine(0, 3, 4)
    require_tensor(f(_points(1, 5, 3), *p), (5,), "the free energy of 5 points")
    require_tensor(f(_points(1, 2, 6, 3), *p), (2, 6), "the free energy of 2 x 6 points")


@free_energy.property
def a_machine_without_hidden_units_is_a_gaussian(f: Answer) -> None:
    _, _, mu, log_var = _machine(2, 3, 1)
    off = (torch.zeros(3, 1, dtype=torch.float64), torch.full((1,), -200.0, dtype=torch.float64))
    x = _points(3, 6, 3)
    expected = 0.5 * ((x - mu) ** 2 / log_var.exp()).sum(-1)
    found = require_tensor(f(x, *off, mu, log_var), (6,))
    require((found - expected).abs().max() < 1e-6, "with a hidden unit that is never on it should be the energy of a Gaussian")


@free_energy.property
def equals_the_sum_over_all_hidden_states(f: Answer) -> None:
    for seed, d, h in ((4, 3, 4), (5, 2, 6), (6, 5, 1)):
        p, x = _machine(seed, d, h), _points(seed + 10, 7, d)
        error = (require_tensor(f(x, *p), (7,)) - _by_enumeration(x, *p)).abs().max().item()
        require(error < 1e-6, f"it differs from the sum over all {2**h} hidden states, by up to {error:.3g}")


@free_energy.property
def does_not_overflow(f: Answer) -> None:
    W, b, mu, log_var = _machine(7, 2, 3)
    far = torch.full((1, 2), 800.0, dtype=torch.float64)
    require_tensor(f(far, W, b, mu, torch.zeros_like(log_var)), (1,), "the free energy far out")


@problem(
    "K Langevin steps of one size eta on E(x) = (x - m)²/(2 s²) at temperature T are one draw x' = b x + (1 - b) m + n N(0, 1). "
    "Return b and n for every dimension, given s² of shape [D].",
    hints=[
        "One step multiplies the deviation x - m by a = 1 - eta/(T s²) and adds noise of variance 2 eta.",
        "After K steps the deviation is a to the power K. Noise of step k is multiplied by a in each of the steps that follow.",
        "The variances add: n² = 2 eta (1 + a² + a⁴ + ... ), K terms.",
    ],
)
def memory_and_noise(eta: float, n_inner: int, variance: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    a = 1 - eta / (temperature * variance)
    powers = torch.stack([a ** (2 * k) for k in range(n_inner)])
    return a**n_inner, (2 * eta * powers.sum(0)).sqrt()


_S2 = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)


def _pair(f: Answer, eta: float, k: int, t: float) -> tuple[Tensor, Tensor]:
    answer = f(eta, k, _S2, t)
    require(isinstance(answer, (tuple, list)) and len(answer) == 2, "expected two things: b and n")
    return require_tensor(answer[0], (3,), "b"), require_tensor(answer[1], (3,), "n")


@memory_and_noise.property
def one_step_is_the_step(f: Answer) -> None:
    b, n = _pair(f, 0.3, 1, 1.0)
    require((b - (1 - 0.3 / _S2)).abs().max() < 1e-6, "with one step b should be the factor of that step")
    require((n**2 - 0.6).abs().max() < 1e-6, "with one step the noise should have the variance of that step's noise")


@memory_and_noise.property
def steps_compose(f: Answer) -> None:
    (b, n), (b2, n2) = _pair(f, 0.2, 1, 1.0), _pair(f, 0.2, 2, 1.0)
    require((b2 - b * b).abs().max() < 1e-6, "two steps should forget as much as one step after another")
    require(
        (n2**2 - (n**2 * (1 + b**2))).abs().max() < 1e-6, "the noise of two steps is not what one step after another adds up to"
    )


@memory_and_noise.property
def agrees_with_the_loop(f: Answer) -> None:
    for eta, k, t in ((0.2, 7, 1.0), (0.3, 10, 2.5), (1.0, 4, 100.0)):
        b, n = _pair(f, eta, k, t)
        deviation, variance = torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
        for _ in range(k):
            a = 1 - eta / (t * _S2)
            deviation, variance = a * deviation, a**2 * variance + 2 * eta
        require((b - deviation).abs().max() < 1e-6, f"b is not what the loop gives for eta = {eta}, K = {k}, T = {t}")
        require((n**2 - variance).abs().max() < 1e-6, f"n is not what the loop gives for eta = {eta}, K = {k}, T = {t}")


@problem(
    "Return the gradient in W, [D, H], of the mean negative log-likelihood: its data term from points x_data, its model term from samples x_model.",
    hints=[
        "It is the mean of dF/dW over data minus the mean of dF/dW over samples of the model.",
        "dF/dW at one x is minus the outer product of x/s² and sigmoid(Wᵀ(x/s²) + b).",
        "A mean of outer products is one matrix product, divided by the number of points; the two sets may differ in size.",
    ],
)
def weight_gradient(x_data: Tensor, x_model: Tensor, W: Tensor, b: Tensor, log_var: Tensor) -> Tensor:
    def mean_of(x: Tensor) -> Tensor:
        y = x / log_var.exp()
        return -y.T @ torch.sigmoid(y @ W + b) / len(x)

    return mean_of(x_data) - mean_of(x_model)


def _autograd(x_data: Tensor, x_model: Tensor, W: Tensor, b: Tensor, log_var: Tensor) -> Tensor:
    leaf = W.clone().requires_grad_(True)
    mu = torch.zeros_like(log_var)
    loss = _by_enumeration(x_data, leaf, b, mu, log_var).mean() - _by_enumeration(x_model, leaf, b, mu, log_var).mean()
    return torch.autograd.grad(loss, leaf)[0]


@weight_gradient.property
def has_the_shape_of_the_weights(f: Answer) -> None:
    W, b, _, log_var = _machine(8, 3, 4)
    require_tensor(f(_points(1, 6, 3), _points(2, 6, 3), W, b, log_var), (3, 4), "the gradient")


@weight_gradient.property
def is_zero_where_model_and_data_agree(f: Answer) -> None:
    W, b, _, log_var = _machine(9, 3, 4)
    x = _points(3, 8, 3)
    require(
        require_tensor(f(x, x.clone(), W, b, log_var), (3, 4)).abs().max() < 1e-9,
        "with the same points as data and as samples it should be zero",
    )


@weight_gradient.property
def is_the_gradient(f: Answer) -> None:
    W, b, _, log_var = _machine(10, 3, 4)
    x, y = _points(4, 9, 3), _points(5, 9, 3)
    found, exact = require_tensor(f(x, y, W, b, log_var), (3, 4)), _autograd(x, y, W, b, log_var)
    require((found + exact).abs().max() > 1e-6, "the sign: a step against this would make data less likely")
    require((found - exact).abs().max() < 1e-6, "it is not what autograd gives for the difference of mean free energies")


@weight_gradient.property
def sets_may_differ_in_size(f: Answer) -> None:
    W, b, _, log_var = _machine(11, 3, 4)
    x, y = _points(6, 5, 3), _points(7, 40, 3)
    found = require_tensor(f(x, y, W, b, log_var), (3, 4))
    require((found - _autograd(x, y, W, b, log_var)).abs().max() < 1e-6, "it goes wrong when there are more samples than data")
