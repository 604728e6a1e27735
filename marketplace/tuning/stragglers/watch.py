"""The straggler watch: names workers slower than their pool, and how routers treat them."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import msgspec
from django.db import transaction
from django.utils import timezone

from marketplace.catalog.models import Deployment, Worker
from marketplace.routing.trials.evidence import Slowness
from marketplace.routing.trials.models import Straggler
from marketplace.tuning.stragglers.slowness import Expectation, Ratio, expectations, ratios
from marketplace.tuning.telemetry import Window, expected_by_worker, service_by_worker

WATCH_WINDOW = timedelta(seconds=60)
SHARE_WINDOW = timedelta(seconds=15)
BEFORE = timedelta(minutes=5)
"""The window before it strayed from which its former share of calls is taken."""
SILENT_FOR = timedelta(minutes=10)
"""A straggler without new findings for this long is cleared."""

log = logging.getLogger(__name__)


@transaction.atomic
def stragglers_watch() -> list[Straggler]:
    """Name new stragglers, update and clear known ones; returns those named now."""
    calls = service_by_worker(Window.last(WATCH_WINDOW))
    expected = expected_by_worker(Window.last(SHARE_WINDOW))
    lately = service_by_worker(Window.last(SHARE_WINDOW))
    open_ones = {
        (row.deployment_id, row.worker.worker_id): row
        for row in Straggler.objects.filter(cleared_at=None)
        .select_related("worker", "deployment")
        .select_for_update(of=("self",))
    }
    for deployment_id, by_worker in calls.items():
        found = _findings(by_worker, expected.get(deployment_id, {}))
        for worker_id, finding in found.items():
            share_now = _share(lately, deployment_id, worker_id)
            row = open_ones.get((deployment_id, worker_id))
            if row is not None:
                _go_on(row, finding, share_now)
            elif finding.strays:
                row = _name(deployment_id, worker_id, finding, share_now)
                if row is not None:
                    open_ones[deployment_id, worker_id] = row
    long_ago = timezone.now() - SILENT_FOR
    for row in open_ones.values():
        if row.cleared_at is None and row.seen_at < long_ago:
            row.cleared_at = timezone.now()
            row.save(update_fields=["cleared_at"])
    return [row for row in open_ones.values() if row.cleared_at is None]


@dataclass(frozen=True, slots=True)
class Finding:
    """Recent evidence on a worker: its own calls, and the router's expectation."""

    measured: Ratio | None
    expected: Expectation | None

    @property
    def strays(self) -> bool:
        known = (self.measured, self.expected)
        return any(part is not None and part.strays for part in known)

    @property
    def is_back(self) -> bool:
        known = (self.measured, self.expected)
        return all(part is None or part.is_back for part in known)


def _findings(
    by_worker: Mapping[str, list[float]], expected_of: Mapping[str, tuple[float, int]]
) -> dict[str, Finding]:
    measured, expected = ratios(by_worker), expectations(expected_of)
    return {
        worker_id: Finding(measured.get(worker_id), expected.get(worker_id))
        for worker_id in sorted(measured.keys() | expected.keys())
    }


def _share(
    calls: Mapping[int, Mapping[str, list[float]]], deployment_id: int, worker_id: str
) -> float | None:
    """The worker's share of its deployment's answered attempts; None without any."""
    by_worker = calls.get(deployment_id, {})
    total = sum(map(len, by_worker.values()))
    return len(by_worker.get(worker_id, ())) / total if total else None


def _name(
    deployment_id: int, worker_id: str, finding: Finding, share_now: float | None
) -> Straggler | None:
    worker = Worker.objects.filter(worker_id=worker_id).first()
    deployment = Deployment.objects.filter(pk=deployment_id).first()
    if worker is None or deployment is None:
        return None
    now = timezone.now()
    before = Window(now - WATCH_WINDOW - BEFORE, now - WATCH_WINDOW)
    share_before = _share(service_by_worker(before), deployment_id, worker_id)
    slowness = _slowness(finding, share_before, share_now)
    log.warning("%s runs %.2f times slower than its pool", worker_id, slowness.ratio)
    evidence = msgspec.to_builtins(slowness)
    # Another round may name it at the same moment.
    row, _ = Straggler.objects.get_or_create(
        worker=worker, deployment=deployment, cleared_at=None, defaults={"evidence": evidence}
    )
    return row


def _go_on(row: Straggler, finding: Finding, share_now: float | None) -> None:
    before = slowness_of(row).share_before
    row.evidence = msgspec.to_builtins(_slowness(finding, before, share_now))
    if finding.is_back:
        row.cleared_at = timezone.now()
    row.save(update_fields=["evidence", "cleared_at", "seen_at"])


def slowness_of(row: Straggler) -> Slowness:
    """The latest finding on a worker."""
    return msgspec.convert(row.evidence, Slowness)


def _slowness(finding: Finding, share_before: float | None, share_now: float | None) -> Slowness:
    """The finding as it is stored, with the worker's share of calls now and before."""
    expected, measured = finding.expected, finding.measured
    ratio = expected.ratio if expected else 1.0
    return Slowness(
        ratio=measured.ratio if measured else ratio,
        low=measured.low if measured else None,
        high=measured.high if measured else None,
        samples=measured.samples if measured else 0,
        pool_samples=measured.pool_samples if measured else 0,
        expected_ratio=expected.ratio if expected else None,
        decisions=expected.decisions if expected else 0,
        share_before=share_before,
        share_now=share_now,
    )
