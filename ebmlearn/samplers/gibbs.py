"""Gibbs sampling: draw the arguments of a joint energy in turn, each from its exact conditional."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..energies.base import JointEnergy
from .base import Info, State


def check_joint(joint: object, owner: str) -> None:
    """Raise a ValueError unless `joint` has the conditionals that Gibbs sampling asks for; `owner` names who asks."""
    missing = [name for name in ("sample_x", "sample_z") if not callable(getattr(joint, name, None))]
    if missing:
        raise ValueError(
            f"{owner} expected a joint energy E(x, z) with exact conditionals sample_x(z) and sample_z(x); "
            f"{type(joint).__name__} has no {' and no '.join(missing)}. Pass a JointEnergy, or sample E(x) with Langevin, MALA or HMC"
        )


@dataclass(frozen=True, kw_only=True)
class Gibbs:
    """Block Gibbs: z ~ p(z | x), then x ~ p(x | z); exp(-E(x, z)) is exactly stationary and nothing is rejected.

    `State.x` is x, `State.aux` the z it was drawn from, and `State.energy` the joint energy of the pair; before the
    first step the last two are None.

    References:
        Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images (Geman, Geman, 1984).

    Example:
        >>> from ebmlearn.energies import EnumeratedJoint
        >>> from ebmlearn.samplers import sample
        >>> joint = EnumeratedJoint(
        ...     lambda x, z: 0.5 * ((x - z) ** 2).sum(-1),
        ...     support=torch.tensor([[-1.0], [1.0]]),
        ...     draw_x=lambda z, generator: z + torch.randn(z.shape, generator=generator),
        ... )
        >>> x = sample(joint, Gibbs(), torch.zeros(4000, 1), 20, generator=torch.Generator().manual_seed(0))
        >>> bool((x.var() - 2).abs() < 0.2)
        True
    """

    def init(self, energy: JointEnergy, x: Tensor) -> State:
        check_joint(energy, type(self).__name__)
        return State(x.detach())

    def step(self, energy: JointEnergy, state: State, *, generator: torch.Generator | None = None) -> tuple[State, Info]:
        with torch.no_grad():
            z = energy.sample_z(state.x, generator=generator)
            x = energy.sample_x(z, generator=generator)
            e = energy(x, z)
        return State(x, e, None, z), Info(torch.ones_like(e))
