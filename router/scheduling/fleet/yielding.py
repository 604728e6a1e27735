"""How much of a worker batch work may take while others call.

Batch work waits behind other calls, but what runs is not stopped. Where it fills all slots, the
next interactive call waits for a whole batch call. And slots may be fewer than they seem: a Triton
whose dynamic batching merges sixteen small calls has two instances, and sixteen large calls keep
them busy for eight calls' time. So batch work leaves most slots of a worker free, as long as it
has been sent other calls lately. On a quiet worker it takes all of them.

Batch work is what a batch sends, which is cheaper for it. A caller's own priority only orders the
queue: its calls may fill all that nobody else uses.

An engine has no slots: a call that joins its batch does not wait for one that runs there.
"""

from collections.abc import Sequence

from msgspec import Struct

from router.scheduling.fleet.worker import EndpointState, WorkerState
from router.scheduling.ticket import Ticket


class Yielding(Struct, frozen=True):
    """Batch work takes this ``share`` of a worker's slots, or one, unless it was ``quiet_s``."""

    share: float = 1.0
    quiet_s: float = 0.0

    def is_full(self, worker: WorkerState, now_s: float) -> bool:
        """Whether batch work must wait, whatever room there is."""
        if worker.is_engine or now_s - worker.others_s >= self.quiet_s:
            return False
        return worker.batch_calls >= max(1, int(worker.slots * self.share))

    def open_to(
        self, ticket: Ticket, states: Sequence[EndpointState], now_s: float
    ) -> Sequence[EndpointState]:
        """Those of these endpoints that the ticket may use now."""
        if not ticket.yields:
            return states
        return [state for state in states if not self.is_full(state.worker, now_s)]


NOTHING_LEFT_FREE = Yielding()
