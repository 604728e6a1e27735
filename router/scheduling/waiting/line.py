"""What tickets can expect where no place has room: to wait in line."""

from collections.abc import Sequence
from math import inf

from router.scheduling.fleet.worker import EndpointState
from router.scheduling.waiting.queue import QueuedTicket


class Line:
    """The tickets of one slate that has no room: each waits longer than those before it.

    No place is looked up for each of them. Each is expected to wait like a fluid: the work ahead of
    it over ``rate_hz`` of all workers, then the fastest service including what that costs other
    requests. ``first`` is the first ticket.
    """

    __slots__ = ("_ahead", "_rate_hz", "_service_s")

    def __init__(
        self, usable: Sequence[EndpointState], rate_hz: float, first: QueuedTicket
    ) -> None:
        self._rate_hz = rate_hz
        self._service_s = min(state.model.cost_s(first.ticket) for state in usable) / first.work
        self._ahead = 0.0

    def join(self, queued: QueuedTicket) -> float:
        """The score that the next ticket in line can expect."""
        ticket = queued.ticket
        wait_s = self._ahead / self._rate_hz if self._rate_hz else inf
        self._ahead += queued.work
        return ticket.policy.wait_weight * wait_s + self._service_s * queued.work
