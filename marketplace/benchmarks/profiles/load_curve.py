"""From samples to a point of the curve, and from points to a profile."""

from collections.abc import Sequence
from dataclasses import dataclass

from marketplace.benchmarks.loadgen.messages import Measured
from marketplace.benchmarks.loadgen.plan import Plan
from marketplace.benchmarks.loadgen.samples import Sample
from marketplace.benchmarks.profiles import statistics

PROFILE_SAMPLES_MIN = 20
"""Fewer samples of a point are too few for a router to rely on."""
ERROR_SHARE_MAX = 0.01
BECAUSE_CHARACTERS = 300
CURVE_MAX = 64


@dataclass(frozen=True, slots=True)
class PointFigures:
    """The fields of a :class:`~marketplace.benchmarks.models.Point`."""

    load: float
    samples: int
    errors: int
    duration_s: float
    throughput_hz: float
    goodput_hz: float
    tokens_per_s: float
    latency: dict[str, dict[str, list[float]]]
    valid: bool
    invalid_because: str
    within: float
    """The share of all requests, failed ones too, that met every objective of the plan."""

    @property
    def mean_ms(self) -> float:
        """Mean latency; there is none without an answer."""
        return self.latency["total_ms"]["mean"][0]

    @property
    def is_sound(self) -> bool:
        """Enough answers, and almost no errors: good for a profile, whatever LoadGen's verdict."""
        whole = self.samples + self.errors
        return self.samples >= PROFILE_SAMPLES_MIN and self.errors <= ERROR_SHARE_MAX * whole


@dataclass(frozen=True, slots=True)
class ProfileFigures:
    """The figures of a :class:`~marketplace.benchmarks.models.Profile`, of one worker."""

    service_ms: float
    batch_curve: list[list[float]]
    slots: int
    capacity_hz: float
    throughput_hz: float
    tokens_per_s: float
    samples: int


def within_slots(points: Sequence[PointFigures], *, workers: int, slots: int) -> list[PointFigures]:
    """The sound points at which no worker has a queue, where each takes ``slots`` at once."""
    return [p for p in points if p.is_sound and _at_once(p, workers) <= slots]


def point_of(
    plan: Plan, load: float, samples: Sequence[Sample], measured: Measured
) -> PointFigures:
    """One point, of what LoadGen measured."""
    good = [sample for sample in samples if not sample.error]
    errors = len(samples) - len(good)
    # LoadGen's clock also counts how it starts and ends: the span of the answers is taken.
    span_s = max(
        max((s.started_s + s.total_ms / 1e3 for s in samples), default=0.0)
        - min((s.started_s for s in samples), default=0.0),
        1e-6,
    )
    latency = {
        "total_ms": statistics.summary([s.total_ms for s in good]),
        "ttft_ms": statistics.summary([s.ttft_ms for s in good if s.ttft_ms]),
        "tpot_ms": statistics.summary([s.tpot_ms for s in good if s.tokens > 1 and s.ttft_ms]),
        "queue_ms": statistics.summary([s.queue_ms for s in good if s.queue_ms >= 0]),
        "router_ms": statistics.summary([s.router_ms for s in good if s.router_ms >= 0]),
    }
    reasons = _reasons(plan, len(good), errors, measured)
    met = sum(_meets(plan, sample) for sample in good)
    return PointFigures(
        load=load,
        samples=len(good),
        errors=errors,
        duration_s=round(span_s, 3),
        throughput_hz=round(len(good) / span_s, 4),
        goodput_hz=round(met / span_s, 4),
        tokens_per_s=round(sum(s.tokens for s in good) / span_s, 2),
        latency={name: found for name, found in latency.items() if found},
        valid=not reasons,
        invalid_because="; ".join(reasons)[:BECAUSE_CHARACTERS],
        within=met / max(len(samples), 1),
    )


def knee_of(points: Sequence[PointFigures]) -> PointFigures | None:
    """The knee among the sound points."""
    sound = [point for point in points if point.is_sound]
    found = statistics.knee([p.mean_ms for p in sound], [p.goodput_hz for p in sound])
    return None if found is None else sound[found]


def profile_of(
    plan: Plan, points: Sequence[PointFigures], *, workers: int, slots: int
) -> ProfileFigures | None:
    """The profile of one of ``workers`` equal workers, each with ``slots`` slots.

    None with too few samples, with only loads beyond the slots, or with loads that are rates (the
    server scenario) and not concurrencies. Loads beyond the slots are left out of the curve: there
    a worker queues, and waiting is no service time.
    """
    sound = [point for point in points if point.is_sound]
    if plan.scenario == "server" or not sound:
        return None
    at_once = [_at_once(point, workers) for point in sound]
    within = [i for i, n in enumerate(at_once) if n <= slots]
    if not within:
        return None
    # Two loads may be one concurrency of a worker: the lower of them queues less.
    first = {at_once[i]: i for i in reversed(within)}
    kept = [first[n] for n in sorted(first)][:CURVE_MAX]
    service = statistics.service_fit(
        [at_once[i] for i in kept],
        [sound[i].mean_ms for i in kept],
        [sound[i].samples for i in kept],
    )
    knee = knee_of(sound)
    # Measured, not interpolated: nothing is promised between two points.
    met = [point for point in sound if point.within >= plan.percentile]
    return ProfileFigures(
        service_ms=round(service.alone_ms, 4),
        batch_curve=[[n, factor] for n, factor in service.curve],
        slots=_at_once(knee, workers) if knee else 0,
        capacity_hz=round(max((p.throughput_hz / _busy(p, workers) for p in met), default=0.0), 4),
        throughput_hz=round(max(p.throughput_hz / _busy(p, workers) for p in sound), 4),
        tokens_per_s=round(max(p.tokens_per_s / _busy(p, workers) for p in sound), 2),
        samples=sum(point.samples for point in sound),
    )


def _at_once(point: PointFigures, workers: int) -> int:
    return max(1, round(point.load / workers))


def _busy(point: PointFigures, workers: int) -> float:
    """How many workers had a request: no more than there were requests."""
    return min(workers, point.load)


def _meets(plan: Plan, sample: Sample) -> bool:
    return (
        sample.total_ms <= plan.slo_ms
        and not (plan.ttft_slo_ms and sample.ttft_ms > plan.ttft_slo_ms)
        and not (plan.tpot_slo_ms and sample.tpot_ms > plan.tpot_slo_ms)
    )


def _reasons(plan: Plan, good: int, errors: int, measured: Measured) -> list[str]:
    """Why a point is not valid by MLPerf's rules at the plan's sizes; [] when it is."""
    reasons = [f"LoadGen: {why}" for why in measured.reasons]
    if not measured.valid and not reasons:
        reasons.append("LoadGen: INVALID")
    if errors:
        reasons.append(f"{errors} requests failed")
    if good < plan.samples_min:
        reasons.append(f"{good} samples of the {plan.samples_min} that were asked for")
    if measured.cut:
        reasons.append(f"{measured.cut} requests not sent within {plan.seconds_max:g} s")
    return reasons
