"""Samplers: kernels (frozen hyperparameters with `init` and `step`) and three ways to run one."""

from .base import Annealed, Info, Kernel, State, Trace, iterate, sample, trajectory
from .langevin import MALA, Clamped, ClippedGradient, Langevin, RandomWalk

__all__ = [
    "MALA",
    "Annealed",
    "Clamped",
    "ClippedGradient",
    "Info",
    "Kernel",
    "Langevin",
    "RandomWalk",
    "State",
    "Trace",
    "iterate",
    "sample",
    "trajectory",
]
