"""Refuses a request early if it could only be answered too late.

A request that will miss its deadline is better refused at once, with an honest time to come back,
than after a wait (load shedding, as in Google's *Site Reliability Engineering*, chapter 21). Its
client can go elsewhere, and the requests behind it do not wait for nothing.
"""

from collections.abc import Sequence
from math import inf

from router.scheduling.decisions import Reject, RejectReason
from router.scheduling.fleet.fleet import Slate, drain_hz
from router.scheduling.fleet.worker import EndpointState
from router.scheduling.ticket import Ticket
from router.scheduling.waiting.queue import Queue, QueuedTicket, late_from_s

RETRY_AFTER_MIN_S = 0.1
NOTHING_RETRY_S = 1.0
OWN_PER_FREE = 4


def may_wait(own: int, waiting: int, waiting_max: int) -> bool:
    """Whether a tenant with ``own`` of the ``waiting`` requests may have one more.

    It may have four times as many as are free (dynamic thresholds; Choudhury and Hahne 1998). So
    one tenant alone fills four fifths of a queue, and two fill four ninths each. A tenant with
    nothing waiting always finds room, however many calls another tenant makes.
    """
    return own < OWN_PER_FREE * (waiting_max - waiting)


def wait_s(work_ahead: float, rate_hz: float) -> float:
    """Expected seconds until ``work_ahead`` units have left the endpoints that drain at this rate.

    0 if they never do: this router leases no slot of them, which says nothing of how long.
    """
    return work_ahead / rate_hz if rate_hz else 0.0


def lateness_s(
    work: float, deadline_s: float, waiting_s: float, usable: Sequence[EndpointState], now_s: float
) -> float:
    """By how much an answer would miss its deadline, at best; 0 if it need not."""
    least_s = inf
    for state in usable:
        late_s = now_s + waiting_s + state.model.effective_s * work - deadline_s
        if late_s <= 0:
            return 0.0
        least_s = min(least_s, late_s)
    return least_s


def nothing_eligible(ticket: Ticket) -> Reject:
    """None of its candidates may be used."""
    return Reject(ticket, RejectReason.NOTHING_ELIGIBLE, NOTHING_RETRY_S)


class Admission:
    """Who may wait in the queue, which holds at most ``queue_max`` tickets."""

    def __init__(self, queue: Queue, queue_max: int) -> None:
        self._queue = queue
        self._queue_max = queue_max

    def refusal(
        self, ticket: Ticket, slate: Slate, usable: Sequence[EndpointState], now_s: float
    ) -> Reject | None:
        """Why the ticket should not even wait, or None."""
        waiting_s = self._wait_s(ticket, slate.work(ticket), drain_hz(usable), now_s)
        own = len(self._queue.peers(ticket))
        if not may_wait(own, len(self._queue), self._queue_max):
            return Reject(ticket, RejectReason.QUEUE_FULL, max(waiting_s, RETRY_AFTER_MIN_S))
        # A deadline is for the answer, but a wait is over as the answer begins, however long it is.
        late_s = lateness_s(ticket.work, ticket.deadline_s, waiting_s, usable, now_s)
        over_s = now_s + waiting_s - ticket.expires_s
        if max(late_s, over_s) <= 0:
            return None
        reason = RejectReason.DEADLINE if late_s > over_s else RejectReason.EXPIRED
        return Reject(ticket, reason, max(late_s, over_s, RETRY_AFTER_MIN_S))

    def given_up(self, queued: QueuedTicket, now_s: float) -> Reject:
        """A ticket, no longer in the queue, has waited for as long as makes sense."""
        ticket = queued.ticket
        usable = queued.slate.usable(ticket.excluded)
        waiting_s = wait_s(self._queue.work_ahead(ticket, queued.work), drain_hz(usable))
        expired = now_s >= ticket.expires_s
        reason = RejectReason.EXPIRED if expired else RejectReason.DEADLINE
        return Reject(ticket, reason, max(waiting_s, RETRY_AFTER_MIN_S))

    def _wait_s(self, ticket: Ticket, work: float, rate_hz: float, now_s: float) -> float:
        """How long the ticket would probably wait for endpoints that drain at this rate."""
        if rate_hz == inf:
            return 0.0
        queue = self._queue
        all_s = wait_s(queue.work_ahead(ticket, work), rate_hz)
        if not ticket.streams:
            return all_s
        in_time_s = wait_s(queue.work_ahead_in_time(ticket, work, now_s), rate_hz)
        if now_s + in_time_s <= late_from_s(ticket):
            return min(in_time_s, all_s)
        return all_s / queue.late_share(ticket.tenant)
