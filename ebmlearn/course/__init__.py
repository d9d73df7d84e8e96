"""What the lessons share."""

from .notebook import setup, show

__all__ = ["quiz", "setup", "show"]


def __getattr__(name: str) -> object:
    """`quiz` loads the widgets, which most uses of this package do without."""
    if name == "quiz":
        from .quizzes import quiz

        return quiz
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
