"""Data: toy sets with exact densities, the embedded digits, and verified image sets, under one registry of names."""

from . import images, toy
from .digits import dequantise, digits
from .registry import Data, load, names

__all__ = ["Data", "dequantise", "digits", "images", "load", "names", "toy"]
