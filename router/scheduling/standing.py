"""Where waiting tickets stand, for those who wait."""

from msgspec import Struct

from router.scheduling.admission import wait_s
from router.scheduling.queue import Queue


class Standing(Struct, frozen=True, gc=False):
    """``place`` counts from 1 among those of its model. ``eta_s`` is until its worker begins."""

    place: int
    eta_s: float
    model: str
    tenant: int


def standings(queue: Queue, now_s: float) -> dict[str, Standing]:
    """The standing of every waiting ticket, by its id.

    A ticket waits for the work ahead of it, and then, as no worker has room, for about as long as
    its own work takes all of them.
    """
    found: dict[str, Standing] = {}
    ahead: dict[str, tuple[int, float]] = {}
    for queued in queue.in_order(now_s):
        ticket = queued.ticket
        place, work = ahead.get(ticket.model, (0, 0.0))
        ahead[ticket.model] = place + 1, work + queued.work
        eta_s = wait_s(work + queued.work, queued.slate.usable(ticket.excluded))
        found[ticket.id] = Standing(place + 1, eta_s, ticket.model, ticket.tenant)
    return found
