"""Schedules: functions of the step number. `schedule(step) -> float`, constant after `steps`."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def _fraction(step: int, steps: int) -> float:
    return min(max(step / max(steps - 1, 1), 0.0), 1.0)


def _check(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"expected steps >= 1; got {steps}")


def constant(value: float) -> Schedule:
    """The same value at every step."""
    return lambda step: value


def linear(start: float, end: float, *, steps: int) -> Schedule:
    """From `start` at step 0 to `end` at step `steps - 1` on a straight line.

    Example:
        >>> [linear(0.0, 1.0, steps=3)(t) for t in range(4)]
        [0.0, 0.5, 1.0, 1.0]
    """
    _check(steps)
    return lambda step: start + (end - start) * _fraction(step, steps)


def cosine(start: float, end: float, *, steps: int) -> Schedule:
    """From `start` to `end` along half a cosine, flat at both ends."""
    _check(steps)
    return lambda step: end + (start - end) * 0.5 * (1 + math.cos(math.pi * _fraction(step, steps)))


def geometric(start: float, end: float, *, steps: int) -> Schedule:
    """From `start` to `end` with a constant ratio between steps; both ends positive.

    Example:
        >>> [round(geometric(1.0, 100.0, steps=3)(t), 6) for t in range(3)]
        [1.0, 10.0, 100.0]
    """
    _check(steps)
    if start <= 0 or end <= 0:
        raise ValueError(f"a geometric schedule needs positive ends; got {start} and {end}")
    return lambda step: start * (end / start) ** _fraction(step, steps)
