"""Why a deployment was not chosen, from the decisions in recorded calls.

A call's record has every endpoint that was considered for its last attempt, with its verdict and
what was expected of it. What is counted here are a model's newest calls within a bound.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Sum, TextChoices
from django.utils.translation import gettext_lazy as _

from marketplace.catalog.models import Deployment
from marketplace.usage.models import Span, UsageEvent, UsageRollup
from marketplace.usage.partitions import id_time
from marketplace.usage.selectors import ids_within
from marketplace.usage.windows import STEPS, Window
from router.domain.outcome import Outcome
from router.domain.verdict import Verdict

CALLS_MAX = 5_000
"""Most calls that are looked at: the newest of the window."""
HOURS_MAX = 200
HOUR = timedelta(hours=1)
SAME_MS = 0.5
"""Expectations closer than this are alike."""


class Reason(TextChoices):
    """Why a call went elsewhere. WON means that it came here."""

    WON = "won", _("Won")
    TIED = "tied", _("Tied: another equally good one was chosen")
    BUSY = "busy", _("Busy: a wait was expected")
    SLOWER = "slower", _("Slower: another was expected to finish sooner")
    DEARER = "dearer", _("More expensive, or later in the caller's order, but as fast")
    FAILED = "failed", _("Failed: it was tried, and another one answered")
    EJECTED = "ejected", _("Ejected after errors, or not for sale then")
    UNHEALTHY = "unhealthy", _("Unhealthy or draining")
    TOO_DEAR = "too_dear", _("Above the caller's highest price")
    NOT_WANTED = "not_wanted", _("The caller wanted other providers")
    DATA = "data_collection", _("The caller wants no data kept")
    PARAMETERS = "parameters", _("The caller needs parameters that it does not claim")
    QUANTIZATION = "quantization", _("The caller wants another quantisation")
    PROTOCOL = "protocol", _("It does not support this kind of call")


R = Reason
_FILTERED: Mapping[str, Reason] = {
    Verdict.UNHEALTHY: R.UNHEALTHY,
    Verdict.DRAINING: R.UNHEALTHY,
    Verdict.LEFT_OUT: R.UNHEALTHY,
    Verdict.TOO_DEAR: R.TOO_DEAR,
    Verdict.NOT_WANTED: R.NOT_WANTED,
    Verdict.IGNORED: R.NOT_WANTED,
    Verdict.DATA_COLLECTION: R.DATA,
    Verdict.PARAMETERS: R.PARAMETERS,
    Verdict.QUANTIZATION: R.QUANTIZATION,
    Verdict.PROTOCOL: R.PROTOCOL,
}
_SCORED: Mapping[str, Reason] = {
    Verdict.TIED: R.TIED,
    Verdict.BUSY: R.BUSY,
    Verdict.SLOWER: R.SLOWER,
}

REMEDIES: Mapping[str, Any] = {
    R.BUSY: _("Add workers, or raise slots if the benchmark's knee allows it."),
    R.SLOWER: _("Faster hardware, batching, or a smaller quantisation; measure again after it."),
    R.DEARER: _("Lower the price, or accept that callers who order by price go elsewhere."),
    R.FAILED: _("See the workers' errors above, and their logs at these times."),
    R.EJECTED: _("Routers stop calling a worker that fails and probe it: find out why it failed."),
    R.UNHEALTHY: _("Bring the workers back: see their last error above."),
    R.TOO_DEAR: _("Callers set max_price: a lower price is in reach of more of them."),
    R.DATA: _("Say that no data is kept, if that is true."),
    R.PARAMETERS: _("Claim the parameters that the workers support; the check shows which."),
    R.QUANTIZATION: _("Offer the model at another quantisation, or state the one that you use."),
}


@dataclass(frozen=True, slots=True)
class Decision:
    """One call as a deployment sees it. ``mine`` are its candidates, ``chosen`` who served."""

    at: datetime
    served: bool
    tried: bool
    mine: Sequence[Mapping[str, Any]]
    chosen: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Lost:
    """``calls`` decisions were looked at, since ``since``; ``steps`` are counts over time."""

    calls: int
    since: datetime | None
    counts: Mapping[Reason, int]
    steps: Sequence[tuple[datetime, Mapping[Reason, int]]]

    @property
    def rows(self) -> list[tuple[Reason, int, float, Any]]:
        """Reason, calls, share of those that were lost, and what helps; the commonest first."""
        lost = [(reason, n) for reason, n in self.counts.items() if reason != R.WON]
        whole = sum(n for _reason, n in lost)
        ordered = sorted(lost, key=lambda row: (-row[1], row[0]))
        return [(reason, n, n / whole, REMEDIES.get(reason, "")) for reason, n in ordered]

    @property
    def lost(self) -> int:
        return self.calls - self.counts.get(R.WON, 0)


def reason_of(decision: Decision) -> Reason:
    """Why a call came here, or did not: by the deployment's best worker. Pure."""
    if decision.served:
        return R.WON
    if decision.tried:
        return R.FAILED
    scored = [candidate for candidate in decision.mine if candidate["verdict"] in _SCORED]
    if scored:
        best = min(scored, key=lambda one: one["score"])
        reason = _SCORED[best["verdict"]]
        return R.DEARER if reason is R.SLOWER and _is_as_fast(best, decision.chosen) else reason
    for candidate in decision.mine:
        if candidate["verdict"] in _FILTERED:
            return _FILTERED[candidate["verdict"]]
    return R.EJECTED


