"""Who goes first when waits grow long.

Tickets go by arrival, which is enough while waits are short. Under pressure that order makes all of
them late alike. So among one tenant's requests of one priority:

1. Of two that are still on time, the shorter one goes first (shortest job first with aging:
   predicted work of 1 is worth ``AGING`` of waiting).
2. A late one makes way for those that can still be on time, as in adaptive LIFO (Maurer, *Fail at
   Scale*, ACM Queue 2015). Once it is ``FIRST`` services old, it goes before all.

This only changes who takes a place, never which places are taken. So a ticket with a wish of its
own takes no place that was found for another, and leaves its own to none.

Streams have their own order (:mod:`router.scheduling.waiting.queue`). :func:`who_cannot_wait` adds
that no stream waits for a better place until it is late, or while streams of another tenant pass it
again and again.
"""

from collections.abc import Iterator, Sequence

from router.scheduling.fleet.worker import EndpointState
from router.scheduling.ticket import Ticket
from router.scheduling.waiting.queue import QueuedTicket

PRESSURE = 0.5
LATE = 1.5
FIRST = 6.0
"""Ages, in mean services of a busy fleet."""

URGENT_S = 0.15
"""A stream that has waited this long does not wait for a better place."""

AGING = 1.0
LOOKED_AT_MAX = 256


def whose_turn(
    queued: QueuedTicket,
    peers: Sequence[QueuedTicket],
    state: EndpointState,
    service_s: float,
    now_s: float,
) -> QueuedTicket:
    """The peer that takes the place found for ``queued`` at ``state``; most often that one itself.

    ``peers`` are its tenant's waiting tickets. ``service_s`` is the busy fleet's mean service.
    """
    age_s = now_s - queued.ticket.arrived_s
    if not PRESSURE * service_s < age_s < FIRST * service_s:
        return queued
    late_before_s = now_s - LATE * service_s
    best, best_key = queued, _key(queued, late_before_s, service_s)
    priority, slate = queued.ticket.priority, queued.slate
    for other in peers[:LOOKED_AT_MAX]:
        if other.slate is slate and other.ticket.priority is priority:
            key = _key(other, late_before_s, service_s)
            if key < best_key and _may_take(other.ticket, queued.ticket, state):
                best, best_key = other, key
    return best


def _key(queued: QueuedTicket, late_before_s: float, service_s: float) -> tuple[bool, float]:
    ticket = queued.ticket
    return ticket.arrived_s < late_before_s, ticket.arrived_s + AGING * service_s * ticket.work


def _may_take(other: Ticket, ticket: Ticket, state: EndpointState) -> bool:
    """Whether a ticket may take the place that was found for another.

    Where it has failed, or the place is worth less to it (``penalty_s``), it may not. And which
    place fits a wish (``sort``), or a batch that leaves room for others, was found for that alone.
    """
    return (
        other.sort is None
        and ticket.sort is None
        and other.yields is ticket.yields
        and state.worker.id not in other.excluded
        and (
            not other.penalty_s
            or other.penalty_s.get(state.id, 0.0) <= ticket.penalty_s.get(state.id, 0.0)
        )
    )


def who_cannot_wait(
    queued: QueuedTicket, before: Sequence[QueuedTicket], state: EndpointState, now_s: float
) -> Iterator[QueuedTicket]:
    """The streams that may take the place found for ``queued`` at ``state`` instead, in order.

    ``before`` are the streams ahead of it, which wait for better places. Those of other tenants
    may take this one. Those of its own tenant may if exactly one of the two is late. All of them
    have waited at least ``URGENT_S``.
    """
    tenant, is_late = queued.ticket.tenant, queued.late_s <= now_s
    for other in before:
        ticket = other.ticket
        if (
            (ticket.tenant != tenant or (other.late_s <= now_s) is not is_late)
            and now_s - ticket.arrived_s >= URGENT_S
            and other.is_waiting
            and other.slate is queued.slate
            and _may_take(ticket, queued.ticket, state)
        ):
            yield other
