"""ESS and split R-hat against ArviZ and against AR(1) chains, whose answers are known."""

import math
import warnings

import numpy as np
import pytest
import torch

from ebmlearn.energies import Gaussian
from ebmlearn.metrics import autocovariance, ess, split_rhat
from ebmlearn.samplers import HMC, MALA, trajectory

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    az = pytest.importorskip("arviz")


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def ar1(phi, steps=2000, chains=4, seed=0, start=None):
    noise = torch.randn(steps, chains, dtype=torch.float64, generator=gen(seed)) * math.sqrt(1 - phi**2)
    x = torch.empty_like(noise)
    now = torch.randn(chains, dtype=torch.float64, generator=gen(seed + 1)) if start is None else torch.full((chains,), start)
    for t in range(steps):
        now = phi * now + noise[t]
        x[t] = now
    return x


CASES = {
    "white": lambda: ar1(0.0),
    "slow": lambda: ar1(0.95),
    "medium": lambda: ar1(0.5, steps=501),
    "antithetic": lambda: ar1(-0.6),
    "disagreeing": lambda: ar1(0.5) + torch.tensor([0.0, 0.0, 1.0, 2.0]),
    "drifting": lambda: ar1(0.9, start=10.0),
    "short": lambda: ar1(0.3, steps=17, chains=2),
    "one chain": lambda: ar1(0.8, chains=1),
    "many": lambda: ar1(0.7, steps=100, chains=40),
}


@pytest.mark.parametrize("name", CASES)
def test_against_arviz(name):
    x = CASES[name]()
    array = x.T.numpy()[..., None]  # chain, draw, variable
    ours_ess, ours_rhat = ess(x), split_rhat(x)
    theirs = az.convert_to_dataset(array)
    if array.shape[0] > 1:
        assert ours_rhat.item() == pytest.approx(float(az.rhat(theirs, method="split")["x"].values[0]), rel=1e-9)
    assert ours_ess.item() == pytest.approx(float(az.ess(theirs, method="mean")["x"].values[0]), rel=1e-6)


@pytest.mark.parametrize("phi", [-0.5, 0.0, 0.6, 0.9])
def test_ess_of_ar1_is_its_closed_form(phi):
    """tau = (1 + phi)/(1 - phi); the estimate over 40 variables has a mean within five of its standard errors plus 2 %."""
    x = ar1(phi, steps=4000, chains=80).reshape(4000, 2, 40)
    tau = x.shape[0] * x.shape[1] / ess(x)
    exact = (1 + phi) / (1 - phi)
    error = (tau.std() / math.sqrt(40)).item()
    assert abs(tau.mean().item() - exact) < 5 * error + 0.02 * exact


def test_ess_predicts_the_error_of_the_mean():
    x = ar1(0.8, steps=2000, chains=400)
    each = torch.tensor([ess(x[:, i : i + 1]).item() for i in range(0, 400, 8)])
    predicted = 1 / math.sqrt(each.mean())
    assert x.mean(0).std().item() == pytest.approx(predicted, rel=5 / math.sqrt(2 * 400) + 0.03)


def test_autocovariance_is_the_plain_sum():
    x = torch.randn(50, 3, dtype=torch.float64, generator=gen())
    d = x - x.mean(0)
    plain = torch.stack([(d[: 50 - t] * d[t:]).sum(0) / 50 for t in range(50)])
    assert (autocovariance(x) - plain).abs().max() < 1e-14
    assert np.allclose(autocovariance(x)[0], x.var(0, correction=0))


def test_events_are_judged_one_by_one():
    x = torch.stack([ar1(0.0), ar1(0.9), ar1(0.0) + torch.tensor([0.0, 0.0, 3.0, 3.0])], -1).reshape(2000, 4, 1, 3)
    assert ess(x).shape == split_rhat(x).shape == (1, 3)
    for i in range(3):
        assert ess(x)[0, i] == ess(x[:, :, 0, i]) and split_rhat(x)[0, i] == split_rhat(x[:, :, 0, i])
    assert split_rhat(x)[0, 2] > 1.5 > 1.02 > split_rhat(x)[0, 0]


def test_rhat_sees_a_drift_within_each_chain():
    assert split_rhat(ar1(0.5) + torch.linspace(0, 3, 2000)[:, None]) > 1.1


def test_a_kernel_that_mixes_better_has_a_larger_ess():
    g = Gaussian(torch.zeros(2))
    x0 = g.sample(4, generator=gen())
    slow, fast = (
        ess(trajectory(g, k, x0, 400, generator=gen(1)).x).min() for k in (MALA(step_size=0.02), HMC(step_size=0.5, n_leapfrog=3))
    )
    assert fast > 4 * slow


@pytest.mark.parametrize("f", [ess, split_rhat])
def test_errors(f):
    with pytest.raises(ValueError, match=r"\[steps, chains, \*event\]"):
        f(torch.randn(100))
    with pytest.raises(ValueError, match="at least 8 steps"):
        f(torch.randn(7, 4))
    with pytest.raises(ValueError, match="finite"):
        f(torch.full((20, 4), math.nan))
