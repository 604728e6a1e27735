"""The router's own tiny requests, which tell whether a worker lives."""

import asyncio
from collections.abc import Callable, Mapping

from router.domain.catalog import OWN
from router.ports.upstream import Upstream, UpstreamFailed, UpstreamRefused
from router.scheduling.attempts.endings import ALIVE, ANSWERED, FAILED, Ending
from router.scheduling.fleet.worker import Attempt


class Probes:
    """The probes that are running. ``upstreams`` are by a worker's protocol."""

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._upstreams = upstreams
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def begin(self, attempt: Attempt, ended: Callable[[Attempt, Ending], None]) -> None:
        """Probe a worker; ``ended`` gets the result."""
        task = asyncio.ensure_future(self._ask(attempt, ended))
        self._tasks[attempt.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(attempt.id, None))

    def stop(self, attempt: Attempt) -> None:
        """Give up a probe that takes too long. Does nothing when it is over."""
        task = self._tasks.get(attempt.id)
        if task is not None:
            task.cancel()

    async def _ask(self, attempt: Attempt, ended: Callable[[Attempt, Ending], None]) -> None:
        endpoint = attempt.endpoint.endpoint
        # An organisation's own endpoint is asked for its models, which is no work.
        ending = ALIVE if endpoint.deployment.provider == OWN else ANSWERED
        try:
            await self._upstreams[endpoint.worker.protocol].probe(endpoint)
        except UpstreamFailed as error:
            ending = FAILED if error.is_fault else ALIVE
        except UpstreamRefused:
            ending = ALIVE
        ended(attempt, ending)
