"""Energies whose low volume is limited by their architecture: PCA, k-means, sparse coding, auto-encoders.

Each measures how badly x is reconstructed from a code that cannot represent everything; none needs negatives, because a
limited code keeps most of space at high energy.

References:
    A tutorial on energy-based learning (LeCun et al., 2006).
    A unified energy-based framework for unsupervised learning (Ranzato, Boureau, Chopra, LeCun, 2007).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import Energy


def _numpy(x: Tensor, owner: str, least: int) -> object:
    if x.ndim != 2 or len(x) < least:
        raise ValueError(f"{owner} is fitted to points [N, D] with N >= {least}; got shape {tuple(x.shape)}")
    return x.detach().cpu().double().numpy()


class PCAEnergy(Energy):
    """E(x) = |(I - W W^T)(x - m)|²: the squared distance to an affine subspace, zero on all of it.

    Args:
        mean: m, `[D]`.
        components: orthonormal rows W^T, `[k, D]`.
    """

    mean: Tensor
    components: Tensor

    def __init__(self, mean: Tensor, components: Tensor) -> None:
        super().__init__()
        gram = components @ components.T
        if not torch.allclose(gram, torch.eye(len(components), dtype=gram.dtype, device=gram.device), atol=1e-4):
            raise ValueError("expected orthonormal components, one a row; orthonormalise them, e.g. with torch.linalg.qr")
        self.register_buffer("mean", mean)
        self.register_buffer("components", components)

    @classmethod
    def fit(cls, x: Tensor, n_components: int) -> PCAEnergy:
        """The subspace of largest variance, by scikit-learn's PCA."""
        from sklearn.decomposition import PCA

        pca = PCA(n_components).fit(_numpy(x, "PCA", 2))
        return cls(torch.as_tensor(pca.mean_, dtype=x.dtype), torch.as_tensor(pca.components_, dtype=x.dtype))

    def encode(self, x: Tensor) -> Tensor:
        """z = W^T (x - m), `[*batch, k]`."""
        return (x - self.mean) @ self.components.T

    def reconstruct(self, x: Tensor) -> Tensor:
        """The nearest point of the subspace."""
        return self.mean + self.encode(x) @ self.components

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.reconstruct(x)).square().sum(-1)


class KMeansEnergy(Energy):
    """E(x) = min_k |x - c_k|²: a latent that is one of K prototypes, minimised over.

    It is the limit beta -> inf of the free energy of a Gaussian mixture with equal weights and one variance.

    Args:
        centres: `[K, D]`.
    """

    centres: Tensor

    def __init__(self, centres: Tensor) -> None:
        super().__init__()
        if centres.ndim != 2:
            raise ValueError(f"expected centres [K, D]; got {tuple(centres.shape)}")
        self.register_buffer("centres", centres)

    @classmethod
    def fit(cls, x: Tensor, k: int, *, seed: int = 0) -> KMeansEnergy:
        """Centres by scikit-learn's KMeans, best of 10 starts."""
        from sklearn.cluster import KMeans

        model = KMeans(k, n_init=10, random_state=seed).fit(_numpy(x, "k-means", k))
        return cls(torch.as_tensor(model.cluster_centers_, dtype=x.dtype))

    def energies(self, x: Tensor) -> Tensor:
        """E(x, k) = |x - c_k|², `[*batch, K]`."""
        return (x.unsqueeze(-2) - self.centres).square().sum(-1)

    def forward(self, x: Tensor) -> Tensor:
        return self.energies(x).min(-1).values


class SparseCodingEnergy(Energy):
    """E(x) = min_z |x - z D|²/2 + lambda |z|_1, the minimum found by ISTA: many prototypes, few at a time.

    The gradient in x is x - z* D (the envelope theorem), so it is exact once z has converged.

    Args:
        dictionary: rows are atoms, `[K, D]`.
        sparsity: lambda > 0.
        steps: ISTA iterations; the energy falls with each.

    References:
        An iterative thresholding algorithm for linear inverse problems with a sparsity constraint (Daubechies, Defrise, De Mol, 2004).
    """

    dictionary: Tensor

    def __init__(self, dictionary: Tensor, *, sparsity: float, steps: int = 100) -> None:
        super().__init__()
        if sparsity <= 0 or steps < 1:
            raise ValueError(f"expected sparsity > 0 and steps >= 1; got {sparsity} and {steps}")
        self.register_buffer("dictionary", dictionary)
        self.sparsity = sparsity
        self.steps = steps

    @classmethod
    def fit(cls, x: Tensor, n_atoms: int, *, sparsity: float, seed: int = 0, steps: int = 100) -> SparseCodingEnergy:
        """A dictionary of unit atoms by scikit-learn's DictionaryLearning."""
        from sklearn.decomposition import DictionaryLearning

        model = DictionaryLearning(n_atoms, alpha=sparsity, max_iter=100, random_state=seed).fit(_numpy(x, "sparse coding", 2))
        return cls(torch.as_tensor(model.components_, dtype=x.dtype), sparsity=sparsity, steps=steps)

    def encode(self, x: Tensor) -> Tensor:
        """z* = argmin_z |x - z D|²/2 + lambda |z|_1, `[*batch, K]`."""
        d = self.dictionary
        with torch.no_grad():
            size = 1.0 / torch.linalg.matrix_norm(d, 2).square()
            z = torch.zeros(*x.shape[:-1], len(d), dtype=x.dtype, device=x.device)
            for _ in range(self.steps):
                z = z - size * (z @ d - x) @ d.T
                z = z.sign() * (z.abs() - size * self.sparsity).clamp(min=0)
        return z

    def forward(self, x: Tensor) -> Tensor:
        z = self.encode(x)
        return 0.5 * (x - z @ self.dictionary).square().sum(-1) + self.sparsity * z.abs().sum(-1)


class AutoencoderEnergy(Energy):
    """E(x) = |x - g(f(x))|² + lambda |f(x)|_1: reconstruction error of a code limited in width, in activity, or by noise.

    A code as wide as x with lambda = 0 and no noise in training can copy everything: a flat energy. Train it as it
    stands (sparse), or on `denoising_loss`.

    Args:
        encoder: f, `[*batch, D] -> [*batch, k]`.
        decoder: g, back.
        sparsity: lambda >= 0.

    References:
        Extracting and composing robust features with denoising autoencoders (Vincent et al., 2008).
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, *, sparsity: float = 0.0) -> None:
        super().__init__()
        if sparsity < 0:
            raise ValueError(f"expected sparsity >= 0; got {sparsity}")
        self.encoder, self.decoder, self.sparsity = encoder, decoder, sparsity

    def forward(self, x: Tensor) -> Tensor:
        z = self.encoder(x)
        error = (x - self.decoder(z)).square().sum(-1)
        return error + self.sparsity * z.abs().sum(-1) if self.sparsity else error

    def denoising_loss(self, x: Tensor, sigma: float, *, generator: torch.Generator | None = None) -> Tensor:
        """mean |x - g(f(x + sigma xi))|²: the code must map noisy points back, so noise directions get high energy."""
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        return (x - self.decoder(self.encoder(x + sigma * noise))).square().sum(-1).mean()