def _is_as_fast(best: Mapping[str, Any], chosen: Mapping[str, Any] | None) -> bool:
    """Slower by its score but not by time: price or the caller's order decided."""
    if chosen is None:
        return False
    ours = best["wait_ms"] + best["service_ms"]
    return bool(ours <= chosen["wait_ms"] + chosen["service_ms"] + SAME_MS)


def lost_of(deployment: Deployment, window: Window) -> Lost:
    """Reasons over the newest calls of the deployment's model in a window. Two queries."""
    decisions = _decisions(deployment, window)
    by_step: dict[datetime, Counter[Reason]] = {at: Counter() for at in window.points}
    counts: Counter[Reason] = Counter()
    for decision in decisions:
        reason = reason_of(decision)
        counts[reason] += 1
        if (step := _step(decision.at, window)) in by_step:
            by_step[step][reason] += 1
    since = min((decision.at for decision in decisions), default=None)
    return Lost(len(decisions), since, counts, list(by_step.items()))


def _step(at: datetime, window: Window) -> datetime:
    step = STEPS[window.span]
    return window.start + ((at - window.start) // step) * step


def _decisions(deployment: Deployment, window: Window) -> list[Decision]:
    model = deployment.version.model.name
    hours = _hours(model, window)
    if not hours:
        return []
    calls = UsageEvent.objects.filter(ids_within(hours), model=model).exclude(candidates=[])
    calls = calls.exclude(outcome=Outcome.REJECTED).order_by("-request_id")
    inner, parameters = calls.values("request_id", "deployment_id", "attempts", "candidates")[
        :CALLS_MAX
    ].query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(_SQL.format(calls=inner), [*([deployment.pk] * 3), *parameters])
        return [
            Decision(id_time(request_id), served, tried, _json(mine) or [], _json(chosen))
            for request_id, served, tried, mine, chosen in cursor.fetchall()
        ]


# Only the deployment's own candidates and the chosen one leave the database.
_SQL = """
SELECT c.request_id, c.deployment_id = %s,
  jsonb_path_exists(c.attempts, '$[*] ? (@.deployment_id == $id)',
                    jsonb_build_object('id', %s::bigint)),
  jsonb_path_query_array(c.candidates, '$[*] ? (@.deployment_id == $id)',
                         jsonb_build_object('id', %s::bigint)),
  jsonb_path_query_first(c.candidates, '$[*] ? (@.verdict == "chosen")')
FROM ({calls}) AS c
"""


def _json(value: Any) -> Any:
    """The driver returns JSON as text."""
    return json.loads(value) if isinstance(value, str) else value


def _hours(model: str, window: Window) -> list[datetime]:
    """The newest hours that hold enough calls of the model: only these are looked through."""
    rows = UsageRollup.objects.filter(
        span=Span.HOUR, model=model, starts_at__gte=window.start, starts_at__lt=window.until
    )
    found, calls = [], 0
    by_hour = rows.values("starts_at").annotate(n=Sum("calls")).order_by("-starts_at")
    for row in by_hour[:HOURS_MAX]:
        found.append(row["starts_at"])
        calls += row["n"]
        if calls >= CALLS_MAX:
            break
    return found
