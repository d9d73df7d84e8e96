"""Right and plausible wrong answers to the exercises of lesson 02."""

import torch

from tests.checks_harness import Case


def _pairs(x, c):
    return torch.stack(torch.broadcast_tensors(x[:, None], c), -1)


def _loop(energy, x, candidates):
    return torch.stack([min(candidates, key=lambda y: float(energy(torch.stack([q, y])))) for q in x])


def _by_sort(energy, x, candidates):
    order = energy(_pairs(x, candidates)).sort(dim=1).indices
    return candidates[order[:, 0]]


def _expected_answer(energy, x, candidates):
    return (torch.softmax(-20 * energy(_pairs(x, candidates)), -1) * candidates).sum(-1)


def _first_for_all(energy, x, candidates):
    e = energy(_pairs(x, candidates))
    return candidates[e.sum(0).argmin()].expand(len(x))


def _random_shift(x, y):
    shift = int(torch.randint(1, len(y), ())) if len(y) > 1 else 1
    return torch.cat([y[shift:], y[:shift]])


def _random_cycle(x, y):
    order = torch.randperm(len(y))
    out = torch.empty_like(y)
    out[order] = y[order.roll(1)]
    return out


def _loop_hinge(e_pos, e_neg, margin):
    return sum(torch.relu(margin + p - n) for p in e_pos for n in e_neg) / (len(e_pos) * len(e_neg))


def _first_pairs(e_pos, e_neg, margin):
    k = min(len(e_pos), len(e_neg))
    return (margin + e_pos[:k] - e_neg[:k]).clamp(min=0).mean()


CASES = {
    "infer": Case(
        right=[_loop, _by_sort],
        wrong={
            "min for argmin": lambda energy, x, c: energy(_pairs(x, c)).min(-1).values,
            "the index": lambda energy, x, c: energy(_pairs(x, c)).argmin(-1),
            "highest energy": lambda energy, x, c: c[energy(_pairs(x, c)).argmax(-1)],
            "question and answer swapped": lambda energy, x, c: c[energy(_pairs(x, c).flip(-1)).argmin(-1)],
            "the mean answer": _expected_answer,
            "one answer for all": _first_for_all,
            "energy near zero": lambda energy, x, c: c[energy(_pairs(x, c)).abs().argmin(-1)],
        },
    ),
    "hinge_all_pairs": Case(
        right=[
            _loop_hinge,
            lambda p, n, m: torch.relu(m - (n.reshape(-1, 1) - p)).mean(),
            lambda p, n, m: torch.maximum(torch.zeros(()), m + torch.cartesian_prod(p, -n).sum(-1)).mean(),
        ],
        wrong={
            "sign": lambda p, n, m: (m - p[:, None] + n[None]).clamp(min=0).mean(),
            "sum for mean": lambda p, n, m: (m + p[:, None] - n[None]).clamp(min=0).sum(),
            "no clamp": lambda p, n, m: (m + p[:, None] - n[None]).mean(),
            "means first": lambda p, n, m: (m + p.mean() - n.mean()).clamp(min=0),
            "row by row": _first_pairs,
            "no margin": lambda p, n, m: (p[:, None] - n[None]).clamp(min=0).mean(),
            "margin outside": lambda p, n, m: m + (p[:, None] - n[None]).clamp(min=0).mean(),
            "softplus": lambda p, n, m: torch.nn.functional.softplus(m + p[:, None] - n[None]).mean(),
            "squared": lambda p, n, m: (m + p[:, None] - n[None]).clamp(min=0).square().mean(),
            "detached": lambda p, n, m: (m + p[:, None] - n[None].detach()).clamp(min=0).mean() * 1.0,
        },
    ),
    "mismatched": Case(
        right=[_random_shift, _random_cycle, lambda x, y: torch.cat([y[1:], y[:1]])],
        wrong={
            "a shuffle": lambda x, y: y[torch.randperm(len(y))],
            "the true pairs": lambda x, y: y,
            "noise on y": lambda x, y: y + 0.3 * torch.randn_like(y),
            "reversed": lambda x, y: y.flip(0),
            "wrong axis": lambda x, y: y.roll(1, dims=1),
            "drawn with replacement": lambda x, y: y[torch.randint(len(y), (len(y),))],
            "one answer for all": lambda x, y: y[:1].expand_as(y),
            "x for y": lambda x, y: x.roll(1, 0),
        },
    ),
}
