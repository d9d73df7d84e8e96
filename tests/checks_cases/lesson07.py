"""Right and plausible wrong answers to the exercises of lesson 07."""

import torch

from tests.checks_harness import Case


def _no_grad_samples(energy, x_pos, x_neg):
    with torch.no_grad():
        x = x_neg.clone()
    return torch.sub(energy(x_pos).sum() / len(x_pos), energy(x).sum() / len(x_neg))


def _one_forward(energy, x_pos, x_neg):
    e = energy(torch.cat([x_pos, x_neg.detach()]))
    return e[: len(x_pos)].mean() - e[len(x_pos) :].mean()


def _reads_elsewhere(buffer, fresh, move):
    index, x = buffer.draw(fresh)
    x = move(x)
    buffer.store(torch.arange(len(x)), x)
    return x


def _forgets_to_store(buffer, fresh, move):
    return move(buffer.draw(fresh)[1])


def _stores_what_it_read(buffer, fresh, move):
    index, x = buffer.draw(fresh)
    buffer.store(index, x)
    return move(x)


def _fresh_chains(buffer, fresh, move):
    index, _ = buffer.draw(fresh)
    x = move(fresh)
    buffer.store(index, x)
    return x


def _random_slots(buffer, fresh, move):
    _, x = buffer.draw(fresh)
    x = move(x)
    buffer.store(torch.randperm(len(buffer))[: len(x)], x)
    return x


def _moves_twice(buffer, fresh, move):
    index, x = buffer.draw(fresh)
    buffer.store(index, move(x))
    return move(move(x))


def _by_hand(buffer, fresh, move):
    index, x = buffer.draw(fresh)
    new = move(x.detach()).detach()
    buffer.x[index] = new
    return new


def _normalised(T, p, k):
    q = torch.linalg.matrix_power(T, k)
    return torch.einsum("i,ij->j", p, q)


CASES = {
    "surrogate": Case(
        right=[_no_grad_samples, _one_forward, lambda e, a, b: -(e(b.detach()).mean() - e(a).mean())],
        wrong={
            "sign": lambda e, a, b: e(b.detach()).mean() - e(a).mean(),
            "no detach": lambda e, a, b: e(a).mean() - e(b).mean(),
            "sum for mean": lambda e, a, b: e(a).sum() - e(b.detach()).sum(),
            "data only": lambda e, a, b: e(a).mean(),
            "both pushed down": lambda e, a, b: e(a).mean() + e(b.detach()).mean(),
            "squared": lambda e, a, b: (e(a).mean() - e(b.detach()).mean()) ** 2,
            "absolute": lambda e, a, b: (e(a).mean() - e(b.detach()).mean()).abs(),
            "energies detached": lambda e, a, b: e(a).mean() - e(b).mean().detach(),
            "not reduced": lambda e, a, b: e(a) - e(b.detach()).mean(),
        },
    ),
    "after_steps": Case(
        right=[_normalised, lambda T, p, k: torch.linalg.matrix_power(T.T, k) @ p],
        wrong={
            "from the other side": lambda T, p, k: torch.linalg.matrix_power(T, k) @ p,
            "powers of the entries": lambda T, p, k: p @ T**k,
            "one step too many": lambda T, p, k: p @ torch.linalg.matrix_power(T, k + 1),
            "one step whatever k": lambda T, p, k: p @ T,
            "k times one step": lambda T, p, k: k * (p @ T),
            "renormalised the wrong way": lambda T, p, k: torch.softmax(p @ torch.linalg.matrix_power(T, k), 0),
        },
    ),
    "persistent_step": Case(
        right=[_by_hand],
        wrong={
            "written to the first slots": _reads_elsewhere,
            "written to other slots": _random_slots,
            "not stored": _forgets_to_store,
            "stored before the move": _stores_what_it_read,
            "always fresh": _fresh_chains,
            "moved twice": _moves_twice,
        },
    ),
}
