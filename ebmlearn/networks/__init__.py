"""Networks: plain modules that know nothing of energies."""

from .mlp import MLP

__all__ = ["MLP"]
