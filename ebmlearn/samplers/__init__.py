"""Samplers: kernels (frozen hyperparameters with `init` and `step`) and three ways to run one."""

from .base import Annealed, Info, Kernel, State, Trace, iterate, sample, trajectory
from .buffer import ReplayBuffer
from .gibbs import Gibbs
from .hmc import HMC
from .langevin import MALA, Clamped, ClippedGradient, Langevin, RandomWalk

__all__ = [
    "HMC",
    "MALA",
    "Annealed",
    "Clamped",
    "ClippedGradient",
    "Gibbs",
    "Info",
    "Kernel",
    "Langevin",
    "RandomWalk",
    "ReplayBuffer",
    "State",
    "Trace",
    "iterate",
    "sample",
    "trajectory",
]
