"""One turn of a batch: its items go to the router, and their results are stored in parts."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus

from marketplace.batches.formats.results import Finished, Item, Result, error_of
from marketplace.batches.running.calls import Ask, Calls, Ended

TURN_S = 60.0
"""Then another batch has its turn, if one waits."""
DRAIN_S = 20.0
"""How long a turn waits for calls under way: the router keeps their answers for the next turn."""
LAST_DRAIN_S = 120.0
"""The same where there is no next turn: what they answer would be charged for nothing."""
LOOK_S = 1.0
"""How often a turn looks whether it must end, and at the capacity."""
WAIT_S = 0.25
PART_ITEMS = 500
PART_BYTES = 8 * 1024 * 1024
PART_S = 5.0
"""A part is kept once it has so many items, bytes or seconds."""
IN_FLIGHT_BYTES_MAX = 16 * 1024 * 1024
"""Of the bodies under way; one line may always be."""
RATE_OVER_S = 30.0


class Ending(Enum):
    """Why a turn ended."""

    DONE = "done"
    TURN = "turn"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    HALTED = "halted"
    """Nobody pays for more."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What may change while a batch runs."""

    cancelling: bool
    left_s: float
    window: int


class Rate:
    """How many lines ended a second, over the last half minute."""

    def __init__(self, now_s: float, done: int) -> None:
        self._seen = deque([(now_s, done)])

    def at(self, now_s: float, done: int) -> float:
        """Lines a second; 0 within the first second."""
        self._seen.append((now_s, done))
        while len(self._seen) > 2 and self._seen[1][0] <= now_s - RATE_OVER_S:
            self._seen.popleft()
        since_s, before = self._seen[0]
        return (done - before) / (now_s - since_s) if now_s - since_s >= LOOK_S else 0.0


class Sender:
    """Sends ``items`` of a batch with this id to ``path``.

    ``look`` tells what may have changed, ``keep`` writes a part, ``tell`` shows the counts
    (completed, failed, lines a second) and raises where the job must end.
    """

    def __init__(
        self,
        *,
        batch_id: str,
        path: str,
        items: Iterator[Item],
        calls: Calls,
        look: Callable[[], Looked],
        keep: Callable[[Finished], None],
        tell: Callable[[int, int, float], None],
        done: tuple[int, int] = (0, 0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._batch_id, self._path = batch_id, path
        self._items = items
        self._again: deque[Item] = deque()
        self._calls = calls
        self._look, self._keep, self._tell = look, keep, tell
        self._clock = clock
        self._begun_s = self._looked_s = self._kept_s = clock()
        self._looked = look()
        self._most = self._looked.window
        self._sent: dict[int, Item] = {}
        self._finished = Finished()
        self._completed, self._failed = done
        self._rate = Rate(self._begun_s, sum(done))
        self.halted: tuple[str, str] | None = None
        """Code and message of what ended the payment."""

    def turn(self) -> Ending:
        """Send until there is a reason to end. What ended by then is kept, whatever is raised."""
        try:
            ending = self._send()
            if ending is not Ending.DONE:
                self._drain(DRAIN_S if ending is Ending.TURN else LAST_DRAIN_S)
        finally:
            self.keep()
        # The last calls may have been the first that nobody pays for.
        return Ending.HALTED if self.halted and ending in {Ending.DONE, Ending.TURN} else ending

    def keep(self) -> None:
        """Write what is in memory only."""
        if self._finished.results:
            finished, self._finished = self._finished, Finished()
            self._keep(finished)
        self._kept_s = self._clock()

    def fail(self, item: Item, code: str, message: str) -> None:
        """End an item that is not sent."""
        self._end(item, item.broken(self._id(item), code, message))
        self._keep_if_due()

    def _send(self) -> Ending:
        item = self._next()
        while item is not None or self._calls.running:
            self._look_if_due()
            if ending := self._reason():
                return ending
            if item is not None and self._has_room(item):
                self._begin(item)
                item = self._next()
            else:
                self._take()
                item = item or self._next()
        return Ending.DONE

    def _drain(self, longest_s: float) -> None:
        until_s = self._clock() + longest_s
        while self._calls.running and self._clock() < until_s:
            self._take()

    def _next(self) -> Item | None:
        return self._again.popleft() if self._again else next(self._items, None)

    def _has_room(self, item: Item) -> bool:
        if self._calls.running >= min(self._looked.window, self._most):
            return False
        sent = self._calls.running_bytes
        return not sent or sent + len(item.body) <= IN_FLIGHT_BYTES_MAX

    def _begin(self, item: Item) -> None:
        self._sent[item.number] = item
        self._calls.begin(
            Ask(
                item.number,
                self._path,
                item.body,
                headers=item.headers,
                idempotency_key=f"{self._batch_id}:{item.number}",
                deadline_s=max(self._looked.left_s, 1.0),
            )
        )

    def _take(self) -> None:
        ended = self._calls.ended(WAIT_S)
        if ended is not None:
            item = self._sent.pop(ended.ask.number)
            result = self._result(item, ended)
            if result is None:
                self._again.append(item)
            else:
                self._end(item, result)
        self._keep_if_due()

    def _result(self, item: Item, ended: Ended) -> Result | None:
        """None where the item is to be sent again."""
        answer = ended.answer
        if answer is None:
            code = "not_allowed" if ended.gone else "router_unreachable"
            if ended.gone:
                self.halted = (code, ended.error)
            return item.broken(self._id(item), code, ended.error)
        if answer.status == HTTPStatus.PAYMENT_REQUIRED and self._calls.running:
            # The holds of the other calls may be all that is missing: send fewer at once.
            self._most = max(1, min(self._most, self._calls.running) // 2)
            return None
        if answer.status in {HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.UNAUTHORIZED}:
            self.halted = error_of(answer.body, answer.status)
        return item.answered(self._id(item), answer)

    def _end(self, item: Item, result: Result) -> None:
        self._finished.add(item.number, result)
        if result.failed:
            self._failed += result.count
        else:
            self._completed += result.count

    def _keep_if_due(self) -> None:
        finished = self._finished
        if (
            len(finished.results) >= PART_ITEMS
            or finished.size_bytes >= PART_BYTES
            or self._clock() - self._kept_s >= PART_S
        ):
            self.keep()
            self.tell()

    def _look_if_due(self) -> None:
        if self._clock() - self._looked_s < LOOK_S:
            return
        self._looked_s = self._clock()
        self._looked = self._look()
        self.tell()

    def tell(self) -> None:
        """Show how far it is."""
        now_s, done = self._clock(), self._completed + self._failed
        self._tell(self._completed, self._failed, self._rate.at(now_s, done))

    def _reason(self) -> Ending | None:
        if self.halted:
            return Ending.HALTED
        if self._looked.cancelling:
            return Ending.CANCELLED
        if self._looked.left_s <= 0:
            return Ending.EXPIRED
        if self._clock() - self._begun_s >= TURN_S:
            return Ending.TURN
        return None

    def _id(self, item: Item) -> str:
        return f"batch_req_{self._batch_id.removeprefix('batch_')}_{item.number}"
