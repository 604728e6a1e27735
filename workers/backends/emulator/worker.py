"""One emulated worker at run time: engines, slots with a queue, and faults on request."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated

from msgspec import Meta, Struct

from workers.backends.emulator.engine import Engine
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
    """An engine for each chat model that was asked for, and slots for all else: FIFO; leaving early
    (a client that disconnects) frees a slot, or a place in the batch, at once.

    Engines of one worker share its chips in turns: a step takes so many times as long as there are
    engines at work. Each has all of the memory that its model leaves, as if others were away.
    """

    def __init__(self, worker: EmulatedWorker, *, seed: int) -> None:
        self.worker = worker
        self.faults = Faults()
        self.running = 0
        self.served = 0
        self.cancelled = 0
        self._slots = asyncio.Semaphore(worker.slots)
        self._engines: dict[str, Engine] = {}
        self._rng = random.Random(f"{seed}/{worker.id}")

    def engine(self, model: str) -> Engine:
        """The engine of a chat model. Raises ``KeyError`` for a model that is not emulated."""
        if model not in self._engines:
            spec = self.worker.profile(model).engine(model, self.worker.pool.sequences)
            self._engines[model] = Engine(spec, self._pace)
        return self._engines[model]

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Count a request, and how it ended."""
        self.running += 1
        try:
            yield
            self.served += 1
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one slot."""
        async with self._slots:
            with self.serving():
                yield

    def set_faults(self, faults: Faults) -> None:
        """What goes wrong from now on; of engines, from their next step."""
        self.faults = faults
        for engine in self._engines.values():
            engine.go_on()

    def jitter(self) -> float:
        """A factor with mean 1: no two requests, and no two steps, are alike."""
        return self._rng.lognormvariate(-(JITTER_SIGMA**2) / 2, JITTER_SIGMA)

    async def spend(self, seconds: float) -> None:
        """Take this long, or for ever while the worker hangs."""
        if self.faults.hang:
            await asyncio.Event().wait()
        await asyncio.sleep(seconds * self.faults.slowdown)

    def _pace(self, engine: Engine) -> float | None:
        if self.faults.hang:
            return None
        others = sum(item.is_busy for item in self._engines.values() if item is not engine)
        return self.faults.slowdown * self.jitter() * (1 + others)
