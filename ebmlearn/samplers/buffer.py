"""The replay buffer of persistent contrastive divergence: chains that live on between updates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..functional import check_generator, check_points


class ReplayBuffer(nn.Module):
    """A pool of persistent chains: read a batch, run the sampler, write back to the slots that were read.

    Writing anywhere else copies chains and lets others die, so that the pool descends from ever fewer ancestors. A
    drawn slot is restarted with probability `restart_prob`: its chain is dropped and begins anew from the `fresh` point
    beside it. Slots, ages and the count of restarts are buffers of the module, so a checkpoint holds the exact pool.

    Args:
        x: starting points of all chains, `[capacity, *event]`, drawn from the distribution that fresh points come from.
        restart_prob: probability in [0, 1] that a drawn chain starts anew.

    References:
        Training restricted Boltzmann machines using approximations to the likelihood gradient (Tieleman, 2008).
        Implicit generation and modeling with energy-based models (Du, Mordatch, 2019), section 3.2.

    Example:
        >>> buffer = ReplayBuffer(torch.zeros(100, 2), restart_prob=0.0)
        >>> index, x = buffer.draw(torch.zeros(10, 2), generator=torch.Generator().manual_seed(0))
        >>> buffer.store(index, x + 1)
        >>> buffer.x.sum().item(), buffer.age.sum().item()
        (20.0, 10)
    """

    x: Tensor
    age: Tensor
    restarts: Tensor

    def __init__(self, x: Tensor, *, restart_prob: float = 0.05) -> None:
        super().__init__()
        check_points(x)
        if x.ndim < 2:
            raise ValueError(f"expected x of shape [capacity, *event]; got {tuple(x.shape)}")
        if not 0 <= restart_prob <= 1:
            raise ValueError(f"expected restart_prob in [0, 1]; got {restart_prob}")
        self.restart_prob = restart_prob
        self.register_buffer("x", x.detach().clone())
        self.register_buffer("age", torch.zeros(len(x), dtype=torch.long, device=x.device))
        self.register_buffer("restarts", torch.zeros((), dtype=torch.long, device=x.device))

    def __len__(self) -> int:
        return len(self.x)

    def draw(self, fresh: Tensor, *, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw distinct slots; some of their chains start anew.

        Args:
            fresh: points of the starting distribution, `[batch, *event]`; row i is used only if drawn slot i restarts.
            generator: source of randomness on the device of the buffer.

        Returns:
            The slots read, `[batch]`, and the positions to start from, `[batch, *event]`. Give the index back to `store`.
        """
        n = len(fresh)
        if fresh.shape[1:] != self.x.shape[1:] or not 0 < n <= len(self):
            raise ValueError(
                f"expected fresh of shape [batch, {', '.join(map(str, self.x.shape[1:]))}] with 1 <= batch <= {len(self)}; "
                f"got {tuple(fresh.shape)}"
            )
        check_generator(generator, self.x)
        device = self.x.device
        index = torch.randperm(len(self), device=device, generator=generator)[:n]
        anew = torch.rand(n, device=device, generator=generator) < self.restart_prob
        age = self.age[index]
        self.age[index] = torch.where(anew, torch.zeros_like(age), age)
        self.restarts += anew.sum()
        mask = anew.reshape(n, *(1,) * (fresh.ndim - 1))
        return index, torch.where(mask, fresh.detach().to(self.x.dtype), self.x[index])

    def store(self, index: Tensor, x: Tensor) -> None:
        """Write the advanced chains `x[batch, *event]` back to the slots `index` they were read from; ages grow by one."""
        if x.shape != (len(index), *self.x.shape[1:]):
            raise ValueError(
                f"expected x of shape {(len(index), *self.x.shape[1:])}, one row for each slot; got {tuple(x.shape)}"
            )
        self.x[index] = x.detach().to(self.x.dtype)
        self.age[index] += 1
