"""Any network as an energy, held together by a quadratic bowl."""

from __future__ import annotations

from torch import Tensor, nn

from .base import Energy


class ConfinedEnergy(Energy):
    """E(x) = f(x) + c |x|²: a network f plus a bowl that makes Z finite and corners far from the data high from the start.

    Args:
        net: maps `[*batch, *event]` to `[*batch, 1]`.
        event_ndim: axes of one point.
        confinement: c >= 0.

    Example:
        >>> import torch
        >>> from ebmlearn.networks import FourierMLP
        >>> ConfinedEnergy(FourierMLP(2, 1), confinement=1 / 18)(torch.zeros(5, 2)).shape
        torch.Size([5])
    """

    def __init__(self, net: nn.Module, *, event_ndim: int = 1, confinement: float = 0.0) -> None:
        super().__init__()
        if confinement < 0:
            raise ValueError(f"expected confinement >= 0; got {confinement}")
        self.net = net
        self.event_ndim = event_ndim
        self.confinement = confinement

    def forward(self, x: Tensor) -> Tensor:
        e = self.net(x).squeeze(-1)
        return e if self.confinement == 0 else e + self.confinement * x.square().flatten(x.ndim - self.event_ndim).sum(-1)
