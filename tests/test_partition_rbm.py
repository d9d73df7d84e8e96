"""AIS of RBMs against enumeration."""

import math

import pytest
import torch

from ebmlearn.energies import BernoulliRBM, GaussianBernoulliRBM
from ebmlearn.metrics.partition_rbm import BinaryPath, path_from_data, rbm_ais
from ebmlearn.samplers import AnnealedPath


def machine(kind, d=16, h=12, scale=0.6, seed=0):
    g = torch.Generator().manual_seed(seed)
    rbm = GaussianBernoulliRBM(d, h) if kind == "gaussian" else BernoulliRBM(d, h)
    with torch.no_grad():
        for p in rbm.parameters():
            p.copy_(scale * torch.randn(p.shape, generator=g))
    return rbm


@pytest.mark.parametrize("keep_bias", [True, False])
def test_gaussian_ais_agrees_with_enumeration(keep_bias):
    rbm = machine("gaussian")
    path = AnnealedPath(mean=torch.zeros(16), variance=torch.full((16,), 2.0), keep_bias=keep_bias)
    z = rbm_ais(rbm, path, sweeps=400, n=400, generator=torch.Generator().manual_seed(1))
    assert z.ess > 50, "the standard error means nothing"
    assert (z.log_partition - rbm.log_partition()).abs() < 5 * z.standard_error + z.standard_error**2
    assert z.standard_error < 0.2


def test_bernoulli_ais_agrees_with_enumeration():
    rbm = machine("bernoulli")
    z = rbm_ais(rbm, BinaryPath(visible=torch.zeros(16)), sweeps=400, n=400, generator=torch.Generator().manual_seed(1))
    assert z.ess > 50 and z.standard_error < 0.2
    assert (z.log_partition - rbm.log_partition()).abs() < 5 * z.standard_error + z.standard_error**2


def test_a_longer_path_has_a_smaller_error():
    rbm = machine("gaussian")
    path = AnnealedPath(mean=torch.zeros(16), variance=torch.full((16,), 2.0))
    short, long = (rbm_ais(rbm, path, sweeps=k, n=400, generator=torch.Generator().manual_seed(1)) for k in (5, 400))
    assert long.ess > 2 * short.ess


def test_a_decoupled_machine_is_exact_at_any_length():
    rbm = machine("gaussian")
    with torch.no_grad():
        rbm.W.zero_()
    path = AnnealedPath(mean=rbm.mu.detach(), variance=rbm.variance.detach(), keep_bias=True)
    z = rbm_ais(rbm, path, sweeps=1, n=10)
    torch.testing.assert_close(z.log_partition, rbm.log_partition().detach(), atol=1e-4, rtol=0)
    assert z.standard_error < 1e-4 and z.ess > 9.99


def test_base_from_data_matches_its_marginals():
    g = torch.Generator().manual_seed(0)
    x = 2 + 3 * torch.randn(1000, 16, generator=g)
    path = path_from_data(machine("gaussian"), x)
    torch.testing.assert_close(path.mean, x.mean(0))
    draws = path.start(4000, generator=g)
    assert ((draws.mean(0) - 2).abs() < 5 * 3 * math.sqrt(1 / 4000 + 1 / 1000)).all()
    bits = (torch.rand(1000, 16, generator=g) < 0.2).float()
    bits[:, 0] = 0  # a pixel that is never on keeps a finite base
    path = path_from_data(machine("bernoulli"), bits)
    assert torch.isfinite(path.visible).all()
    draws = path.start(4000, generator=g)
    assert (draws.mean(0)[1:] - bits.mean(0)[1:]).abs().max() < 5 * math.sqrt(0.16 / 4000) + 0.001
