"""How much of a worker batch work may take while others call.

Batch work waits behind other calls, but what runs is not stopped. Where it fills all slots, the
next interactive call waits for a whole batch call. And slots may be fewer than they seem: a Triton
whose dynamic batching merges sixteen small calls has two instances, and sixteen large calls keep
them busy for eight calls' time. So batch work leaves most slots of a worker free, as long as it
has been sent other calls lately. On a quiet worker it takes all of them.

A worker with a few slots is left to the others, if there is a quiet one for the batch: a call that
finds its usual worker taken goes to the one that the batch has filled.

Batch work is what a batch sends, which is cheaper for it. A caller's own priority only orders the
queue: its calls may fill all that nobody else uses.

An engine has no slots: a call that joins its batch does not wait for one that runs there.
"""

from collections.abc import Sequence
from math import ceil, floor

from msgspec import Struct

from router.scheduling.fleet.worker import EndpointState, WorkerState
from router.scheduling.ticket import Ticket


class Yielding(Struct, frozen=True):
    """Batch work takes this ``share`` of a worker's slots, or one, unless it was ``quiet_s``.

    It takes the same share of all slots that others use: rounded up, but down while it may go to a
    quiet worker.
    """

    share: float = 1.0
    quiet_s: float = 0.0

    def open_to(
        self, ticket: Ticket, states: Sequence[EndpointState], now_s: float
    ) -> Sequence[EndpointState]:
        """Those of these endpoints that the ticket may use now."""
        if not ticket.yields:
            return states
        since_s = now_s - self.quiet_s
        used = {
            state.worker
            for state in states
            if state.worker.others_s > since_s and not state.worker.is_engine
        }
        share = self.share * sum(worker.slots for worker in used)
        has_quiet = any(state.worker not in used for state in states)
        left = floor(share) if has_quiet else ceil(share)
        left -= sum(worker.batch_calls for worker in used)
        return [
            state
            for state in states
            if state.worker not in used or (left > 0 and self._has_share(state.worker))
        ]

    def _has_share(self, worker: WorkerState) -> bool:
        """Whether batch work may have one more of its slots beside others."""
        return worker.batch_calls < max(1, int(worker.slots * self.share))


NOTHING_LEFT_FREE = Yielding()
