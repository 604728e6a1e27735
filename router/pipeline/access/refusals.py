"""Counts calls that were refused before any credit was held, by who made them.

The books only have calls that ran or could have run. Refused calls are counted by the hour, and the
counts go to the store from time to time. A killed router loses what it counted since then.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

from router.domain.errors import LedgerUnavailable
from router.pipeline.plans.routing_table import Grant
from router.ports.records import RefusalCount, RefusalSink

FLUSH_S = 5.0
KINDS_MAX = 10_000
"""How many different refusals one flush holds; further kinds are not counted."""
HOUR_MS = 3_600_000

log = logging.getLogger(__name__)


class Refusals:
    """``clock`` is Unix seconds."""

    def __init__(self, sink: RefusalSink, clock: Callable[[], float]) -> None:
        self._sink = sink
        self._clock = clock
        self._counted: Counter[RefusalCount] = Counter()

    def count(self, grant: Grant, model: str, code: str) -> None:
        """Count one refusal; ``model`` is "" if the model asked for is unknown."""
        hour_ms = int(self._clock() * 1_000) // HOUR_MS * HOUR_MS
        kind = RefusalCount(
            grant.organisation_id, hour_ms, grant.key_id, grant.user_id, model, code
        )
        if kind in self._counted or len(self._counted) < KINDS_MAX:
            self._counted[kind] += 1

    async def run(self) -> None:
        """Send the counts regularly until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush()

    async def flush(self) -> None:
        """Send the counts. What cannot be sent is kept for the next time."""
        counted, self._counted = self._counted, Counter()
        if not counted:
            return
        try:
            await self._sink.add_refusals(counted)
        except LedgerUnavailable as error:
            log.debug("refusals are kept for later: %s", error)
            self._counted.update(counted)
