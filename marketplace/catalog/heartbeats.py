"""What the heartbeats of agents say about the health of workers, and of a gang's members. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

SILENT_AFTER = timedelta(seconds=15)
"""Three heartbeats."""


class Reported(Protocol):
    """A worker or a member: when its agent last reported it (None: no agent), and what is wrong."""

    reported_at: datetime | None
    reported_error: str


def report_faults(rows: Sequence[Reported], now: datetime) -> list[str]:
    """Why each row is down by its agent's reports, in order; "" where nothing speaks for that.

    If several are silent and none is heard, it is the marketplace that was deaf (a restart of the
    pages, say): then nothing follows from silence, and the prober asks the workers themselves.
    """
    silences = [now - row.reported_at for row in rows if row.reported_at is not None]
    is_deaf = len(silences) > 1 and min(silences) > SILENT_AFTER
    return [row.reported_error or _silence(row, now, is_deaf=is_deaf) for row in rows]


def _silence(row: Reported, now: datetime, *, is_deaf: bool) -> str:
    if row.reported_at is None or is_deaf or now - row.reported_at <= SILENT_AFTER:
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
