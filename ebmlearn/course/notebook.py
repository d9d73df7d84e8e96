"""What every lesson shares: one way to set up a notebook and one way to print a number."""

from __future__ import annotations

import numbers
from typing import Any

import torch


def _text(value: Any, digits: int) -> str:
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().tolist()
    elif hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_text(v, digits) for v in value) + "]"
    if isinstance(value, numbers.Integral):
        return str(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        text = f"{number:.{digits}f}"
        if number == number and abs(number) < float("inf"):
            if (number != 0 and abs(number) < 10.0**-digits) or abs(number) >= 1e7:
                return f"{number:.{digits}e}"
            if float(text) == 0:
                return text.removeprefix("-")  # no "-0.000"
        return text
    return str(value)


def show(name: str, value: Any, digits: int = 3) -> None:
    """Print `name = value`, numbers with `digits` decimals, the same on every machine.

    Args:
        value: a number, a tensor or array, a list of them, or anything with a `str`.

    Example:
        >>> show("log Z", torch.tensor(0.91894))
        log Z = 0.919
        >>> show("moments", [0.0, 1.02345], digits=2)
        moments = [0.00, 1.02]
    """
    print(f"{name} = {_text(value, digits)}")


def setup(*, seed: int = 0) -> None:
    """First call of a lesson: the seed, at most two threads, one look for all figures; right answers are noted (see `progress`)."""
    from ..viz import style
    from .progress import listen

    torch.manual_seed(seed)
    torch.set_num_threads(min(2, torch.get_num_threads()))
    style()
    listen()
