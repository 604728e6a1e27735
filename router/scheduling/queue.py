"""The order in which waiting tickets are looked at.

Across tenants: start-time fair queueing on predicted work (Goyal, Vin and Cheng 1996), so one
tenant's burst makes that tenant wait, whatever priority it asks for. Inside a tenant: earliest
deadline first, where a ticket's deadline is its own, or its arrival plus its priority's target; so
batch work yields to interactive work and still never starves.
"""

import heapq
from bisect import bisect, insort
from collections.abc import Iterator, Sequence
from math import inf
from operator import attrgetter

from router.domain.request import Priority
from router.scheduling.fleet import EndpointState, Slate
from router.scheduling.ticket import Ticket

TARGET_S = {Priority.INTERACTIVE: 1.0, Priority.STANDARD: 5.0, Priority.BATCH: 60.0}
"""How soon a request of a priority wants its answer when it does not say so itself."""


class Waiting:
    """A queued ticket. ``score`` is the best place that it was seen to have.

    It ``is_plain`` when a score is seconds that are at least those of the service.
    """

    __slots__ = (
        "deadline_s",
        "is_plain",
        "is_waiting",
        "number",
        "score",
        "slate",
        "ticket",
    )

    def __init__(self, ticket: Ticket, slate: Slate, number: int) -> None:
        self.ticket = ticket
        self.slate = slate
        self.number = number
        self.is_waiting = True
        self.is_plain = ticket.sort is None and not ticket.prefix
        self.deadline_s = _deadline_s(ticket)
        self.score = 0.0


class Line:
    """Tickets of one slate that nothing has room for: whoever is further back waits longer.

    Their places are not looked for one by one. What each can expect is what a fluid would: the work
    ahead of it over the rate of all, and then the fastest service.
    """

    __slots__ = ("_ahead", "_rate", "_service_s")

    def __init__(self, usable: Sequence[EndpointState]) -> None:
        self._rate = sum(state.worker.model.limit / state.model.effective_s for state in usable)
        self._service_s = min(state.model.effective_s for state in usable)
        self._ahead = 0.0

    def join(self, ticket: Ticket) -> float:
        """The score that the next in line can expect."""
        wait_s = self._ahead / self._rate if self._rate else inf
        self._ahead += ticket.work
        return ticket.policy.wait_weight * wait_s + self._service_s * ticket.work


_deadline = attrgetter("deadline_s", "number")


class _Share:
    """What one tenant has waiting, earliest deadline first.

    ``start_tag`` is the virtual time at which its next ticket is due; ``work`` is by model.
    """

    __slots__ = ("start_tag", "waiting", "work")

    def __init__(self, start_tag: float) -> None:
        self.start_tag = start_tag
        self.waiting: list[Waiting] = []
        self.work: dict[str, float] = {}


class Queue:
    """See the module. Iterates in order; ``work`` is predicted work waiting, by model."""

    def __init__(self) -> None:
        self._shares: dict[int, _Share] = {}
        self._by_id: dict[str, Waiting] = {}
        self._added = 0
        self.is_empty = True
        self.work: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Waiting]:
        """The order at this moment; the queue may be changed meanwhile."""
        busy = [share for share in self._shares.values() if share.waiting]
        if len(busy) == 1:
            return iter(busy[0].waiting.copy())
        return _in_turn([(share.start_tag, share.waiting.copy()) for share in busy])

    @property
    def is_shared(self) -> bool:
        """Whether several tenants wait."""
        return sum(bool(share.waiting) for share in self._shares.values()) > 1

    def peers(self, ticket: Ticket) -> Sequence[Waiting]:
        """Everything that its tenant has waiting, in order."""
        share = self._shares.get(ticket.tenant)
        return share.waiting if share is not None else ()

    def work_ahead(self, ticket: Ticket) -> float:
        """Work of its model that would go before this ticket if it waited too.

        Of its own tenant what has an earlier deadline; of every other as much again at most.
        """
        share = self._shares.get(ticket.tenant)
        own = 0.0
        if share is not None and share.waiting:
            before = bisect(share.waiting, (_deadline_s(ticket), inf), key=_deadline)
            own = share.work.get(ticket.model, 0.0) * before / len(share.waiting)
        turn = own + ticket.work
        others = (one.work.get(ticket.model, 0.0) for one in self._shares.values() if one != share)
        return own + sum(min(work, turn) for work in others)

    def add(self, ticket: Ticket, slate: Slate) -> Waiting:
        """Queue a ticket."""
        self._added += 1
        made = Waiting(ticket, slate, self._added)
        share = self._shares.get(ticket.tenant)
        if share is None or not share.waiting:
            share = self._begin(ticket.tenant)
        insort(share.waiting, made, key=_deadline)
        self._by_id[ticket.id] = made
        self.is_empty = False
        for work in (self.work, share.work):
            work[ticket.model] = work.get(ticket.model, 0.0) + ticket.work
        return made

    def remove(self, ticket: Ticket, *, served: bool = True) -> bool:
        """Take a ticket out, which its tenant had its turn for if ``served``.

        False when it is not waiting.
        """
        one = self._by_id.pop(ticket.id, None)
        if one is None:
            return False
        one.is_waiting = False
        ticket = one.ticket
        share = self._shares[ticket.tenant]
        share.waiting.remove(one)
        if served:
            share.start_tag += ticket.work
        for work in (self.work, share.work):
            left = work[ticket.model] - ticket.work
            if left > 1e-9:
                work[ticket.model] = left
            else:
                del work[ticket.model]
        self.is_empty = not self._by_id
        if self.is_empty:
            self._shares.clear()  # The busy period is over: nobody owes anybody.
        return True

    def _begin(self, tenant: int) -> _Share:
        """The share of a tenant that had nothing waiting: it is not owed for the time before.

        It still owes what it had beyond its share. Who owes nothing is forgotten.
        """
        virtual_time = min((s.start_tag for s in self._shares.values() if s.waiting), default=0.0)
        self._shares = {
            one: share
            for one, share in self._shares.items()
            if share.waiting or share.start_tag > virtual_time
        }
        return self._shares.setdefault(tenant, _Share(virtual_time))


def _deadline_s(ticket: Ticket) -> float:
    return min(ticket.deadline_s, ticket.arrived_s + TARGET_S[ticket.priority])


def _in_turn(lines: list[tuple[float, list[Waiting]]]) -> Iterator[Waiting]:
    """Tickets of several tenants, each with its start tag; of equal ones the earlier deadline."""
    heap = [(tag, *_deadline(line[0]), 0, line) for tag, line in lines]
    heapq.heapify(heap)
    while heap:
        tag, _, _, place, line = heap[0]
        one = line[place]
        yield one
        place += 1
        if place < len(line):
            tag += one.ticket.work
            heapq.heapreplace(heap, (tag, *_deadline(line[place]), place, line))
        else:
            heapq.heappop(heap)
