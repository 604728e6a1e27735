"""When to send a late request to a second worker as well.

Hedged requests (Dean and Barroso, *The Tail at Scale*, 2013) under a budget, and only while no
request waits: a copy must never take a slot that a waiting request needs. Hedging does little
against stragglers, but it saves the requests on a worker that hangs.
"""

import heapq
from collections.abc import Iterable, Sequence
from math import inf

from router.domain.request import Priority
from router.scheduling.fleet.worker import Attempt, EndpointState
from router.scheduling.ticket import Ticket
from router.scheduling.worker_models.engine import guessed_s

LATE = 3.0
"""A request is late when it is this many times older than its expected service."""

LATE_AGAIN = 0.5
"""If nothing could be done about a late request, look again after this many services."""

GAIN = 0.7
"""A copy must be expected to take less than this share of what the first has already taken."""

PATIENCE_MIN_S = 0.02
"""Below this, lateness is noise of the machine."""

PATIENCE_UNKNOWN_S = 2.0
"""The patience with an endpoint that was never measured: only a hang takes this long. A generation
gets more if a typical engine would take longer.
"""


class HedgeClock:
    """The running attempts, by when they become late."""

    __slots__ = ("_due",)

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Attempt]] = []

    def watch(
        self, attempt: Attempt, now_s: float, *, again: bool = False, patience_s: float = 0.0
    ) -> None:
        """Report this attempt once it is late, counting from ``now_s``, or soon if ``again``."""
        if not patience_s:
            run = attempt.run
            rounds = LATE_AGAIN if again else 2 * LATE if run.waiting else LATE
            expected_s, least_s = run.expected_s, PATIENCE_MIN_S
            if attempt.endpoint.estimate.is_guess:
                expected_s = max(expected_s, guessed_s(attempt.ticket))
                least_s = PATIENCE_UNKNOWN_S
            patience_s = max(rounds * expected_s, least_s)
        heapq.heappush(self._due, (now_s + patience_s, attempt.id, attempt))

    def due_s(self) -> float:
        """When the next attempt may become late; infinite if none runs."""
        due = self._due
        while due and due[0][2].id not in due[0][2].endpoint.worker.inflight:
            heapq.heappop(due)
        return due[0][0] if due else inf

    def late(self, now_s: float) -> list[Attempt]:
        """Take out the attempts that are late now."""
        late: list[Attempt] = []
        while self.due_s() <= now_s:
            late.append(heapq.heappop(self._due)[2])
        return late


def batch_patience_s(ticket: Ticket, usable: Sequence[EndpointState]) -> float:
    """How long a call of a batch runs before a copy is looked for; 0 for other calls.

    It is measured by the fastest worker, not by the one that it runs on: a batch is over with its
    last call, and a worker that is known to be slow still holds all of it up. Nothing waits as a
    copy is sent, so it costs what is idle, and the batch pays for one answer.
    """
    if ticket.priority is not Priority.BATCH or len(usable) < 2:
        return 0.0
    known_s = [state.service_s(ticket) for state in usable if not state.estimate.is_guess]
    return max(LATE * min(known_s), PATIENCE_MIN_S) if known_s else 0.0


def second_place(
    attempt: Attempt, usable: Iterable[EndpointState], now_s: float
) -> EndpointState | None:
    """The free endpoint on another worker that would answer soonest, if it is worth a copy."""
    worker = attempt.endpoint.worker
    free = [state for state in usable if state.worker is not worker and state.worker.free_slots > 0]
    if not free:
        return None
    ticket = attempt.ticket
    best = min(free, key=lambda state: state.service_s(ticket))
    age_s = now_s - attempt.dispatched_s
    return best if best.service_s(ticket) < GAIN * age_s else None
