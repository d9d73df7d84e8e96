"""Right and plausible wrong answers to the exercises of lesson 09."""

import math

import torch

from tests.checks_harness import Case


def _bound(entropy=lambda q: -torch.xlogy(q, q).sum(-1), weight=lambda beta: 1 / beta, mean=lambda q, e: (q * e).sum(-1)):
    return lambda e, q, beta: mean(q, e) - weight(beta) * entropy(q)


def _loop(e, latents):
    index = e.reshape(-1, e.shape[-1]).argmin(-1)
    z = torch.stack([latents[i] for i in index]).reshape(*e.shape[:-1], -1)
    return e.gather(-1, e.argmin(-1, keepdim=True)).squeeze(-1), z


CASES = {
    "zero_temperature": Case(
        right=[_loop, lambda e, latents: [e.amin(-1), latents[e.argmin(-1)]]],
        wrong={
            "swapped": lambda e, latents: (latents[e.argmin(-1)], e.amin(-1)),
            "an index for the latent": lambda e, latents: (e.amin(-1), e.argmin(-1)),
            "an index, with the right shape": lambda e, latents: (
                e.amin(-1),
                e.argmin(-1, keepdim=True).expand(*e.shape[:-1], latents.shape[-1]),
            ),
            "the argmin for the energy": lambda e, latents: (e.argmin(-1), latents[e.argmin(-1)]),
            "highest": lambda e, latents: (e.amax(-1), latents[e.argmax(-1)]),
            "over the batch": lambda e, latents: (e.amin(0), latents[e.argmin(0)]),
            "over everything": lambda e, latents: (e.amin(), latents[e.argmin() % e.shape[-1]]),
            "mean latent": lambda e, latents: (e.amin(-1), torch.softmax(-e, -1) @ latents),
            "the energy alone": lambda e, latents: e.amin(-1),
            "lowest absolute energy": lambda e, latents: (e.abs().amin(-1), latents[e.abs().argmin(-1)]),
        },
    ),
    "free_energy": Case(
        right=[
            lambda e, beta: -torch.logsumexp(-beta * e - math.log(e.shape[-1]), -1) / beta,
            lambda e, beta: e.amin(-1) - torch.exp(-beta * (e - e.amin(-1, keepdim=True))).mean(-1).log() / beta,
        ],
        wrong={
            "sum for mean": lambda e, beta: -torch.logsumexp(-beta * e, -1) / beta,
            "sign": lambda e, beta: (torch.logsumexp(-beta * e, -1) - math.log(e.shape[-1])) / beta,
            "both signs": lambda e, beta: (torch.logsumexp(beta * e, -1) - math.log(e.shape[-1])) / beta,
            "no 1/beta": lambda e, beta: -(torch.logsumexp(-beta * e, -1) - math.log(e.shape[-1])),
            "log K not divided by beta": lambda e, beta: -torch.logsumexp(-beta * e, -1) / beta + math.log(e.shape[-1]),
            "log K added twice": lambda e, beta: -(torch.logsumexp(-beta * e, -1) - 2 * math.log(e.shape[-1])) / beta,
            "overflow": lambda e, beta: -torch.exp(-beta * e).mean(-1).log() / beta,
            "over the batch": lambda e, beta: -(torch.logsumexp(-beta * e, 0) - math.log(len(e))) / beta,
            "beta ignored": lambda e, beta: -(torch.logsumexp(-e, -1) - math.log(e.shape[-1])),
            "the posterior mean energy": lambda e, beta: (torch.softmax(-beta * e, -1) * e).sum(-1),
            "the lowest": lambda e, beta: e.amin(-1),
        },
    ),
    "variational_bound": Case(
        right=[
            lambda e, q, beta: (q * e).sum(-1) - torch.special.entr(q).sum(-1) / beta,
            lambda e, q, beta: (q * (e + q.clamp(min=1e-300).log() / beta)).sum(-1),
        ],
        wrong={
            "sign of the entropy": _bound(weight=lambda beta: -1 / beta),
            "no beta": _bound(weight=lambda beta: 1.0),
            "times beta": _bound(weight=lambda beta: beta),
            "0 log 0": _bound(entropy=lambda q: -(q * q.log()).sum(-1)),
            "no entropy": _bound(weight=lambda beta: 0.0),
            "q ignored in the mean": _bound(mean=lambda q, e: e.mean(-1)),
            "divergence from uniform": _bound(entropy=lambda q: -torch.xlogy(q, q * q.shape[-1]).sum(-1)),
            "entropy in bits": _bound(entropy=lambda q: -torch.xlogy(q, q).sum(-1) / math.log(2)),
            "mean over latents": _bound(entropy=lambda q: -torch.xlogy(q, q).mean(-1)),
            "over the batch": lambda e, q, beta: (q * e).sum(0) + torch.xlogy(q, q).sum(0) / beta,
        },
    ),
}
