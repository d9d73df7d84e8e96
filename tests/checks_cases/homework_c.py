"""Right and plausible wrong answers to homework C."""

import itertools

import torch
from torch.nn.functional import softplus

from ebmlearn.energies import BernoulliRBM, GaussianBernoulliRBM
from ebmlearn.samplers import Gibbs, sample
from tests.checks_harness import Case


def _states(n):
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=torch.float64)


def _set(rbm, **values):
    rbm = rbm.double()
    with torch.no_grad():
        for name, value in values.items():
            getattr(rbm, name).copy_(value)
    return rbm


def _rbm(W, a, b):
    return _set(BernoulliRBM(*W.shape), W=W, a=a, b=b)


def _energy_gap(x, z, W, a, b):
    """Energies with a unit on and off, from the joint energy itself."""
    rbm = _rbm(W, a, b)

    def one(first, second, size, energy):
        out = []
        for j in range(size):
            on, off = second.clone(), second.clone()
            on[..., j], off[..., j] = 1, 0
            out.append(torch.sigmoid(energy(first, off) - energy(first, on)))
        return torch.stack(out, -1).detach()

    return one(x, z, len(b), rbm), one(z, x, len(a), lambda z, x: rbm(x, z))


def _spins(W, b):
    return lambda x: x @ W + b


def _log_z(W, a, b):
    if len(a) > len(b):
        W, a, b = W.T, b, a
    s = _states(len(a))
    return torch.logsumexp(s @ a + softplus(s @ W + b).sum(1), 0)


def _recursive_log_z(W, a, b):
    """One unit of the smaller side after another: off, or on."""
    if len(a) > len(b):
        return _recursive_log_z(W.T, b, a)
    fields, level = b[None], torch.zeros(1, dtype=b.dtype)
    for i in range(len(a)):
        fields, level = torch.cat([fields, fields + W[i]]), torch.cat([level, level + a[i]])
    return torch.logsumexp(level + softplus(fields).sum(1), 0)


def _means(x, W, b, hidden=torch.sigmoid):
    p = hidden(x @ W + b)
    return -x.T @ p / len(x), -x.mean(0), -p.mean(0)


def _difference(sign=1.0, **options):
    def f(x, y, W, a, b):
        return tuple(sign * (u - v) for u, v in zip(_means(x, W, b, **options), _means(y, W, b, **options)))

    return f


def _autograd(x, y, W, a, b):
    leaves = [p.clone().requires_grad_(True) for p in (W, a, b)]
    free = lambda x: (-(x @ leaves[1]) - softplus(x @ leaves[0] + leaves[2]).sum(-1)).mean()
    return torch.autograd.grad(free(x) - free(y), leaves)


def _by_package(x, y, W, a, b):
    rbm = _rbm(W, a, b)
    u, v = rbm.gradients(x), rbm.gradients(y)
    return tuple(u[k] - v[k] for k in "Wab")


def _kernel(field, states):
    """P(state | field) of independent binary units, [N, 2^n]."""
    return torch.exp(field @ states.T - softplus(field).sum(-1, keepdim=True))


def _gibbs(W, a, b, *, back=True, power=1, scale=1.0, order=slice(None)):
    x, z = _states(len(a))[order], _states(len(b))
    down, up = _kernel(x @ W * scale + b, z), _kernel(z @ W.T * scale + a, x)
    m = down @ up if back else (torch.softmax(x @ a, 0).expand(len(x), -1))
    return torch.linalg.matrix_power(m, power)


def _gibbs_products(W, a, b):
    """Unit by unit, without matrix products."""
    x, z = _states(len(a)), _states(len(b))
    p_z, p_x = torch.sigmoid(x @ W + b), torch.sigmoid(z @ W.T + a)
    down = torch.stack([torch.where(s == 1, p_z, 1 - p_z).prod(1) for s in z], 1)
    up = torch.stack([torch.where(s == 1, p_x, 1 - p_x).prod(1) for s in x], 1)
    return (down[:, :, None] * up[None]).sum(1)


def _joint_softmax(W, a, b):
    x, z = _states(len(a)), _states(len(b))
    e = -(x @ a)[:, None] - z @ b - x @ W @ z.T
    return torch.softmax(-e, 1) @ torch.softmax(-e, 0).T


