"""Why a policy was proposed and how slow a worker is: figures that rows keep as JSON."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

Weights = Mapping[str, float]
"""By the id of a deployment."""


class Bias(Struct, frozen=True):
    """A deployment's ratio of actual to expected, over that of the whole route, with interval."""

    deployment_id: int
    samples: int
    ratio: float
    low: float
    high: float


class Gain(Struct, frozen=True):
    """One candidate against the policy in force: shares of its figure, 0.1 is 10 % less."""

    field: str
    value: float
    figure: str
    before_ms: float
    after_ms: float
    gain: float
    low: float
    stretches: int
    arrivals: int


class Calibrated(Struct, frozen=True, tag_field="reason", tag="calibration"):
    """What calls took is not what the router expected. Of the last ``minutes``."""

    minutes: int
    biases: tuple[Bias, ...]
    before: Weights
    after: Weights
    field: str = "weights"


class Benchmarked(Struct, frozen=True, tag_field="reason", tag="benchmark"):
    """A benchmark measured something else than the router expects."""

    benchmark: int
    measured_ms: float
    expected_ms: float
    samples: int
    before: Weights
    after: Weights
    field: str = "weights"


class Replayed(Struct, frozen=True, tag_field="reason", tag="replay"):
    """Recorded arrivals would have gained by a step of one field."""

    field: str
    before: float
    after: float
    replay: Gain


class ByHand(Struct, frozen=True, tag_field="reason", tag="by_hand"):
    """A person wrote it."""


Evidence = Calibrated | Benchmarked | Replayed | ByHand


class Slowness(Struct, frozen=True):
    """A worker's service time over that of its pool, and what the router makes of it.

    Where too few of its calls can be compared ``ratio`` is the router's, without bounds. Shares are
    of its deployment's answered attempts, None where there were none.
    """

    ratio: float
    low: float | None = None
    high: float | None = None
    samples: int = 0
    pool_samples: int = 0
    expected_ratio: float | None = None
    decisions: int = 0
    share_before: float | None = None
    share_now: float | None = None
