"""Finding weights that installed packages carry. Nothing is downloaded."""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path


class WeightsMissing(Exception):
    """A package that carries weights is not installed, or lacks the file."""


def packaged_file(distribution: str, suffix: str) -> Path:
    """The one file of an installed distribution whose path ends in ``suffix``."""
    try:
        listed = files(distribution) or []
    except PackageNotFoundError:
        raise WeightsMissing(
            f"the package {distribution} is not installed; run `make setup`"
        ) from None
    found = [Path(str(path.locate())) for path in listed if str(path).endswith(suffix)]
    if len(found) != 1:
        raise WeightsMissing(f"{distribution} has {len(found)} files ending in {suffix}, not one")
    return found[0]
