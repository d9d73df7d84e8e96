"""Commands of the repository's makers; not part of the package."""
