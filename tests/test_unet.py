"""The image networks and the step MLP: shapes, independence of the batch, steps that matter."""

import pytest
import torch

from ebmlearn.networks import FourierFeatures, FourierMLP, StepEncoder, StepMLP, UNet
from ebmlearn.networks.unet import Attention, step_embedding


def awake(net):
    """Networks whose last layers start at zero say nothing; give every parameter a value."""
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return net


@pytest.mark.parametrize(("size", "multipliers"), [(8, (1, 2)), (28, (1, 2, 2)), (32, (1, 2, 2, 2))])
def test_unet_shapes(size, multipliers):
    net = awake(UNet(channels=3, width=8, multipliers=multipliers))
    x = torch.randn(2, 4, 3, size, size)
    assert net(x, torch.tensor(3)).shape == x.shape
    assert UNet(channels=3, out_channels=6, width=8, multipliers=multipliers)(x[0], torch.arange(4)).shape == (4, 6, size, size)


def test_unet_starts_at_zero_and_uses_its_step():
    net = UNet(width=8, multipliers=(1, 2))
    x = torch.randn(3, 1, 8, 8)
    assert net(x, torch.tensor(1)).abs().max() == 0
    awake(net)
    assert (net(x, torch.tensor(1)) - net(x, torch.tensor(900))).abs().max() > 1e-3


@pytest.mark.parametrize("make", [lambda: UNet(width=8, multipliers=(1, 2)), lambda: StepEncoder(width=8)])
def test_a_point_does_not_depend_on_its_batch(make):
    net = awake(make()).double()
    x = torch.randn(5, 1, 8, 8, dtype=torch.float64)
    k = torch.arange(5)
    together = net(x, k)
    alone = torch.cat([net(x[i : i + 1], k[i : i + 1]) for i in range(5)])
    assert torch.allclose(together, alone, atol=1e-10)


def test_unet_sees_the_whole_image():
    """Attention and the coarse level join opposite corners."""
    net = awake(UNet(width=8, multipliers=(1, 2)))
    x = torch.randn(1, 1, 8, 8, requires_grad=True)
    net(x, torch.tensor(5))[0, 0, 0, 0].backward()
    assert (x.grad.abs() > 0).all()


def test_unet_says_which_sizes_it_takes():
    with pytest.raises(ValueError, match="divisible by 4"):
        UNet(width=8, multipliers=(1, 2, 2))(torch.zeros(1, 1, 10, 10), torch.tensor(0))


def test_attention_is_a_mixture_of_pixels():
    layer = Attention(16).double()
    torch.nn.init.eye_(layer.out.weight.flatten(1))
    x = torch.randn(2, 16, 4, 4, dtype=torch.float64)
    order = torch.randperm(16)
    shuffled = x.flatten(2)[..., order].reshape(x.shape)
    assert torch.allclose(layer(x).flatten(2)[..., order].reshape(x.shape), layer(shuffled), atol=1e-10)


def test_step_embedding_separates_steps():
    e = step_embedding(torch.arange(1001), 32)
    assert e.shape == (1001, 32)
    assert torch.cdist(e, e).fill_diagonal_(9.0).min() > 0.1


def test_encoder_without_and_with_a_step():
    net = StepEncoder(channels=1, out_features=2, width=8)
    x = torch.randn(2, 3, 1, 8, 8)
    assert net(x).shape == (2, 3, 2)
    assert not torch.equal(net(x, torch.tensor(1)), net(x, torch.tensor(4)))


def test_step_mlp_broadcasts_its_step():
    net = StepMLP(2, 3, n_steps=5)
    x = torch.randn(4, 6, 2)
    rows = net(x, torch.arange(4)[:, None])
    assert rows.shape == (4, 6, 3)
    for k in range(4):
        assert torch.allclose(rows[k], net(x[k], torch.tensor(k)), atol=1e-6)
    assert StepMLP(2, 3, n_steps=5, zero_output=True)(x, torch.tensor(0)).abs().max() == 0


def test_fourier_features():
    f = FourierFeatures(2, n_features=5, generator=torch.Generator().manual_seed(0))
    x = torch.randn(7, 2)
    out = f(x)
    assert out.shape == (7, 12) and torch.equal(out[:, :2], x)
    assert torch.allclose(out[:, 2:7].square() + out[:, 7:].square(), torch.ones(7, 5), atol=1e-6)
    assert not list(f.parameters()) and "weight" in f.state_dict()
    assert FourierMLP(2, 1, n_features=0)(x).shape == (7, 1)


def test_fourier_features_fit_a_fast_wave_sooner():
    """sin(12 x) on [-1, 1], 300 Adam steps: the mean squared error with features is at most a fifth of the plain net's."""
    x = torch.linspace(-1, 1, 256)[:, None]
    y = torch.sin(12 * x)
    errors = []
    for n_features in (0, 32):
        torch.manual_seed(0)
        net = FourierMLP(1, 1, hidden_features=(64, 64), n_features=n_features, scale=6.0)
        optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
        for _ in range(300):
            loss = (net(x) - y).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        errors.append(loss.item())
    assert errors[1] < 0.2 * errors[0]
