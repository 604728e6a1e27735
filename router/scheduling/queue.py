"""The order in which waiting tickets are looked at.

Across tenants: start-time fair queueing on predicted work (Goyal, Vin and Cheng 1996), so one
tenant's burst makes that tenant wait, whatever priority it asks for. Inside a tenant: earliest
deadline first, where a ticket's deadline is its own, or its arrival plus its priority's target; so
batch work yields to interactive work and still never starves.

When more streams come than engines can serve, that order has everybody wait for the same long
time, and nobody is answered as soon as people expect. So a stream that still can be goes before
those that cannot any more, as adaptive LIFO does (Maurer, *Fail at Scale*, ACM Queue 2015). These
have what the others leave, and at least every twentieth of their tenant's turns.
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

FRESH_S = 0.4
"""A stream that has waited no longer can still begin within a second, as people expect: the rest is
for its prompt, behind those of others.
"""

LATE_TURNS = 20
"""Of so many turns of a tenant one is for a stream that is late, however many are not."""

LATE_SMOOTHING = 0.01


class Waiting:
    """A queued ticket, of so much ``work``. ``score`` is the best place that it was seen to have.

    It ``is_plain`` when a score is seconds that are at least those of the service, and late from
    ``late_s`` on: what is not streamed is not, by that measure, and batch work is in no haste.
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
        self.is_plain = ticket.sort is None and not ticket.prefix
        self.deadline_s = _deadline_s(ticket)
        self.late_s = late_from_s(ticket)
        self.work = slate.work(ticket)
        self.score = 0.0


class Line:
    """Tickets of one slate that nothing has room for: whoever is further back waits longer.

    Their places are not looked for one by one. What each can expect is what a fluid would: the work
    ahead of it over the rate of all, and then the fastest service, with what that costs those that
    run there. ``first`` is the first of them.
    """

    __slots__ = ("_ahead", "_rate", "_service_s")

    def __init__(self, usable: Sequence[EndpointState], first: Waiting) -> None:
        self._rate = sum(state.worker.model.limit / state.model.effective_s for state in usable)
        self._service_s = min(state.model.cost_s(first.ticket) for state in usable) / first.work
        self._ahead = 0.0

    def join(self, one: Waiting) -> float:
        """The score that the next in line can expect."""
        ticket = one.ticket
        wait_s = self._ahead / self._rate if self._rate else inf
        self._ahead += one.work
        return ticket.policy.wait_weight * wait_s + self._service_s * one.work


_deadline = attrgetter("deadline_s", "number")


class _Share:
    """What one tenant has waiting, earliest deadline first.

    ``start_tag`` is the virtual time at which its next ticket is due; ``work`` is by model.
    ``late_share`` is which share of its turns streams that are late have had lately.
    """

    __slots__ = ("_since_late", "late_share", "start_tag", "waiting", "work")

    def __init__(self, start_tag: float) -> None:
        self.start_tag = start_tag
        self.waiting: list[Waiting] = []
        self.work: dict[str, float] = {}
        self.late_share = 1.0
        self._since_late = 0

    def in_order(self, now_s: float) -> list[Waiting]:
        """A copy, with those that are late behind the others, but for one whose turn it is."""
        late = [one for one in self.waiting if one.late_s <= now_s]
        if not late:
            return self.waiting.copy()
        fresh = [one for one in self.waiting if one.late_s > now_s]
        first = 1 if self._since_late >= LATE_TURNS - 1 else 0
        return late[:first] + fresh + late[first:]

    def served(self, one: Waiting, now_s: float) -> None:
        """It had its turn."""
        self.start_tag += one.work
        is_late = one.late_s <= now_s
        self._since_late = 0 if is_late else self._since_late + 1
        self.late_share += LATE_SMOOTHING * (is_late - self.late_share)


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
        """The order, where nobody is late; the queue may be changed meanwhile."""
        return self.in_order(-inf)

    def in_order(self, now_s: float) -> Iterator[Waiting]:
        """The order at this moment; the queue may be changed meanwhile."""
        busy = [share for share in self._shares.values() if share.waiting]
        if len(busy) == 1:
            return iter(busy[0].in_order(now_s))
        return _in_turn([(share.start_tag, share.in_order(now_s)) for share in busy])

    @property
    def is_shared(self) -> bool:
        """Whether several tenants wait."""
        return sum(bool(share.waiting) for share in self._shares.values()) > 1

    def peers(self, ticket: Ticket) -> Sequence[Waiting]:
        """Everything that its tenant has waiting, in order."""
        share = self._shares.get(ticket.tenant)
        return share.waiting if share is not None else ()

    def work_ahead(self, ticket: Ticket, work: float) -> float:
        """Work of its model that would go before this ticket, of so much work, if it waited too.

        Of its own tenant what has an earlier deadline; of every other as much again at most.
        """
        share = self._shares.get(ticket.tenant)
        own = 0.0
        if share is not None and share.waiting:
            before = bisect(share.waiting, (_deadline_s(ticket), inf), key=_deadline)
            own = share.work.get(ticket.model, 0.0) * before / len(share.waiting)
        return own + self._of_others(ticket, own + work)

    def work_ahead_in_time(self, ticket: Ticket, work: float, now_s: float) -> float:
        """The same of a stream, as long as neither it nor what goes before it is late."""
        share = self._shares.get(ticket.tenant)
        own = 0.0
        if share is not None:
            own = sum(one.work for one in share.waiting if one.late_s > now_s)
        return own + self._of_others(ticket, own + work)

    def late_share(self, tenant: int) -> float:
        """Which share of a tenant's turns its late streams can expect."""
        share = self._shares.get(tenant)
        return max(share.late_share, 1 / LATE_TURNS) if share is not None else 1.0

    def _of_others(self, ticket: Ticket, most: float) -> float:
        """Work of other tenants that goes before, where each may do so much before it."""
        own = self._shares.get(ticket.tenant)
        others = (one.work.get(ticket.model, 0.0) for one in self._shares.values() if one != own)
        return sum(min(work, most) for work in others)

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
            work[ticket.model] = work.get(ticket.model, 0.0) + made.work
        return made

    def remove(self, ticket: Ticket, now_s: float = -inf, *, served: bool = True) -> bool:
        """Take a ticket out, which its tenant had its turn for, at ``now_s``, if ``served``.

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
            share.served(one, now_s)
        for work in (self.work, share.work):
            left = work[ticket.model] - one.work
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


def late_from_s(ticket: Ticket) -> float:
    """From when on a stream cannot begin as soon as people expect. Who gave a deadline of its own
    has said what it expects.
    """
    if not ticket.streams or ticket.deadline_s < inf:
        return inf
    return -inf if ticket.priority is Priority.BATCH else ticket.arrived_s + FRESH_S


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
            tag += one.work
            heapq.heapreplace(heap, (tag, *_deadline(line[place]), place, line))
        else:
            heapq.heappop(heap)
