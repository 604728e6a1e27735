"""Between the pure scheduler and the calls that wait for it: futures in, decisions applied."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from router.domain.catalog import Endpoint
from router.domain.errors import CallError, NothingEligible, QueueFull
from router.scheduling.decisions import Decision, Dispatch, Eject, Reject, RejectReason
from router.scheduling.fleet import Attempt
from router.scheduling.scheduler import Scheduler
from router.scheduling.ticket import Ticket

TICK_S = 0.005


class Dispatcher:
    """Owns the scheduler of this router. ``clock`` is monotonic seconds."""

    def __init__(self, scheduler: Scheduler, *, clock: Callable[[], float]) -> None:
        self.scheduler = scheduler
        self._clock = clock
        self._waiting: dict[str, asyncio.Future[Dispatch]] = {}
        self._ticking: asyncio.TimerHandle | None = None

    def apply(self, endpoints: Iterable[Endpoint]) -> None:
        """The catalog changed."""
        self._apply(self.scheduler.apply(endpoints, self._clock()))

    async def place(self, ticket: Ticket) -> Dispatch:
        """Wait for a worker. Raises ``QueueFull`` or ``NothingEligible``."""
        decisions = self.scheduler.arrive(ticket, self._clock())
        if decisions and _ticket_of(decisions[0]) is ticket and len(decisions) == 1:
            return _dispatched(decisions[0])  # The usual case: no queue, no future.
        future: asyncio.Future[Dispatch] = asyncio.get_running_loop().create_future()
        self._waiting[ticket.id] = future
        self._apply(decisions)
        self._keep_ticking()
        try:
            return await future
        except asyncio.CancelledError:
            self._abandon(ticket, future)
            raise

    def completed(self, attempt: Attempt) -> None:
        """The last token came."""
        self._apply(self.scheduler.completed(attempt, self._clock()))

    def failed(self, attempt: Attempt) -> None:
        """The worker did not do its part."""
        self._apply(self.scheduler.failed(attempt, self._clock()))

    def cancelled(self, attempt: Attempt) -> None:
        """The call ended for a reason that is not the worker's."""
        self._apply(self.scheduler.cancelled(attempt, self._clock()))

    def _abandon(self, ticket: Ticket, future: asyncio.Future[Dispatch]) -> None:
        self._waiting.pop(ticket.id, None)
        self.scheduler.withdrawn(ticket)
        if future.done() and not future.cancelled() and future.exception() is None:
            self.cancelled(future.result().attempt)  # Placed in the very moment it was given up.

    def _apply(self, decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            if isinstance(decision, Eject):
                continue
            ticket = _ticket_of(decision)
            future = self._waiting.pop(ticket.id, None) if ticket is not None else None
            if future is None or future.done():
                continue
            try:
                future.set_result(_dispatched(decision))
            except CallError as error:
                future.set_exception(error)

    def _keep_ticking(self) -> None:
        if self._ticking is None and self.scheduler.waiting:
            self._ticking = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._ticking = None
        self._apply(self.scheduler.tick(self._clock()))
        self._keep_ticking()


def _ticket_of(decision: Decision) -> Ticket | None:
    if isinstance(decision, Dispatch):
        return decision.attempt.ticket
    if isinstance(decision, Reject):
        return decision.ticket
    return None


def _dispatched(decision: Decision) -> Dispatch:
    """The dispatch, or the error that a rejection stands for."""
    if isinstance(decision, Dispatch):
        return decision
    if isinstance(decision, Eject):
        raise TypeError("an ejection answers nobody")
    if decision.reason is RejectReason.NOTHING_ELIGIBLE:
        raise NothingEligible(
            "no worker is available now, try again", retry_after_s=decision.retry_after_s
        )
    waited = "too long" if decision.reason is RejectReason.EXPIRED else "full"
    raise QueueFull(
        f"the queue for this model is {waited}, try again in {decision.retry_after_s:.1f} s",
        retry_after_s=decision.retry_after_s,
    )
