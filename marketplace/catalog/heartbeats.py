"""What the heartbeats of agents say about the health of their workers. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from marketplace.catalog.models import Worker

SILENT_AFTER = timedelta(seconds=15)
"""Three heartbeats."""


def report_faults(workers: Sequence[Worker], now: datetime) -> dict[int, str]:
    """Why workers with an agent are down, by key: what it said, or that it says nothing any more.

    If several are silent and none is heard, it is the marketplace that was deaf (a restart of the
    pages, say): then nothing follows from silence, and the prober asks the workers themselves.
    """
    heard_at = {row.pk: row.reported_at for row in workers if row.reported_at is not None}
    faults = {row.pk: row.reported_error for row in workers if row.reported_error}
    silent = {pk: now - at for pk, at in heard_at.items() if now - at > SILENT_AFTER}
    if len(silent) > 1 and len(silent) == len(heard_at):
        return faults
    return faults | {
        pk: f"its agent was last heard {since.total_seconds():.0f} s ago"
        for pk, since in silent.items()
    }
