"""Widgets for the lessons: explorers (sliders and a picture) and the particle view (a chain that moves). Nothing below imports them."""

from .explorer import Explorer, choice, slider, switch
from .particles import ParticleView

__all__ = ["Explorer", "ParticleView", "choice", "slider", "switch"]
