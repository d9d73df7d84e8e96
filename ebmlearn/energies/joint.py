"""Joint energies with continuous latents, classifiers as joint energies, and latents found by an encoder."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .base import Energy, EnumeratedJoint, JointEnergy


def one_hot_support(classes: int) -> Tensor:
    """Every value of a categorical latent, `[K, K]`: the support of an `EnumeratedJoint`."""
    if classes < 1:
        raise ValueError(f"expected classes >= 1; got {classes}")
    return torch.eye(classes)


def binary_support(units: int) -> Tensor:
    """Every value of `units` Bernoulli latents, `[2^units, units]`.

    Example:
        >>> binary_support(2).tolist()
        [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    if not 1 <= units <= 20:
        raise ValueError(
            f"enumeration takes 2^units terms: expected 1 <= units <= 20; got {units}. Estimate with AIS beyond that"
        )
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=units)))


class LatentFreeEnergy(Energy):
    """F(x) = -1/beta [ logsumexp_k(-beta E(x, z_k)) + log_measure ] over a grid of latents."""

    def __init__(self, joint: EnumeratedJoint, beta: float, log_measure: float) -> None:
        super().__init__()
        if not 0 < beta < math.inf:
            raise ValueError(f"expected beta > 0 and finite; got {beta}")
        self.joint = joint
        self.beta = beta
        self.log_measure = log_measure
        self.event_ndim = joint.event_ndim

    def forward(self, x: Tensor) -> Tensor:
        return -(torch.logsumexp(-self.beta * self.joint.energies(x), -1) + self.log_measure) / self.beta


