"""Asks engines how much they have to do: ``GET /metrics``."""

import asyncio

from router.contracts.engines.engine_report import EngineReport, read_report
from router.domain.catalog import Worker
from router.ports.upstream import UpstreamFailed
from router.settings import Limits
from router.upstream.http import HTTPClient, raise_for_status


class MetricsReports:
    """See :class:`router.ports.upstream.EngineReports`."""

    def __init__(self, client: HTTPClient, limits: Limits) -> None:
        self._client = client
        self._timeout_s = limits.engine_poll_timeout_s
        self._bytes_max = limits.engine_poll_bytes_max

    async def report(self, worker: Worker) -> EngineReport:
        """Ask an engine, and read no more than the bound."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return read_report(await self._metrics(worker.url + "/metrics"))
        except TimeoutError as late:
            raise UpstreamFailed("timeout", "its metrics did not come in time") from late

    async def _metrics(self, url: str) -> bytes:
        connection = await self._client.get(url, b"")
        try:
            if connection.status != 200:
                await raise_for_status(connection)
            return await connection.read(self._bytes_max)
        finally:
            self._client.release(connection)