def _grbm(W, b, mu, log_var):
    return _set(GaussianBernoulliRBM(*W.shape), W=W, b=b, mu=mu, log_var=log_var)


def _components(W, b, mu, log_var, n, seed, *, spread=0.5, shift=True, pick=None):
    g = torch.Generator().manual_seed(seed)
    z = _states(len(b))
    means = mu + z @ W.T
    logits = z @ b
    if shift:
        logits = logits + ((means**2 - mu**2) / (2 * log_var.exp())).sum(-1)
    index = torch.multinomial(torch.softmax(logits, 0), n, replacement=True, generator=g)
    if pick is not None:
        index = torch.full((n,), int(logits.argmax()))
    return means[index] + (spread * log_var).exp() * torch.randn(n, len(mu), dtype=torch.float64, generator=g)


def _chains(W, b, mu, log_var, n, seed, *, steps=1000):
    g = torch.Generator().manual_seed(seed)
    rbm = _grbm(W, b, mu, log_var)
    start = mu + 4 * torch.randn(n, len(mu), dtype=torch.float64, generator=g)
    return sample(rbm, Gibbs(), start, steps, generator=g)


def _by_package_components(W, b, mu, log_var, n, seed):
    g = torch.Generator().manual_seed(seed)
    logs, means = (t.detach() for t in _grbm(W, b, mu, log_var).components())
    i = torch.multinomial(logs.exp(), n, replacement=True, generator=g)
    return means[i] + (log_var / 2).exp() * torch.randn(n, len(mu), dtype=torch.float64, generator=g)


def _inverse_units(W, b, mu, log_var, n, seed):
    """z drawn unit after unit from its exact conditionals, then x."""
    g = torch.Generator().manual_seed(seed)
    z, s2 = _states(len(b)), log_var.exp()
    p = torch.softmax(z @ b + (((mu + z @ W.T) ** 2 - mu**2) / (2 * s2)).sum(-1), 0)
    drawn = torch.zeros(n, 0, dtype=torch.float64)
    for j in range(len(b)):
        same = (drawn[:, None] == z[None, :, :j]).all(-1).double() * p
        on = (same * z[:, j]).sum(1) / same.sum(1)
        drawn = torch.cat([drawn, (torch.rand(n, dtype=torch.float64, generator=g) < on).double()[:, None]], 1)
    return mu + drawn @ W.T + s2.sqrt() * torch.randn(n, len(mu), dtype=torch.float64, generator=g)


