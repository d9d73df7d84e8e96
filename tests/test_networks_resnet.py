"""Energy networks: parameter counts, spectral norms, baked twins, precision, shapes."""

import pytest
import torch
from torch import nn

from ebmlearn.networks.encoder import ConvEncoder, ResNetEncoder, count_parameters
from ebmlearn.networks.resnet import (
    EnergyResNet,
    ImageMLP,
    SpectralConv2d,
    bake,
    baked_twin,
    energy_resnet,
    power_iterate,
    projection,
)


def _count(*modules):
    return sum(p.numel() for m in modules for p in m.parameters())


@pytest.mark.parametrize(("size", "expected", "convs"), [("base", 6_955_648, 18), ("large", 30_706_816, 51)])
def test_the_papers_parameter_counts(size, expected, convs):
    f = energy_resnet(size)
    g = projection(f.out_features, hidden_features=2048)
    assert _count(f, g) == expected
    assert sum(isinstance(m, nn.Conv2d) for m in f.modules()) == convs
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in f.modules())


def test_encoder_has_resnet18s_parameters():
    # conv trunk of ResNet-18 with a 3x3 stem (11,168,832) and the head 512-2048(BN)-128
    assert count_parameters(ResNetEncoder()) == 11_168_832 + 512 * 2048 + 2 * 2048 + 2048 * 128 + 128
    assert ResNetEncoder(width=8, hidden_features=None, out_features=10).features(torch.rand(2, 3, 32, 32)).shape == (2, 64)
    assert ConvEncoder((1, 8, 8))(torch.rand(3, 1, 8, 8)).shape == (3, 32)


def test_singular_values_are_one_after_power_iteration():
    torch.manual_seed(3)
    f = energy_resnet("tiny", in_channels=1)
    for p in f.parameters():
        p.data.mul_(3.0)
    power_iterate(f, 100)
    for m in f.modules():
        if isinstance(m, SpectralConv2d):
            top = torch.linalg.svdvals(m.effective_weight().detach().flatten(1).double())[0]
            assert 0.999 <= top <= 1.01


def test_forward_does_not_move_the_singular_vectors():
    f = energy_resnet("tiny", in_channels=1)
    before = {k: v.clone() for k, v in f.state_dict().items()}
    f.train()(torch.rand(2, 1, 8, 8)).sum().backward()
    assert all(torch.equal(v, f.state_dict()[k]) for k, v in before.items())


def test_twin_equals_the_network_and_follows_it_in_place():
    f = energy_resnet("tiny", in_channels=1).double()
    x = torch.rand(4, 1, 8, 8, dtype=torch.float64)
    twin = baked_twin(f)
    assert not any(p.requires_grad for p in twin.parameters())
    assert torch.allclose(twin(x), f(x), rtol=1e-12, atol=0)
    pointers = [p.data_ptr() for p in twin.parameters()]
    with torch.no_grad():
        for p in f.parameters():
            p.add_(0.01 * torch.randn_like(p))
    power_iterate(f, 1)
    assert not torch.allclose(twin(x), f(x), rtol=1e-3)
    bake(f, twin)
    assert torch.allclose(twin(x), f(x), rtol=1e-12, atol=0)
    assert pointers == [p.data_ptr() for p in twin.parameters()]


def test_twin_gradient_in_x_is_the_networks():
    f = energy_resnet("tiny", in_channels=1).double()
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    (a,) = torch.autograd.grad(f(x).square().sum(), x)
    (b,) = torch.autograd.grad(baked_twin(f)(x).square().sum(), x)
    assert torch.allclose(a, b, rtol=1e-10, atol=1e-18)


