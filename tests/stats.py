"""What statistical tests share: a z-score of a mean against a known answer, asserted at five standard errors."""

import math

import torch

LIMIT = 5.0


def z_of_mean(values, expected):
    """(mean - expected) / standard error, for independent `values[n]` or `[n, *many]`; the largest |z| of many."""
    values = values.to(torch.float64)
    error = values.std(0) / math.sqrt(len(values))
    z = (values.mean(0) - expected) / error.clamp(min=1e-300)
    return float(z.abs().max())


def assert_mean(values, expected):
    """The mean of independent values is `expected` within five standard errors of the mean."""
    z = z_of_mean(values, expected)
    assert z < LIMIT, f"mean {values.double().mean(0)} expected {expected}: {z:.1f} standard errors off"


def assert_variance(x, expected):
    """Independent Gaussian values of known mean 0 have variance `expected`; standard error from the values themselves."""
    assert_mean(x.to(torch.float64) ** 2, expected)


def assert_stationary(x, y, functions=None):
    """Pairs (x, y) of one step from the stationary law: every E[f(y) - f(x)] is 0."""
    for f in functions or FUNCTIONS:
        assert_mean(f(y) - f(x), 0.0)


def assert_reversible(x, y, functions=None):
    """Detailed balance: (x, y) and (y, x) have one law, so every E[f(x) g(y) - g(x) f(y)] is 0."""
    functions = functions or FUNCTIONS
    for i, f in enumerate(functions):
        for g in functions[:i]:
            assert_mean(f(x) * g(y) - g(x) * f(y), 0.0)


FUNCTIONS = (
    lambda x: x.flatten(1)[:, 0],
    lambda x: (x**2).flatten(1).sum(1),
    lambda x: (x.flatten(1)[:, 0] > 0.5).double(),
    lambda x: torch.tanh(2 * x.flatten(1)[:, -1]) ** 3,
)
