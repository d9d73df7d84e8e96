"""Exercises of lesson 08: sliced and denoising score matching, the loss of noise-contrastive estimation."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Answer, problem, require, require_close, require_tensor

Energy = Callable[[Tensor], Tensor]


def _matrix(d: int) -> Tensor:
    a = torch.randn(d, d, dtype=torch.float64)
    return a @ a.T / d + torch.eye(d, dtype=torch.float64)


def _has_graph(loss: object, theta: Tensor, expected: float) -> None:
    require(
        isinstance(loss, Tensor) and loss.requires_grad,
        "the result has no graph to the energy's parameters, so nothing can be trained with it",
    )
    assert isinstance(loss, Tensor)
    (grad,) = torch.autograd.grad(loss, theta, allow_unused=True)
    require(grad is not None, "the result has no graph to the energy's parameters, so nothing can be trained with it")
    require_close(grad, expected, "its value is right, but its gradient in the energy's parameters is not")


@problem(
    "Return the mean over points of -v·(H v) + |grad E|²/2, H the Hessian of E, for x[N, D] and directions v[N, D].",
    hints=[
        "First x.detach().requires_grad_(True), then the gradient at it with create_graph=True. H v is the gradient in x of one number, (grad E · v).",
        "Sum over coordinates, mean over points. Both calls of autograd.grad need create_graph=True, or the loss has no graph.",
    ],
)
def sliced(energy: Energy, x: Tensor, v: Tensor) -> Tensor:
    x = x.detach().requires_grad_(True)
    (grad,) = torch.autograd.grad(energy(x).sum(), x, create_graph=True)
    (hv,) = torch.autograd.grad((grad * v).sum(), x, create_graph=True)
    return (-(hv * v).sum(-1) + grad.square().sum(-1) / 2).mean()


@sliced.property
def on_quadratics(f: Answer) -> None:
    for d in (1, 4):
        a = _matrix(d)
        x, v = torch.randn(2, 30, d, dtype=torch.float64)
        for scale in (1.0, 3.0):
            u = scale * v
            expected = (-((u @ a) * u).sum(-1) + (x @ a).square().sum(-1) / 2).mean()
            got = require_tensor(f(lambda y, a=a: 0.5 * ((y @ a) * y).sum(-1), x, u), ())
            require_close(got, float(expected), f"E = x·Ax/2 in {d} dimension(s): it is not -v·Av + |Ax|²/2 on average")


@sliced.property
def where_the_hessian_varies(f: Answer) -> None:
    x, v = torch.randn(2, 40, 3, dtype=torch.float64)
    expected = (-(3 * x**2 * v**2).sum(-1) + 0.5 * x.pow(6).sum(-1)).mean()
    got = f(lambda y: 0.25 * y.pow(4).sum(-1), x, v)
    require_close(got, float(expected), "E = sum x⁴/4: wrong where the Hessian changes from point to point")


@sliced.property
def trains(f: Answer) -> None:
    theta = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    x, v = torch.randn(2, 20, 3, dtype=torch.float64)
    loss = f(lambda y: 0.5 * theta * y.square().sum(-1), x, v)
    _has_graph(loss, theta, float((-v.square().sum(-1) + 1.5 * x.square().sum(-1)).mean()))


@problem(
    "Return the mean over points of |grad E(x + sigma xi) - xi/sigma|²/2 for x[N, D], noise xi[N, D] and sigma.",
    hints=[
        "Make the noisy point first, and take the gradient there.",
        "The score of the noisy point given x is -xi/sigma, and the score of the model is minus the gradient. Sum over coordinates, mean over points, create_graph=True.",
    ],
)
def denoising(energy: Energy, x: Tensor, sigma: float, xi: Tensor) -> Tensor:
    noisy = (x + sigma * xi).detach().requires_grad_(True)
    (grad,) = torch.autograd.grad(energy(noisy).sum(), noisy, create_graph=True)
    return 0.5 * (grad - xi / sigma).square().sum(-1).mean()


@denoising.property
def with_a_flat_energy(f: Answer) -> None:
    x, xi = torch.randn(2, 25, 3, dtype=torch.float64)
    for sigma in (0.5, 2.0):
        got = require_tensor(f(lambda y: 0 * y.sum(-1), x, sigma, xi), ())
        expected = 0.5 * xi.square().sum(-1).mean() / sigma**2
        require_close(
            got, float(expected), f"a flat energy, sigma = {sigma}: only the target is left, and its mean square/2 is wrong"
        )


@denoising.property
def denoising_on_quadratics(f: Answer) -> None:
    for d, sigma in ((1, 0.5), (5, 0.3)):
        a = _matrix(d)
        x, xi = torch.randn(2, 30, d, dtype=torch.float64)
        expected = 0.5 * ((x + sigma * xi) @ a - xi / sigma).square().sum(-1).mean()
        got = f(lambda y, a=a: 0.5 * ((y @ a) * y).sum(-1), x, sigma, xi)
        require_close(
            got,
            float(expected),
            f"E = x·Ax/2 in {d} dimension(s), sigma = {sigma}: it is not the mean of |A y - xi/sigma|²/2 at the noisy y",
        )


@denoising.property
def finds_the_blurred_variance(f: Answer) -> None:
    x, xi = torch.randn(2, 20_000, 1, dtype=torch.float64)
    x, xi = ((t - t.mean()) / t.std(correction=0) for t in (x, xi))
    xi = xi - (xi * x).mean() * x
    xi = xi / xi.std(correction=0)  # uncorrelated with x, exactly
    gaussian = lambda s2: lambda y: y.square().sum(-1) / (2 * s2)
    values = {s2: float(require_tensor(f(gaussian(s2), x, 0.5, xi), ())) for s2 in (1.0, 1.15, 1.25, 1.35, 1.5)}
    best = min(values, key=lambda s2: values[s2])
    require(best == 1.25, f"data of variance 1, sigma = 0.5: the loss is smallest at the variance {best}, not at 1.25")


@denoising.property
def denoising_trains(f: Answer) -> None:
    theta = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    x, xi = torch.randn(2, 20, 3, dtype=torch.float64)
    noisy = x + 0.4 * xi
    loss = f(lambda y: 0.5 * theta * y.square().sum(-1), x, 0.4, xi)
    _has_graph(loss, theta, float((noisy * (1.5 * noisy - xi / 0.4)).sum(-1).mean()))


@problem(
    "Return -mean log sigmoid(G(x+)) - nu mean log sigmoid(-G(x-)) with G = -E - log Z - log q - log nu and nu = m/n, from e_pos[n], e_neg[m], log_q_pos[n], log_q_neg[m], log_z.",
    hints=[
        "Write G once for data and once for noise. nu is how many noise points there are for each data point.",
        "-log sigmoid(a) = softplus(-a): torch.nn.functional.softplus or logsigmoid does not overflow. The noise term is multiplied by nu.",
    ],
)
def nce(e_pos: Tensor, e_neg: Tensor, log_q_pos: Tensor, log_q_neg: Tensor, log_z: Tensor | float) -> Tensor:
    nu = len(e_neg) / len(e_pos)
    g_pos = -e_pos - log_z - log_q_pos - math.log(nu)
    g_neg = -e_neg - log_z - log_q_neg - math.log(nu)
    return F.softplus(-g_pos).mean() + nu * F.softplus(g_neg).mean()


@nce.property
def nothing_to_tell(f: Answer) -> None:
    for n, m in ((6, 6), (5, 20)):
        nu = m / n
        log_q_pos, log_q_neg = torch.randn(n, dtype=torch.float64), torch.randn(m, dtype=torch.float64)
        got = require_tensor(f(0.7 - log_q_pos, 0.7 - log_q_neg, log_q_pos, log_q_neg, -0.7), ())
        expected = math.log(1 + nu) + nu * math.log(1 + 1 / nu)
        require_close(got, expected, f"the model equals the noise, nu = {nu:g}: guessing by the proportions costs {expected:.4f}")


def _counts() -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """Three states whose data and noise come in exact proportion; E has the known log Z."""
    p, q = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)
    log_z = 1.3
    e = -p.log() - log_z
    pos, neg = torch.tensor([0] * 5 + [1] * 3 + [2] * 2), torch.tensor([0] * 6 + [1] * 6 + [2] * 18)
    return e[pos], e[neg], q.log()[pos], q.log()[neg], log_z


@nce.property
def smallest_at_log_z(f: Answer) -> None:
    *parts, log_z = _counts()
    values = {d: float(require_tensor(f(*parts, log_z + d), ())) for d in (-0.4, -0.1, 0.0, 0.1, 0.4)}
    best = min(values, key=lambda d: values[d])
    require(best == 0.0, f"data and noise in exact proportion, nu = 3: the loss is smallest {best:+.1f} away from the true log Z")


@nce.property
def value_in_proportion(f: Answer) -> None:
    *parts, log_z = _counts()
    p, q = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)
    h = p / (p + 3 * q)
    expected = float(-(p * h.log()).sum() - 3 * (q * (1 - h).log()).sum())
    require_close(f(*parts, log_z), expected, "data and noise in exact proportion, nu = 3: the value at the truth is wrong")


@nce.property
def survives_large_energies(f: Answer) -> None:
    e = torch.tensor([3000.0, -3000.0], dtype=torch.float64)
    zero = torch.zeros(2, dtype=torch.float64)
    got = f(e, -e, zero, zero, 0.0)
    require_close(got, 3000.0, "energies of ±3000: the two mistakes cost 3000/2 each")
