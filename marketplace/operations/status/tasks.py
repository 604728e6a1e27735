"""Looks at the parts that the public page tells of."""

import httpx
from django.conf import settings
from django.utils import timezone

from marketplace.operations.status.watching import incidents_note, parts_looked_at
from marketplace.shared.jobs.periodic import Queue, every

TIMEOUT_S = 3.0


@every(30.0, queue=Queue.CONTROL)
def look_at_parts() -> None:
    """Begin and end incidents."""
    url = settings.WAYPOST_ROUTER_URL
    with httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False) as router:
        found = parts_looked_at(router)
    incidents_note(found, timezone.now())
