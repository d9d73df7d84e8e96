"""Right and plausible wrong answers to homework A."""

import torch

from ebmlearn.functional import value_and_grad
from ebmlearn.samplers import HMC, MALA, Langevin, ParallelTempering, sample
from tests.checks_harness import Case


def _softmax(e, t):
    return torch.softmax(-e / t, -1)


def _by_max(e, t):
    w = torch.exp(-(e - e.amin(-1, keepdim=True)) / t)
    return w / w.sum(-1, keepdim=True)


def _thermal(heat):
    def f(e, t):
        p = _softmax(e, t)
        u = (p * e).sum()
        return u, heat(p, e, u, t)

    return f


def _by_autograd(e, t):
    beta = torch.tensor(1 / t, dtype=e.dtype, requires_grad=True)
    (u,) = torch.autograd.grad(torch.logsumexp(-beta * e, 0), beta, create_graph=True)
    (slope,) = torch.autograd.grad(-u, beta)
    return -u.detach(), -slope / t**2


def _matrix(accept, diagonal=True, transpose=False):
    def f(e, q):
        p = _softmax(e, 1.0)
        m = q * accept(p, q)
        m = m - torch.diag(m.diagonal())
        if diagonal:
            m = m + torch.diag(1 - m.sum(1))
        return m.T if transpose else m

    return f


def _hastings(p, q):
    flow = p[:, None] * q
    return (flow.T / flow).clamp(max=1)


def _loops(e, q):
    n = len(e)
    m = torch.zeros(n, n, dtype=q.dtype)
    for i in range(n):
        for j in range(n):
            if i != j:
                m[i, j] = min(float(q[i, j]), float(torch.exp(e[i] - e[j])) * float(q[j, i]))
        m[i, i] = 1 - m[i].sum()
    return m


def _ula(factor=lambda k, eta: 1 - eta * k, noise=2.0, limit=False, squared=True, start=True):
    def f(k, m, eta, x0, n):
        a = factor(k, eta)
        v = torch.zeros_like(k)
        for _ in range(n):
            v = (a**2 if squared else a) * v + noise * eta
        if limit and n:
            v = (1 - a ** (2 * n)) / k
        return (m + a**n * (x0 - m)) if start else m.clone(), v

    return f


def _geometric(k, m, eta, x0, n):
    a = 1 - eta * k
    return m + a**n * (x0 - m), 2 * eta * (1 - a ** (2 * n)) / (1 - a**2)


def _stacked(k, m, eta, x0, n):
    a = 1 - eta * k
    powers = [2 * eta * a ** (2 * i) for i in range(n)]
    return m + (x0 - m) * a**n, sum(powers, torch.zeros_like(k))


def _path(first=0.5, last=0.5, sign=-1.0, drift=1.0, middle=1.0):
    def f(energy, x, v, eps, n):
        grad = lambda x: value_and_grad(energy, x)[1]
        v = v + sign * first * eps * grad(x)
        for i in range(n):
            x = x + drift * eps * v
            v = v + sign * (middle if i < n - 1 else last) * eps * grad(x)
        return x, v

    return f


def _by_positions(energy, x, v, eps, n):
    """Stoermer-Verlet: positions first, velocities from them."""
    grad = lambda x: value_and_grad(energy, x)[1]
    before, here = None, x
    for _ in range(n):
        ahead = here + eps * v - eps**2 / 2 * grad(x) if before is None else 2 * here - before - eps**2 * grad(here)
        before, here = here, ahead
    return here, (here - before) / eps - eps / 2 * grad(here)


def _recursive(energy, x, v, eps, n):
    if n == 0:
        return x, v
    g = torch.func.grad(lambda y: energy(y).sum())
    half = v - eps / 2 * g(x)
    y = x + eps * half
    return _recursive(energy, y, half - eps / 2 * g(y), eps, n - 1)


def _euler(energy, x, v, eps, n):
    for _ in range(n):
        x, v = x + eps * v, v - eps * value_and_grad(energy, x)[1]
    return x, v


def _midway(energy, x, v, eps, n):
    for _ in range(n):
        v = v - eps * value_and_grad(energy, x)[1]
        x = x + eps * v
    return x, v


def _cells(seed, energy, n, *, temperature=1.0, low=-2.2):
    """Draws from a grid, smeared over its cells."""
    g = torch.Generator().manual_seed(seed)
    line = torch.linspace(low, -low, 600, dtype=torch.float64)
    x = torch.cartesian_prod(line, line)
    p = torch.softmax(-energy(x) / temperature, 0)
    x = x[torch.multinomial(p, n, replacement=True, generator=g)]
    return x + (line[1] - line[0]) * (torch.rand(n, 2, dtype=torch.float64, generator=g) - 0.5)


def _rejection(energy, n, seed):
    g = torch.Generator().manual_seed(seed)
    line = torch.linspace(-2, 2, 80, dtype=torch.float64)
    least = energy(torch.cartesian_prod(line, line)).min() - 0.5
    kept = torch.zeros(0, 2, dtype=torch.float64)
    while len(kept) < n:
        x = 4 * torch.rand(40_000, 2, dtype=torch.float64, generator=g) - 2
        kept = torch.cat([kept, x[torch.rand(len(x), dtype=torch.float64, generator=g).log() < least - energy(x)]])
    return kept[:n]


