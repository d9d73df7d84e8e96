"""Right and plausible wrong answers to the exercises of lesson 03."""

import torch

from tests.checks_harness import Case


def _offending_by_rows(energies, answers, y, delta):
    return torch.stack([e[(answers - v).abs() > delta].min() for e, v in zip(energies, y)])


def _offending(energies, answers, y, delta):
    return torch.where((answers - y[:, None]).abs() > delta, energies, torch.inf)


def _pca(x, data, k, *, mean=None, last=False, square=True, uncentred=False):
    m = data.mean(0) if mean is None else mean
    centred = data if uncentred else data - m
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    w = vectors[:, :k] if last else vectors[:, vectors.shape[1] - k :]
    r = (x - m) - (x - m) @ w @ w.T
    return r.square().sum(-1) if square else r.square().sum(-1).sqrt()


def _terms(z, *, centre=True, correction=1, root=True, floor=True, diagonal=False, over=None, half=1.0):
    n, d = z.shape
    c = z - z.mean(0) if centre else z
    c = c.T @ c / (n - correction)
    std = (c.diagonal() + 1e-4).sqrt() if root else c.diagonal() + 1e-4
    missing = 1 - std
    variance = (torch.relu(missing) if floor else missing).mean() * half
    off = c.square().sum() - (0 if diagonal else c.diagonal().square().sum())
    return variance, off / (d if over is None else over(d))


CASES = {
    "most_offending": Case(
        right=[_offending_by_rows, lambda e, a, y, d: e.masked_fill((a - y[:, None]).abs() <= d, float("inf")).amin(-1)],
        wrong={
            "lowest of all": lambda e, a, y, d: e.min(-1).values,
            "highest of the wrong": lambda e, a, y, d: torch.where((a - y[:, None]).abs() > d, e, -torch.inf).max(-1).values,
            "within delta": lambda e, a, y, d: torch.where((a - y[:, None]).abs() < max(d, 0.2), e, 1e9).min(-1).values,
            "one side only": lambda e, a, y, d: torch.where(a - y[:, None] > d, e, 1e9).min(-1).values,
            "zero instead of infinity": lambda e, a, y, d: (e * ((a - y[:, None]).abs() > d)).min(-1).values,
            "the answer, not its energy": lambda e, a, y, d: a[_offending(e, a, y, d).argmin(-1)],
            "one for the batch": lambda e, a, y, d: _offending(e, a, y, d).min().expand(len(y)),
        },
    ),
    "pca_energy": Case(
        right=[_pca, lambda x, data, k: _pca(x, data, data.shape[1]) + ((x - data.mean(0)) @ _small(data, k)).square().sum(-1)],
        wrong={
            "not centred": lambda x, data, k: _pca(x, data, k, mean=torch.zeros(5, dtype=data.dtype)),
            "directions of uncentred data": lambda x, data, k: _pca(x, data, k, uncentred=True),
            "smallest directions": lambda x, data, k: _pca(x, data, k, last=True),
            "distance, not squared": lambda x, data, k: _pca(x, data, k, square=False),
            "what is explained": lambda x, data, k: (x - data.mean(0)).square().sum(-1) - _pca(x, data, k),
            "one direction too many": lambda x, data, k: _pca(x, data, min(k + 1, 5)),
            "mean of the coordinates": lambda x, data, k: _pca(x, data, k) / 5,
            "mean of x": lambda x, data, k: _pca(x, data, k, mean=x.reshape(-1, 5).mean(0)),
        },
    ),
    "spread_terms": Case(
        right=[_terms, lambda z: (torch.relu(1 - (z.var(0) + 1e-4).sqrt()).mean(), _off(torch.cov(z.T)))],
        wrong={
            "not centred": lambda z: _terms(z, centre=False),
            "n in the denominator": lambda z: _terms(z, correction=0),
            "variance, not deviation": lambda z: _terms(z, root=False),
            "too much is rewarded": lambda z: _terms(z, floor=False),
            "diagonal counted": lambda z: _terms(z, diagonal=True),
            "mean of all entries": lambda z: _terms(z, over=lambda d: d * d),
            "half": lambda z: _terms(z, half=0.5),
            "entries not squared": lambda z: (_terms(z)[0], (torch.cov(z.T).sum() - z.var(0).sum()) / z.shape[1]),
            "the variance term only": lambda z: _terms(z)[0],
        },
    ),
}


def _small(data, k):
    c = data - data.mean(0)
    return torch.linalg.eigh(c.T @ c)[1][:, : data.shape[1] - k]


def _off(c):
    return (c - torch.diag(c.diagonal())).square().sum() / len(c)
