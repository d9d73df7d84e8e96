import pytest
import torch
from torch import nn

from ebmlearn.energies import ConvEnergy, MLPEnergy, NormEnergy
from ebmlearn.functional import value_and_grad
from ebmlearn.metrics import quadrature

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spectral_norm", [False, True])
def test_conv_energy_shapes(shape, spectral_norm):
    energy = ConvEnergy(shape, width=4, spectral_norm=spectral_norm)
    assert energy.event_ndim == 3
    for batch in [(), (3,), (2, 3)]:
        assert energy(torch.rand(*batch, *shape)).shape == batch


@pytest.mark.parametrize("make", [MLPEnergy, NormEnergy, ConvEnergy])
def test_wrong_event_shape_says_what_was_expected(make):
    energy = make((1, 8, 8))
    with pytest.raises(ValueError, match=rf"{make.__name__} expected x of shape \[\*batch, 1, 8, 8\]; got \(5, 64\)"):
        energy(torch.zeros(5, 64))


def test_no_layer_looks_at_the_batch():
    for energy in (MLPEnergy(2), NormEnergy(2), ConvEnergy((1, 8, 8), spectral_norm=True)):
        assert not any(isinstance(m, nn.modules.batchnorm._NormBase) for m in energy.modules())


def test_confinement_is_added_once():
    torch.manual_seed(1)
    x = torch.randn(5, 1, 8, 8)
    for make in (MLPEnergy, ConvEnergy):
        energy = make((1, 8, 8), confinement=0.6)
        confined = energy(x)
        energy.confinement = 0.0
        assert torch.allclose(confined - energy(x), 0.3 * x.square().flatten(1).sum(-1), atol=1e-4)


def test_confinement_makes_log_z_finite():
    """Without it log Z grows with the box for ever; with it the box stops to matter."""
    open_, closed = MLPEnergy(1, hidden_features=(8,)), MLPEnergy(1, hidden_features=(8,), confinement=1.0)
    for p in open_.parameters():
        nn.init.zeros_(p)  # a flat network

    def log_z(energy, reach):
        return quadrature(energy, low=-reach, high=reach, cells=4000, dim=1).log_partition.item()

    assert log_z(open_, 40.0) - log_z(open_, 20.0) == pytest.approx(0.6931, abs=1e-3)
    assert log_z(closed, 40.0) == pytest.approx(log_z(closed, 20.0), abs=1e-4)


def test_norm_energy_is_half_a_squared_norm_of_its_features():
    energy = NormEnergy((1, 8, 8), hidden_features=(16,), out_features=5)
    x = torch.rand(2, 3, 1, 8, 8)
    assert energy.features(x).shape == (2, 3, 5)
    assert torch.allclose(energy(x), 0.5 * energy.features(x).norm(dim=-1) ** 2, rtol=1e-5)
    assert (energy(x) >= 0).all()


def test_spectral_norm_bounds_every_weight():
    energy = ConvEnergy((1, 8, 8), width=8, spectral_norm=True)
    for p in energy.parameters():
        p.data.mul_(50.0)
    for _ in range(50):  # the power iteration advances by one a call in training mode
        energy(torch.rand(1, 1, 8, 8))
    energy.eval()
    for layer in energy.net:
        if hasattr(layer, "weight"):
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1.0, abs=0.02)


def test_eval_mode_stays_put():
    energy = ConvEnergy((1, 8, 8), spectral_norm=True).eval()
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(energy(x), energy(x))


def test_gradients_reach_parameters_and_pixels():
    for energy in (MLPEnergy((1, 8, 8)), NormEnergy((1, 8, 8)), ConvEnergy((1, 8, 8))):
        x = torch.rand(4, 1, 8, 8)
        energy(x).sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in energy.named_parameters() if n.endswith("weight"))
        assert (value_and_grad(energy, x)[1].abs().flatten(1).sum(1) > 0).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: MLPEnergy(0),
        lambda: MLPEnergy(2, confinement=-1.0),
        lambda: ConvEnergy((8, 8)),
        lambda: ConvEnergy((1, 8, 8), confinement=-0.1),
        lambda: NormEnergy(()),
    ],
)
def test_hyperparameters_are_checked(make):
    with pytest.raises(ValueError, match="expected .*; got"):
        make()
