"""Bridge sampling and thermodynamic integration against closed forms."""

import math

import pytest
import torch

from ebmlearn.energies import DoubleWell, Gaussian
from ebmlearn.metrics import annealed_importance_sampling
from ebmlearn.metrics.ratios import bridge_sampling, thermodynamic_integration
from ebmlearn.samplers import HMC, MALA

A = Gaussian(torch.zeros(2, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64))
B = Gaussian(torch.full((2,), 0.7, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64))
TRUTH = math.log(2.0)  # the ratio of the determinants' square roots in two dimensions


@pytest.mark.parametrize("sizes", [(3000, 3000), (4000, 1000)])
def test_bridge_finds_the_ratio_and_its_error(sizes, generator):
    r = bridge_sampling(A, A.sample(sizes[0], generator=generator), B, B.sample(sizes[1], generator=generator))
    assert abs(r.log_ratio.item() - TRUTH) < 5 * r.standard_error.item() < 0.15
    back = bridge_sampling(B, B.sample(sizes[1], generator=generator), A, A.sample(sizes[0], generator=generator))
    assert abs(back.log_ratio.item() + TRUTH) < 5 * back.standard_error.item()


def test_the_stated_error_is_the_spread(generator):
    runs = [bridge_sampling(A, A.sample(400, generator=generator), B, B.sample(800, generator=generator)) for _ in range(100)]
    spread = torch.stack([r.log_ratio for r in runs]).std().item()
    stated = torch.stack([r.standard_error for r in runs]).mean().item()
    assert abs(spread / stated - 1) < 5 / math.sqrt(2 * 100)


@pytest.mark.parametrize("gap", [1.0, 2.0, 3.0])
def test_the_error_of_a_bridge_is_that_of_the_overlap(gap, generator):
    """For n points of each it tends to sqrt(2/n (1/O - 1)), O = ∫ 2 p_a p_b/(p_a + p_b) dx (Meng, Wong, 1996)."""
    n = 20_000
    x = torch.linspace(-10, 14, 4801, dtype=torch.float64)
    a, b = (torch.exp(-0.5 * (x - m) ** 2) / math.sqrt(2 * math.pi) for m in (0.0, gap))
    overlap = (2 * a * b / (a + b)).sum().item() * 0.005
    one, two = (Gaussian(torch.tensor([m], dtype=torch.float64)) for m in (0.0, gap))
    found = bridge_sampling(one, one.sample(n, generator=generator), two, two.sample(n, generator=generator))
    assert found.standard_error.item() == pytest.approx(math.sqrt(2 / n * (1 / overlap - 1)), rel=0.1)
    assert abs(found.log_ratio.item()) < 5 * found.standard_error.item()


def test_annealing_up_and_down_encloses_log_z(generator):
    """Upwards log Z is low in expectation, downwards high; a longer path narrows the gap."""
    target, base = DoubleWell(6, height=2.0), Gaussian(torch.zeros(6), 1.5)
    exact, gaps = target.log_partition().item(), []
    for steps in (4, 32):
        path = [(k / steps) ** 3 for k in range(steps + 1)]
        back = [1 - beta for beta in reversed(path)]
        walk = {"kernel": HMC(step_size=0.2, n_leapfrog=2), "n": 1200, "generator": generator}
        up = annealed_importance_sampling(target, base, betas=path, **walk).log_weights.reshape(240, 5)
        down = annealed_importance_sampling(base, target, betas=back, **walk).log_weights.reshape(240, 5)
        low = torch.logsumexp(up, 1) - math.log(5)
        high = exact + base.log_partition() - (torch.logsumexp(down, 1) - math.log(5))
        error = [(bound.std() / math.sqrt(240)).item() for bound in (low, high)]
        assert low.mean() < exact + 5 * error[0] and high.mean() > exact - 5 * error[1]
        gaps.append((high.mean() - low.mean()).item())
        if steps == 4:
            assert low.mean() < exact - 5 * error[0] and high.mean() > exact + 5 * error[1]
    assert gaps[1] < 0.5 * gaps[0]


def test_thermodynamic_integration(generator):
    betas = torch.linspace(0, 1, 21).tolist()
    r = thermodynamic_integration(A, B, MALA(step_size=0.4), n=1500, betas=betas, steps=10, generator=generator)
    # the trapezium rule's own error is far below the Monte Carlo one here
    assert abs(r.log_ratio.item() - TRUTH) < 5 * r.standard_error.item() + 2e-3
    assert r.standard_error.item() < 0.05


def test_bad_input():
    with pytest.raises(ValueError, match="rise from 0 to 1"):
        thermodynamic_integration(A, B, MALA(step_size=0.4), n=10, betas=[0.0, 0.5], steps=1)
    with pytest.raises(ValueError, match="two points"):
        bridge_sampling(A, torch.zeros(1, 2), B, torch.zeros(5, 2))
