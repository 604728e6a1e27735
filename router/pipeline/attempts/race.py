"""Two workers, one answer: a second attempt alongside the first, free for calls without one.

The first attempt runs in the call's own task. Only when the scheduler says so, a second one starts
in its own task. If the second wins, the call's task is cancelled at its worker and takes the
winner's outcome, as ``asyncio.timeout`` does with a deadline.
"""

import asyncio
from typing import Any, Generic, Protocol, TypeVar

from router.ports.upstream import UpstreamFailed, UpstreamRefused
from router.scheduling.fleet.worker import Attempt

T = TypeVar("T")


class Course(Protocol[T]):
    """How to make one kind of attempt, and what to do when it ends."""

    async def run(self, attempt: Attempt) -> T:
        """Make one attempt."""
        ...

    def won(self, attempt: Attempt, outcome: T) -> None:
        """The attempt ended with an outcome."""
        ...

    def lost(self, attempt: Attempt, error: UpstreamFailed) -> None:
        """The attempt ended without an outcome."""
        ...

    async def unwanted(self, attempt: Attempt, outcome: T) -> None:
        """The attempt won, but nobody takes its outcome any more."""
        ...


class Race(Generic[T]):
    """The running attempts of one call."""

    __slots__ = ("_beside", "_call", "_course", "_loop", "_winner", "first", "second")

    def __init__(self, loop: asyncio.AbstractEventLoop, first: Attempt, course: Course[T]) -> None:
        self._loop = loop
        self._course = course
        self.first = first
        self.second: Attempt | None = None
        self._call: asyncio.Task[object] | None = None
        self._beside: asyncio.Task[None] | None = None
        self._winner: tuple[Attempt, T] | None = None

    async def outcome(self) -> tuple[Attempt, T]:
        """The first outcome. Raises what the first attempt raises if no attempt wins."""
        self._call = asyncio.current_task(self._loop)
        error: asyncio.CancelledError | UpstreamFailed
        try:
            outcome = await self._course.run(self.first)
        except asyncio.CancelledError as cancelled:
            if self._winner is None or self._call is None:
                raise
            if not self._call.uncancel():
                return self._winner
            error = cancelled
        except UpstreamFailed as failed:
            if self._beside is None:
                raise
            self._course.lost(self.first, failed)
            self._call = None  # Nothing of the first attempt is left to stop.
            error = failed
        else:
            self._call = None
            self._course.won(self.first, outcome)
            return self.first, outcome
        return await self._outcome_beside(error)

    def hedge(self, attempt: Attempt) -> None:
        """Start the second attempt, or another one after that has failed."""
        self.second = attempt
        self._beside = asyncio.ensure_future(self._run_beside(attempt))

    def stop(self, attempt: Attempt) -> None:
        """The scheduler has given this attempt up: it lost."""
        if attempt is self.first:
            if self._call is not None:
                self._call.cancel()
        elif self._beside is not None:
            self._beside.cancel()

    def close(self) -> None:
        """The call is over, or has its outcome."""
        if self._beside is not None and self._winner is None:
            self._beside.cancel()

    async def _outcome_beside(
        self, error: asyncio.CancelledError | UpstreamFailed
    ) -> tuple[Attempt, T]:
        """The second attempt's outcome, if it has one or gets one, after what ended the first."""
        if isinstance(error, UpstreamFailed) and self._beside is not None:
            try:
                await asyncio.wait({self._beside})
            except asyncio.CancelledError as cancelled:
                error = cancelled
        if self._winner is not None:
            if isinstance(error, UpstreamFailed):
                return self._winner
            # The client left at the moment the second attempt won.
            await self._course.unwanted(*self._winner)
        raise error

    async def _run_beside(self, attempt: Attempt) -> None:
        try:
            outcome = await self._course.run(attempt)
        except UpstreamFailed as error:
            self._course.lost(attempt, error)
            return
        except UpstreamRefused:  # The first attempt will be refused too.
            self._course.lost(attempt, UpstreamFailed("refused", is_fault=False))
            return
        except Exception:
            self._course.lost(attempt, UpstreamFailed("internal"))
            raise
        self._winner = (attempt, outcome)
        self._course.won(attempt, outcome)


class Races:
    """The running races, by the attempts in them."""

    def __init__(self) -> None:
        self._races: dict[int, Race[Any]] = {}

    def begin(self, race: Race[T]) -> Race[T]:
        """Start with the first attempt, which is already running."""
        self._races[race.first.id] = race
        return race

    def hedge(self, attempt: Attempt, of: Attempt) -> bool:
        """Run the call of ``of`` at a second worker too; False when that call is over."""
        race = self._races.get(of.id)
        if race is None:
            return False
        if race.second is not None:
            del self._races[race.second.id]  # It failed.
        self._races[attempt.id] = race
        race.hedge(attempt)
        return True

    def stop(self, attempt: Attempt) -> None:
        """The attempt lost. Does nothing when it is over."""
        race = self._races.get(attempt.id)
        if race is not None:
            race.stop(attempt)

    def end(self, race: Race[T]) -> None:
        """The call is over, or has its outcome."""
        race.close()
        del self._races[race.first.id]
        if race.second is not None:
            del self._races[race.second.id]