def test_bf16_trunk_is_close_to_float32():
    torch.manual_seed(0)
    f = energy_resnet("tiny", in_channels=1)
    for p in f.head.parameters():
        if p.ndim == 2:
            nn.init.kaiming_normal_(p)
    x = torch.rand(8, 1, 8, 8, requires_grad=True)
    exact, low = baked_twin(f), baked_twin(f, trunk_dtype=torch.bfloat16)
    assert low.head.layers[0].weight.dtype == torch.float32
    assert low.towers[0].stem.weight.dtype == torch.float32
    assert low.towers[0].blocks[0].first.weight.dtype == torch.bfloat16
    a, b = exact(x), low(x)
    assert b.dtype == torch.float32
    assert 0 < (a - b).norm() / a.norm() < 0.02
    (ga,) = torch.autograd.grad(a.square().sum(), x)
    (gb,) = torch.autograd.grad(b.square().sum(), x)
    assert torch.cosine_similarity(ga.flatten(), gb.flatten(), dim=0) > 0.995


def test_the_split_image_keeps_what_bfloat16_rounds_away():
    """Noise of 1e-3 on a bright image: a bfloat16 image loses most of it, the sum of two keeps it."""
    torch.manual_seed(0)
    conv = SpectralConv2d(3, 16, 3, spectral_norm=False)
    x = 0.9 + 1e-3 * torch.randn(4, 3, 8, 8)
    flat = torch.full_like(x, 0.9)
    weight = conv.weight.to(torch.bfloat16).float()

    def response(image):  # of the noise alone, inside the frame, in float32
        return torch.nn.functional.conv2d(image - flat, weight)

    low = (x - x.bfloat16().float()).bfloat16().float()
    split, rounded, exact = response(x.bfloat16().float() + low), response(x.bfloat16().float()), response(x)
    assert (split - exact).norm() / exact.norm() < 0.02 < 0.3 < (rounded - exact).norm() / exact.norm()
    # and the convolution with the split image is that sum, to bfloat16's rounding of its output
    y = conv.split_forward(x, torch.bfloat16)
    assert y.dtype == torch.bfloat16
    assert torch.allclose(y.float(), conv(x).detach(), rtol=0.02, atol=0.02)
    (g,) = torch.autograd.grad(conv.split_forward(x.requires_grad_(True), torch.bfloat16).float().square().sum(), x)
    (h,) = torch.autograd.grad(conv(x).square().sum(), x)
    assert torch.cosine_similarity(g.flatten(), h.flatten(), dim=0) > 0.999


def test_towers_see_averaged_images():
    f = EnergyResNet(in_channels=1, stages=((4, 1), (4, 1)), towers=2, hidden_features=8, out_features=3)
    x = torch.rand(1, 1, 8, 8)
    checker = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(4, 4)  # invisible to the second tower
    seen = []
    for i, tower in enumerate(f.towers):
        tower.register_forward_pre_hook(lambda m, args, i=i: seen.append((i, args[0].detach().clone())))
    f(x)
    f(x + 0.1 * checker)
    second = [image for i, image in seen if i == 1]
    assert second[0].shape[-1] == 4
    assert torch.allclose(second[0], second[1], atol=1e-6)


@pytest.mark.parametrize("network", [energy_resnet("tiny", in_channels=1), ImageMLP((1, 8, 8))])
def test_any_leading_shape_and_independence_of_the_batch(network):
    x = torch.rand(2, 3, 1, 8, 8)
    y = network(x)
    assert y.shape == (2, 3, 32)
    assert torch.allclose(y[1, 2], network(x[1, 2]), atol=1e-6)
    with pytest.raises(ValueError, match=r"expected images \[\*batch, 1"):
        network(torch.rand(2, 3, 8, 8))


def test_projection_is_positively_homogeneous():
    g = projection(16, hidden_features=32).double()
    h = torch.randn(5, 16, dtype=torch.float64)
    assert torch.allclose(g(3.7 * h), 3.7 * g(h), rtol=1e-12)


def test_unknown_size_lists_the_known():
    with pytest.raises(ValueError, match="base"):
        energy_resnet("huge")
