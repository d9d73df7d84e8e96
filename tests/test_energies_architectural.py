"""PCA, k-means, sparse coding and auto-encoders as energies, against closed forms and scikit-learn."""

import pytest
import torch
from torch import nn

from ebmlearn.energies.architectural import AutoencoderEnergy, KMeansEnergy, PCAEnergy, SparseCodingEnergy
from ebmlearn.energies.gaussian import GaussianMixture
from ebmlearn.functional import score


@pytest.fixture
def x():
    g = torch.Generator().manual_seed(0)
    return torch.randn(200, 5, generator=g) @ torch.randn(5, 5, generator=g) + 1


def test_pca_energy_is_the_sum_of_the_small_eigenvalues(x):
    energy = PCAEnergy.fit(x, 2)
    centred = x - x.mean(0)
    values = torch.linalg.eigvalsh(centred.T @ centred / len(x))
    assert energy(x).mean().item() == pytest.approx(values[:3].sum().item(), rel=1e-4)
    on_plane = energy.reconstruct(x)
    assert energy(on_plane).max() < 1e-6, "every point of the subspace has energy zero"
    # the score pulls straight to the subspace
    assert torch.allclose(score(energy, x), -2 * (x - on_plane), atol=1e-4)
    with pytest.raises(ValueError, match="orthonormal"):
        PCAEnergy(torch.zeros(5), torch.ones(2, 5))


def test_kmeans_is_the_cold_limit_of_a_mixture(x):
    energy = KMeansEnergy.fit(x, 4)
    assert torch.allclose(energy(x), torch.cdist(x, energy.centres).min(-1).values.square(), atol=1e-3)
    assert energy(energy.centres).max() < 1e-8
    beta = 200.0  # -1/beta log sum_k exp(-beta |x - c_k|²) lies at most log(K)/beta below the minimum
    soft = -torch.logsumexp(-beta * energy.energies(x), -1) / beta
    gap = energy(x) - soft
    assert bool((gap >= -1e-4).all()) and gap.max() <= torch.log(torch.tensor(4.0)) / beta + 1e-4
    mixture = GaussianMixture(energy.centres, 0.5)
    assert torch.allclose(-torch.logsumexp(-energy.energies(x), -1), mixture(x) + _constant(mixture, energy, x), atol=1e-3)
    with pytest.raises(ValueError, match="N >= 4"):
        KMeansEnergy.fit(x[:3], 4)


def _constant(mixture, energy, x):
    return (-torch.logsumexp(-energy.energies(x[:1]), -1) - mixture(x[:1])).item()


def test_sparse_coding_solves_the_lasso(x):
    from sklearn.decomposition import sparse_encode

    energy = SparseCodingEnergy.fit(x, 8, sparsity=0.5, steps=3000)
    z = energy.encode(x)
    reference = torch.as_tensor(
        sparse_encode(x.double().numpy(), energy.dictionary.double().numpy(), alpha=0.5, algorithm="lasso_lars")
    )
    value = lambda c: 0.5 * (x - c.float() @ energy.dictionary).square().sum(-1) + 0.5 * c.abs().sum(-1)
    assert torch.allclose(energy(x), value(z))
    assert (value(z) - value(reference)).abs().max() < 1e-2
    assert float((z == 0).float().mean()) > 0.2, "sparse"
    # envelope theorem: the gradient is x - z D, by finite differences
    d = torch.zeros_like(x[:5])
    d[:, 0] = 1e-2
    finite = (energy(x[:5] + d) - energy(x[:5] - d)) / 2e-2
    assert torch.allclose(-score(energy, x[:5])[:, 0], finite, atol=2e-2)
    with pytest.raises(ValueError, match="sparsity > 0"):
        SparseCodingEnergy(torch.eye(3), sparsity=0.0)


def test_orthonormal_dictionary_is_soft_thresholding():
    x = torch.tensor([[3.0, -0.2, 1.0]])
    energy = SparseCodingEnergy(torch.eye(3), sparsity=0.5, steps=5)
    assert torch.allclose(energy.encode(x), torch.tensor([[2.5, 0.0, 0.5]]))
    assert energy(x).item() == pytest.approx(0.5 * (0.25 + 0.04 + 0.25) + 0.5 * 3.0)


def test_autoencoder_energy():
    identity = AutoencoderEnergy(nn.Identity(), nn.Identity())
    x = torch.randn(50, 3)
    assert identity(x).abs().max() == 0, "a code as wide as x can copy: a flat energy"
    narrow = AutoencoderEnergy(nn.Linear(3, 1), nn.Linear(1, 3), sparsity=0.1)
    z = narrow.encoder(x)
    assert torch.allclose(narrow(x), (x - narrow.decoder(z)).square().sum(-1) + 0.1 * z.abs().sum(-1))
    g = torch.Generator().manual_seed(0)
    # copying noisy points costs sigma² a dimension
    loss = identity.denoising_loss(torch.zeros(20000, 3), 0.5, generator=g).item()
    assert abs(loss - 0.75) < 5 * 0.25 * (2 * 3 / 20000) ** 0.5
    with pytest.raises(ValueError, match="sparsity >= 0"):
        AutoencoderEnergy(nn.Identity(), nn.Identity(), sparsity=-1.0)
