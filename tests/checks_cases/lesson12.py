"""Right and plausible wrong answers to the exercises of lesson 12."""

import math

import torch
import torch.nn.functional as F

from ebmlearn.contrastive import nt_xent
from tests.checks_harness import Case


def _contrast(p1, p2, tau, *, normalise=True, diagonal=True, shift=None, keep=None, divide=True):
    b = len(p1)
    p = torch.cat([p1, p2])
    p = F.normalize(p, dim=-1) if normalise else p
    logits = p @ p.mT / tau if divide else p @ p.mT * tau
    if diagonal:
        logits = logits.masked_fill(torch.eye(2 * b, dtype=torch.bool), float("-inf"))
    loss = F.cross_entropy(logits, torch.arange(2 * b).roll(b if shift is None else shift), reduction="none")
    return loss.mean() if keep is None else keep(loss)


def _quadrature(e, u, beta, *, length=2 * math.pi, sign=1.0):
    t = torch.linspace(0, 2 * math.pi, 4001, dtype=torch.float64)[:-1]
    z = torch.stack([t.cos(), t.sin()], -1)
    return -sign * (torch.logsumexp(beta * (z @ u.double()) - e, 0) + math.log(length / 4000))


def _steer(e, u, z, w, *, sign=-1.0):
    return e + sign * (F.normalize(u, dim=-1) @ F.normalize(z, dim=-1).mT * w).sum(-1)


CASES = {
    "contrast": Case(
        right=[lambda p1, p2, tau: nt_xent(p1, p2, temperature=tau), _contrast],
        wrong={
            "itself among the choices": lambda p1, p2, tau: _contrast(p1, p2, tau, diagonal=False),
            "not normalised": lambda p1, p2, tau: _contrast(p1, p2, tau, normalise=False),
            "times tau": lambda p1, p2, tau: _contrast(p1, p2, tau, divide=False),
            "the neighbour for the partner": lambda p1, p2, tau: _contrast(p1, p2, tau, shift=1),
            "sum for mean": lambda p1, p2, tau: _contrast(p1, p2, tau, keep=torch.sum),
            "one side only": lambda p1, p2, tau: _contrast(p1, p2, tau, keep=lambda loss: loss[: len(p1)].mean()),
            "only across the views": lambda p1, p2, tau: F.cross_entropy(
                F.normalize(p1, dim=-1) @ F.normalize(p2, dim=-1).mT / tau, torch.arange(len(p1))
            ),
        },
    ),
    "circle_free_energy": Case(
        right=[
            _quadrature,
            lambda e, u, beta: e - math.log(2 * math.pi) - float(torch.special.i0e(torch.tensor(beta)).log()) - beta,
        ],
        wrong={
            "mean for integral": lambda e, u, beta: _quadrature(e, u, beta, length=1.0),
            "sign": lambda e, u, beta: _quadrature(e, u, beta, sign=-1.0),
            "sum without the step": lambda e, u, beta: _quadrature(e, u, beta, length=4000.0),
            "the best z only": lambda e, u, beta: torch.tensor(e - beta),
            "average energy": lambda e, u, beta: torch.tensor(e),
            "overflow": lambda e, u, beta: (
                -torch.log(torch.exp(beta * torch.arange(0, 2 * math.pi, 0.01).cos() - e).mean() * 2 * math.pi)
            ),
        },
    ),
    "steer": Case(
        right=[_steer],
        wrong={
            "sign": lambda e, u, z, w: _steer(e, u, z, w, sign=1.0),
            "inner product for cosine": lambda e, u, z, w: e - u @ z.mT @ w,
            "latents not normalised": lambda e, u, z, w: e - F.normalize(u, dim=-1) @ z.mT @ w,
            "mean over conditions": lambda e, u, z, w: e - (F.normalize(u, dim=-1) @ F.normalize(z, dim=-1).mT * w).mean(-1),
            "first condition only": lambda e, u, z, w: _steer(e, u, z[:1], w[:1]),
            "absolute weights": lambda e, u, z, w: _steer(e, u, z, w.abs()),
            "energy forgotten": lambda e, u, z, w: _steer(0 * e, u, z, w),
        },
    ),
}
