"""The answer: what really happened, a replay of it as things are, and one with the changes.

The replay of "as now" is compared with what really happened. Where the two are too far apart, the
answer says that it is not to be trusted.
"""

import time
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from marketplace.benchmarks.recorded_calls.fleet import Fleet
from marketplace.planning.whatif.question import Question
from marketplace.planning.whatif.replay.engine_runs import simulation_of
from marketplace.planning.whatif.replay.notes import Note
from marketplace.planning.whatif.replay.runs import (
    Course,
    Difference,
    Run,
    Side,
    differences,
    paired,
    recorded,
    series_of,
    side_of,
)
from marketplace.planning.whatif.replay.scene import CALLS_SURE, Scene, Unanswerable, scene_read
from router.domain.catalog import Policy
from router.simulator.workload import Arrival

SEEDS = (1, 2, 3, 4, 5)
SECONDS_MAX = 90.0
"""For all runs together, and less than a job may take. At least one seed must fit."""

CALIBRATION_MEAN_MAX = 0.15
CALIBRATION_P99_MAX = 0.35
CALIBRATION_GOOD_MAX = 0.05
CALIBRATION_SHARES_MAX = 0.15
"""How far the replay of "as now" may be from what really happened: mean and p99 as shares of what
was recorded, the share of good calls in points, and the share of calls that other pools answered.
"""


class PartSeen(Struct, frozen=True):
    """One deployment of a fleet, as it was simulated."""

    deployment_id: int
    provider: str
    pool: str
    hardware: str
    emulated: bool
    workers: int
    slots: int
    service_ms: float
    basis: str
    source: str
    samples: int
    price_nano: int
    cost_nano_per_hour: int


class Calibration(Struct, frozen=True):
    """How far the replay of "as now" is from what happened, relative; ``good`` in points.

    ``shares`` is the part of the calls that another pool answered: half of the sum over pools of
    how far their shares are apart (total variation distance).
    """

    mean: float
    p99: float
    good: float
    shares: float
    mean_max: float
    p99_max: float
    good_max: float
    shares_max: float
    trusted: bool


class Cost(Struct, frozen=True):
    """``hardware_nano`` is the fleet's for the whole stretch, busy or not."""

    hardware_nano_per_hour: int
    hardware_nano: int
    seconds: float


class Answer(Struct, frozen=True):
    """Three sides of the same calls: see the module. Amounts in nano-USD."""

    slo_ms: float
    slo_from: str
    calls: int
    total: int
    seeds: int
    emulated: bool
    trusted: bool
    really: Side
    now: Side
    then: Side
    cost_now: Cost
    cost_then: Cost
    differences: tuple[Difference, ...]
    calibration: Calibration
    policy_now: Policy
    policy_then: Policy
    fleet_now: tuple[PartSeen, ...]
    fleet_then: tuple[PartSeen, ...]
    notes: tuple[Note, ...]
    series: dict[str, dict[str, list[float | None]]]
    took_s: float


def answer(question: Question, *, progress: Callable[[float], None] = lambda _: None) -> Answer:
    """Read, replay, compare. ``progress`` gets a share from 0 to 1, and may raise.

    Raises :class:`Unanswerable` (nothing recorded, nothing known of the fleet, a change of what is
    not there, too slow).
    """
    begun_s = time.monotonic()
    scene = scene_read(question)
    arrivals = scene.recording.arrivals
    now, then = paired(
        scene.recording.calls,
        Course(arrivals, scene.fleet_now, scene.policy_now),
        Course(scaled(arrivals, question.scale), scene.fleet_then, scene.policy_then),
        simulate=simulation_of(scene.fleet_now, scene.fleet_then),
        seeds=SEEDS,
        seconds_max=SECONDS_MAX,
        progress=progress,
    )
    if not then:
        raise Unanswerable(
            f"not even one run ended within {SECONDS_MAX:.0f} s: the fleet cannot keep up with"
            " what comes; ask about a shorter stretch or a smaller change"
        )
    return _answer(question, scene, now, then, time.monotonic() - begun_s)


