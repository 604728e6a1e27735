"""The order in which waiting tickets are looked at.

Across priorities: earliest deadline first, where a ticket's deadline is its own, or its arrival
plus its priority's target; so batch work yields to interactive work and still never starves.
Inside a priority: start-time fair queueing across tenants on predicted work (Goyal, Vin and Cheng
1996), so one tenant's burst makes that tenant wait.
"""

import heapq
from bisect import insort
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
        "start_tag",
        "ticket",
    )

    def __init__(self, ticket: Ticket, slate: Slate, number: int, start_tag: float) -> None:
        self.ticket = ticket
        self.slate = slate
        self.number = number
        self.is_waiting = True
        self.is_plain = ticket.sort is None and not ticket.prefix
        self.start_tag = start_tag
        self.deadline_s = min(ticket.deadline_s, ticket.arrived_s + TARGET_S[ticket.priority])
        self.score = 0.0


class Line:
    """Tickets of one slate that nothing has room for: whoever is further back waits longer.

    Their places are not looked for one by one. What each can expect is what a fluid would: the work
    ahead of it over the rate of all, and then the fastest service.
    """

    __slots__ = ("_ahead", "_rate", "_service_s")

    def __init__(self, usable: Sequence[EndpointState]) -> None:
        self._rate = sum(state.worker.limit / state.effective_s for state in usable)
        self._service_s = min(state.effective_s for state in usable)
        self._ahead = 0.0

    def join(self, ticket: Ticket) -> float:
        """The score that the next in line can expect."""
        wait_s = self._ahead / self._rate if self._rate else inf
        self._ahead += ticket.work
        return ticket.policy.wait_weight * wait_s + self._service_s * ticket.work


_fair = attrgetter("start_tag", "number")
_deadline = attrgetter("deadline_s")


class _FairShare:
    """The tickets of one priority, in fair order."""

    __slots__ = ("_finish_tags", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Waiting] = []
        self._finish_tags: dict[int, float] = {}

    def add(self, ticket: Ticket, slate: Slate, number: int) -> Waiting:
        virtual_time = self.waiting[0].start_tag if self.waiting else 0.0
        start_tag = max(virtual_time, self._finish_tags.get(ticket.tenant, 0.0))
        self._finish_tags[ticket.tenant] = start_tag + ticket.work
        made = Waiting(ticket, slate, number, start_tag)
        insort(self.waiting, made, key=_fair)
        return made

    def remove(self, one: Waiting) -> None:
        self.waiting.remove(one)
        if not self.waiting:
            self._finish_tags.clear()  # The busy period is over: nobody owes anybody.


class Queue:
    """See the module. Iterates in order; ``work`` is predicted work waiting, by model."""

    def __init__(self) -> None:
        self._shares = {priority: _FairShare() for priority in Priority}
        self._by_id: dict[str, Waiting] = {}
        self._added = 0
        self.is_empty = True
        self.work: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Waiting]:
        """The order at this moment; the queue may be changed meanwhile."""
        busy = [share.waiting for share in self._shares.values() if share.waiting]
        if len(busy) == 1:
            return iter(busy[0].copy())
        return iter(list(heapq.merge(*busy, key=_deadline)))

    def peers(self, ticket: Ticket) -> Sequence[Waiting]:
        """Everything of its priority, in fair order."""
        return self._shares[ticket.priority].waiting

    def add(self, ticket: Ticket, slate: Slate) -> Waiting:
        """Queue a ticket."""
        self._added += 1
        made = self._shares[ticket.priority].add(ticket, slate, self._added)
        self._by_id[ticket.id] = made
        self.is_empty = False
        self.work[ticket.model] = self.work.get(ticket.model, 0.0) + ticket.work
        return made

    def remove(self, ticket: Ticket) -> bool:
        """Take a ticket out; False when it is not waiting."""
        one = self._by_id.pop(ticket.id, None)
        if one is None:
            return False
        one.is_waiting = False
        self.is_empty = not self._by_id
        self._shares[ticket.priority].remove(one)
        left = self.work[ticket.model] - ticket.work
        if left > 1e-9:
            self.work[ticket.model] = left
        else:
            del self.work[ticket.model]
        return True
