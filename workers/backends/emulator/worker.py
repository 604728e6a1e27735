"""One emulated worker at run time: slots, a queue in front of them, and faults on request."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from msgspec import Meta, Struct

from workers.backends.emulator.fleet import EmulatedWorker

JITTER_SIGMA = 0.15


class Faults(Struct, frozen=True):
    """What a test or an experiment wants to go wrong.

    ``slowdown`` multiplies every delay: 4 is four times slower, 0.5 twice as fast.
    """

    slowdown: Annotated[float, Meta(gt=0)] = 1.0
    fail: bool = False
    hang: bool = False


class RunningWorker:
    """FIFO over ``slots``; leaving early (a client that disconnects) frees the slot at once."""

    def __init__(self, worker: EmulatedWorker, *, seed: int) -> None:
        self.worker = worker
        self.faults = Faults()
        self.running = 0
        self.served = 0
        self.cancelled = 0
        self._slots = asyncio.Semaphore(worker.pool.slots)
        self._rng = random.Random(f"{seed}/{worker.id}")

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one slot; counts how it ended."""
        async with self._slots:
            self.running += 1
            try:
                yield
                self.served += 1
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            finally:
                self.running -= 1

    def jitter(self) -> float:
        """A factor with mean 1, drawn once a request: no two requests are alike."""
        return self._rng.lognormvariate(-(JITTER_SIGMA**2) / 2, JITTER_SIGMA)

    async def spend(self, seconds: float) -> None:
        """Take this long, or for ever while the worker hangs."""
        if self.faults.hang:
            await asyncio.Event().wait()
        await asyncio.sleep(seconds * self.faults.slowdown)
