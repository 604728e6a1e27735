"""Where waiting tickets stand, for those who wait."""

from collections.abc import Sequence

from msgspec import Struct

from router.scheduling.fleet.fleet import Slate
from router.scheduling.fleet.worker import EndpointState
from router.scheduling.ticket import Ticket
from router.scheduling.waiting.queue import Queue


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
        eta_s = _eta_s(work + queued.work, queued.slate.usable(ticket.excluded))
        found[ticket.id] = Standing(place + 1, eta_s, ticket.model, ticket.tenant)
    return found


def standing_of(queue: Queue, slate: Slate, ticket: Ticket) -> Standing | None:
    """About the same of one ticket that has just come, without a look at each of the others."""
    ahead = queue.ahead(ticket)
    if ahead is None:
        return None
    tickets, work = ahead
    eta_s = _eta_s(work + slate.work(ticket), slate.usable(ticket.excluded))
    return Standing(tickets + 1, eta_s, ticket.model, ticket.tenant)


def _eta_s(work: float, usable: Sequence[EndpointState]) -> float:
    """Seconds until this much has passed through the endpoints that are waited for.

    One with room is not: who waits expects to be done sooner elsewhere.
    """
    rate = sum(
        state.worker.model.limit / state.model.effective_s
        for state in usable
        if not state.worker.model.has_room
    )
    return work / rate if rate else 0.0
