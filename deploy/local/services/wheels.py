"""Finding programs that Python wheels carry."""

from __future__ import annotations

import importlib.util
from pathlib import Path


class WheelMissing(Exception):
    """A wheel is not installed; the message is one line for people."""


def package_folder(package: str) -> Path:
    """Return the folder of an installed package without importing it. Raises WheelMissing."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise WheelMissing(f"the package {package} is not installed: run `make setup`")
    return Path(spec.origin).parent
