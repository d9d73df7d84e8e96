"""What several processes share in a loss: rows of all of them where a loss compares rows with each other."""

from __future__ import annotations

import torch
from torch import Tensor


def world_size() -> int:
    """Number of processes that train together; 1 outside a process group."""
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if together else 1


def gather_rows(x: Tensor) -> Tensor:
    """The rows of all processes in the order of their ranks, with gradients; x itself in a single process."""
    if world_size() == 1:
        return x
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(x.contiguous()))


def share(whole: int, what: str) -> int:
    """This process's part of a number that is meant for all processes together.

    Raises:
        ValueError: it does not divide; processes with unequal parts would not train as one.
    """
    n = world_size()
    if whole % n or whole < n:
        raise ValueError(f"expected {what} to be divisible by the {n} processes; got {whole}")
    return whole // n
