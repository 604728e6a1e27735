"""Tiny requests of the router's own, by which it learns whether a worker lives."""

import asyncio
from collections.abc import Callable, Mapping

from router.ports import Upstream, UpstreamFailed, UpstreamRefused
from router.scheduling.fleet import Attempt


class Probes:
    """Those that are under way. ``upstreams`` are by the protocol of a worker."""

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._upstreams = upstreams
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def begin(self, attempt: Attempt, ended: Callable[[Attempt, bool], None]) -> None:
        """Ask a worker, and say whether it lives."""
        task = asyncio.ensure_future(self._ask(attempt, ended))
        self._tasks[attempt.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(attempt.id, None))

    def stop(self, attempt: Attempt) -> None:
        """It takes too long. Does nothing when it is over."""
        task = self._tasks.get(attempt.id)
        if task is not None:
            task.cancel()

    async def _ask(self, attempt: Attempt, ended: Callable[[Attempt, bool], None]) -> None:
        endpoint = attempt.endpoint.endpoint
        try:
            await self._upstreams[endpoint.worker.protocol].probe(endpoint)
        except UpstreamFailed as error:
            # A worker that cannot serve the probe but says so properly is alive.
            ended(attempt, not error.is_fault)
        except UpstreamRefused:
            ended(attempt, True)
        else:
            ended(attempt, True)
