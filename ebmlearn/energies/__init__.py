"""Energies: low is likely, p(x) ∝ exp(-E(x))."""

from .base import Energy, EnumeratedJoint, FreeEnergy, FromFunction, Given, JointEnergy, Mixture, Sum

__all__ = ["Energy", "EnumeratedJoint", "FreeEnergy", "FromFunction", "Given", "JointEnergy", "Mixture", "Sum"]
