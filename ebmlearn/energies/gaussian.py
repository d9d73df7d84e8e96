"""Gaussian energies: any covariance, products of Gaussians in closed form, normalised mixtures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..functional import check_event, check_generator
from .base import Energy, Sum

Values = float | Sequence[float] | Sequence[Sequence[float]] | Tensor


def _floating(values: Values) -> Tensor:
    t = torch.as_tensor(values)
    return t.detach().clone() if t.is_floating_point() else t.to(torch.get_default_dtype())


def _normal(shape: Sequence[int], like: Tensor, generator: torch.Generator | None) -> Tensor:
    check_generator(generator, like)
    return torch.randn(*shape, dtype=like.dtype, device=like.device, generator=generator)


class Gaussian(Energy):
    """E(x) = (x - m)ᵀ Σ⁻¹ (x - m) / 2, with minimum 0 at the mean.

    log Z = (D log 2π + log det Σ)/2. The gradient Σ⁻¹ (x - m) is written down, not differentiated.

    Args:
        mean: m, of the shape of one point, `[*event]`; `[D]` for vectors, `(1, 8, 8)` for images.
        covariance: Σ: a number (that variance in every direction), variances of shape `[*event]`, or a symmetric
            positive definite matrix `[D, D]` over the flattened point.

    Raises:
        ValueError: covariance of another shape, not symmetric, or not positive definite.

    Example:
        >>> g = Gaussian([0.0, 0.0], [[1.0, 0.6], [0.6, 2.0]])
        >>> round(g.log_partition().item(), 4)  # log 2π + log(1.64)/2
        2.0852
    """

    mean: Tensor
    precision: Tensor

    def __init__(self, mean: Values, covariance: Values = 1.0) -> None:
        super().__init__()
        m = _floating(mean)
        if m.ndim == 0:
            raise ValueError("expected a mean of the shape of one point, e.g. [0.0] for one dimension; got a number")
        cov = torch.as_tensor(covariance, dtype=m.dtype, device=m.device)
        self.event_ndim = m.ndim
        self.event_shape = tuple(m.shape)
        self.is_full = cov.shape == (m.numel(), m.numel()) and cov.shape != m.shape
        if self.is_full:
            if not torch.allclose(cov, cov.T, rtol=1e-5, atol=0):
                raise ValueError("expected a symmetric covariance; got one that differs from its transpose")
            factor, failed = torch.linalg.cholesky_ex(0.5 * (cov + cov.T))
            if failed:
                found = torch.linalg.eigvalsh(cov)
                raise ValueError(
                    f"expected a positive definite covariance; eigenvalues go from {float(found[0]):.3g} to {float(found[-1]):.3g}"
                )
            precision = torch.cholesky_inverse(factor)
        elif cov.ndim == 0 or cov.shape == m.shape:
            if not bool(((cov > 0) & (cov < math.inf)).all()):
                raise ValueError(f"expected variances > 0 and finite; got {cov.tolist()}")
            precision = (1 / cov).expand(m.shape).clone()
        else:
            raise ValueError(
                f"expected covariance to be a number, of shape {self.event_shape} or {(m.numel(), m.numel())}; got {tuple(cov.shape)}"
            )
        self.register_buffer("mean", m)
        self.register_buffer("precision", precision)

    @classmethod
    def from_precision(cls, mean: Tensor, precision: Tensor) -> Gaussian:
        """The Gaussian with inverse covariance `precision[D, D]` or `[*event]`; a matrix must be positive definite."""
        if precision.shape == mean.shape:
            return cls(mean, 1 / precision)
        return cls(mean, torch.linalg.inv(precision))

    def _residual(self, x: Tensor) -> tuple[Tensor, Tensor]:
        check_event(x, self.event_shape, type(self).__name__)
        d = x - self.mean.to(x.dtype)
        precision = self.precision.to(x.dtype)
        if not self.is_full:
            return d, d * precision
        split = x.ndim - self.event_ndim
        return d, (d.flatten(split) @ precision).reshape(d.shape)

    def _half_dot(self, d: Tensor, g: Tensor) -> Tensor:
        return 0.5 * (d * g).flatten(d.ndim - self.event_ndim).sum(-1)

    def forward(self, x: Tensor) -> Tensor:
        return self._half_dot(*self._residual(x))

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energies `[*batch]` and gradients Σ⁻¹ (x - m), `[*batch, *event]`."""
        with torch.no_grad():
            d, g = self._residual(x)
            return self._half_dot(d, g), g

    @property
    def covariance(self) -> Tensor:
        """Σ as a matrix over the flattened point, `[D, D]`."""
        return torch.linalg.inv(self.precision) if self.is_full else torch.diag(1 / self.precision.flatten())

    def log_partition(self) -> Tensor:
        """log Z, exact."""
        log_det = torch.logdet(self.precision) if self.is_full else self.precision.log().sum()
        return 0.5 * (self.mean.numel() * math.log(2 * math.pi) - log_det)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` independent points, `[n, *event]`."""
        z = _normal((n, self.mean.numel()), self.mean, generator)
        if self.is_full:
            z = z @ torch.linalg.cholesky(self.covariance).T
        else:
            z = z / self.precision.flatten().sqrt()
        return self.mean + z.reshape(n, *self.event_shape)


class GaussianProduct(NamedTuple):
    """A weighted sum of Gaussian energies in one piece: total(x) = gaussian(x) + offset."""

    gaussian: Gaussian
    offset: Tensor


def product_of_gaussians(total: Sum) -> GaussianProduct:
    """The single Gaussian that a weighted sum of Gaussian energies is, or a ValueError when its Z is infinite.

    The precisions add, P = sum_i w_i P_i, and so log Z of the sum is gaussian.log_partition() - offset. With a negative
    weight P need not be positive definite; then exp(-E) has no finite integral and there is nothing to sample:
    E_1 - a E_2 needs a P_2 smaller than P_1.

    Args:
        total: a `Sum` of `Gaussian` energies over the same event, as built by the operators.

    Raises:
        ValueError: a term that is not a Gaussian; a sum with no finite Z.

    Example:
        >>> near, far = Gaussian([-1.5]), Gaussian([1.5])
        >>> product, offset = product_of_gaussians(near + far)
        >>> product.covariance.item(), round((product.log_partition() - offset).exp().item(), 4)
        (0.5, 0.1868)
        >>> product_of_gaussians(near - far)
        Traceback (most recent call last):
        ValueError: this sum of Gaussian energies has no finite Z: ...
    """
    if not isinstance(total, Sum):
        raise ValueError(f"expected a Sum, as built by the operators, e.g. 2 * g1 - g2; got {type(total).__name__}")
    terms = list(total.energies)
    for term in terms:
        if not isinstance(term, Gaussian):
            raise ValueError(f"expected a sum of Gaussian energies; got a {type(term).__name__} in it")
    gaussians = [term for term in terms if isinstance(term, Gaussian)]
    shape = gaussians[0].event_shape
    if any(g.event_shape != shape for g in gaussians):
        raise ValueError(f"expected Gaussians of one event shape; got {[g.event_shape for g in gaussians]}")
    precision = torch.zeros(())
    shift = torch.zeros(())
    full = any(g.is_full for g in gaussians)
    for w, g in zip(total.weights, gaussians, strict=True):
        p = g.precision if g.is_full or not full else torch.diag(g.precision.flatten())
        m = g.mean.flatten() if full else g.mean
        precision = w * p + precision
        shift = w * (p @ m if full else p * m) + shift
    smallest = torch.linalg.eigvalsh(precision).min() if full else precision.min()
    if not smallest > 0:
        raise ValueError(
            f"this sum of Gaussian energies has no finite Z: its precision has the eigenvalue {smallest.item():.4g} <= 0, so "
            "exp(-E) does not decay along that direction. Lower the negative weight, or add an energy that confines"
        )
    mean = (torch.linalg.solve(precision, shift) if full else shift / precision).reshape(shape)
    gaussian = Gaussian.from_precision(mean, precision)
    return GaussianProduct(gaussian, total(mean).detach())


class GaussianMixture(Energy):
    """E(x) = -log sum_k w_k N(x; m_k, Σ_k): normalised, so log Z = 0.

    Args:
        means: `[K, D]`.
        covariances: a number, `[K]` variances, or `[K, D, D]`; one number is every component's variance.
        weights: `[K]`, positive, scaled to sum to 1; default equal.

    Example:
        >>> two = GaussianMixture([[-3.0], [3.0]], weights=[0.8, 0.2])
        >>> round(two.mean.item(), 4), round(two.covariance.item(), 4)
        (-1.8, 6.76)
    """

    means: Tensor
    precisions: Tensor
    log_weights: Tensor
    log_dets: Tensor

    def __init__(self, means: Values, covariances: Values = 1.0, *, weights: Sequence[float] | Tensor | None = None) -> None:
        super().__init__()
        m = _floating(means)
        if m.ndim != 2:
            raise ValueError(f"expected means of shape [K, D]; got {tuple(m.shape)}")
        k, d = m.shape
        cov = torch.as_tensor(covariances, dtype=m.dtype, device=m.device)
        if cov.ndim < 2:
            if cov.shape not in ((), (k,)):
                raise ValueError(f"expected covariances to be a number, ({k},) or ({k}, {d}, {d}); got {tuple(cov.shape)}")
            cov = cov.expand(k)[:, None, None] * torch.eye(d, dtype=m.dtype, device=m.device)
        if cov.shape != (k, d, d):
            raise ValueError(f"expected covariances to be a number, ({k},) or ({k}, {d}, {d}); got {tuple(cov.shape)}")
        factor, failed = torch.linalg.cholesky_ex(cov)
        if bool(failed.any()):
            raise ValueError("expected positive definite covariances")
        w = (
            torch.full((k,), 1.0 / k, dtype=m.dtype, device=m.device)
            if weights is None
            else torch.as_tensor(weights, dtype=m.dtype, device=m.device)
        )
        if w.shape != (k,) or not bool((w > 0).all()):
            raise ValueError(f"expected {k} positive weights; got {w.tolist()}")
        self.register_buffer("means", m)
        self.register_buffer("precisions", torch.cholesky_inverse(factor))
        self.register_buffer("log_weights", (w / w.sum()).log())
        self.register_buffer("log_dets", 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1))

    @property
    def weights(self) -> Tensor:
        """w, `[K]`."""
        return self.log_weights.exp()

    def _terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        check_event(x, self.means.shape[1:], type(self).__name__)
        d = x.unsqueeze(-2) - self.means.to(x.dtype)
        pull = torch.einsum("...kd,kde->...ke", d, self.precisions.to(x.dtype))
        log_norm = self.log_weights - 0.5 * (self.log_dets + self.means.shape[1] * math.log(2 * math.pi))
        return log_norm.to(x.dtype) - 0.5 * (d * pull).sum(-1), pull

    def forward(self, x: Tensor) -> Tensor:
        return -torch.logsumexp(self._terms(x)[0], dim=-1)

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energies `[*batch]` and gradients sum_k p(k | x) Σ_k⁻¹ (x - m_k), `[*batch, D]`."""
        with torch.no_grad():
            logits, pull = self._terms(x)
            return -torch.logsumexp(logits, dim=-1), (torch.softmax(logits, -1).unsqueeze(-1) * pull).sum(-2)

    def responsibilities(self, x: Tensor) -> Tensor:
        """p(k | x), `[*batch, K]`."""
        return torch.softmax(self._terms(x)[0], -1)

    @property
    def mean(self) -> Tensor:
        """Mean, `[D]`."""
        return self.weights @ self.means

    @property
    def covariance(self) -> Tensor:
        """Covariance, `[D, D]`: the mean of the covariances plus the covariance of the means."""
        d = self.means - self.mean
        within = torch.einsum("k,kde->de", self.weights, torch.linalg.inv(self.precisions))
        return within + torch.einsum("k,kd,ke->de", self.weights, d, d)

    def log_partition(self) -> Tensor:
        """log Z = 0."""
        return torch.zeros_like(self.means[0, 0])

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` independent points, `[n, D]`."""
        check_generator(generator, self.means)
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        factor = torch.linalg.cholesky(torch.linalg.inv(self.precisions))
        z = _normal((n, self.means.shape[1]), self.means, generator)
        return self.means[k] + torch.einsum("nde,ne->nd", factor[k], z)
