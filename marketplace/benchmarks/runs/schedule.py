"""What is measured though nobody asks: each night, and when something is new."""

from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import timezone

from marketplace.benchmarks.models import Benchmark, Target, Trigger
from marketplace.benchmarks.runs.fingerprint import fingerprint
from marketplace.benchmarks.runs.idle_slots import must_yield
from marketplace.benchmarks.runs.live_traffic import traffic_on
from marketplace.benchmarks.selectors import workers_of
from marketplace.benchmarks.services import benchmark_request
from marketplace.catalog.models import Deployment, DeploymentStatus, Worker
from marketplace.shared.jobs.models import STATES_OPEN, JobState

AGAIN_AFTER = timedelta(hours=6)
"""A change whose benchmark failed or was cancelled is not measured again sooner."""
CHANGES_PER_HOUR = 4
"""Most benchmarks in an hour because something is new. In a fresh installation everything is new:
it is measured bit by bit and not all at once."""


def nightly_request() -> list[Benchmark]:
    """Queue a benchmark of every live deployment that has none open."""
    found = []
    for deployment in _live():
        if not _waiting(deployment):
            found += _request(deployment, Trigger.SCHEDULE, "nightly")
    return found


def lacking_request() -> list[Benchmark]:
    """Queue what is new or has changed: a deployment, its fingerprint, a worker.

    One at a time and :data:`CHANGES_PER_HOUR` at most, and only where nobody calls the workers now.
    What was never measured goes first, the newest of it before all.
    """
    changes = Benchmark.objects.filter(trigger=Trigger.CHANGE)
    if changes.filter(state__in=STATES_OPEN).exists():
        return []
    lately = changes.filter(created_at__gt=timezone.now() - timedelta(hours=1)).count()
    if lately >= CHANGES_PER_HOUR:
        return []
    known = set(
        Benchmark.objects.filter(state=JobState.SUCCEEDED).values_list("deployment", flat=True)
    )
    for deployment in sorted(_live(), key=lambda row: (row.pk in known, -row.pk)):
        if _waiting(deployment) or _tried_lately(deployment):
            continue
        workers = workers_of(deployment.version.model, deployment=deployment)
        if not workers or _called_now(workers):
            continue
        reason, worker = lacking(
            fingerprint(deployment, workers),
            _measured(deployment),
            [worker.worker_id for worker in workers],
        )
        if reason:
            new = next((row for row in workers if row.worker_id == worker), None)
            if found := _request(deployment, Trigger.CHANGE, reason, new):
                return found
    return []


def lacking(
    now: dict[str, object], measured: Iterable[dict[str, object]], workers: Iterable[str]
) -> tuple[str, str]:
    """Why a deployment must be measured, and the id of its new worker if that is the only reason.

    ``measured`` are the fingerprints of its benchmarks, newest first. ("", "") where nothing is
    lacking. Pure.
    """
    before = list(measured)
    if not before:
        return "never measured", ""
    if before[0].get("version") != now["version"]:
        return f"new model version {now['version']}", ""
    if before[0].get("digest") != now["digest"]:
        changed = sorted(
            name
            for name in now
            if name not in {"digest", "workers"} and now[name] != before[0].get(name)
        )
        return f"changed: {', '.join(changed)}", ""
    known: set[str] = set()
    for earlier in before:
        if earlier.get("digest") == now["digest"]:
            known |= set(earlier.get("workers") or ())  # type: ignore[call-overload]
    for worker in workers:
        if worker not in known:
            return f"new worker {worker}", worker
    return "", ""


def _live() -> list[Deployment]:
    rows = Deployment.objects.filter(status=DeploymentStatus.LIVE, version__model__published=True)
    if not settings.WAYPOST_EMULATED:
        rows = rows.filter(pool__emulated=False)
    return list(rows.select_related("version__model", "pool", "provider").order_by("pk"))


def _called_now(workers: list[Worker]) -> bool:
    traffic = traffic_on([worker.worker_id for worker in workers])
    return must_yield(traffic, wanted=1, slots=1)


def _waiting(deployment: Deployment) -> bool:
    return deployment.benchmarks.filter(state__in=STATES_OPEN).exists()


def _tried_lately(deployment: Deployment) -> bool:
    last = deployment.benchmarks.exclude(ended_at=None).order_by("-ended_at").first()
    return (
        last is not None
        and last.state != JobState.SUCCEEDED
        and last.ended_at is not None
        and last.ended_at > timezone.now() - AGAIN_AFTER
    )


def _measured(deployment: Deployment) -> list[dict[str, object]]:
    rows = deployment.benchmarks.filter(state=JobState.SUCCEEDED).order_by("-ended_at")
    return list(rows.values_list("fingerprint", flat=True)[:50])


def _request(
    deployment: Deployment, trigger: Trigger, reason: str, worker: Worker | None = None
) -> list[Benchmark]:
    try:
        asked = benchmark_request(
            model=deployment.version.model,
            target=Target.WORKER if worker else Target.DEPLOYMENT,
            deployment=deployment,
            worker=worker,
            trigger=trigger,
            reason=reason,
        )
    except ValidationError:
        # No worker is ready now: the next run of the task asks again.
        return []
    return [asked]
