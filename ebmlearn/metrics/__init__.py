"""Metrics: of chains, of the partition function, of clouds of points, of images."""

from .chains import autocovariance, ess, split_rhat
from .divergence import (
    energy_distance,
    kl_on_grid,
    median_distance,
    mmd,
    sliced_wasserstein,
    total_variation_on_grid,
    wasserstein,
)
from .partition import Estimate, Quadrature, annealed_importance_sampling, importance_sampling, quadrature

__all__ = [
    "Estimate",
    "Quadrature",
    "annealed_importance_sampling",
    "autocovariance",
    "energy_distance",
    "ess",
    "importance_sampling",
    "kl_on_grid",
    "median_distance",
    "mmd",
    "quadrature",
    "sliced_wasserstein",
    "split_rhat",
    "total_variation_on_grid",
    "wasserstein",
]
