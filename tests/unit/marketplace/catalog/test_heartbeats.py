"""What follows from the heartbeats of agents, and from their absence."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from marketplace.catalog.heartbeats import (
    MISSED_AFTER,
    SILENT_AFTER,
    gang_fault,
    hears_since,
    report_faults,
    unbroken_since,
)

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Row:
    reported_at: datetime | None = None
    reported_error: str = ""
    reports_since: datetime | None = None


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def row(silent_s: float, error: str = "", *, since_s: float = 3600.0) -> Row:
    return Row(ago(silent_s), error, ago(since_s))


def faults(*rows: Row) -> list[str]:
    return report_faults(rows, NOW, hears_since(rows, NOW))


def test_a_worker_without_an_agent_is_left_to_the_prober() -> None:
    assert faults(Row(), row(1.0)) == ["", ""]


def test_three_missed_heartbeats_take_a_worker_out() -> None:
    limit = SILENT_AFTER.total_seconds()
    assert faults(row(limit), row(1.0)) == ["", ""]
    silent = "its agent was last heard 16 s ago"
    assert faults(row(limit + 1), row(1.0)) == [silent, ""]


def test_what_an_agent_says_counts() -> None:
    assert faults(row(1.0, "GET /health: HTTP 503")) == ["GET /health: HTTP 503"]


def test_where_none_of_several_is_heard_the_marketplace_was_deaf() -> None:
    assert faults(row(60.0), row(60.0), Row()) == ["", "", ""]


def test_a_single_one_that_is_not_heard_is_silent() -> None:
    assert faults(row(60.0, since_s=90.0), Row()) == ["its agent was last heard 60 s ago", ""]


def test_a_member_is_silent_while_the_only_worker_is_heard() -> None:
    worker, member = row(1.0), row(60.0)
    told = report_faults([worker, member], NOW, hears_since([worker], NOW))
    assert told == ["", "its agent was last heard 60 s ago"]


def test_silence_counts_from_when_somebody_is_heard_again() -> None:
    limit = SILENT_AFTER.total_seconds()
    assert faults(row(60.0), row(1.0, since_s=2.0)) == ["", ""]
    assert faults(row(60.0), row(1.0, since_s=limit)) == ["", ""]
    assert faults(row(60.0), row(1.0, since_s=limit + 1))[0] != ""
    assert faults(row(60.0), row(1.0, since_s=2.0), row(2.0))[0] != "", "one was heard all along"


def test_reports_start_again_after_a_pause() -> None:
    limit = MISSED_AFTER.total_seconds()
    assert unbroken_since(row(limit, since_s=60.0), NOW) == ago(60.0)
    assert unbroken_since(row(limit + 1, since_s=60.0), NOW) == NOW
    assert unbroken_since(Row(), NOW) == NOW
    assert unbroken_since(Row(ago(1.0)), NOW) == NOW, "reported to a release that kept no beginning"


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
