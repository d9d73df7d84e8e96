"""Samplers: kernels (frozen hyperparameters with `init` and `step`) and three ways to run one."""

from .base import Annealed, Info, Kernel, State, Trace, iterate, sample, trajectory
from .buffer import ReplayBuffer
from .gibbs import Gibbs
from .gibbs_langevin import (
    AnnealedPath,
    GibbsLangevin,
    LoopedGibbsLangevin,
    MemoryGibbs,
    MetropolisSweep,
    Sweep,
    annealed_chains,
    collapse,
)
from .hmc import HMC
from .langevin import MALA, Clamped, ClippedGradient, Langevin, RandomWalk

__all__ = [
    "HMC",
    "MALA",
    "Annealed",
    "AnnealedPath",
    "Clamped",
    "ClippedGradient",
    "Gibbs",
    "GibbsLangevin",
    "Info",
    "Kernel",
    "Langevin",
    "LoopedGibbsLangevin",
    "MemoryGibbs",
    "MetropolisSweep",
    "RandomWalk",
    "ReplayBuffer",
    "State",
    "Sweep",
    "Trace",
    "annealed_chains",
    "collapse",
    "iterate",
    "sample",
    "trajectory",
]
