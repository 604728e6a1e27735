"""What placing could reach on slots: told means, slots, troubles and the rate, but no sizes.

One queue, first come, first served, before all workers: the fastest with a free slot takes the
first. A slow one is used only where waiting for the faster ones would take longer (the threshold
policy of Lin and Kumar, 1984, with the queue as a fluid).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from math import inf

from tests.judge.callers.http_client import Answer, Client
from tests.judge.callers.targets import PATH, Call
from tests.judge.timer import Timer, now_s
from tests.judge.workers.hardware import Allowance, SlotClass, Trouble, Worker

TRIES = 6
DEAD = {Trouble.CRASH, Trouble.HANG, Trouble.HTTP_500}
EARLY_S, LATE_S = 0.005, 0.05
"""A window is avoided from a little before it to a little after, as its edges race with calls."""
LIMIT_SHARE = 0.98
"""Of what a worker allows, since its count and ours do not begin together."""
DRAIN_SHARE_MIN = 0.15
"""Of what the faster ones can do, at least so much is left for the queue."""


class Site:
    """One worker, as the oracle knows it."""

    def __init__(self, worker: Worker, port: int) -> None:
        assert isinstance(worker.hardware, SlotClass)
        self.worker = worker
        self.slots = worker.hardware.slots
        self.mean_s = worker.hardware.mean_ms / 1e3
        self.client = Client(port, PATH)
        self.free = self.slots
        self.allowance: Allowance | None = None

    def service_s(self, at_s: float) -> float:
        """What a call takes on average if it is sent now; inf where it would fail."""
        for window in self.worker.windows:
            if window.from_s - EARLY_S <= at_s < window.to_s + LATE_S:
                if window.trouble in DEAD:
                    return inf
                if window.trouble is Trouble.SLOW:
                    return self.mean_s * window.factor
        return self.mean_s

    def room(self, at_s: float) -> int:
        """Calls that it would begin now and not turn away."""
        for window in self.worker.windows:
            if window.trouble is Trouble.LIMIT and window.from_s <= at_s < window.to_s:
                self.allowance = self.allowance or Allowance(window.factor * LIMIT_SHARE)
                return min(self.free, int(self.allowance.left(at_s)))
        return self.free

    def give(self, given: asyncio.Future[Site]) -> None:
        """It takes one more."""
        self.free -= 1
        if self.allowance is not None:
            self.allowance.take()
        given.set_result(self)


def choose(
    services_s: Sequence[float],
    slots: Sequence[int],
    free: Sequence[int],
    *,
    queued: int,
    calls_hz: float,
) -> int | None:
    """The worker for the first of the queue, or None to let it wait."""
    able = [at for at, service_s in enumerate(services_s) if service_s < inf and free[at] > 0]
    if not able:
        return None
    best = min(able, key=lambda at: (services_s[at], -free[at]))
    service_s = services_s[best]
    faster = [(slots[at], each) for at, each in enumerate(services_s) if each < service_s]
    if not faster:
        return best
    drain_hz = sum(count / each for count, each in faster)
    spare_hz = max(drain_hz - calls_hz, DRAIN_SHARE_MIN * drain_hz)
    typical_s = sum(count for count, _ in faster) / drain_hz
    return best if service_s <= queued / spare_hz + typical_s else None


class SlotOracle:
    """See the module."""

    def __init__(
        self, workers: Sequence[Worker], ports: Sequence[int], calls_hz: Callable[[float], float]
    ) -> None:
        """``calls_hz`` by seconds since the start."""
        self._sites = [Site(worker, port) for worker, port in zip(workers, ports, strict=True)]
        self._calls_hz = calls_hz
        self._queue: deque[asyncio.Future[Site]] = deque()
        self._start_s = inf

    def begin(self, start_s: float, timer: Timer) -> None:
        """The load begins then: know what happens when."""
        self._start_s = start_s
        for site in self._sites:
            for window in site.worker.windows:
                # Twice: what was on its way when it began is there a little later.
                for at_s in (window.from_s, window.from_s + LATE_S, window.to_s + 2 * LATE_S):
                    timer.at(start_s + at_s, partial(self._changed, site))

    async def ask(self, call: Call) -> Answer:
        answer = await self._try(call, first=False)
        for _ in range(TRIES - 1):
            if not answer.error and answer.status == 200:
                break
            answer = await self._try(call, first=True)
        return answer

    def close(self) -> None:
        for site in self._sites:
            site.client.close()

    async def _try(self, call: Call, *, first: bool) -> Answer:
        given: asyncio.Future[Site] = asyncio.get_running_loop().create_future()
        if first:
            self._queue.appendleft(given)
        else:
            self._queue.append(given)
        self._place()
        try:
            site = await given
        except asyncio.CancelledError:
            if given.done() and not given.cancelled():
                given.result().free += 1
            elif given in self._queue:
                self._queue.remove(given)
            raise
        try:
            return await site.client.ask(call.body)
        finally:
            site.free += 1
            self._place()

    def _changed(self, site: Site) -> None:
        """What runs on a worker that has just died is tried elsewhere at once."""
        if site.service_s(now_s() - self._start_s) == inf:
            site.client.hang_up()
        self._place()

    def _place(self) -> None:
        at_s = now_s() - self._start_s
        slots = [site.slots for site in self._sites]
        services_s = [site.service_s(at_s) for site in self._sites]
        while self._queue:
            free = [site.room(at_s) for site in self._sites]
            queued, calls_hz = len(self._queue), self._calls_hz(at_s)
            chosen = choose(services_s, slots, free, queued=queued, calls_hz=calls_hz)
            if chosen is None:
                return
            given = self._queue.popleft()
            if not given.done():
                self._sites[chosen].give(given)
