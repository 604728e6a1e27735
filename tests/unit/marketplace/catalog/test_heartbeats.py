"""What follows from the heartbeats of agents, and from their absence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from marketplace.catalog.heartbeats import SILENT_AFTER, report_faults
from marketplace.catalog.models import Worker

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def worker(pk: int, silent_s: float | None = None, error: str = "") -> Worker:
    at = None if silent_s is None else NOW - timedelta(seconds=silent_s)
    return Worker(pk=pk, reported_at=at, reported_error=error)


def test_a_worker_without_an_agent_is_left_to_the_prober() -> None:
    assert report_faults([worker(1), worker(2, 1.0)], NOW) == {}


def test_three_missed_heartbeats_take_a_worker_out() -> None:
    limit = SILENT_AFTER.total_seconds()
    assert report_faults([worker(1, limit), worker(2, 1.0)], NOW) == {}
    assert report_faults([worker(1, limit + 1), worker(2, 1.0)], NOW) == {
        1: "its agent was last heard 16 s ago"
    }
    assert report_faults([worker(1, limit + 1)], NOW).keys() == {1}


def test_what_an_agent_says_counts() -> None:
    assert report_faults([worker(1, 1.0, "GET /health: HTTP 503")], NOW) == {
        1: "GET /health: HTTP 503"
    }


def test_where_nobody_is_heard_the_marketplace_was_deaf() -> None:
    assert report_faults([worker(1, 60.0), worker(2, 60.0), worker(3)], NOW) == {}
