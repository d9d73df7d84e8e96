"""What an energy is, and how energies combine: sum, mixture, joint energies and their two ways to lose an argument."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..functional import EnergyFunction, check_values


class Energy(nn.Module, ABC):
    """A function E of a point; low means likely: p(x) ∝ exp(-E(x)).

    `forward` maps `x[*batch, *event]` to `energy[*batch]`; `event_ndim` says how many of the last axes are one point
    (1 for vectors, 3 for images). The energy of a point never depends on its neighbours in the batch.

    Operators build a `Sum`: `E1 + E2` is a product of experts, `w * E` and `E / T` temper, `-E` and `E1 - E2` negate.
    An energy with a closed-form gradient may define `value_and_grad(x)`; `functional.value_and_grad` asks for it.
    """

    event_ndim: int = 1
    __array_ufunc__ = None  # keep NumPy from looping over an energy

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Energies of the points: `[*batch, *event] -> [*batch]`."""

    def __add__(self, other: Energy) -> Sum:
        if not isinstance(other, Energy):
            return NotImplemented
        return Sum([self, other])

    def __radd__(self, other: object) -> Energy:
        if isinstance(other, int) and other == 0:  # sum([E1, E2]) starts at 0
            return self
        return NotImplemented

    def __sub__(self, other: Energy) -> Sum:
        if not isinstance(other, Energy):
            return NotImplemented
        return Sum([self, other], weights=(1.0, -1.0))

    def __mul__(self, weight: float) -> Sum:
        if not isinstance(weight, (int, float)):
            return NotImplemented
        return Sum([self], weights=(float(weight),))

    __rmul__ = __mul__

    def __truediv__(self, temperature: float) -> Sum:
        if not isinstance(temperature, (int, float)):
            return NotImplemented
        if temperature <= 0:
            raise ValueError(f"expected a temperature > 0 in E / T; got {temperature}")
        return self * (1.0 / temperature)

    def __neg__(self) -> Sum:
        return self * -1.0


class FromFunction(Energy):
    """A plain function as an energy, so that it has the operators.

    Example:
        >>> well = FromFunction(lambda x: (x**2 - 1).square().sum(-1))
        >>> (2 * well)(torch.zeros(1, 2)).item()
        4.0
    """

    def __init__(self, fn: EnergyFunction, *, event_ndim: int = 1) -> None:
        super().__init__()
        self.fn = fn
        self.event_ndim = event_ndim

    def forward(self, x: Tensor) -> Tensor:
        e = self.fn(x)
        check_values(self, x, e)
        return e


def _common_event_ndim(energies: Sequence[Energy]) -> int:
    for e in energies:
        if not isinstance(e, Energy):
            raise ValueError(f"expected energies; got {type(e).__name__}. Wrap a function: FromFunction(f)")
    if not energies:
        raise ValueError("expected at least one energy; got none")
    ndims = {e.event_ndim for e in energies}
    if len(ndims) != 1:
        raise ValueError(f"energies of one composition must agree on event_ndim; got {sorted(ndims)}")
    return ndims.pop()


