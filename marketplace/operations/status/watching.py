"""Looks whether the parts work, and keeps when they did not."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import httpx

from marketplace.operations.doctor.work import SILENT_AFTER_S
from marketplace.operations.models import Incident, Part
from marketplace.operations.selectors import heartbeat_ages_s

KEPT = timedelta(days=90)
SHORTEST = timedelta(minutes=1)
"""What is over sooner is no incident: a part that restarts is away for a moment."""


def parts_looked_at(router: httpx.Client) -> dict[Part, bool | None]:
    """Whether each part works, as callers would see it; None where that cannot be told."""
    ready = _status(router, "/readyz")
    # The router passes it on to the pages' process, which asks for a key.
    pages = _status(router, "/v1/batches")
    does_answer = ready == httpx.codes.OK
    return {
        Part.API: does_answer,
        Part.PAGES: pages != httpx.codes.SERVICE_UNAVAILABLE if does_answer and pages else None,
        Part.JOBS: not queues_silent(),
    }


def _status(router: httpx.Client, path: str) -> int | None:
    try:
        return router.get(path).status_code
    except httpx.HTTPError:
        return None


def queues_silent() -> bool:
    """Whether a queue that was worked on is so no longer."""
    return any(age_s > SILENT_AFTER_S[queue] for queue, age_s in heartbeat_ages_s().items())


def incidents_note(found: Mapping[Part, bool | None], now: datetime) -> None:
    """Begin and end incidents by what was found. What is unknown changes nothing."""
    open_ones = {row.part: row for row in Incident.objects.filter(ended_at=None)}
    for part, works in found.items():
        row = open_ones.get(part)
        if works is False and row is None:
            Incident.objects.create(part=part, began_at=now)
        elif works and row is not None:
            if now - row.began_at < SHORTEST:
                row.delete()
            else:
                row.ended_at = now
                row.save(update_fields=["ended_at"])
    Incident.objects.filter(ended_at__lt=now - KEPT).delete()


def silence_note(since: datetime, now: datetime) -> None:
    """Nobody looked at anything: that background work was away is known once it is back."""
    Incident.objects.create(part=Part.JOBS, began_at=since, ended_at=now)
