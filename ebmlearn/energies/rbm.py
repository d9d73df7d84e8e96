"""Restricted Boltzmann machines: binary (Bernoulli) and real-valued (Gaussian-Bernoulli) visible units, exact where it can be."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from ..functional import check_event
from .base import Energy, JointEnergy

ENUMERATION_LIMIT = 20  # binary units whose 2^n states are summed one by one
CHUNK = 1 << 14


def binary_states(n: int, *, dtype: torch.dtype = torch.float32, device: torch.device | None = None) -> Iterator[Tensor]:
    """All 2^n binary vectors in blocks `[<= 16384, n]`, counting in binary with the first unit as the lowest bit."""
    bits = torch.arange(n, device=device)
    for first in range(0, 2**n, CHUNK):
        codes = torch.arange(first, min(first + CHUNK, 2**n), device=device)
        yield ((codes[:, None] >> bits) & 1).to(dtype)


def _check_enumerable(n: int, what: str) -> None:
    if n > ENUMERATION_LIMIT:
        raise ValueError(
            f"the exact log Z sums over 2^{n} states of the {n} {what} units; the limit is {ENUMERATION_LIMIT}. "
            "Estimate it by annealed importance sampling: ebmlearn.metrics.partition_rbm.rbm_ais"
        )


def _check_beta(beta: float) -> None:
    if not 0 < beta < math.inf:
        raise ValueError(f"expected beta > 0 and finite; got {beta}")


def bernoulli(p: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """0/1 draws with probabilities p; comparing uniforms is several times faster on a CPU than torch.bernoulli."""
    return (torch.rand(p.shape, dtype=p.dtype, device=p.device, generator=generator) < p).to(p.dtype)


def softplus(a: Tensor) -> Tensor:
    """log(1 + exp(a)); torch's own default answers `a` from 20 on, which is off by 2e-9."""
    return nnf.softplus(a, threshold=40.0)


def batch_mean(a: Tensor, weight: Tensor | None) -> Tensor:
    """The mean over the first axis, or the sum with `weight[N]`."""
    return a.mean(0) if weight is None else torch.tensordot(weight, a, dims=1)


class RBMFreeEnergy(Energy):
    """F_beta(x) = -1/beta log sum_z exp(-beta E(x, z)) of an RBM in closed form; the hidden units are independent given x."""

    def __init__(self, joint: GaussianBernoulliRBM | BernoulliRBM, beta: float = 1.0) -> None:
        super().__init__()
        _check_beta(beta)
        self.joint = joint
        self.beta = beta

    def forward(self, x: Tensor) -> Tensor:
        return self.joint.visible_energy(x) - softplus(self.beta * self.joint.logits(x)).sum(-1) / self.beta


class GRBMFreeEnergy(RBMFreeEnergy):
    """The free energy of a Gaussian-Bernoulli RBM, with its gradient (x - mu - W sigmoid(beta a(x))) / s²."""

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        joint, beta = self.joint, self.beta
        assert isinstance(joint, GaussianBernoulliRBM)
        check_event(x, (joint.n_visible,), "the free energy")
        with torch.no_grad():
            a = joint.logits(x)
            e = joint.visible_energy(x) - softplus(beta * a).sum(-1) / beta
            return e, (x - joint.mean(torch.sigmoid(beta * a))) / joint.variance


