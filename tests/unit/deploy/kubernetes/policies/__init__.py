"""What all manifests must keep. Each policy takes those of an overlay and says what breaks it."""

from collections.abc import Callable, Iterator, Sequence
from types import FunctionType
from typing import TypeAlias

from tests.unit.deploy.kubernetes.manifests import Manifest
from tests.unit.deploy.kubernetes.policies import (
    addresses,
    containers,
    ends,
    network,
    references,
    settings,
)

Policy: TypeAlias = Callable[[Sequence[Manifest]], Iterator[str]]

POLICIES: tuple[Policy, ...] = tuple(
    function
    for module in (containers, ends, references, settings, network, addresses)
    for name, function in vars(module).items()
    if isinstance(function, FunctionType)
    and function.__module__ == module.__name__
    and not name.startswith("_")
)
"""Every function of these modules that others may call."""
