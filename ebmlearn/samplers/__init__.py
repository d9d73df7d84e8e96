"""Samplers: kernels (frozen hyperparameters with `init` and `step`) and three ways to run one."""

from .base import Annealed, Info, Kernel, State, Trace, iterate, sample, trajectory
from .buffer import ReplayBuffer
from .compiled import compiled
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
from .tempering import ParallelTempering, Replicas, Tempered, annealed

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
    "ParallelTempering",
    "RandomWalk",
    "ReplayBuffer",
    "Replicas",
    "State",
    "Sweep",
    "Tempered",
    "Trace",
    "annealed",
    "annealed_chains",
    "collapse",
    "compiled",
    "iterate",
    "sample",
    "trajectory",
]
