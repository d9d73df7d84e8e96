"""Losses: plain functions of energies (numbers for each point) or of a callable energy."""

from .gcd import cost_to_go, effective_fraction, gcd_energy, gcd_sampler, path_log_weight, policy_gradient
from .likelihood import contrastive_divergence, energy_l2, gradient_penalty, joint_energy_model, sampler_kl
from .margin import (
    energy_loss,
    hinge,
    log_loss,
    lvq2,
    minimum_classification_error,
    minimum_empirical_error,
    negative_log_likelihood,
    perceptron,
    square_exponential,
    square_square,
)
from .noise_contrastive import info_nce, noise_contrastive
from .score import denoising_score_matching, score_matching, sliced_score_matching
from .vicreg import vicreg

__all__ = [
    "contrastive_divergence",
    "cost_to_go",
    "denoising_score_matching",
    "effective_fraction",
    "energy_l2",
    "energy_loss",
    "gcd_energy",
    "gcd_sampler",
    "gradient_penalty",
    "hinge",
    "info_nce",
    "joint_energy_model",
    "log_loss",
    "lvq2",
    "minimum_classification_error",
    "minimum_empirical_error",
    "negative_log_likelihood",
    "noise_contrastive",
    "path_log_weight",
    "perceptron",
    "policy_gradient",
    "sampler_kl",
    "score_matching",
    "sliced_score_matching",
    "square_exponential",
    "square_square",
    "vicreg",
]
