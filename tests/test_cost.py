"""The cost model: FLOPs by hand, counted on shapes, and counted in iterations that are really run; how memory grows."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import cost
from ebmlearn.networks.encoder import ResNetEncoder
from ebmlearn.networks.resnet import RESNETS, baked_twin, energy_resnet
from ebmlearn.networks.unet import UNet
from ebmlearn.training import clel, engine, game, gcd, rbm
from ebmlearn.training.clel_model import clel_preset
from ebmlearn.training.state import make_fabric


def flops_of(fn):
    with FlopCounterMode(display=False) as counter:
        fn()
    return counter.get_total_flops()


@pytest.mark.parametrize("size", ["tiny", "base", "three towers"])
def test_the_energy_network_by_hand(size, monkeypatch):
    monkeypatch.setitem(RESNETS, "three towers", {"stages": ((16, 1), (24, 2)), "towers": 3, "hidden_features": 40})
    with torch.device("meta"):
        net, x = energy_resnet(size), torch.rand(3, 3, 32, 32)
    assert flops_of(lambda: baked_twin(net)(x)) == 3 * cost.resnet_flops(size)


def test_base_is_what_the_benchmark_counted():
    assert cost.resnet_flops("base") == pytest.approx(1.863e9, rel=1e-3)


def test_encoder_and_unet_by_hand():
    with torch.device("meta"):
        h = ResNetEncoder(width=16, hidden_features=96, out_features=24)
        x, k = torch.rand(2, 3, 32, 32), torch.zeros(2, dtype=torch.long)
    assert flops_of(lambda: h(x)) == 2 * cost.encoder_flops(16, 96, 24)
    for width, multipliers, blocks in ((16, (1, 2), 1), (32, (1, 2, 2), 2), (64, (1, 2, 2, 2), 2)):
        with torch.device("meta"):
            net = UNet(channels=3, width=width, multipliers=multipliers, n_blocks=blocks)
        assert flops_of(lambda net=net: net(x, k)) == pytest.approx(2 * cost.unet_flops(width, multipliers, blocks), rel=1e-3)


def noise_images(n=16):
    return torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8), torch.zeros(n, dtype=torch.long)


def gradient_by_backward(energy, x):
    """The same gradient; the counter of FLOPs does not follow autograd.grad to a leaf."""
    leaf = x.detach().requires_grad_(True)
    energy(leaf).sum().backward()
    return leaf.grad


@pytest.mark.parametrize(
    "change", [{"batch_size": 6, "mcmc_steps": 5}, {"encoder": "none", "beta": 0.0, "extra_negatives": False}]
)
def test_an_iteration_of_clel_that_is_really_run(change, monkeypatch):
    monkeypatch.setattr(engine, "input_gradient", gradient_by_backward)
    config = replace(clel_preset("cifar10", "tiny"), trunk="float32", buffer_size=16, **change)
    fabric = make_fabric()
    steps = clel.train_clel(fabric, clel.build_state(fabric, config, *noise_images()), config)
    assert cost.clel_cost(config).flops == pytest.approx(flops_of(lambda: next(steps)), rel=0.03)


@pytest.mark.parametrize("phase", ["pretrain", "game"])
def test_an_update_of_gcd_that_is_really_run(phase, monkeypatch):
    monkeypatch.setattr(game, "training_points", lambda data: torch.rand(16, 3, 32, 32))
    monkeypatch.setattr(game, "is_points", lambda data: False)
    config = replace(cost.gcd_of("tiny"), pretrain_steps=1 if phase == "pretrain" else 0, steps=4, warm_up=0)
    fabric = make_fabric()
    steps = gcd.train_gcd(fabric, game.build_state(config, fabric), config)
    assert cost.gcd_cost(config, phase).flops == pytest.approx(flops_of(lambda: next(steps)), rel=0.03)


@pytest.mark.parametrize("burn_in", [0, None])
def test_an_update_of_the_rbm_that_is_really_run(burn_in):
    config = replace(
        rbm.rbm_preset("digits", "tiny"),
        n_hidden=48,
        negatives="noise",
        burn_in=burn_in,
        sweeps=6,
        limit=0,
        batch_size=32,
        n_chains=24,
    )
    _, _, steps = rbm.build(config, make_fabric())
    next(steps)
    assert cost.rbm_cost(config, n_visible=64).flops == pytest.approx(flops_of(lambda: next(steps)), rel=0.1)


def test_memory_grows_with_batch_buffer_and_time_but_not_with_langevin_steps():
    tiny = replace(clel_preset("cifar10", "tiny"), encoder="none")
    one = cost.clel_cost(tiny)
    two = cost.clel_cost(replace(tiny, batch_size=2 * tiny.batch_size, buffer_size=tiny.buffer_size + 1000, mcmc_steps=1))
    assert two.active == pytest.approx(2 * one.active, rel=0.15) and two.captured.flops < one.captured.flops
    assert two.resident - one.resident == 1000 * (4 * 3072 + 8)
    longer = cost.clel_cost(replace(tiny, mcmc_steps=2 * tiny.mcmc_steps))
    assert longer.memory == one.memory and longer.captured.flops == 2 * one.captured.flops
    config = cost.gcd_of("tiny")
    short, long = (cost.gcd_cost(replace(config, sampler_steps=t), "game") for t in (3, 6))
    assert long.active == 2 * short.active


def test_what_is_kept_is_what_autograd_keeps():
    a = torch.rand(10, 10, requires_grad=True)
    found = cost.count(lambda: (a.exp() * torch.rand(10, 10)).sum().backward())
    assert found.saved == 2 * 400  # exp keeps its output, the product its constant
    assert cost.count(lambda: torch.rand(8, 8) @ torch.rand(8, 8)).flops == 2 * 8**3
    half = cost.Cost(cost.Count(), cost.Count(flops=1e12, launches=10), 0, 0, 0)
    device = cost.Device("d", 1e15, 1e12, efficiency=0.5, launch=1e-3)
    assert half.seconds(device) == pytest.approx(0.01)  # launches bound it, not 2 ms of products
