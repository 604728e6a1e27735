"""The order in which waiting tickets are looked at.

Across tenants: start-time fair queueing on predicted work (Goyal, Vin and Cheng 1996). A tenant's
burst makes that tenant wait, whatever priority it asks for. Inside a tenant: earliest deadline
first. A ticket's deadline is its own, or its arrival plus its priority's target. So batch work
yields to interactive work and still never starves.

If more streams come than engines can serve, that order makes all of them wait equally long, and
none is answered as soon as people expect. So a stream that still can be goes before those that are
too late, as in adaptive LIFO (Maurer, *Fail at Scale*, ACM Queue 2015). Late streams get what is
left, and at least every twentieth of their tenant's turns.
"""

import heapq
from bisect import bisect, bisect_left, insort
from collections import Counter
from collections.abc import Iterator, Sequence
from math import inf
from operator import attrgetter

from router.domain.request import Priority
from router.scheduling.fleet.fleet import Slate
from router.scheduling.ticket import Ticket

TARGET_S = {Priority.INTERACTIVE: 1.0, Priority.STANDARD: 5.0, Priority.BATCH: 60.0}
"""How soon a request of each priority wants its answer, unless it says so itself."""

FRESH_S = 0.4
"""A stream that has waited no longer can still begin within a second, as people expect. The rest of
the second is for its prompt, behind other prompts.
"""

LATE_TURNS = 20
"""One in this many turns of a tenant is for a late stream, however many are not late."""

LATE_SMOOTHING = 0.01


class QueuedTicket:
    """A ticket that waits, with its ``work``. ``score`` is that of the best place found for it.

    It ``is_plain`` if its score is in seconds and at least what it costs where its whole prompt is
    cached. It is late from ``late_s`` on: never if it is not streamed or has its own deadline,
    always if it is batch work.
    """

    __slots__ = (
        "deadline_s",
        "is_plain",
        "is_waiting",
        "late_s",
        "number",
        "score",
        "slate",
        "ticket",
        "work",
    )

    def __init__(self, ticket: Ticket, slate: Slate, number: int) -> None:
        self.ticket = ticket
        self.slate = slate
        self.number = number
        self.is_waiting = True
        self.is_plain = ticket.sort is None and not ticket.policy.weights
        self.deadline_s = _deadline_s(ticket)
        self.late_s = late_from_s(ticket)
        self.work = slate.work(ticket)
        self.score = 0.0


_deadline = attrgetter("deadline_s", "number")


class _Share:
    """The waiting tickets of one tenant, earliest deadline first.

    ``start_tag`` is the virtual time at which its next ticket is due. ``work`` and ``counts`` of
    tickets are by model.
    ``late_share`` is the share of its latest turns that went to late streams.
    """

    __slots__ = ("_since_late", "counts", "late_share", "start_tag", "waiting", "work")

    def __init__(self, start_tag: float) -> None:
        self.start_tag = start_tag
        self.waiting: list[QueuedTicket] = []
        self.work: dict[str, float] = {}
        self.counts: Counter[str] = Counter()
        self.late_share = 1.0
        self._since_late = 0

    def in_order(self, now_s: float) -> list[QueuedTicket]:
        """A copy, with late tickets behind the others, except one if it is their turn."""
        late = [queued for queued in self.waiting if queued.late_s <= now_s]
        if not late:
            return self.waiting.copy()
        fresh = [queued for queued in self.waiting if queued.late_s > now_s]
        first = 1 if self._since_late >= LATE_TURNS - 1 else 0
        return late[:first] + fresh + late[first:]

    def served(self, queued: QueuedTicket, now_s: float) -> None:
        """A ticket had its turn."""
        self.start_tag += queued.work
        is_late = queued.late_s <= now_s
        self._since_late = 0 if is_late else self._since_late + 1
        self.late_share += LATE_SMOOTHING * (is_late - self.late_share)