def scaled(arrivals: Sequence[Arrival], scale: float) -> Sequence[Arrival]:
    """The same calls, ``scale`` times as many a second."""
    if scale == 1.0:
        return arrivals
    return [msgspec.structs.replace(a, at_s=a.at_s / scale) for a in arrivals]


def calibration_of(really: Side, now: Side) -> Calibration:
    """See :class:`Calibration`."""
    mean = _apart(now.mean_ms, really.mean_ms)
    p99 = _apart(now.p99_ms, really.p99_ms)
    good = now.good - really.good
    shares = shares_apart(now, really)
    trusted = (
        abs(mean) <= CALIBRATION_MEAN_MAX
        and abs(p99) <= CALIBRATION_P99_MAX
        and abs(good) <= CALIBRATION_GOOD_MAX
        and shares <= CALIBRATION_SHARES_MAX
    )
    return Calibration(
        mean,
        p99,
        good,
        shares,
        CALIBRATION_MEAN_MAX,
        CALIBRATION_P99_MAX,
        CALIBRATION_GOOD_MAX,
        CALIBRATION_SHARES_MAX,
        trusted,
    )


def shares_apart(one: Side, other: Side) -> float:
    """Of two sides, the part of the calls that another pool answered: 0 alike, 1 all."""
    shares = [{part.pool: part.share for part in side.pools} for side in (one, other)]
    pools = shares[0].keys() | shares[1].keys()
    return sum(abs(shares[0].get(p, 0.0) - shares[1].get(p, 0.0)) for p in pools) / 2


def _answer(
    question: Question, scene: Scene, now: Sequence[Run], then: Sequence[Run], took_s: float
) -> Answer:
    slo_ms, recording = scene.slo_ms, scene.recording
    really = recorded(recording.calls, recording.arrivals)
    sides = [side_of(run, slo_ms) for run in (really, now[0], then[0])]
    calibration = calibration_of(sides[0], sides[1])
    series = {
        name: series_of(run, slo_ms)
        for name, run in (("really", really), ("now", now[0]), ("then", then[0]))
    }
    return Answer(
        slo_ms=slo_ms,
        slo_from=scene.slo_from,
        calls=len(recording.calls),
        total=recording.total,
        seeds=len(then),
        emulated=scene.fleet_now.is_emulated or scene.fleet_then.is_emulated,
        trusted=calibration.trusted and len(recording.calls) >= CALLS_SURE,
        really=sides[0],
        now=sides[1],
        then=sides[2],
        cost_now=_cost(scene.fleet_now, scene.seconds),
        cost_then=_cost(scene.fleet_then, scene.seconds / question.scale),
        differences=differences(now, then, slo_ms),
        calibration=calibration,
        policy_now=scene.policy_now,
        policy_then=scene.policy_then,
        fleet_now=_seen(scene.fleet_now),
        fleet_then=_seen(scene.fleet_then),
        notes=scene.notes,
        series=series,
        took_s=took_s,
    )


def _apart(found: float, real: float) -> float:
    return found / real - 1 if real else 0.0


def _cost(fleet: Fleet, seconds: float) -> Cost:
    hourly = fleet.cost_nano_per_hour
    return Cost(hourly, round(hourly * seconds / 3600), seconds)


def _seen(fleet: Fleet) -> tuple[PartSeen, ...]:
    return tuple(
        PartSeen(
            deployment_id=part.deployment_id,
            provider=part.provider,
            pool=part.pool,
            hardware=part.hardware,
            emulated=part.emulated,
            workers=len(part.workers),
            slots=sum(part.slots),
            service_ms=part.service_ms,
            basis=part.basis.value,
            source=part.source,
            samples=part.samples,
            price_nano=part.price_nano,
            cost_nano_per_hour=part.cost_nano_per_hour,
        )
        for part in fleet.parts
    )
