"""Where the files are that come with the package: lessons, data cards, checkpoints."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def resource(path: str) -> Path:
    """The file or folder `path`: in the installed wheel under `ebmlearn/_resources`, else in the checkout.

    Args:
        path: relative, with forward slashes, e.g. "data/checkpoints/digits-classifier".

    Raises:
        ValueError: an absolute path, or one that climbs out with `..`.
        FileNotFoundError: in neither place; names both.

    Example:
        >>> resource("data/checkpoints/digits-classifier").name
        'digits-classifier'
    """
    parts = Path(path).parts
    if not parts or Path(path).is_absolute() or ".." in parts:
        raise ValueError(f"expected a relative path inside the package's resources; got {path!r}")
    places = [PACKAGE / "_resources" / path, PACKAGE.parent / path]
    for place in places:
        if place.exists():
            return place
    raise FileNotFoundError(f"no {path}: looked at {places[0]} (a wheel) and {places[1]} (a checkout); reinstall ebmlearn")