class Queue:
    """See the module. Iterates in order; ``work`` is predicted work waiting, by model."""

    def __init__(self) -> None:
        self._shares: dict[int, _Share] = {}
        self._by_id: dict[str, QueuedTicket] = {}
        self._added = 0
        self.is_empty = True
        self.work: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[QueuedTicket]:
        """The order if no ticket were late; the queue may change meanwhile."""
        return self.in_order(-inf)

    def in_order(self, now_s: float) -> Iterator[QueuedTicket]:
        """The order at this moment; the queue may change meanwhile."""
        busy = [share for share in self._shares.values() if share.waiting]
        if len(busy) == 1:
            return iter(busy[0].in_order(now_s))
        return _in_turn([(share.start_tag, share.in_order(now_s)) for share in busy])

    @property
    def is_shared(self) -> bool:
        """Whether several tenants wait."""
        return sum(bool(share.waiting) for share in self._shares.values()) > 1

    def peers(self, ticket: Ticket) -> Sequence[QueuedTicket]:
        """All waiting tickets of this ticket's tenant, in order."""
        share = self._shares.get(ticket.tenant)
        return share.waiting if share is not None else ()

    def work_ahead(self, ticket: Ticket, work: float) -> float:
        """Work of its model that would go before this ticket if it waited too.

        ``work`` is the ticket's own. Its tenant's tickets with an earlier deadline count, and of
        every other tenant at most as much work again.
        """
        share = self._shares.get(ticket.tenant)
        own = 0.0
        if share is not None and share.waiting:
            before = bisect(share.waiting, (_deadline_s(ticket), inf), key=_deadline)
            own = share.work.get(ticket.model, 0.0) * before / len(share.waiting)
        return own + self._of_others(ticket, own + work)

    def work_ahead_in_time(self, ticket: Ticket, work: float, now_s: float) -> float:
        """The same for a stream, as long as neither it nor the tickets before it are late."""
        share = self._shares.get(ticket.tenant)
        own = 0.0
        if share is not None:
            own = sum([queued.work for queued in share.waiting if queued.late_s > now_s])
        return own + self._of_others(ticket, own + work)

    def ahead(self, ticket: Ticket) -> tuple[int, float] | None:
        """Tickets of its model, and their work, that go before a waiting ticket as things are now.

        None if it does not wait. About as :meth:`work_ahead`, and as cheap.
        """
        queued = self._by_id.get(ticket.id)
        if queued is None:
            return None
        model, share = ticket.model, self._shares[ticket.tenant]
        before = bisect_left(share.waiting, _deadline(queued), key=_deadline) / len(share.waiting)
        tickets = round(share.counts[model] * before)
        work = share.work[model] * before
        others = [other for other in self._shares.values() if other is not share]
        return (
            tickets + sum(min(other.counts[model], tickets + 1) for other in others),
            work + self._of_others(ticket, work + queued.work),
        )

    def late_share(self, tenant: int) -> float:
        """The share of a tenant's turns that its late streams can expect."""
        share = self._shares.get(tenant)
        return max(share.late_share, 1 / LATE_TURNS) if share is not None else 1.0

    def _of_others(self, ticket: Ticket, most: float) -> float:
        """Work of other tenants that goes before this ticket, at most ``most`` for each."""
        own = self._shares.get(ticket.tenant)
        others = (
            share.work.get(ticket.model, 0.0) for share in self._shares.values() if share != own
        )
        return sum(min(work, most) for work in others)

    def add(self, ticket: Ticket, slate: Slate) -> QueuedTicket:
        """Queue a ticket."""
        self._added += 1
        made = QueuedTicket(ticket, slate, self._added)
        share = self._shares.get(ticket.tenant)
        if share is None or not share.waiting:
            share = self._begin(ticket.tenant)
        insort(share.waiting, made, key=_deadline)
        share.counts[ticket.model] += 1
        self._by_id[ticket.id] = made
        self.is_empty = False
        for work in (self.work, share.work):
            work[ticket.model] = work.get(ticket.model, 0.0) + made.work
        return made

    def remove(self, ticket: Ticket, now_s: float = -inf, *, served: bool = True) -> bool:
        """Take a ticket out. ``served`` means that this was a turn of its tenant, at ``now_s``.

        False if it is not waiting.
        """
        queued = self._by_id.pop(ticket.id, None)
        if queued is None:
            return False
        queued.is_waiting = False
        ticket = queued.ticket
        share = self._shares[ticket.tenant]
        share.waiting.remove(queued)
        share.counts[ticket.model] -= 1
        if served:
            share.served(queued, now_s)
        for work in (self.work, share.work):
            left = work[ticket.model] - queued.work
            if left > 1e-9:
                work[ticket.model] = left
            else:
                del work[ticket.model]
        self.is_empty = not self._by_id
        if self.is_empty:
            self._shares.clear()  # The busy period is over: no tenant owes anything.
        return True

    def _begin(self, tenant: int) -> _Share:
        """The share of a tenant that had nothing waiting, without credit for that time.

        It still owes what it got beyond its share. Tenants that owe nothing are forgotten.
        """
        virtual_time = min(
            (share.start_tag for share in self._shares.values() if share.waiting), default=0.0
        )
        self._shares = {
            tenant_id: share
            for tenant_id, share in self._shares.items()
            if share.waiting or share.start_tag > virtual_time
        }
        return self._shares.setdefault(tenant, _Share(virtual_time))


def _deadline_s(ticket: Ticket) -> float:
    return min(ticket.deadline_s, ticket.arrived_s + TARGET_S[ticket.priority])


def late_from_s(ticket: Ticket) -> float:
    """When a stream becomes too late to begin as soon as people expect.

    Never if it has its own deadline, which says what its client expects.
    """
    if not ticket.streams or ticket.deadline_s < inf:
        return inf
    return -inf if ticket.priority is Priority.BATCH else ticket.arrived_s + FRESH_S


def _in_turn(lines: list[tuple[float, list[QueuedTicket]]]) -> Iterator[QueuedTicket]:
    """The tickets of several tenants by start tag; on a tie, the earlier deadline goes first."""
    heap = [(tag, *_deadline(line[0]), 0, line) for tag, line in lines]
    heapq.heapify(heap)
    while heap:
        tag, _, _, place, line = heap[0]
        queued = line[place]
        yield queued
        place += 1
        if place < len(line):
            tag += queued.work
            heapq.heapreplace(heap, (tag, *_deadline(line[place]), place, line))
        else:
            heapq.heappop(heap)
