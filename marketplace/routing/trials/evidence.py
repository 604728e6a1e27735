"""Evidence for a proposal or a straggler: figures that rows keep as JSON."""

from collections.abc import Mapping

from msgspec import Struct

Weights = Mapping[str, float]
"""Weights by deployment id."""


class Bias(Struct, frozen=True):
    """A deployment's ratio of actual to expected time over the route's, with its interval."""

    deployment_id: int
    samples: int
    ratio: float
    low: float
    high: float


class Gain(Struct, frozen=True):
    """A candidate's gain over the policy in force, as a share of its figure: 0.1 is 10 % less."""

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
    """Calls of the last ``minutes`` took another time than the router expected."""

    minutes: int
    biases: tuple[Bias, ...]
    before: Weights
    after: Weights
    field: str = "weights"


class Benchmarked(Struct, frozen=True, tag_field="reason", tag="benchmark"):
    """A benchmark measured another time than the router expects."""

    benchmark: int
    measured_ms: float
    expected_ms: float
    samples: int
    before: Weights
    after: Weights
    field: str = "weights"


class Replayed(Struct, frozen=True, tag_field="reason", tag="replay"):
    """The replay of recorded arrivals gains by a step of one field."""

    field: str
    before: float
    after: float
    replay: Gain


class ByHand(Struct, frozen=True, tag_field="reason", tag="by_hand"):
    """A person wrote the policy."""


Evidence = Calibrated | Benchmarked | Replayed | ByHand


class Slowness(Struct, frozen=True):
    """A worker's service time over its pool's, and how the router treats it.

    With too few calls to compare, ``ratio`` is the router's estimate, without bounds. Shares are of
    its deployment's answered attempts, None without any.
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