class QuadratureJoint(JointEnergy):
    """A joint energy with a latent in a box of one or two dimensions, integrated on a midpoint grid.

    `marginalise(beta)` is -1/beta log ∫ exp(-beta E) dz: it contains the volume of latents, so it can lie below min_z E
    and need not be monotone in beta. `average(beta)` divides by the volume of the box (a uniform base measure): it falls
    from the mean of E over z at beta -> 0 to min_z E at beta -> inf, never below. Neither is a partition function of x.

    Args:
        fn: (x, z) -> energy, broadcasting over leading axes; z is `[*batch, d]`.
        low, high: corners of the box, one number for each of d = 1 or 2 dimensions.
        points: grid points along each dimension.
        event_ndim: axes of one x.

    References:
        A tutorial on energy-based learning (LeCun et al., 2006), section 2.

    Example:
        >>> joint = QuadratureJoint(lambda x, z: (x - z).square().sum(-1), low=[-1.0], high=[1.0], points=400)
        >>> x = torch.zeros(1, 1)
        >>> round(joint.average(1e-2)(x).item(), 2), abs(round(joint.average(1e5)(x).item(), 3))
        (0.33, 0.0)
    """

    latent_ndim = 1

    def __init__(
        self,
        fn: Callable[[Tensor, Tensor], Tensor],
        *,
        low: Sequence[float],
        high: Sequence[float],
        points: int = 400,
        event_ndim: int = 1,
    ) -> None:
        super().__init__()
        if len(low) != len(high) or not 1 <= len(low) <= 2 or any(a >= b for a, b in zip(low, high, strict=True)) or points < 2:
            raise ValueError(
                f"expected 1 or 2 dimensions with low < high and points >= 2; got low={low}, high={high}, points={points}"
            )
        axes = [a + (b - a) * (torch.arange(points, dtype=torch.float64) + 0.5) / points for a, b in zip(low, high, strict=True)]
        grid = torch.cartesian_prod(*axes).reshape(-1, len(low))
        self.log_volume = sum(math.log(b - a) for a, b in zip(low, high, strict=True))
        self.event_ndim = event_ndim
        self.grid = EnumeratedJoint(fn, grid.to(torch.get_default_dtype()), event_ndim=event_ndim)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.grid(x, z)

    def marginalise(self, beta: float = 1.0) -> Energy:
        return LatentFreeEnergy(self.grid, beta, self.log_volume - math.log(len(self.grid.support)))

    def average(self, beta: float = 1.0) -> Energy:
        """-1/beta log mean_z exp(-beta E(x, z)), z uniform on the box."""
        return LatentFreeEnergy(self.grid, beta, -math.log(len(self.grid.support)))

    def posterior(self, x: Tensor, beta: float = 1.0) -> Tensor:
        """p(z_k | x) over the grid points `self.grid.support`: `[*batch, K]`."""
        return self.grid.posterior(x, beta)

    def sample_z(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        return self.grid.sample_z(x, generator=generator)


def variational_free_energy(energies: Tensor, q: Tensor, *, beta: float = 1.0) -> Tensor:
    """E_q[E] - H(q)/beta for a distribution q over enumerated latents; at least F_beta, with equality at q = p(z | x).

    Args:
        energies: E(x, z_k), `[*batch, K]`.
        q: probabilities, `[*batch, K]`.
    """
    if beta <= 0:
        raise ValueError(f"expected beta > 0; got {beta}")
    return (q * energies).sum(-1) + torch.xlogy(q, q).sum(-1) / beta


class ClassifierEnergy(JointEnergy):
    """E(x, y) = -f(x)[y]: a classifier's logits as a joint energy; E(x) = -log sum_y exp f(x)[y].

    `given(y)` is the energy of one class; p(y | x) = softmax(f(x)) is untouched by any function of x added to all logits.

    Args:
        network: `[*batch, *event] -> [*batch, classes]`.
        event_ndim: axes of one x.

    References:
        Your classifier is secretly an energy based model and you should treat it like one (Grathwohl et al., 2020).
    """

    latent_ndim = 0

    def __init__(self, network: nn.Module, *, event_ndim: int = 1) -> None:
        super().__init__()
        self.network = network
        self.event_ndim = event_ndim

    def logits(self, x: Tensor) -> Tensor:
        """f(x), `[*batch, classes]`."""
        return self.network(x)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        logits = self.logits(x)
        return -logits.gather(-1, z.expand(logits.shape[:-1]).unsqueeze(-1)).squeeze(-1)

    def marginalise(self, beta: float = 1.0) -> Energy:
        return _ClassifierMarginal(self, beta)

    def sample_z(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        p = torch.softmax(self.logits(x), -1)
        return torch.multinomial(p.reshape(-1, p.shape[-1]), 1, generator=generator).reshape(p.shape[:-1])


class _ClassifierMarginal(Energy):
    def __init__(self, joint: ClassifierEnergy, beta: float) -> None:
        super().__init__()
        if beta <= 0:
            raise ValueError(f"expected beta > 0; got {beta}")
        self.joint, self.beta = joint, beta
        self.event_ndim = joint.event_ndim

    def forward(self, x: Tensor) -> Tensor:
        return -torch.logsumexp(self.beta * self.joint.logits(x), -1) / self.beta


class AmortisedEnergy(Energy):
    """E(x, h(x)): the latent read off an encoder instead of searched for; never below min_z E(x, z).

    Train h by descending this energy: the gap to min_z E is what amortisation costs.

    Args:
        joint: E(x, z).
        encoder: x -> z.
    """

    def __init__(self, joint: JointEnergy, encoder: nn.Module) -> None:
        super().__init__()
        self.joint = joint
        self.encoder = encoder
        self.event_ndim = joint.event_ndim

    def forward(self, x: Tensor) -> Tensor:
        return self.joint(x, self.encoder(x))


def infer_latent(joint: JointEnergy, x: Tensor, z: Tensor, *, steps: int, step_size: float) -> Tensor:
    """z after `steps` of gradient descent on E(x, ·) from `z`: inference as minimisation, z* = argmin_z E(x, z).

    Args:
        x: `[*batch, *event]`.
        z: starting latents, `[*batch, *latent]`; several starts a point find several local minima.
    """
    if steps < 0 or step_size <= 0:
        raise ValueError(f"expected steps >= 0 and step_size > 0; got {steps} and {step_size}")
    z = z.detach()
    for _ in range(steps):
        leaf = z.requires_grad_(True)
        with torch.enable_grad():
            (grad,) = torch.autograd.grad(joint(x, leaf).sum(), leaf)
        z = (leaf - step_size * grad).detach()
    return z
