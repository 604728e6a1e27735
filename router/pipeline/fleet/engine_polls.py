"""Asks engines from time to time how many requests they have, from all clients.

Other routers say what they send. A client that calls the worker directly says nothing, and what a
router says may be wrong. The engine's own report corrects both. A report that is late, too long or
invalid counts as none; its reason is kept for people to see.
"""

import asyncio
import logging

from router.contracts.engines.engine_report import EngineReport
from router.domain.catalog import Worker
from router.pipeline.attempts.dispatch import Dispatcher
from router.ports.upstream import EngineReports, UpstreamFailed, UpstreamRefused

ASKED = ("vllm", "sglang", "llama.cpp", "llamacpp", "llama-server")
"""Names of servers in the catalog that give a report begin with one of these."""

AT_ONCE_MAX = 16
REASON_MAX = 200

log = logging.getLogger(__name__)


class EnginePolls:
    """``reports``, and ``reasons`` why there is none, are by worker."""

    def __init__(self, dispatcher: Dispatcher, source: EngineReports, *, interval_s: float) -> None:
        self._dispatcher = dispatcher
        self._source = source
        self._interval_s = interval_s
        self._at_once = asyncio.Semaphore(AT_ONCE_MAX)
        self.reports: dict[str, EngineReport] = {}
        self.reasons: dict[str, str] = {}

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await self.poll()
            await asyncio.sleep(self._interval_s)

    async def poll(self) -> None:
        """Ask each engine once."""
        endpoints = self._dispatcher.scheduler.fleet.endpoints.values()
        workers = {
            state.worker.id: state.endpoint.worker
            for state in endpoints
            if state.endpoint.pool.engine.casefold().startswith(ASKED)
        }
        for known in (self.reports, self.reasons):
            for gone in known.keys() - workers.keys():
                del known[gone]
        async with asyncio.TaskGroup() as group:
            for worker in workers.values():
                group.create_task(self._ask(worker))

    async def _ask(self, worker: Worker) -> None:
        async with self._at_once:
            try:
                report = await self._source.report(worker)
            except (UpstreamFailed, UpstreamRefused, ValueError) as error:
                reason = (str(error) or type(error).__name__)[:REASON_MAX]
                if self.reasons.get(worker.id) != reason:
                    log.warning("engine %s does not say what it has: %s", worker.id, reason)
                self.reasons[worker.id] = reason
                self.reports.pop(worker.id, None)
                self._dispatcher.reported(worker.id, None)
            else:
                self.reasons.pop(worker.id, None)
                self.reports[worker.id] = report
                self._dispatcher.reported(worker.id, report)