class Sum(Energy):
    """E(x) = sum_i w_i E_i(x): the product of experts p(x) ∝ prod_i p_i(x)^{w_i}.

    A negative weight divides by an expert; the result has a finite Z only where the other terms grow faster.

    Args:
        energies: energies over the same event; sums inside are flattened.
        weights: one number each; default all 1.

    References:
        Training products of experts by minimizing contrastive divergence (Hinton, 2002).
        Compositional visual generation with energy based models (Du, Li, Mordatch, 2020).
    """

    energies: nn.ModuleList
    weights: tuple[float, ...]

    def __init__(self, energies: Sequence[Energy], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.event_ndim = _common_event_ndim(energies)
        given = (1.0,) * len(energies) if weights is None else tuple(float(w) for w in weights)
        if len(given) != len(energies):
            raise ValueError(f"expected one weight for each of {len(energies)} energies; got {len(given)}")
        terms: list[Energy] = []
        flat: list[float] = []
        for e, w in zip(energies, given, strict=True):
            inner = zip(e.energies, e.weights, strict=True) if isinstance(e, Sum) else [(e, 1.0)]
            for term, v in inner:
                terms.append(term)  # type: ignore[arg-type]
                flat.append(w * v)
        self.energies = nn.ModuleList(terms)
        self.weights = tuple(flat)

    def forward(self, x: Tensor) -> Tensor:
        total = self.weights[0] * self.energies[0](x)
        for w, e in zip(self.weights[1:], list(self.energies)[1:], strict=True):
            total = total + w * e(x)
        return total


class Mixture(Energy):
    """E(x) = -log sum_k exp(l_k - E_k(x)): a logical OR of energies.

    The share of component k in p(x) ∝ exp(-E(x)) is exp(l_k) Z_k / sum_j exp(l_j) Z_j. Energies carry no absolute
    level, so equal logits are equal shares only when the Z_k are equal; subtract log Z_k from the logits for that.

    Args:
        energies: energies over the same event.
        logits: `[K]`, default zeros. A Parameter stays one and is learned.

    References:
        Compositional visual generation with energy based models (Du, Li, Mordatch, 2020).
    """

    logits: Tensor

    def __init__(self, energies: Sequence[Energy], logits: Tensor | Sequence[float] | None = None) -> None:
        super().__init__()
        self.event_ndim = _common_event_ndim(energies)
        self.energies = nn.ModuleList(energies)
        values = torch.zeros(len(energies)) if logits is None else torch.as_tensor(logits)
        if values.shape != (len(energies),):
            raise ValueError(f"expected logits of shape ({len(energies)},); got {tuple(values.shape)}")
        if isinstance(values, nn.Parameter):
            self.logits = values
        else:
            self.register_buffer("logits", values)

    def forward(self, x: Tensor) -> Tensor:
        e = torch.stack([energy(x) for energy in self.energies], dim=-1)
        return -torch.logsumexp(self.logits.to(e.dtype) - e, dim=-1)


class JointEnergy(nn.Module, ABC):
    """E(x, z), an energy of two arguments, and its two ways to lose the second one.

    `given(z)` conditions: an energy of x, whose exp(-E)/Z is p(x | z). `marginalise(beta)` sums z out: the free
    energy, whose exp(-beta F)/Z is the marginal of exp(-beta E)/Z. Gibbs sampling asks for `sample_x` and `sample_z`.
    """

    event_ndim: int = 1  # axes of one x
    latent_ndim: int = 1  # axes of one z

    @abstractmethod
    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Energies of pairs: `x[*batch, *event]`, `z[*batch, *latent]` -> `[*batch]`."""

    @abstractmethod
    def marginalise(self, beta: float = 1.0) -> Energy:
        """F_beta(x) = -1/beta log sum_z exp(-beta E(x, z)); as beta grows, min_z E(x, z)."""

    def given(self, z: Tensor) -> Energy:
        """E(·, z) as an energy of x; `z` is one latent or one for each point of the batch."""
        return Given(self, z)

    def sample_x(self, z: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """An exact draw from p(x | z)."""
        raise ValueError(f"{type(self).__name__} has no exact draw from p(x | z); sample joint.given(z) with Langevin or HMC")

    def sample_z(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """An exact draw from p(z | x)."""
        raise ValueError(f"{type(self).__name__} has no exact draw from p(z | x)")


class Given(Energy):
    """x -> E(x, z) at a fixed z: conditioning."""

    def __init__(self, joint: JointEnergy, z: Tensor) -> None:
        super().__init__()
        self.joint = joint
        self.register_buffer("z", z)
        self.event_ndim = joint.event_ndim
        self.z: Tensor

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[: x.ndim - self.event_ndim]
        latent = self.z.shape[self.z.ndim - self.joint.latent_ndim :]
        return self.joint(x, self.z.expand(*batch, *latent))


class EnumeratedJoint(JointEnergy):
    """A joint energy over a finite set of latents, so that every sum over z is exact.

    Args:
        fn: (x, z) -> energy, broadcasting over leading axes.
        support: every value of z, `[K, *latent]`.
        event_ndim: axes of one x.
        draw_x: (z, generator) -> x, an exact draw from p(x | z) where one is known; Gibbs sampling asks for it.

    Example:
        >>> joint = EnumeratedJoint(lambda x, z: 0.5 * ((x - z) ** 2).sum(-1), torch.tensor([[-2.0], [2.0]]))
        >>> round(joint.marginalise()(torch.zeros(1, 1)).item(), 4)  # 2 - log 2
        1.3069
    """

    support: Tensor

    def __init__(
        self,
        fn: Callable[[Tensor, Tensor], Tensor],
        support: Tensor,
        *,
        event_ndim: int = 1,
        draw_x: Callable[[Tensor, torch.Generator | None], Tensor] | None = None,
    ) -> None:
        super().__init__()
        if support.ndim == 0 or support.shape[0] == 0:
            raise ValueError(f"expected support [K, *latent] with K >= 1; got shape {tuple(support.shape)}")
        self.fn = fn
        self.draw_x = draw_x
        self.event_ndim = event_ndim
        self.latent_ndim = support.ndim - 1
        self.register_buffer("support", support)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.fn(x, z)

    def energies(self, x: Tensor) -> Tensor:
        """E(x, z_k) for every latent: `[*batch, *event] -> [*batch, K]`."""
        split = x.ndim - self.event_ndim
        batch, event, k = x.shape[:split], x.shape[split:], len(self.support)
        xs = x.unsqueeze(split).expand(*batch, k, *event)
        zs = self.support.expand(*batch, *self.support.shape)
        return self(xs, zs)

    def marginalise(self, beta: float = 1.0) -> Energy:
        return FreeEnergy(self, beta)

    def posterior(self, x: Tensor, beta: float = 1.0) -> Tensor:
        """p(z_k | x) = softmax_k(-beta E(x, z_k)): `[*batch, K]`."""
        return torch.softmax(-beta * self.energies(x), dim=-1)

    def sample_z(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        p = self.posterior(x)
        index = torch.multinomial(p.reshape(-1, p.shape[-1]), 1, generator=generator).reshape(p.shape[:-1])
        return self.support[index]

    def sample_x(self, z: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        return super().sample_x(z, generator=generator) if self.draw_x is None else self.draw_x(z, generator)


class FreeEnergy(Energy):
    """F_beta(x) = -1/beta log sum_k exp(-beta E(x, z_k)) by enumeration.

    F_beta = min_q { E_q[E] - H(q)/beta }: it lies at most log(K)/beta below min_z E and reaches it as beta grows.

    References:
        A tutorial on energy-based learning (LeCun et al., 2006), section 2.
    """

    def __init__(self, joint: EnumeratedJoint, beta: float = 1.0) -> None:
        super().__init__()
        if beta <= 0:
            raise ValueError(f"expected beta > 0; got {beta}")
        self.joint = joint
        self.beta = beta
        self.event_ndim = joint.event_ndim

    def forward(self, x: Tensor) -> Tensor:
        return -torch.logsumexp(-self.beta * self.joint.energies(x), dim=-1) / self.beta
