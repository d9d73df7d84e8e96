"""The joint energy of an image and a latent on the unit sphere, its exact marginal and its von Mises-Fisher posterior."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Energy, JointEnergy


class FeatureNorm(Energy):
    """E(x) = 1/2 ||f(x)||² + constant.

    Args:
        f: network, `[*batch, *event] -> [*batch, d]`.
        constant: added to every energy.
        event_ndim: axes of one x; 3 for images.
    """

    def __init__(self, f: nn.Module, *, constant: float = 0.0, event_ndim: int = 3) -> None:
        super().__init__()
        self.f = f
        self.constant = constant
        self.event_ndim = event_ndim

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * self.f(x).square().sum(-1) + self.constant


def log_sphere_integral(kappa: float, d: int) -> float:
    """log of the integral of exp(kappa m·z) over the unit sphere in R^d, for any unit m.

    The integral is |S^{d-1}| sum_k (kappa²/4)^k / (k! (d/2)_k) = (2 pi)^{d/2} I_{d/2-1}(kappa) / kappa^{d/2-1}.

    Example:
        >>> round(log_sphere_integral(0.0, 3), 6) == round(math.log(4 * math.pi), 6)
        True
    """
    if d < 2 or kappa < 0:
        raise ValueError(f"expected d >= 2 and kappa >= 0; got d={d}, kappa={kappa}")
    area = math.log(2) + d / 2 * math.log(math.pi) - math.lgamma(d / 2)
    if kappa == 0:
        return area
    k = torch.arange(int(2 * kappa) + 200, dtype=torch.float64)
    half = torch.tensor(d / 2, dtype=torch.float64)
    terms = 2 * k * math.log(kappa / 2) - torch.lgamma(k + 1) - torch.lgamma(half + k) + torch.lgamma(half)
    return area + float(torch.logsumexp(terms, 0))


class SphericalJoint(JointEnergy):
    """E(x, z) = 1/2 ||f(x)||² - beta cos(g(f(x)), z) with z on the unit sphere of R^d.

    The length of f carries p(x), the direction of g(f(x)) carries p(z | x): the integral of exp(beta m·z) over the sphere
    is the same for every unit m, so the marginal is 1/2 ||f(x)||² plus a constant, exactly, and p(z | x) is von
    Mises-Fisher around g(f(x))/||g(f(x))|| with concentration beta. For that g must not see the length of f where the paper
    feeds it f/||f||: it is positively homogeneous (no bias, leaky ReLU).

    Args:
        f: network, `[*batch, *event] -> [*batch, features]`.
        g: projection, `[*batch, features] -> [*batch, d]`.
        beta: concentration; in training a loss weight, in conditional sampling a weight to choose.
        event_ndim: axes of one x; 3 for images.

    References:
        Guiding energy-based models via contrastive latent variables (Lee, Jeong, Park, Shin, 2023).
    """

    def __init__(self, f: nn.Module, g: nn.Module, *, beta: float, event_ndim: int = 3) -> None:
        super().__init__()
        if beta < 0:
            raise ValueError(f"expected beta >= 0; got {beta}")
        self.f = f
        self.g = g
        self.beta = beta
        self.event_ndim = event_ndim

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """1/2 ||f(x)||² and g(f(x)) (not normalised): `[*batch]`, `[*batch, d]`."""
        h = self.f(x)
        return 0.5 * h.square().sum(-1), self.g(h)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        e, u = self.parts(x)
        return e - self.beta * F.cosine_similarity(u, z, dim=-1)

    def direction(self, x: Tensor) -> Tensor:
        """The mean direction of p(z | x), `[*batch, d]`."""
        return F.normalize(self.parts(x)[1], dim=-1)

    def at_weight(self, beta: float) -> SphericalJoint:
        """The same networks with another beta."""
        return SphericalJoint(self.f, self.g, beta=beta, event_ndim=self.event_ndim)

    def marginalise(self, beta: float = 1.0, *, latent_dim: int | None = None) -> Energy:
        """F(x) = -1/b log of the integral of exp(-b E(x, z)) over z = 1/2 ||f(x)||² - log S_d(b beta) / b; here `beta` is b.

        Args:
            beta: inverse temperature b of the joint law.
            latent_dim: d; without it the constant is dropped.
        """
        if beta <= 0:
            raise ValueError(f"expected an inverse temperature > 0; got {beta}")
        constant = 0.0 if latent_dim is None else -log_sphere_integral(beta * self.beta, latent_dim) / beta
        return FeatureNorm(self.f, constant=constant, event_ndim=self.event_ndim)

    def compose(self, terms: list[tuple[Tensor, float]]) -> Composed:
        """1/2 ||f(x)||² - sum_i w_i cos(g(f(x)), z_i): AND with positive weights, NOT with negative ones."""
        return Composed(self, terms)

    def sample_z(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Exact draws from p(z | x)."""
        with torch.no_grad():
            return sample_von_mises_fisher(self.direction(x), self.beta, generator=generator)