def _tempered(energy, n, seed):
    g = torch.Generator().manual_seed(seed)
    ladder = ParallelTempering(kernel=HMC(step_size=0.1, n_leapfrog=3), temperatures=(1.0, 2.5, 6.0))
    return sample(energy, ladder, 2 * torch.rand(n, 2, generator=g) - 1, 200, generator=g)


def _chains(start, kernel, steps):
    def f(energy, n, seed):
        g = torch.Generator().manual_seed(seed)
        return sample(energy, kernel, start(n, g), steps, generator=g)

    return f


def _everywhere(n, g):
    return 3 * torch.rand(n, 2, generator=g) - 1.5


CASES = {
    "boltzmann": Case(
        right=[_by_max, lambda e, t: torch.exp(-e / t - torch.logsumexp(-e / t, -1, keepdim=True))],
        wrong={
            "sign": lambda e, t: torch.softmax(e / t, -1),
            "temperature upside down": lambda e, t: torch.softmax(-e * t, -1),
            "no temperature": lambda e, t: torch.softmax(-e, -1),
            "over the batch": lambda e, t: torch.softmax(-e / t, 0),
            "not normalised": lambda e, t: torch.exp(-e / t),
            "overflows": lambda e, t: torch.exp(-e / t) / torch.exp(-e / t).sum(-1, keepdim=True),
            "divided by the sum of energies": lambda e, t: (-e / t).exp() / (-e / t).exp().sum(),
        },
    ),
    "thermal": Case(
        right=[_thermal(lambda p, e, u, t: ((p * e**2).sum() - u**2) / t**2), _by_autograd],
        wrong={
            "variance without T": _thermal(lambda p, e, u, t: (p * (e - u) ** 2).sum()),
            "variance over T": _thermal(lambda p, e, u, t: (p * (e - u) ** 2).sum() / t),
            "slope in beta": _thermal(lambda p, e, u, t: -(p * (e - u) ** 2).sum()),
            "standard deviation": _thermal(lambda p, e, u, t: (p * (e - u) ** 2).sum().sqrt() / t**2),
            "plain variance of the energies": _thermal(lambda p, e, u, t: e.var() / t**2),
            "plain mean": lambda e, t: (e.mean(), e.var() / t**2),
            "not a pair": lambda e, t: (_softmax(e, t) * e).sum(),
        },
    ),
    "metropolis_hastings": Case(
        right=[_loops, _matrix(lambda p, q: torch.exp((p.log() + q.T.log() - p.log()[:, None] - q.log()).clamp(max=0)))],
        wrong={
            "no Hastings": _matrix(lambda p, q: (p / p[:, None]).clamp(max=1)),
            "Hastings upside down": _matrix(lambda p, q: ((p / p[:, None]) * (q / q.T)).clamp(max=1)),
            "energies upside down": _matrix(lambda p, q: ((p[:, None] / p) * (q.T / q)).clamp(max=1)),
            "Barker": _matrix(lambda p, q: 1 / (1 + (p[:, None] * q) / (p[:, None] * q).T)),
            "refused moves lost": _matrix(_hastings, diagonal=False),
            "columns sum to one": _matrix(_hastings, transpose=True),
            "always accepts": _matrix(lambda p, q: torch.ones_like(q)),
            "half of what it could": _matrix(lambda p, q: 0.5 * _hastings(p, q)),
        },
    ),
    "ula_law": Case(
        right=[_geometric, _stacked],
        wrong={
            "exact chain": _ula(limit=True),
            "noise eta": _ula(noise=1.0),
            "uphill": _ula(factor=lambda k, eta: 1 + eta * k),
            "half step": _ula(factor=lambda k, eta: 1 - eta * k / 2),
            "factor not squared": _ula(squared=False),
            "continuous time": _ula(factor=lambda k, eta: torch.exp(-eta * k)),
            "forgets the start": _ula(start=False),
        },
    ),
    "leapfrog": Case(
        right=[_path(), _by_positions, _recursive],
        wrong={
            "Euler": _euler,
            "symplectic Euler": _midway,
            "first kick whole": _path(first=1.0),
            "last kick whole": _path(last=1.0),
            "no last kick": _path(last=0.0),
            "uphill": _path(sign=1.0),
            "half kicks in the middle": _path(middle=0.5),
            "half a drift": _path(drift=0.5),
        },
    ),
    "draw": Case(
        right=[_tempered, lambda energy, n, seed: _cells(seed, energy, n), _rejection],
        wrong={
            "from one corner": _chains(lambda n, g: torch.ones(n, 2), MALA(step_size=0.02), 50),
            "from everywhere": _chains(_everywhere, MALA(step_size=0.02), 100),
            "a long unadjusted step": _chains(_everywhere, Langevin(step_size=0.01), 100),
            "too warm": lambda energy, n, seed: _cells(seed, energy, n, temperature=1.3),
            "too cold": lambda energy, n, seed: _cells(seed, energy, n, temperature=0.8),
            "seed unused": lambda energy, n, seed: _cells(int(torch.randint(10**6, ())), energy, n),
            "one point again and again": lambda energy, n, seed: _cells(seed, energy, 40).repeat(n // 40, 1),
            "one slow chain": lambda energy, n, seed: _cells(seed, energy, n).sort(0).values,
        },
    ),
}
