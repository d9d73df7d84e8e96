"""Bridge sampling and thermodynamic integration against closed forms."""

import math

import pytest
import torch

from ebmlearn.energies import Gaussian
from ebmlearn.metrics.ratios import bridge_sampling, thermodynamic_integration
from ebmlearn.samplers import MALA

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
