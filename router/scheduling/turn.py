"""Who goes first when waits grow long.

The order is by arrival, and while waits are short that is all there is to it. Under pressure it
makes everybody late alike, so inside one tenant's requests of one priority:

- the shorter of two that are still on time goes first (shortest job first with aging, so that
  predicted work of 1 is worth ``AGING`` of waiting);
- one that is late already makes way for those that can still be on time, as adaptive LIFO does
  (Maurer, *Fail at Scale*, ACM Queue 2015), until it is ``FIRST`` services old and goes before all.

It only changes who takes a place, never which places are taken.

Streams have an order of their own (:mod:`router.scheduling.queue`). What :func:`who_cannot_wait`
adds is that none of them waits for a better place until it is late, or while those of another
tenant pass it again and again.
"""

from collections.abc import Iterator, Sequence

from router.scheduling.queue import Waiting

PRESSURE = 0.5
LATE = 1.5
FIRST = 6.0
"""Ages, in mean services of a busy fleet."""

URGENT_S = 0.15
"""A stream that has waited so long does not wait for a better place."""

AGING = 1.0
LOOKED_AT_MAX = 256


def whose_turn(
    one: Waiting, peers: Sequence[Waiting], worker_id: str, service_s: float, now_s: float
) -> Waiting:
    """Which of its peers takes the place that ``one`` has been found; itself most of the time.

    ``peers`` are what its tenant has waiting; ``service_s`` is the mean service of the busy fleet.
    """
    age_s = now_s - one.ticket.arrived_s
    if not PRESSURE * service_s < age_s < FIRST * service_s:
        return one
    late_before_s = now_s - LATE * service_s
    best, best_key = one, _key(one, late_before_s, service_s)
    priority, slate = one.ticket.priority, one.slate
    for other in peers[:LOOKED_AT_MAX]:
        if other.slate is slate and other.ticket.priority is priority:
            key = _key(other, late_before_s, service_s)
            if key < best_key and worker_id not in other.ticket.excluded:
                best, best_key = other, key
    return best


def _key(one: Waiting, late_before_s: float, service_s: float) -> tuple[bool, float]:
    ticket = one.ticket
    return ticket.arrived_s < late_before_s, ticket.arrived_s + AGING * service_s * ticket.work


def who_cannot_wait(
    one: Waiting, before: Sequence[Waiting], worker_id: str, now_s: float
) -> Iterator[Waiting]:
    """Who may take the place that ``one`` has been found instead, in order: of the streams
    ``before`` it, which wait for better ones, those of other tenants, and of its own those that are
    not late as it is, or are late as it is not: it is their turn.
    """
    tenant, is_late = one.ticket.tenant, one.late_s <= now_s
    for other in before:
        ticket = other.ticket
        if (
            (ticket.tenant != tenant or (other.late_s <= now_s) is not is_late)
            and now_s - ticket.arrived_s >= URGENT_S
            and other.is_waiting
            and other.slate is one.slate
            and worker_id not in ticket.excluded
        ):
            yield other
