"""Sums over recent calls, read from their rows; there are no separate counters."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Sum
from django.utils import timezone

from marketplace.accounts.models import Organisation
from marketplace.benchmarks.runs.platform_account import ORGANISATION
from marketplace.catalog.models import AIModel
from marketplace.tuning.drift.calibration import Pairs
from marketplace.tuning.drift.detection import Live
from marketplace.tuning.trials.trial import Arm
from marketplace.usage.models import Span, UsageEvent, UsageRollup
from marketplace.usage.partitions import id_floor

DAY = timedelta(days=1)
ATTEMPTS_MAX = 50_000
"""The newest attempts that are read for stragglers."""

# at_once is a mean over calls, not over time: most calls of a burst meet the burst, however long
# the idle time before it.
_LIVE = """
WITH calls AS MATERIALIZED (
  SELECT deployment_id, worker_id, upstream_ms,
         extract(epoch FROM created_at) * 1000 + total_ms AS ended
  FROM usage_event
  WHERE request_id >= %(since)s AND request_id < %(until)s AND model = %(model)s
    AND outcome = 'completed' AND upstream_ms > 0
    AND organisation_id <> ALL (%(platform)s)
), steps AS (
  SELECT deployment_id, worker_id, ended - upstream_ms AS at, 1 AS step FROM calls
  UNION ALL SELECT deployment_id, worker_id, ended, -1 FROM calls
), spans AS (
  SELECT deployment_id, sum(step) OVER place AS running, lead(at) OVER place - at AS ms
  FROM steps
  WINDOW place AS (PARTITION BY deployment_id, worker_id ORDER BY at, step
                   ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
), load AS (
  SELECT deployment_id, sum(running ^ 2 * ms) / nullif(sum(running * ms), 0) AS at_once
  FROM spans GROUP BY deployment_id
)
SELECT deployment_id, count(*), avg(upstream_ms), coalesce(var_samp(upstream_ms), 0),
       coalesce(max(at_once), 1)::float8
FROM calls JOIN load USING (deployment_id)
GROUP BY deployment_id ORDER BY deployment_id
"""
_PAIRS = """
SELECT u.deployment_id, count(*), sum(u.upstream_ms), sum(x), sum(u.upstream_ms ^ 2), sum(x ^ 2),
       sum(u.upstream_ms * x)
FROM usage_event u, LATERAL (
  SELECT (c ->> 'service_ms')::float8 AS x FROM jsonb_array_elements(u.candidates) c
  WHERE c ->> 'verdict' = 'chosen' AND c ->> 'worker_id' = u.worker_id LIMIT 1) chosen
WHERE u.request_id >= %(since)s AND u.request_id < %(until)s AND u.model = %(model)s
  AND u.outcome = 'completed' AND u.upstream_ms > 0 AND x > 0
  AND jsonb_array_length(u.attempts) <= 1
  AND u.organisation_id <> ALL (%(platform)s)
GROUP BY u.deployment_id ORDER BY u.deployment_id
"""
# Invalid requests, and clients that left in time, say nothing about the arm.
_ARMS = """
SELECT policy_id, count(*),
       count(*) FILTER (WHERE total_ms > %(slo_ms)s OR outcome NOT IN ('completed', 'client_gone')),
       count(*) FILTER (WHERE outcome = 'completed' AND total_ms > 0),
       coalesce(avg(ln(total_ms)) FILTER (WHERE outcome = 'completed' AND total_ms > 0), 0),
       coalesce(var_samp(ln(total_ms)) FILTER (WHERE outcome = 'completed' AND total_ms > 0), 0)
FROM usage_event
WHERE request_id >= %(since)s AND request_id < %(until)s AND policy_id = ANY(%(policies)s)
  AND organisation_id <> ALL (%(platform)s)
  AND outcome <> 'refused' AND NOT (outcome = 'client_gone' AND total_ms <= %(slo_ms)s)
GROUP BY policy_id
"""
_BY_WORKER = """
SELECT (a ->> 'deployment_id')::bigint, a ->> 'worker_id', (a ->> 'upstream_ms')::float8
FROM usage_event u, LATERAL jsonb_array_elements(u.attempts) a
WHERE u.request_id >= %(since)s AND u.request_id < %(until)s
  AND a ->> 'outcome' = 'completed' AND (a ->> 'upstream_ms')::float8 > 0
  AND u.organisation_id <> ALL (%(platform)s)
ORDER BY u.request_id DESC LIMIT %(most)s
"""
_EXPECTED = """
SELECT (c ->> 'deployment_id')::bigint, c ->> 'worker_id', avg((c ->> 'service_ms')::float8),
       count(*)
FROM usage_event u, LATERAL jsonb_array_elements(u.candidates) c
WHERE u.request_id >= %(since)s AND u.request_id < %(until)s
  AND (c ->> 'service_ms')::float8 > 0
  AND u.organisation_id <> ALL (%(platform)s)
GROUP BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Window:
    """From ``since`` up to ``until``, by the time in the calls' ids."""

    since: datetime
    until: datetime

    @classmethod
    def last(cls, span: timedelta) -> "Window":
        now = timezone.now()
        return cls(now - span, now)

    @property
    def ids(self) -> dict[str, Any]:
        return {"since": id_floor(self.since), "until": id_floor(self.until)}


def live_of(model: AIModel, window: Window) -> list[Live]:
    """Service times of a model's completed calls, by deployment."""
    rows = _read(_LIVE, window, model=model.name)
    return [Live(pk, n, mean, var, max(at_once, 1.0)) for pk, n, mean, var, at_once in rows]


def pairs_of(model: AIModel, window: Window) -> list[Pairs]:
    """Actual and expected service times by deployment, of calls with a single try."""
    return [Pairs(*row) for row in _read(_PAIRS, window, model=model.name)]


def arms_of(policies: Sequence[int], window: Window, slo_ms: float) -> list[Arm]:
    """The outcome of the calls that each policy version placed, in the order given."""
    rows = _read(_ARMS, window, policies=list(policies), slo_ms=slo_ms)
    found = {policy: Arm(*figures) for policy, *figures in rows}
    return [found.get(policy, Arm()) for policy in policies]


def service_by_worker(window: Window) -> Mapping[int, Mapping[str, list[float]]]:
    """Service times of successful attempts in ms, newest first, by deployment and worker."""
    found: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for deployment, worker, upstream_ms in _read(_BY_WORKER, window, most=ATTEMPTS_MAX):
        found[deployment][worker].append(upstream_ms)
    return found


def expected_by_worker(window: Window) -> Mapping[int, Mapping[str, tuple[float, int]]]:
    """By deployment and worker: the router's mean expected service in ms, and the number of
    decisions.
    """
    found: dict[int, dict[str, tuple[float, int]]] = defaultdict(dict)
    for deployment, worker, ms, decisions in _read(_EXPECTED, window):
        found[deployment][worker] = ms, decisions
    return found


def placed_since(model: AIModel, policy_id: int, window: Window) -> datetime:
    """The time in the window since which one policy version alone places a model's calls.

    Calls without a version were placed by the defaults, or not at all.
    """
    others = UsageEvent.objects.filter(
        model=model.name, request_id__gte=window.ids["since"], request_id__lt=window.ids["until"]
    ).exclude(policy_id__in=[0, policy_id])
    last = others.exclude(organisation_id__in=_platform()).order_by("-request_id").first()
    return last.created_at + timedelta(milliseconds=1) if last else window.since


def calls_a_day(model: AIModel) -> int:
    """A model's calls of the last 24 whole hours."""
    hours = UsageRollup.objects.filter(
        span=Span.HOUR, starts_at__gt=timezone.now() - DAY, model=model.name
    ).exclude(organisation_id__in=_platform())
    return int(hours.aggregate(n=Sum("calls", default=0))["n"])


def _platform() -> list[int]:
    """The ids of the platform's organisations, whose calls are benchmarks."""
    return list(Organisation.objects.filter(slug=ORGANISATION).values_list("pk", flat=True))


def _read(sql: str, window: Window, **values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, {"platform": _platform(), **window.ids, **values})
        return cursor.fetchall()
