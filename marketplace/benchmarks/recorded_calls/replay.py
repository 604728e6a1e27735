"""Recorded calls, the fleet that served them, and both in the simulator.

What is read of a call is its time, its size and its organisation: prompts and answers are not
recorded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec
from django.db.models import QuerySet
from django.utils import timezone

from marketplace.accounts.models import Organisation
from marketplace.benchmarks.recorded_calls.fleet import Fleet, factor_of, fleet_read
from marketplace.benchmarks.recorded_calls.sizes import CallSizes, RecordedCall, call_sizes_of
from marketplace.benchmarks.runs.platform_account import ORGANISATION
from marketplace.catalog.models import AIModel
from marketplace.usage.models import COUNTS, UsageEvent
from marketplace.usage.partitions import id_floor
from router.domain.catalog import Policy
from router.domain.outcome import Outcome
from router.domain.pricing import Usage
from router.simulator.slots.compare import Figures, compare
from router.simulator.slots.machine import Machine
from router.simulator.slots.scenarios import Scenario
from router.simulator.slots.simulation import MODEL
from router.simulator.workload import Arrival

BLOCKS = 10
"""Where there are more calls than may be read, so many blocks of them are read, evenly spread. If
single calls were left out, the hour would look less busy than it was."""

STEP_S = 1e-6
"""Calls are recorded to the millisecond. Those of the same millisecond are set apart by this."""

LIVE_CALLS_MAX = 2_000
LIVE_WINDOW = timedelta(days=1)
"""The newest calls within this tell the speed of a deployment without a profile."""

FIELDS = (
    "created_at",
    *COUNTS,
    "upstream_ms",
    "queue_ms",
    "total_ms",
    "outcome",
    "organisation_id",
    "deployment_id",
    "worker_id",
    "pool",
    "policy_id",
    "charge_nano",
    "hold_nano",
    "streamed",
)


@dataclass(frozen=True, slots=True)
class Recording:
    """Recorded calls of some time. ``calls``, ``arrivals`` and ``work`` have the same order.

    There were ``total`` calls. Where that is more than the limit, blocks of them are joined, and
    ``dropped_s`` seconds are left out.
    """

    calls: tuple[RecordedCall, ...]
    arrivals: tuple[Arrival, ...]
    work: CallSizes
    total: int
    dropped_s: float = 0.0

    @property
    def is_cut(self) -> bool:
        return len(self.calls) < self.total


def recording_read(*, model: AIModel, since: datetime, until: datetime, limit: int) -> Recording:
    """What was asked of a model in ``[since, until)``, times in seconds from its start.

    Sizes have mean 1; ``tenant`` numbers the organisations in order of appearance. The priority
    is not recorded, so every call is a standard one. At most ``limit`` calls: see :data:`BLOCKS`.
    Raises ``ValueError`` for a limit or a window that is empty.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    if since >= until:
        raise ValueError(f"the stretch must end after it begins, got {since} to {until}")
    total = _calls(model, since, until).count()
    blocks = 1 if total <= limit else min(BLOCKS, limit)
    calls: list[RecordedCall] = []
    dropped_s = 0.0
    span = (until - since) / blocks
    for number in range(blocks):
        begin = since + number * span
        share = limit * (number + 1) // blocks - limit * number // blocks
        rows = list(_calls(model, begin, begin + span).values_list(*FIELDS)[: share + 1])
        taken = [_served(row, since, dropped_s) for row in rows[:share]]
        calls += taken
        if len(rows) > share:
            # The rest of the block is left out, and so is its time.
            dropped_s += (begin + span - rows[share][0]).total_seconds()
    return replace(_recording(model, _spaced(calls), total), dropped_s=dropped_s)


def fleet_now(model: AIModel) -> Fleet:
    """The workers that may serve the model now, as machines.

    Service times and batch curves are those of the profiles in force; of a deployment that has
    none, what its calls of the last day took. Raises
    :class:`~marketplace.benchmarks.recorded_calls.fleet.FleetUnknown` when nothing is known of any.
    """
    now = timezone.now()
    newest = _calls(model, now - LIVE_WINDOW, now).order_by("-request_id")
    rows = list(newest.values_list(*FIELDS)[:LIVE_CALLS_MAX])
    recent = [_served(row, now - LIVE_WINDOW, 0.0) for row in reversed(rows)]
    return fleet_read(model, _recording(model, _spaced(recent), len(recent)).work, recent)


def replay(
    arrivals: Sequence[Arrival],
    machines: Sequence[Machine],
    policies: Sequence[Policy],
    *,
    slo_ms: float,
    seed: int,
    done: Callable[[Figures], None] = lambda _: None,
) -> list[Figures]:
    """Simulate each policy with the same arrivals; the first tenth of a run is not counted.

    ``done`` gets each policy's figures, and may raise. Raises ``ValueError`` without arrivals or
    machines.
    """
    if not arrivals or not machines:
        raise ValueError("there is nothing to replay: no arrivals, or no machines")
    scenario = Scenario("replay", "recorded arrivals", tuple(machines), (), slo_ms)
    simulated = [msgspec.structs.replace(policy, model=MODEL) for policy in policies]
    return compare(scenario, simulated, len(arrivals), seed, recorded=arrivals, done=done)


def _calls(model: AIModel, since: datetime, until: datetime) -> QuerySet[UsageEvent]:
    """Calls that wanted a worker, without refused ones: they cost a worker almost nothing.

    Benchmarks are left out: they give way to traffic, and are none.
    """
    platform = Organisation.objects.filter(slug=ORGANISATION).values_list("pk", flat=True)
    return (
        UsageEvent.objects.filter(
            request_id__gte=id_floor(since), request_id__lt=id_floor(until), model=model.name
        )
        .exclude(outcome=Outcome.REFUSED)
        .exclude(organisation_id__in=list(platform))
        .order_by("request_id")
    )


def _served(row: tuple[object, ...], since: datetime, dropped_s: float) -> RecordedCall:
    value = dict(zip(FIELDS, row, strict=True))
    usage = {name: value[name] for name in Usage.__struct_fields__}
    at_s = (value["created_at"] - since).total_seconds()  # type: ignore[operator]
    return RecordedCall(
        at_s=max(at_s - dropped_s, 0.0),
        usage=Usage(**usage),  # type: ignore[arg-type]
        upstream_s=value["upstream_ms"] / 1e3,  # type: ignore[operator]
        queue_s=value["queue_ms"] / 1e3,  # type: ignore[operator]
        total_s=value["total_ms"] / 1e3,  # type: ignore[operator]
        **{name: value[name] for name in RecordedCall.__slots__ if name in value},  # type: ignore[arg-type]
    )


def _spaced(calls: Sequence[RecordedCall]) -> list[RecordedCall]:
    """In order of time, no two at the same moment: a call is found by its moment."""
    spaced: list[RecordedCall] = []
    last_s = -STEP_S
    for call in sorted(calls, key=lambda call: call.at_s):
        last_s = max(call.at_s, last_s + STEP_S)
        spaced.append(call if last_s == call.at_s else replace(call, at_s=last_s))
    return spaced


def _recording(model: AIModel, calls: Sequence[RecordedCall], total: int) -> Recording:
    work = call_sizes_of(calls, factor_of(model))
    tenants: dict[int, int] = {}
    arrivals = tuple(
        Arrival(
            call.at_s,
            size,
            predicted,
            tenant=tenants.setdefault(call.organisation_id, len(tenants) + 1),
        )
        for call, size, predicted in zip(calls, work.sizes, work.predicted, strict=True)
    )
    return Recording(tuple(calls), arrivals, work, total)
