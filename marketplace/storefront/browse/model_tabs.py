"""Contexts for the tabs of a model's page: all customers' calls, and its deployments."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Prefetch

from marketplace.benchmarks.models import Profile
from marketplace.benchmarks.selectors import profiles_in_force
from marketplace.catalog.models import Deployment, Worker
from marketplace.catalog.selectors import Priced, is_served_over, price_history
from marketplace.catalog.visibility import on_market, versions_on_market
from marketplace.storefront.browse.listing import Listing
from marketplace.usage.models import DeploymentRollup, Span
from marketplace.usage.rollups.deployments import (
    Measured,
    first_hour,
    measured_by,
    measured_sum,
    rollups_in,
    steps_of,
)
from marketplace.usage.windows import RANGES, Window, shortest_range, window_of

LINES_MAX = 6
"""Deployments in a chart at most, the busiest; a table has all."""
BARS = 30
HOURS_MIN = 6
"""Hours in the overview's chart at least: fewer would be a dot or two."""
DAYS_RANGE, HOURS_RANGE = "30d", "24h"
CHARTS: dict[str, Callable[[Measured], float | None]] = {
    "ttft": lambda measured: measured.ttft_ms_p50,
    "total": lambda measured: measured.total_ms_p50,
    "throughput": lambda measured: measured.tokens_per_s,
    "errors": lambda measured: measured.fault_percent,
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One hour or day of a deployment; ``uptime`` is None without calls."""

    at: datetime
    measured: Measured

    @property
    def state(self) -> str:
        """``idle``, ``good``, ``worse`` (over one call in a hundred failed) or ``bad`` (in ten)."""
        uptime = self.measured.uptime
        if uptime is None:
            return "idle"
        return "good" if uptime >= 0.99 else "worse" if uptime >= 0.9 else "bad"


@dataclass(frozen=True, slots=True)
class Offering:
    """A deployment on the tab of providers."""

    priced: Priced
    measured: Measured
    bars: list[Bar]

    @property
    def workers(self) -> list[Worker]:
        """The pool's workers that take the model's requests: a pool may have others."""
        deployment = self.priced.deployment
        return [
            worker
            for worker in deployment.pool.workers.all()
            if is_served_over(deployment.version.model, worker.protocol)
        ]


@dataclass(frozen=True, slots=True)
class Choice:
    """A deployment that the overview recommends: the fastest, or the cheapest."""

    priced: Priced
    measured: Measured


def overview_tab(listing: Listing, query: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """Latency over the last day, by the hour from the first call on, and which provider is best."""
    window = window_of({"range": HOURS_RANGE}, now)
    rows = [row for row in rollups_in([listing.model.name], window) if row.deployment_id]
    steps = steps_of(rows, window)
    first = next((i for i, (_at, one) in enumerate(steps) if one.completed), len(steps))
    shown = steps[max(0, min(first, len(steps) - HOURS_MIN)) :]
    by_deployment = measured_by(rows, lambda row: row.deployment_id)
    offered = [
        Choice(priced, by_deployment.get(priced.deployment.pk, Measured()))
        for priced in listing.priced
    ]
    timed = [choice for choice in offered if choice.measured.ttft_ms_p50]
    cheapest = listing.cheapest
    return {
        "is_charted": sum(one.completed > 0 for _at, one in steps) > 1,
        "fastest": min(timed, key=lambda choice: choice.measured.ttft_ms_p50 or 0, default=None),
        "cheapest": next((choice for choice in offered if choice.priced.offer is cheapest), None),
        "columns": {
            "at": [int(at.timestamp()) for at, _one in shown],
            "p50": [one.total_ms_p50 for _at, one in shown],
            "p99": [one.total_ms_p99 for _at, one in shown],
        },
    }


def providers_tab(listing: Listing, query: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """Its providers, their figures of the last day, and uptime by day, or by hour if the history
    is short.
    """
    names = [listing.model.name]
    hours = window_of({"range": HOURS_RANGE}, now)
    days = window_of({"range": DAYS_RANGE}, now)
    hourly, daily = rollups_in(names, hours), rollups_in(names, days)
    is_short = not daily or now - daily[0].starts_at < timedelta(days=2)
    window, rows = (hours, hourly) if is_short else (days, daily)
    lately = measured_by(hourly, lambda row: row.deployment_id)
    cells = measured_by(rows, lambda row: (row.deployment_id, row.starts_at))
    points = window.points[-BARS:]
    return {
        "history": price_history(listing.model),
        "window": window,
        "offerings": [
            Offering(
                priced,
                lately.get(priced.deployment.pk, Measured()),
                [Bar(at, cells.get((priced.deployment.pk, at), Measured())) for at in points],
            )
            for priced in listing.priced
        ],
    }


def performance_tab(listing: Listing, query: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """Latency, throughput and faults of each deployment over a window, and its profile.

    Without a range in the query the window is the shortest that has all of the last week's calls.
    """
    name = listing.model.name
    window = window_of({"range": shortest_range(first_hour(name, now), now), **query}, now)
    rows = rollups_in([listing.model.name], window)
    by_deployment = measured_by(rows, lambda row: row.deployment_id)
    deployments = _named(listing, by_deployment)
    busiest = [deployment for deployment in deployments if deployment.pk in by_deployment][
        :LINES_MAX
    ]
    profiles = profiles_in_force().filter(
        deployment__in=[deployment.pk for deployment in deployments]
    )
    known: dict[int, Profile] = {profile.deployment_id: profile for profile in profiles}
    return {
        **_window_context(window),
        "whole": measured_sum([row for row in rows if row.deployment_id]),
        "is_charted": len({row.starts_at for row in rows if row.completed}) > 1,
        "measured": [
            (deployment, by_deployment.get(deployment.pk, Measured()), known.get(deployment.pk))
            for deployment in deployments
        ],
        "charts": [
            {
                "name": name,
                "series": " ".join(f"{name}_{i}" for i in range(len(busiest))),
                "labels": "|".join(
                    f"{deployment.provider.name} · {deployment.pool.name}" for deployment in busiest
                ),
            }
            for name in CHARTS
        ],
        "left_out": max(len(by_deployment.keys() - {0}) - len(busiest), 0),
        "columns": _columns(rows, busiest, window),
    }


def versions_tab(listing: Listing, query: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """Its versions, newest first, with the deployments that serve them."""
    deployments = Deployment.objects.filter(on_market()).select_related("provider", "pool")
    versions = versions_on_market().filter(model=listing.model).order_by("-created_at", "-pk")
    return {"versions": versions.prefetch_related(Prefetch("deployments", queryset=deployments))}


def activity_tab(listing: Listing, query: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """All customers' calls and tokens over a window."""
    window = window_of({**query, "range": query.get("range", DAYS_RANGE)}, now)
    rows = rollups_in([listing.model.name], window)
    steps = steps_of(rows, window)
    return {
        **_window_context(window),
        "whole": measured_sum(rows),
        "steps": [(at, measured) for at, measured in reversed(steps) if measured.calls],
        "columns": {
            "at": [int(at.timestamp()) for at, _one in steps],
            "calls": [measured.calls for _at, measured in steps],
            "faults": [measured.faults for _at, measured in steps],
            "tokens_in": [measured.tokens_in for _at, measured in steps],
            "tokens_out": [measured.tokens_out for _at, measured in steps],
        },
    }


TAB_CONTEXTS: dict[str, Callable[[Listing, Mapping[str, str], datetime], dict[str, Any]]] = {
    "overview": overview_tab,
    "providers": providers_tab,
    "performance": performance_tab,
    "versions": versions_tab,
    "activity": activity_tab,
}
"""Contexts by tab; the other tabs need only the listing."""


def _window_context(window: Window) -> dict[str, Any]:
    return {
        "window": window,
        "is_hourly": window.span == Span.HOUR,
        "ranges": {name: label for name, (label, _back) in RANGES.items()},
    }


def _named(listing: Listing, measured: Mapping[int, Measured]) -> list[Deployment]:
    """The model's deployments that are on sale or were called, the busiest first."""
    live = {priced.deployment.pk: priced.deployment for priced in listing.priced}
    gone = Deployment.objects.filter(
        on_market(),
        pk__in=[pk for pk in measured if pk not in live],
        version__model=listing.model,
    ).select_related("provider", "pool", "version")
    known = [*live.values(), *gone]
    return sorted(
        known,
        key=lambda deployment: (-measured.get(deployment.pk, Measured()).calls, deployment.pk),
    )


def _columns(
    rows: Sequence[DeploymentRollup], busiest: Sequence[Deployment], window: Window
) -> dict[str, list[Any]]:
    """Columns for the charts: Unix seconds, and a value or null for each chart and deployment."""
    cells = measured_by(rows, lambda row: (row.deployment_id, row.starts_at))
    columns: dict[str, list[Any]] = {"at": [int(at.timestamp()) for at in window.points]}
    for i, deployment in enumerate(busiest):
        steps = [cells.get((deployment.pk, at)) for at in window.points]
        for name, value in CHARTS.items():
            columns[f"{name}_{i}"] = [step and value(step) for step in steps]
    return columns
