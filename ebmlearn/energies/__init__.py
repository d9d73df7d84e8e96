"""Energies: low is likely, p(x) ∝ exp(-E(x))."""

from .base import Energy, EnumeratedJoint, FreeEnergy, FromFunction, Given, JointEnergy, Mixture, Sum
from .rbm import BernoulliRBM, GaussianBernoulliRBM

__all__ = [
    "BernoulliRBM",
    "Energy",
    "EnumeratedJoint",
    "FreeEnergy",
    "FromFunction",
    "GaussianBernoulliRBM",
    "Given",
    "JointEnergy",
    "Mixture",
    "Sum",
]
