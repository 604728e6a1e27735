"""Keeps what was learned of workers and their counts from one run of the router to the next."""

import asyncio
import logging
from collections.abc import Callable

from msgspec import structs

from router.contracts.learned import KeptLearned, Learned
from router.pipeline.attempts.dispatch import Dispatcher
from router.pipeline.holds.counting import WorkerCounts
from router.ports.catalog import LearnedStore

SAVE_INTERVAL_S = 30.0
"""A killed router forgets at most this much."""

log = logging.getLogger(__name__)


class Remembering:
    """Saves and restores, and never gets in the way: a failed read or write is logged.

    ``clock`` is Unix time. A file older than ``age_max_s`` is not used.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        counts: WorkerCounts,
        store: LearnedStore,
        *,
        age_max_s: float,
        clock: Callable[[], float],
        interval_s: float = SAVE_INTERVAL_S,
    ) -> None:
        self._dispatcher = dispatcher
        self._counts = counts
        self._store = store
        self._age_max_s = age_max_s
        self._clock = clock
        self._interval_s = interval_s
        self._saved = Learned()
        self._is_failing = False

    async def recall(self) -> None:
        """Restore what the last run kept. Call it before the scheduler gets the catalog."""
        try:
            kept = await asyncio.to_thread(self._store.load)
        except (OSError, ValueError) as error:
            log.warning("what was learned of workers cannot be read and is left aside: %s", error)
            return
        if kept is None:
            return
        age_s = self._clock() - kept.saved_at_s
        # If the clock was set back, the file is from the future.
        if abs(age_s) > self._age_max_s:
            log.info("what was learned of workers is %.0f s old and left aside", age_s)
            return
        self._dispatcher.remember(kept.learned)
        self._counts.remember(kept.learned.counts, kept.learned.tallies)

    async def run(self) -> None:
        """Save regularly, and once more when cancelled."""
        try:
            while True:
                await asyncio.sleep(self._interval_s)
                await self.save()
        finally:
            await self.save()

    def _learned(self) -> Learned:
        scheduler = self._dispatcher.scheduler
        known = [state.endpoint.deployment for state in scheduler.fleet.endpoints.values()]
        return structs.replace(
            scheduler.learned(),
            counts=self._counts.learned({deployment.model for deployment in known}),
            tallies=self._counts.tallied(sorted({deployment.id for deployment in known})),
        )

    async def save(self) -> None:
        """Save what was learned, if it has changed."""
        scheduler = self._dispatcher.scheduler
        if not scheduler.fleet.endpoints:
            return  # Before the first catalog, nothing of the last run is restored yet.
        learned = self._learned()
        if learned == self._saved:
            return
        try:
            await asyncio.to_thread(self._store.save, KeptLearned(self._clock(), learned))
        except OSError as error:
            if not self._is_failing:
                log.error("what is learned of workers cannot be kept for a restart: %s", error)
            self._is_failing = True
        else:
            self._saved, self._is_failing = learned, False
