"""What a fleet can be made of: a kind of hardware, run in one way."""

import re
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from itertools import pairwise

from msgspec import Struct

from marketplace.benchmarks.profiles.engine_figures import EngineFigures
from router.domain.money import NANO_PER_USD

FACTOR_MIN = 0.01
_KINDS = (
    ("tpu", re.compile(r"\btpu", re.IGNORECASE)),
    (
        "gpu",
        re.compile(
            r"gpu|nvidia|instinct|geforce|radeon|\b(?:h|a|b|gh|gb|l|v|t)\d{1,3}0?\b|mi\d{3}|l40|rtx",
            re.IGNORECASE,
        ),
    ),
    ("cpu", re.compile(r"cpu|xeon|epyc|graviton|altra|core", re.IGNORECASE)),
)
_CHIPS = re.compile(r"^(\d+)\s*[×x]\s")


class Evidence(StrEnum):
    """Where an option's figures come from, the surest first."""

    MEASURED = "measured"
    GIVEN = "given"
    """By the provider; nobody measured it here."""
    EMULATED = "emulated"
    PUBLISHED = "published"
    """Not measured here."""


class Option(Struct, frozen=True, kw_only=True):
    """One instance: ``chips`` run tensor-parallel. More instances are data-parallel.

    ``service_ms`` is the mean service time of the asked mix alone on it; ``batch_curve`` and
    ``slots`` as in :class:`marketplace.benchmarks.models.Profile`. ``cost_nano`` an hour is 0 when
    no price is known: such an option is listed and never chosen. ``in_service`` instances are up
    today.

    ``engine`` is set where it is known as an LLM engine (:func:`.engines.as_engine`), which takes
    ``sequences`` calls; ``slots`` are then as many as its KV cache has room for.
    """

    name: str
    hardware: str
    kind: str
    chips: int
    region: str
    service_ms: float
    slots: int
    evidence: Evidence
    batch_curve: tuple[tuple[int, float], ...] = ()
    cost_nano: int = 0
    samples: int = 0
    source: str = ""
    source_url: str = ""
    measured_at: datetime | None = None
    stale: bool = False
    deployment_id: int = 0
    in_service: int = 0
    mix_fits: bool = True
    """Whether the figures are for, or could be scaled to, the asked sizes."""
    varying: float = 1.0
    """The share of the service time that goes with a call's size."""
    engine: EngineFigures | None = None
    sequences: int = 0
    has_room: bool = True
    """Whether a call's tokens fit into its KV cache."""

    @property
    def capacity_hz(self) -> float:
        """Mean calls a second with every slot busy."""
        return self.slots / self.service_ms_at(self.slots) * 1e3

    def service_ms_at(self, concurrency: float) -> float:
        """Mean service time with so many calls on the instance."""
        return self.service_ms * curve_factor(self.batch_curve, concurrency)

    @property
    def cost_usd(self) -> float:
        return self.cost_nano / NANO_PER_USD


def curve_factor(curve: Sequence[tuple[int, float]], concurrency: float) -> float:
    """Service time at a (mean) concurrency over that of a call alone, linear between the points.

    At whole concurrencies it is what the scheduler's own batch curve says.
    """
    points = [(1.0, 1.0), *((float(at), factor) for at, factor in curve if at > 1)]
    if curve and curve[0][0] == 1:
        points[0] = (1.0, curve[0][1])
    if concurrency <= 1:
        return 1.0
    if len(points) == 1:
        return points[0][1]
    for (low, low_factor), (high, high_factor) in pairwise(points):
        slope = (high_factor - low_factor) / (high - low)
        if concurrency <= high:
            break
    else:
        low, low_factor = points[-1]
    return max(low_factor + slope * (concurrency - low), FACTOR_MIN)


def kind_of(hardware: str) -> str:
    """``gpu``, ``tpu``, ``cpu`` or ``other``, read from the name of a pool's hardware."""
    return next((kind for kind, found in _KINDS if found.search(hardware)), "other")


def chips_of(hardware: str) -> int:
    """``2 × NVIDIA H100`` has two."""
    found = _CHIPS.match(hardware)
    return int(found[1]) if found else 1
