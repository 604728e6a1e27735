"""What the heartbeats of agents say about the health of workers, and of a gang's members. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

SILENT_AFTER = timedelta(seconds=15)
"""Three heartbeats."""
MISSED_AFTER = timedelta(seconds=8)
"""One heartbeat and a little: after a longer pause one was missed, or nobody could hear it."""


class Reported(Protocol):
    """A worker or a member: when its agent last reported it (None: no agent), and what is wrong."""

    reported_at: datetime | None
    reported_error: str


class Heard(Protocol):
    """A worker: when its agent last reported it, and since when without a pause."""

    reported_at: datetime | None
    reports_since: datetime | None


def unbroken_since(row: Heard, now: datetime) -> datetime:
    """Since when a worker that is reported now has been reported without a pause."""
    is_unbroken = row.reported_at is not None and now - row.reported_at <= MISSED_AFTER
    return row.reports_since if is_unbroken and row.reports_since is not None else now


def is_heard(row: Reported, now: datetime) -> bool:
    """Whether an agent has reported it lately."""
    return row.reported_at is not None and now - row.reported_at <= SILENT_AFTER


def hears_since(workers: Sequence[Heard], now: datetime) -> datetime:
    """Since when the marketplace surely hears who speaks: as long as it has heard one of these.

    ``now`` if it hears none of several: then it may be deaf (its pages restart, say). A single one
    that is not heard is taken to be silent.
    """
    told = [row.reported_at for row in workers if row.reported_at is not None]
    return min(
        (
            row.reports_since
            for row in workers
            if row.reported_at is not None
            and row.reports_since is not None
            and now - row.reported_at <= SILENT_AFTER
        ),
        default=told[0] if len(told) == 1 else now,
    )


def report_faults(rows: Sequence[Reported], now: datetime, hearing_since: datetime) -> list[str]:
    """Why each row is down by its agent's reports, in order; "" where nothing speaks for that.

    Silence counts from ``hearing_since`` on. Before that nothing follows from it, and the prober
    asks the workers themselves.
    """
    return [row.reported_error or _silence(row, now, hearing_since) for row in rows]


def _silence(row: Reported, now: datetime, hearing_since: datetime) -> str:
    if row.reported_at is None or now - max(row.reported_at, hearing_since) <= SILENT_AFTER:
        return ""
    return f"its agent was last heard {(now - row.reported_at).total_seconds():.0f} s ago"


def gang_fault(size: int, faults: Mapping[int, str]) -> str:
    """Why a gang of this size cannot serve, "" where all its members are up.

    ``faults`` are those of the known members by rank, from 1 on, "" for one that is up. Rank 0 is
    the worker itself, whose health is asked elsewhere.
    """
    states = {rank: faults.get(rank, "it is missing") for rank in range(1, size)}
    down = {rank: fault for rank, fault in states.items() if fault}
    if not down:
        return ""
    rank, fault = next(iter(down.items()))
    return f"{size - len(down)} of {size} members are up; rank {rank}: {fault}"
