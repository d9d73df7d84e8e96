"""ebmlearn: energy-based models, from two-dimensional toys to images."""

from .functional import budget, implied_temperature, score, value_and_grad

__version__ = "0.1.0"
__all__ = ["budget", "implied_temperature", "score", "value_and_grad"]
