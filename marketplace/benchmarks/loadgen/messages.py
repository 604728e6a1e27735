"""What a run and its LoadGen process say to each other, as lines of JSON. No Django."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from marketplace.benchmarks.loadgen.callers import Server
from marketplace.benchmarks.loadgen.plan import Plan


class Request(Struct, frozen=True):
    """One point of a load curve. ``inputs`` are the model's tensors, as the catalog has them."""

    plan: Plan
    load: float
    servers: Sequence[Server]
    inputs: Sequence[dict[str, Any]] = ()
    headers: Sequence[tuple[str, str]] = ()


class Progress(Struct, frozen=True, tag=True):
    """Counts of one point so far."""

    done: int = 0
    errors: int = 0
    in_flight: int = 0
    elapsed_s: float = 0.0


class Measured(Struct, frozen=True, tag=True):
    """LoadGen's verdict on a point, and how many requests were not sent in time."""

    valid: bool
    reasons: Sequence[str] = ()
    cut: int = 0


class Failed(Struct, frozen=True, tag=True):
    """The point could not be run."""

    error: str


Report = Progress | Measured | Failed
