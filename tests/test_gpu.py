"""Energies, kernels, the buffer and metrics on a GPU: the same answers, in place, with one synchronisation in many steps."""

import pytest
import torch

from ebmlearn.energies import Gaussian, MLPEnergy
from ebmlearn.functional import value_and_grad
from ebmlearn.metrics import (
    annealed_importance_sampling,
    energy_distance,
    ess,
    mmd,
    quadrature,
    sliced_wasserstein,
    wasserstein,
)
from ebmlearn.samplers import HMC, MALA, Langevin, ParallelTempering, RandomWalk, ReplayBuffer, compiled, sample, trajectory
from tests.stats import assert_mean
from tests.test_contracts import ENERGIES, make, points

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode"),
]

KERNELS = {
    "Langevin": Langevin(step_size=0.01),
    "MALA": MALA(step_size=(0.3, 0.3)),
    "HMC": HMC(step_size=0.5, n_leapfrog=3),
    "RandomWalk": RandomWalk(scale=0.8),
    "ParallelTempering": ParallelTempering(kernel=MALA(step_size=0.2), temperatures=(1.0, 2.0)),
}


def gen(seed=0):
    return torch.Generator("cuda").manual_seed(seed)


@pytest.mark.parametrize("name", ENERGIES)
def test_energies_agree_with_the_cpu(name):
    energy, event = make(name)
    x = points(2, 3, *event)
    e, g = value_and_grad(energy, x)
    e_gpu, g_gpu = value_and_grad(energy.cuda(), x.cuda())
    assert e_gpu.is_cuda and g_gpu.is_cuda
    assert torch.allclose(e_gpu.cpu(), e, atol=1e-8) and torch.allclose(g_gpu.cpu(), g, atol=1e-8)


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_are_exact_and_repeat(name):
    target = Gaussian([0.5, -1.0], [[1.0, 0.6], [0.6, 2.0]]).double().cuda()
    x = target.sample(20_000, generator=gen(1))
    y, z = (sample(target, KERNELS[name], x, 60, generator=gen(2)) for _ in range(2))
    assert y.is_cuda and torch.equal(y, z)
    d = y - target.mean
    expected = target.covariance if name != "Langevin" else (d[:, :, None] * d[:, None, :]).mean(0)
    assert_mean((d[:, :, None] * d[:, None, :]).cpu(), expected.cpu())
    with pytest.raises(ValueError, match="generator on cuda"):
        sample(target, KERNELS[name], x, 1, generator=torch.Generator())


def test_buffer_stays_on_the_device_and_never_waits():
    buffer = ReplayBuffer(torch.arange(1000.0, device="cuda")[:, None], restart_prob=0.0)
    fresh, g = torch.zeros(100, 1, device="cuda"), gen()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(50):
            index, x = buffer.draw(fresh, generator=g)
            buffer.store(index, x)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert buffer.x.is_cuda and len(buffer.x.unique()) == 1000 and buffer.age.sum().item() == 5000


def test_a_step_of_langevin_mala_and_hmc_never_waits():
    energy = MLPEnergy(2, hidden_features=(16,), confinement=1.0).cuda()
    x, g = torch.randn(64, 2, device="cuda"), gen()
    for kernel in (Langevin(step_size=0.1), MALA(step_size=0.1), HMC(step_size=0.1, n_leapfrog=2)):
        state = kernel.init(energy, x)
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(3):
                state, _ = kernel.step(energy, state, generator=g)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_divergence_is_found_within_the_check_interval():
    with pytest.raises(FloatingPointError, match="at or within 25 steps before step 25"):
        sample(lambda x: 0.5 * (x**2).sum(-1), Langevin(step_size=1e10, noise=0.0), torch.ones(1, 1, device="cuda"), 100)


def test_compiled_agrees_with_eager():
    energy = MLPEnergy(2, hidden_features=(16,), confinement=1.0).cuda()
    x = torch.randn(64, 2, device="cuda")
    fast = compiled(energy)
    for _ in range(3):
        pairs = zip(value_and_grad(fast, x), value_and_grad(energy, x), strict=True)
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in pairs)


def test_metrics():
    x, y = torch.randn(300, 2, device="cuda"), torch.randn(300, 2, device="cuda") + 1
    for f in (energy_distance, mmd, wasserstein, sliced_wasserstein):
        assert f(x, y).item() == pytest.approx(f(x.cpu(), y.cpu()).item(), rel=1e-9)
    trace = trajectory(Gaussian([0.0, 0.0]).cuda(), HMC(step_size=0.5, n_leapfrog=3), x[:4], 100, generator=gen())
    assert ess(trace.x).shape == (2,)
    target = Gaussian([0.5, 0.5], 0.5).double().cuda()
    assert abs(quadrature(target, low=-8, high=8, cells=200).log_partition - target.log_partition()) < 1e-10
    base = Gaussian([0.0, 0.0], 2.0).double().cuda()
    z = annealed_importance_sampling(target, base, kernel=MALA(step_size=0.2), betas=20, n=1000, generator=gen())
    assert z.log_weights.is_cuda and abs(z.log_partition - target.log_partition()) < 5 * z.standard_error
