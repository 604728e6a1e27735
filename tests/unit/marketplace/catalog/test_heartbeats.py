"""What follows from the heartbeats of agents, and from their absence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from marketplace.catalog.heartbeats import SILENT_AFTER, gang_fault, report_faults

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Row:
    reported_at: datetime | None = None
    reported_error: str = ""


def row(silent_s: float, error: str = "") -> Row:
    return Row(NOW - timedelta(seconds=silent_s), error)


def test_a_worker_without_an_agent_is_left_to_the_prober() -> None:
    assert report_faults([Row(), row(1.0)], NOW) == ["", ""]


def test_three_missed_heartbeats_take_a_worker_out() -> None:
    limit = SILENT_AFTER.total_seconds()
    assert report_faults([row(limit), row(1.0)], NOW) == ["", ""]
    silent = "its agent was last heard 16 s ago"
    assert report_faults([row(limit + 1), row(1.0)], NOW) == [silent, ""]
    assert report_faults([row(limit + 1)], NOW) == [silent]


def test_what_an_agent_says_counts() -> None:
    assert report_faults([row(1.0, "GET /health: HTTP 503")], NOW) == ["GET /health: HTTP 503"]


def test_where_nobody_is_heard_the_marketplace_was_deaf() -> None:
    assert report_faults([row(60.0), row(60.0), Row()], NOW) == ["", "", ""]


@pytest.mark.parametrize(
    ("size", "faults", "said"),
    [
        (1, {}, ""),
        (3, {1: "", 2: ""}, ""),
        (3, {1: ""}, "2 of 3 members are up; rank 2: it is missing"),
        (3, {1: "silent", 2: "silent"}, "1 of 3 members are up; rank 1: silent"),
    ],
)
def test_a_gang_serves_with_all_its_members_or_not_at_all(
    size: int, faults: dict[int, str], said: str
) -> None:
    assert gang_fault(size, faults) == said
