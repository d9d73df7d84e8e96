"""Energies: low is likely, p(x) ∝ exp(-E(x))."""

from .analytic import DoubleWell, Funnel, Himmelblau, Ring, Rosenbrock
from .base import Energy, EnumeratedJoint, FreeEnergy, FromFunction, Given, JointEnergy, Mixture, Sum
from .gaussian import Gaussian, GaussianMixture, GaussianProduct, product_of_gaussians
from .neural import ConvEnergy, MLPEnergy, NormEnergy
from .rbm import BernoulliRBM, GaussianBernoulliRBM

__all__ = [
    "BernoulliRBM",
    "ConvEnergy",
    "DoubleWell",
    "Energy",
    "EnumeratedJoint",
    "FreeEnergy",
    "FromFunction",
    "Funnel",
    "Gaussian",
    "GaussianBernoulliRBM",
    "GaussianMixture",
    "GaussianProduct",
    "Given",
    "Himmelblau",
    "JointEnergy",
    "MLPEnergy",
    "Mixture",
    "NormEnergy",
    "Ring",
    "Rosenbrock",
    "Sum",
    "product_of_gaussians",
]
