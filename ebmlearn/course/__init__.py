"""What the lessons share."""

from .notebook import setup, show

__all__ = ["setup", "show"]
