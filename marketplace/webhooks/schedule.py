"""When a delivery is tried again, and what an answer means for it. Pure."""

from datetime import datetime, timedelta

from marketplace.webhooks.models import Outcome

DELAYS = (
    timedelta(seconds=5),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=18),
    timedelta(hours=22),
)
"""After each failure in turn: three days in total. The next failure is the last."""
GONE = 410


def due_after(tries: int, now: datetime) -> datetime | None:
    """When it is tried again after so many tries that failed; None: never."""
    return now + DELAYS[tries - 1] if tries <= len(DELAYS) else None


def outcome_of(status: int) -> Outcome:
    """What an HTTP status means: only 2xx is heard."""
    if 200 <= status < 300:
        return Outcome.HEARD
    if 300 <= status < 400:
        return Outcome.REDIRECT
    return Outcome.GONE if status == GONE else Outcome.STATUS
