"""Right and plausible wrong answers to the exercises of lesson 04."""

import math

import torch

from ebmlearn.functional import value_and_grad
from ebmlearn.samplers import Langevin, sample
from tests.checks_harness import Case


def _grad(energy, x):
    return value_and_grad(energy, x)[1]


def _step(noise=lambda x, eta: math.sqrt(2 * eta) * torch.randn_like(x), drift=lambda g, eta: -eta * g):
    return lambda energy, x, eta: x + drift(_grad(energy, x), eta) + noise(x, eta)


def _with_graph(energy, x, eta):
    x = x.clone().requires_grad_(True)
    (g,) = torch.autograd.grad(energy(x).sum(), x, create_graph=True)
    return x - eta * g + math.sqrt(2 * eta) * torch.randn_like(x)


def _mean_energy(energy, x, eta):
    leaf = x.clone().requires_grad_(True)
    (g,) = torch.autograd.grad(energy(leaf).mean(), leaf)
    return x - eta * g + math.sqrt(2 * eta) * torch.randn_like(x)


def _in_place(energy, x, eta):
    x -= eta * _grad(energy, x)
    x += math.sqrt(2 * eta) * torch.randn_like(x)
    return x


def _ratio(
    denominator=lambda eta: 4 * eta, energies=1.0, forward=1.0, backward=1.0, own_gradients=True, reduce=lambda r: r, dim=-1
):
    def f(energy, x, y, eta):
        (ex, gx), (ey, gy) = value_and_grad(energy, x), value_and_grad(energy, y)
        back = -((x - y + eta * (gy if own_gradients else gx)) ** 2).sum(dim) / denominator(eta)
        there = -((y - x + eta * gx) ** 2).sum(dim) / denominator(eta)
        return reduce(energies * (ex - ey) + backward * back - forward * there)

    return f


def _expanded(energy, x, y, eta):
    (ex, gx), (ey, gy) = value_and_grad(energy, x), value_and_grad(energy, y)
    return ex - ey + 0.5 * ((gx + gy) * (y - x)).sum(-1) + eta / 4 * ((gx**2).sum(-1) - (gy**2).sum(-1))


CASES = {
    "ula_step": Case(
        right=[
            lambda energy, x, eta: sample(energy, Langevin(step_size=eta), x, 1),
            _step(noise=lambda x, eta: (2 * eta) ** 0.5 * torch.normal(torch.zeros_like(x), torch.ones_like(x))),
        ],
        wrong={
            "sign of the drift": _step(drift=lambda g, eta: eta * g),
            "noise sqrt(eta)": _step(noise=lambda x, eta: math.sqrt(eta) * torch.randn_like(x)),
            "noise eta": _step(noise=lambda x, eta: eta * torch.randn_like(x)),
            "noise 2 eta": _step(noise=lambda x, eta: 2 * eta * torch.randn_like(x)),
            "half step with full noise": _step(drift=lambda g, eta: -eta * g / 2),
            "no noise": _step(noise=lambda x, eta: torch.zeros_like(x)),
            "uniform noise of that variance": _step(noise=lambda x, eta: math.sqrt(24 * eta) * (torch.rand_like(x) - 0.5)),
            "uniform noise, not centred": _step(noise=lambda x, eta: math.sqrt(24 * eta) * torch.rand_like(x)),
            "one draw for the whole batch": _step(noise=lambda x, eta: math.sqrt(2 * eta) * torch.randn(x.shape[-1]).to(x)),
            "one draw for all coordinates": _step(
                noise=lambda x, eta: math.sqrt(2 * eta) * torch.randn(x.shape[0], *[1] * (x.ndim - 1)).to(x)
            ),
            "seeded inside": _step(
                noise=lambda x, eta: (
                    math.sqrt(2 * eta) * torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
                )
            ),
            "no detach": _with_graph,
            "mean for sum": _mean_energy,
            "in place": _in_place,
            "only right on the bowl": lambda energy, x, eta: (1 - eta) * x + math.sqrt(2 * eta) * torch.randn_like(x),
        },
    ),
    "mala_log_ratio": Case(
        right=[_expanded],
        wrong={
            "denominator 2 eta": _ratio(denominator=lambda eta: 2 * eta),
            "denominator 2 eta squared": _ratio(denominator=lambda eta: 2 * eta**2),
            "no proposal density": _ratio(forward=0.0, backward=0.0),
            "forward density only": _ratio(backward=0.0),
            "upside down": lambda *a: -_ratio()(*a),
            "energies upside down": _ratio(energies=-1.0),
            "way back with the gradient of the way there": _ratio(own_gradients=False),
            "one decision for the whole batch": _ratio(reduce=lambda r: r.sum().expand(r.shape)),
            "mean over the batch": _ratio(reduce=lambda r: r.mean().expand(r.shape)),
            "summed over the batch": _ratio(reduce=lambda r: r.sum()),
            "the probability": lambda *a: _ratio()(*a).clamp(max=0).exp(),
            "clamped at 0": lambda *a: _ratio()(*a).clamp(max=0),
        },
    ),
    "temperature_of": Case(
        right=[lambda step_size, noise: torch.tensor(noise) ** 2 / step_size / 2],
        wrong={
            "no 2": lambda step_size, noise: noise**2 / step_size,
            "no square": lambda step_size, noise: noise / (2 * step_size),
            "inverse": lambda step_size, noise: 2 * step_size / noise**2 if noise else 0.0,
            "root": lambda step_size, noise: noise / math.sqrt(2 * step_size),
            "half-step convention": lambda step_size, noise: noise**2 / (step_size / 2) / 2,
            "step squared": lambda step_size, noise: noise**2 / (2 * step_size**2),
        },
    ),
}
