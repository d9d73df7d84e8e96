"""The image engine: the reference path, averages, pictures, errors."""

import copy
import math

import numpy as np
import pytest
import torch

from ebmlearn.energies.spherical import FeatureNorm
from ebmlearn.networks.resnet import bake, baked_twin, energy_resnet
from ebmlearn.samplers import Clamped, Langevin, sample
from ebmlearn.training.engine import ChainRunner, ema_update, explain_out_of_memory, input_gradient, prepare_device, write_png


def _energy():
    torch.manual_seed(0)
    f = energy_resnet("tiny", in_channels=1)
    for p in f.parameters():
        if p.ndim == 2:
            torch.nn.init.kaiming_normal_(p)
    return FeatureNorm(baked_twin(f))


@pytest.mark.parametrize("noise", [None, 0.01, 0.0])
@pytest.mark.parametrize("mode", ["auto", "eager", "graph"])
def test_runner_equals_the_sampler(mode, noise):
    """On a CPU every mode is the eager one, and takes the steps of `sample` with a clamped Langevin kernel, number for number."""
    energy, kernel = _energy(), Clamped(kernel=Langevin(step_size=0.01, noise=noise), low=0.0, high=1.0)
    x = torch.rand(4, 1, 8, 8) * 1.4 - 0.2  # some pixels outside the box
    a = ChainRunner(energy, kernel, mode).run(x, 7, generator=torch.Generator().manual_seed(3))
    if noise == 0.0:  # the sampler draws no numbers then; without noise none matter
        b = sample(energy, kernel, x, 7)
        assert torch.allclose(a, b, atol=1e-6)
    else:
        b = sample(energy, kernel, x, 7, generator=torch.Generator().manual_seed(3))
        assert torch.allclose(a, b, atol=1e-6)
    assert not torch.allclose(a, x.clamp(0, 1), atol=1e-4)


def test_runner_takes_one_gradient_a_step():
    energy = _energy()
    calls = []
    energy.f.register_forward_hook(lambda *_: calls.append(1))
    ChainRunner(energy, Clamped(kernel=Langevin(step_size=0.01))).run(torch.rand(2, 1, 8, 8), 9)
    assert len(calls) == 9


def test_zero_steps_only_clamp():
    x = torch.rand(2, 1, 8, 8) * 3 - 1
    runner = ChainRunner(_energy(), Clamped(kernel=Langevin(step_size=0.01)))
    assert torch.equal(runner.run(x, 0), x.clamp(0, 1))


def test_runner_samples_a_clamped_gaussian(generator):
    """E = |x - 1/2|²/(2 s²), s = 0.05 far from the walls: variance s²/(1 - step/(2 s²)), standard error by 4000 chains."""
    s, step = 0.05, 1e-3
    runner = ChainRunner(lambda x: ((x - 0.5) ** 2).sum((-3, -2, -1)) / (2 * s * s), Clamped(kernel=Langevin(step_size=step)))
    x = runner.run(torch.full((4000, 1, 1, 1), 0.5), 40, generator=generator)
    expected = s * s / (1 - step / (2 * s * s))
    assert abs(x.var().item() - expected) < 5 * expected * math.sqrt(2 / 4000)


def test_input_gradient_leaves_parameters_alone():
    f = energy_resnet("tiny", in_channels=1)
    x = torch.rand(2, 1, 8, 8)
    g = input_gradient(FeatureNorm(f), x)
    assert g.shape == x.shape and not x.requires_grad
    assert all(p.grad is None for p in f.parameters())


def test_average_follows_its_recursion():
    net = energy_resnet("tiny", in_channels=1)

    average = copy.deepcopy(net).requires_grad_(False)
    start = [p.clone() for p in average.parameters()]
    with torch.no_grad():
        for p in net.parameters():
            p.add_(1.0)
    for b in net.buffers():
        b.add_(0.5)
    decay = 0.5 ** (64 / 20_000)
    assert decay == pytest.approx(0.997784, abs=1e-6)
    for _ in range(3):
        ema_update(average, net, decay)
    for s, a, p in zip(start, average.parameters(), net.parameters(), strict=True):
        assert torch.allclose(a, decay**3 * s + (1 - decay**3) * p.detach(), atol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(average.buffers(), net.buffers(), strict=True))


@pytest.mark.parametrize("channels", [1, 3])
def test_png_reads_back(tmp_path, channels):
    image = pytest.importorskip("PIL.Image")
    x = torch.rand(5, channels, 4, 6)
    write_png(tmp_path / "deep" / "x.png", x, columns=3, scale=2)
    with image.open(tmp_path / "deep" / "x.png") as picture:
        assert picture.size == (3 * 7 * 2, 2 * 5 * 2)
        back = torch.from_numpy(np.array(picture.convert("RGB"))).float() / 255
    second = back[0:8:2, 14:26:2].permute(2, 0, 1)
    assert torch.allclose(second, x[1].expand(3, 4, 6), atol=1 / 255)


def test_errors():
    kernel = Clamped(kernel=Langevin(step_size=0.01))
    with pytest.raises(ValueError, match="graph"):
        ChainRunner(_energy(), kernel, "fast")
    with pytest.raises(ValueError, match="samplers.sample"):
        ChainRunner(_energy(), Clamped(kernel=Langevin(step_size=(0.1, 0.2))))
    told = str(
        explain_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried"), batch_size=64, buffer_size=10, network="base")
    )
    assert "--batch-size 32" in told and "bf16" in told


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("mode", ["graph", "compile"])
def test_replayed_steps_equal_eager_ones_and_follow_new_weights(mode):
    prepare_device(torch.device("cuda"))
    torch.manual_seed(0)
    f = energy_resnet("tiny", in_channels=1).cuda()
    for p in f.parameters():
        if p.ndim == 2:
            torch.nn.init.kaiming_normal_(p)
    energy = FeatureNorm(baked_twin(f))
    kernel = Clamped(kernel=Langevin(step_size=0.01, noise=0.01), low=0.0, high=1.0)
    eager, fast = ChainRunner(energy, kernel, "eager"), ChainRunner(energy, kernel, mode)
    x = torch.rand(8, 1, 16, 16, device="cuda")
    for _ in range(2):
        a = eager.run(x, 20, generator=torch.Generator("cuda").manual_seed(1))
        b = fast.run(x, 20, generator=torch.Generator("cuda").manual_seed(1))
        assert torch.allclose(a, b, atol=1e-4)
        assert not torch.allclose(a, x, atol=1e-2)
        with torch.no_grad():
            for p in f.parameters():
                p.mul_(1.5)
        bake(f, energy.f)
    assert fast.mode == mode  # it was captured, not run eagerly after a warning


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_bf16_gradients_on_a_gpu_are_those_of_float32():
    prepare_device(torch.device("cuda"))
    torch.manual_seed(0)
    f = energy_resnet("small").cuda()
    x = torch.rand(16, 3, 32, 32, device="cuda")
    exact = input_gradient(FeatureNorm(baked_twin(f)), x)
    low = input_gradient(FeatureNorm(baked_twin(f, trunk_dtype=torch.bfloat16)), x)
    assert torch.cosine_similarity(exact.flatten(), low.flatten(), dim=0) > 0.99