CASES = {
    "conditionals": Case(
        right=[
            lambda x, z, W, a, b: (torch.sigmoid(_rbm(W, a, b).logits(x)).detach(), _rbm(W, a, b).mean(z).detach()),
            _energy_gap,
        ],
        wrong={
            "sign": lambda x, z, W, a, b: (torch.sigmoid(-x @ W - b), torch.sigmoid(-z @ W.T - a)),
            "without biases": lambda x, z, W, a, b: (torch.sigmoid(x @ W), torch.sigmoid(z @ W.T)),
            "softmax": lambda x, z, W, a, b: (torch.softmax(x @ W + b, -1), torch.softmax(z @ W.T + a, -1)),
            "sign of the weights": lambda x, z, W, a, b: (torch.sigmoid(b - x @ W), torch.sigmoid(a - z @ W.T)),
            "spins": lambda x, z, W, a, b: (torch.sigmoid(2 * (x @ W + b)), torch.sigmoid(2 * (z @ W.T + a))),
            "exchanged": lambda x, z, W, a, b: (torch.sigmoid(z @ W.T + a), torch.sigmoid(x @ W + b)),
        },
    ),
    "spin_free_energy": Case(
        right=[
            lambda x, W, a, b: -(x @ a) - torch.logaddexp(x @ W + b, -x @ W - b).sum(-1),
            lambda x, W, a, b: -(x @ a) + (x @ W + b).sum(-1) - softplus(2 * (x @ W + b)).sum(-1),
            lambda x, W, a, b: -(x @ a) - ((x @ W + b).abs() + torch.log1p(torch.exp(-2 * (x @ W + b).abs()))).sum(-1),
        ],
        wrong={
            "zeros and ones": lambda x, W, a, b: -(x @ a) - softplus(x @ W + b).sum(-1),
            "no factor two": lambda x, W, a, b: -(x @ a) - torch.log(torch.cosh(x @ W + b)).sum(-1),
            "overflows": lambda x, W, a, b: -(x @ a) - torch.log(2 * torch.cosh(x @ W + b)).sum(-1),
            "sign": lambda x, W, a, b: (x @ a) + torch.logaddexp(x @ W + b, -x @ W - b).sum(-1),
            "no visible bias": lambda x, W, a, b: -torch.logaddexp(x @ W + b, -x @ W - b).sum(-1),
            "best spins only": lambda x, W, a, b: -(x @ a) - (x @ W + b).abs().sum(-1),
            "softplus of twice": lambda x, W, a, b: -(x @ a) - softplus(2 * (x @ W + b)).sum(-1),
            "no hidden bias": lambda x, W, a, b: -(x @ a) - torch.logaddexp(x @ W, -x @ W).sum(-1),
        },
    ),
    "log_partition": Case(
        right=[_recursive_log_z, lambda W, a, b: _rbm(W, a, b).log_partition().detach()],
        wrong={
            "sign": lambda W, a, b: -_log_z(W, a, b),
            "hidden units off": lambda W, a, b: softplus(a).sum(),
            "sides exchanged in the wrong way": lambda W, a, b: _log_z(W, b.mean().expand(len(a)), a.mean().expand(len(b))),
            "a mean for a sum": lambda W, a, b: _log_z(W, a, b) - torch.log(torch.tensor(2.0)) * min(len(a), len(b)),
            "no visible bias": lambda W, a, b: _log_z(W, torch.zeros_like(a), b),
            "independent units": lambda W, a, b: softplus(a).sum() + softplus(b).sum(),
            "mean field once": lambda W, a, b: softplus(a + W @ torch.sigmoid(b)).sum() + softplus(b).sum(),
        },
    ),
    "gradients": Case(
        right=[_autograd, _by_package],
        wrong={
            "sign": _difference(-1.0),
            "sums for means": lambda x, y, W, a, b: tuple(
                len(x) * u - len(y) * v for u, v in zip(_means(x, W, b), _means(y, W, b))
            ),
            "fields for probabilities": _difference(hidden=lambda c: c),
            "units rounded": _difference(hidden=lambda c: (c > 0).double()),
            "data only": lambda x, y, W, a, b: _means(x, W, b),
            "da forgotten": lambda x, y, W, a, b: (
                _difference()(x, y, W, a, b)[0],
                torch.zeros_like(a),
                _difference()(x, y, W, a, b)[2],
            ),
            "transposed": lambda x, y, W, a, b: (_difference()(x, y, W, a, b)[0].T, *_difference()(x, y, W, a, b)[1:]),
        },
    ),
    "gibbs_matrix": Case(
        right=[_gibbs_products, _joint_softmax],
        wrong={
            "columns": lambda W, a, b: _gibbs(W, a, b).T,
            "two steps": lambda W, a, b: _gibbs(W, a, b, power=2),
            "at half the weights": lambda W, a, b: _gibbs(W, a, b, scale=0.5),
            "independent of x": lambda W, a, b: _gibbs(W, a, b, back=False),
            "other order of states": lambda W, a, b: _gibbs(W, a, b, order=torch.arange(2 ** len(a)).flip(0)),
            "the law in each row": lambda W, a, b: torch.linalg.matrix_power(_joint_softmax(W, a, b), 10_000),
            "best hidden state": lambda W, a, b: (
                lambda x, z: (
                    torch.nn.functional.one_hot(_kernel(x @ W + b, z).argmax(1), len(z)).double() @ _kernel(z @ W.T + a, x)
                )
            )(_states(len(a)), _states(len(b))),
        },
    ),
    "grbm_draw": Case(
        right=[_components, _by_package_components, _inverse_units],
        wrong={
            "biases only": lambda *args: _components(*args, shift=False),
            "variance as deviation": lambda *args: _components(*args, spread=1.0),
            "best component": lambda *args: _components(*args, pick="best"),
            "two steps of Gibbs from far": lambda *args: _chains(*args, steps=2),
            "without noise": lambda *args: _components(*args, spread=-20.0),
            "seed unused": lambda *args: _components(*args[:-1], int(torch.randint(10**6, ()))),
        },
    ),
}