class GaussianBernoulliRBM(JointEnergy):
    """E(x, z) = 1/2 sum_i (x_i - mu_i)²/s_i² - (x/s²)ᵀ W z - bᵀ z, with x real and z binary.

    Both conditionals are independent: p(z_j = 1 | x) = sigmoid(a_j), a = Wᵀ(x/s²) + b, and p(x | z) = N(mu + W z, diag s²).
    Summed over z it is a mixture of 2^H Gaussians with one covariance diag s². At `temperature` T both conditionals are those
    of exp(-E/T): a is divided by T and the variance multiplied by T.

    Args:
        n_visible: D, entries of x.
        n_hidden: H, binary hidden units.
        init_var: the first s², the same for every visible unit.
        weight_std: standard deviation of the first weights; default init_var / sqrt(D + H).
        learn_variance: whether `log_var` (s² = exp(log_var)) is trained.
        generator: source of the first weights.

    References:
        Training products of experts by minimizing contrastive divergence (Hinton, 2002).
        Gaussian-Bernoulli RBMs without tears (Liao, Kornblith, Ren, Fleet, Hinton, 2022).

    Example:
        >>> rbm = GaussianBernoulliRBM(2, 3)
        >>> x = torch.zeros(5, 2)
        >>> rbm.marginalise()(x).shape, rbm.given(torch.ones(3))(x).shape
        (torch.Size([5]), torch.Size([5]))
    """

    def __init__(
        self,
        n_visible: int,
        n_hidden: int,
        *,
        init_var: float = 1.0,
        weight_std: float | None = None,
        learn_variance: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if n_visible < 1 or n_hidden < 1:
            raise ValueError(f"expected n_visible >= 1 and n_hidden >= 1; got {n_visible} and {n_hidden}")
        if not 0 < init_var < math.inf:
            raise ValueError(f"expected init_var > 0 and finite; got {init_var}")
        self.n_visible, self.n_hidden = n_visible, n_hidden
        std = init_var / math.sqrt(n_visible + n_hidden) if weight_std is None else weight_std
        self.W = nn.Parameter(std * torch.randn(n_visible, n_hidden, generator=generator))
        self.b = nn.Parameter(torch.zeros(n_hidden))
        self.mu = nn.Parameter(torch.zeros(n_visible))
        self.log_var = nn.Parameter(torch.full((n_visible,), math.log(init_var)), requires_grad=learn_variance)

    @classmethod
    def from_modes(cls, means: Tensor, weights: Tensor, *, variance: float = 1.0, strength: float = 6.0) -> GaussianBernoulliRBM:
        """Set K hidden units by hand so that each makes one mode of a mixture of Gaussians with one isotropic variance.

        mu is the centroid, W_k = m_k - mu and b_k = strength - (|m_k|² - |mu|²)/(2 s²) + log(pi_k / mean pi). States with
        two units on carry the factor exp(W_i·W_j / s²), which is tiny when the modes lie on different sides of mu: the
        units inhibit each other, and the states with exactly one unit on are the mixture. `strength` suppresses the state with none.

        Args:
            means: `[K, D]`, far apart in units of the standard deviation and on different sides of their centroid.
            weights: `[K]`, the mixture's weights pi.
        """
        if means.ndim != 2 or weights.shape != means.shape[:1]:
            raise ValueError(f"expected means [K, D] and weights [K]; got {tuple(means.shape)} and {tuple(weights.shape)}")
        rbm = cls(means.shape[1], means.shape[0], init_var=variance).to(means.dtype)
        mu = means.mean(0)
        with torch.no_grad():
            rbm.mu.copy_(mu)
            rbm.W.copy_((means - mu).T)
            rbm.b.copy_(
                strength - (means.square().sum(1) - mu.square().sum()) / (2 * variance) + (weights / weights.mean()).log()
            )
        return rbm

    @torch.no_grad()
    def initialise(
        self,
        x: Tensor,
        *,
        init_var: float = 0.3,
        weight_scale: float = 0.3,
        activity: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> GaussianBernoulliRBM:
        """Start from data: mu at their mean, s² = init_var, small weights, and each hidden unit nearly off.

        The biases set p(z_j = 1) in the marginal of one unit alone to odds `activity` : 1. With b = 0 half of the units
        are on whatever x is, s grows to the data's spread, and learning stays at one Gaussian for long.

        Args:
            x: data, `[N, D]`.
            weight_scale: W ~ weight_scale sqrt(init_var) N(0, 1).
        """
        check_event(x, (self.n_visible,), "initialise")
        self.mu.copy_(x.mean(0))
        self.log_var.fill_(math.log(init_var))
        noise = torch.randn(
            self.W.shape, generator=generator, dtype=self.W.dtype, device=generator.device if generator else "cpu"
        )
        self.W.copy_(weight_scale * math.sqrt(init_var) * noise)
        shifted = (self.mu[:, None] + self.W).square() - self.mu.square()[:, None]
        self.b.copy_(math.log(activity) - (shifted / (2 * self.variance[:, None])).sum(0))
        return self

    @property
    def variance(self) -> Tensor:
        """s², `[D]`."""
        return self.log_var.exp()

    def logits(self, x: Tensor) -> Tensor:
        """a(x) = Wᵀ(x/s²) + b: `[*batch, D] -> [*batch, H]`."""
        check_event(x, (self.n_visible,), "logits")
        return (x / self.variance) @ self.W + self.b

    def mean(self, z: Tensor) -> Tensor:
        """E[x | z] = mu + W z: `[*batch, H] -> [*batch, D]`."""
        check_event(z, (self.n_hidden,), "mean")
        return z @ self.W.T + self.mu

    def visible_energy(self, x: Tensor) -> Tensor:
        """1/2 sum_i (x_i - mu_i)²/s_i², `[*batch]`."""
        check_event(x, (self.n_visible,), "the visible energy")
        return 0.5 * ((x - self.mu).square() / self.variance).sum(-1)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        check_event(z, (self.n_hidden,), "the joint energy (hidden)")
        return self.visible_energy(x) - (z * self.logits(x)).sum(-1)

    def marginalise(self, beta: float = 1.0) -> GRBMFreeEnergy:
        return GRBMFreeEnergy(self, beta)

    @torch.no_grad()
    def sample_z(self, x: Tensor, *, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """A draw from p(z | x), independent Bernoulli(sigmoid(a(x) / T))."""
        return bernoulli(torch.sigmoid(self.logits(x) / temperature), generator)

    @torch.no_grad()
    def sample_x(self, z: Tensor, *, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """A draw from p(x | z) = N(mu + W z, T diag s²)."""
        m = self.mean(z)
        return m + (temperature * self.variance).sqrt() * torch.randn(
            m.shape, dtype=m.dtype, device=m.device, generator=generator
        )

    def components(self, beta: float = 1.0) -> tuple[Tensor, Tensor]:
        """The mixture that p(x) ∝ exp(-beta F_beta(x)) is: log weights `[2^H]` (they sum to one) and means `[2^H, D]`, covariance diag s²/beta."""
        logs, means = (torch.cat(parts) for parts in zip(*self._summands(beta), strict=True))
        return logs - torch.logsumexp(logs, 0), means

    def _summands(self, beta: float) -> Iterator[tuple[Tensor, Tensor]]:
        _check_beta(beta)
        _check_enumerable(self.n_hidden, "hidden")
        base = (self.mu.square() / self.variance).sum()
        for z in binary_states(self.n_hidden, dtype=self.W.dtype, device=self.W.device):
            m = self.mean(z)
            yield beta * (z @ self.b + 0.5 * ((m.square() / self.variance).sum(-1) - base)), m

    def log_partition(self, beta: float = 1.0) -> Tensor:
        """log of the integral of exp(-beta F_beta(x)), exact by enumeration of the hidden states (H <= 20).

        log Z = log sum_z exp(beta [bᵀz + (|m(z)|² - |mu|²)/2]) + D/2 log(2 pi/beta) + 1/2 sum log s², with the norms
        weighted by 1/s².

        Raises:
            ValueError: too many hidden units; names the estimate to use.
        """
        logs = torch.cat([block for block, _ in self._summands(beta)])
        return torch.logsumexp(logs, 0) + 0.5 * self.n_visible * math.log(2 * math.pi / beta) + 0.5 * self.log_var.sum()

    def log_likelihood(self, x: Tensor, log_z: Tensor | float | None = None) -> Tensor:
        """log p(x) = -F(x) - log Z, `[*batch]`; `log_z` is an estimate for machines too large to enumerate."""
        return -self.marginalise()(x) - (self.log_partition() if log_z is None else log_z)

    @torch.no_grad()
    def gradients(self, x: Tensor, z: Tensor | None = None, *, weight: Tensor | None = None) -> dict[str, Tensor]:
        """d/dtheta of the mean energy E(x, z), or of the mean free energy F(x) when z is None, in closed form.

        dW = -(x/s²)ᵀ z, db = -z, dmu = (mu - x)/s², dlog_var = -1/2 (x - mu)²/s² + (x/s²)(W z), each averaged over the
        batch; for F, z is replaced by sigmoid(a(x)). The likelihood's gradient is this on samples minus this on data.

        Args:
            x: `[N, D]`.
            z: `[N, H]` or None.
            weight: `[N]`, replaces the mean by a weighted sum (importance weights that sum to one).
        """
        x_scaled = x / self.variance
        z = torch.sigmoid(self.logits(x)) if z is None else z
        d_log_var = -0.5 * (x - self.mu) * (x_scaled - self.mu / self.variance) + x_scaled * (z @ self.W.T)
        left = x_scaled / len(x) if weight is None else x_scaled * weight[:, None]
        return {
            "W": -left.T @ z,
            "b": -batch_mean(z, weight),
            "mu": batch_mean(self.mu - x, weight) / self.variance,
            "log_var": batch_mean(d_log_var, weight),
        }


class BernoulliRBM(JointEnergy):
    """E(x, z) = -aᵀx - bᵀz - xᵀ W z with x and z binary.

    p(z_j = 1 | x) = sigmoid(Wᵀx + b)_j and p(x_i = 1 | z) = sigmoid(W z + a)_i.

    Args:
        n_visible, n_hidden: D and H.
        weight_std: standard deviation of the first weights.
        generator: source of the first weights.

    References:
        Information processing in dynamical systems: foundations of harmony theory (Smolensky, 1986).
        A practical guide to training restricted Boltzmann machines (Hinton, 2012).

    Example:
        >>> round(BernoulliRBM(4, 3, weight_std=0.0).log_partition().item() / math.log(2), 4)  # all 2^7 states weigh the same
        7.0
    """

    def __init__(
        self, n_visible: int, n_hidden: int, *, weight_std: float = 0.01, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        if n_visible < 1 or n_hidden < 1:
            raise ValueError(f"expected n_visible >= 1 and n_hidden >= 1; got {n_visible} and {n_hidden}")
        self.n_visible, self.n_hidden = n_visible, n_hidden
        self.W = nn.Parameter(weight_std * torch.randn(n_visible, n_hidden, generator=generator))
        self.a = nn.Parameter(torch.zeros(n_visible))
        self.b = nn.Parameter(torch.zeros(n_hidden))

    def logits(self, x: Tensor) -> Tensor:
        """Wᵀx + b: `[*batch, D] -> [*batch, H]`."""
        check_event(x, (self.n_visible,), "logits")
        return x @ self.W + self.b

    def mean(self, z: Tensor) -> Tensor:
        """E[x | z] = sigmoid(W z + a): `[*batch, H] -> [*batch, D]`."""
        check_event(z, (self.n_hidden,), "mean")
        return torch.sigmoid(z @ self.W.T + self.a)

    def visible_energy(self, x: Tensor) -> Tensor:
        """-aᵀx, `[*batch]`."""
        return -(x @ self.a)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        check_event(z, (self.n_hidden,), "the joint energy (hidden)")
        return self.visible_energy(x) - (z * self.logits(x)).sum(-1)

    def marginalise(self, beta: float = 1.0) -> RBMFreeEnergy:
        return RBMFreeEnergy(self, beta)

    @torch.no_grad()
    def sample_z(self, x: Tensor, *, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """A draw from p(z | x) of exp(-E/T)."""
        return bernoulli(torch.sigmoid(self.logits(x) / temperature), generator)

    @torch.no_grad()
    def sample_x(self, z: Tensor, *, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """A draw from p(x | z) of exp(-E/T)."""
        check_event(z, (self.n_hidden,), "sample_x")
        return bernoulli(torch.sigmoid((z @ self.W.T + self.a) / temperature), generator)

    def log_partition(self, beta: float = 1.0) -> Tensor:
        """log sum over x and z of exp(-beta E), exact: the smaller side is enumerated (<= 20 units), the other is independent given it."""
        _check_beta(beta)
        visible = self.n_visible <= self.n_hidden
        n, what = (self.n_visible, "visible") if visible else (self.n_hidden, "hidden")
        _check_enumerable(n, what)
        logs = []
        for s in binary_states(n, dtype=self.W.dtype, device=self.W.device):
            own, field = (s @ self.a, s @ self.W + self.b) if visible else (s @ self.b, s @ self.W.T + self.a)
            logs.append(beta * own + softplus(beta * field).sum(-1))
        return torch.logsumexp(torch.cat(logs), 0)

    def log_likelihood(self, x: Tensor, log_z: Tensor | float | None = None) -> Tensor:
        """log P(x) = -F(x) - log Z, `[*batch]`."""
        return -self.marginalise()(x) - (self.log_partition() if log_z is None else log_z)

    @torch.no_grad()
    def gradients(self, x: Tensor, z: Tensor | None = None, *, weight: Tensor | None = None) -> dict[str, Tensor]:
        """d/dtheta of the mean of E(x, z), or of F(x) when z is None: dW = -xᵀz, da = -x, db = -z; arguments as for the GRBM."""
        z = torch.sigmoid(self.logits(x)) if z is None else z
        left = x / len(x) if weight is None else x * weight[:, None]
        return {"W": -left.T @ z, "a": -batch_mean(x, weight), "b": -batch_mean(z, weight)}
