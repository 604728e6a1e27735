"""The project's benchmarks, which nobody runs each day, can at least be loaded."""

import importlib
import pkgutil

import pytest

from tests import bench

MODULES = [
    found.name
    for found in pkgutil.walk_packages(bench.__path__, f"{bench.__name__}.")
    if not found.name.endswith(("__main__", "locustfile"))
]


@pytest.mark.parametrize("name", MODULES)
def test_it_loads(name: str) -> None:
    assert importlib.import_module(name).__doc__