class Composed(Energy):
    """E(x) = 1/2 ||f(x)||² - sum_i w_i cos(g(f(x)), z_i).

    Args:
        joint: the energy whose latents are composed.
        terms: pairs (z, w); z is one latent or one for each point; w < 0 moves away from z.

    References:
        Compositional visual generation with energy based models (Du, Li, Mordatch, 2020).
    """

    def __init__(self, joint: SphericalJoint, terms: list[tuple[Tensor, float]]) -> None:
        super().__init__()
        if not terms:
            raise ValueError(
                "expected at least one (latent, weight); got none. joint.marginalise() is the energy without a latent"
            )
        self.joint = joint
        self.event_ndim = joint.event_ndim
        self.weights = tuple(float(w) for _, w in terms)
        for i, (z, _) in enumerate(terms):
            self.register_buffer(f"latent{i}", z)  # moves with the energy

    def forward(self, x: Tensor) -> Tensor:
        e, u = self.joint.parts(x)
        for i, w in enumerate(self.weights):
            z = getattr(self, f"latent{i}")
            e = e - w * F.cosine_similarity(u, z, dim=-1)
        return e


def sample_von_mises_fisher(mean: Tensor, kappa: float, *, generator: torch.Generator | None = None) -> Tensor:
    """Exact draws of the von Mises-Fisher law, density ∝ exp(kappa mean·z) on the unit sphere, by rejection on w = mean·z.

    Args:
        mean: unit vectors, `[*batch, d]`.
        kappa: concentration >= 0; 0 is uniform.

    References:
        Simulation of the von Mises Fisher distribution (Wood, 1994).
    """
    *batch, d = mean.shape
    if d < 2 or kappa < 0:
        raise ValueError(f"expected unit vectors [*batch, d >= 2] and kappa >= 0; got {tuple(mean.shape)} and {kappa}")
    n = math.prod(batch)
    device, dtype = mean.device, torch.float64
    b = (d - 1) / (2 * kappa + math.sqrt(4 * kappa**2 + (d - 1) ** 2))
    x0 = (1 - b) / (1 + b)
    c = kappa * x0 + (d - 1) * math.log(1 - x0**2) if x0 > 0 else 0.0
    w = torch.empty(n, dtype=dtype, device=device)
    todo = torch.arange(n, device=device)
    while len(todo):
        # Beta((d-1)/2, (d-1)/2) as the first of two gammas, each half a sum of squared normals
        a = torch.randn(2, len(todo), d - 1, dtype=dtype, device=device, generator=generator).square().sum(-1)
        beta = a[0] / a.sum(0)
        proposal = (1 - (1 + b) * beta) / (1 - (1 - b) * beta)
        u = torch.rand(len(todo), dtype=dtype, device=device, generator=generator)
        yes = kappa * proposal + (d - 1) * torch.log1p(-x0 * proposal) - c >= torch.log(u)
        w[todo[yes]] = proposal[yes]
        todo = todo[~yes]
    m = mean.reshape(n, d).to(dtype)
    v = torch.randn(n, d, dtype=dtype, device=device, generator=generator)
    v = F.normalize(v - (v * m).sum(-1, keepdim=True) * m, dim=-1)
    z = w.unsqueeze(-1) * m + (1 - w.square()).clamp(min=0).sqrt().unsqueeze(-1) * v
    return z.to(mean.dtype).reshape(*batch, d)
