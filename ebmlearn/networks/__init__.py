"""Networks: plain modules that know nothing of energies."""

from .fourier import FourierFeatures, FourierMLP, StepMLP
from .mlp import MLP
from .unet import StepEncoder, UNet

__all__ = ["MLP", "FourierFeatures", "FourierMLP", "StepEncoder", "StepMLP", "UNet"]
