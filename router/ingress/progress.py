"""Comments on a stream whose answer has not begun: where the call stands, and that it is alive.

A comment is no part of the answer: readers of server-sent events skip it. But the status has gone
out with the first one, so an error comes inside the stream then.
"""

import asyncio
from collections.abc import Callable

from router.ingress.http.exchange import Headers, Sink
from router.scheduling.waiting.standing import Standing

HEADER = b"x-route-progress"


class Progress:
    """The comments of one call, every ``every_s`` seconds until :meth:`stop`.

    ``call_id`` is the call that is asked about: another one once a model has given way to the next.
    """

    __slots__ = ("_every_s", "_sink", "_standing", "_task", "_timer", "call_id", "has_begun")

    def __init__(
        self,
        sink: Sink,
        call_id: str,
        standing: Callable[[str], Standing | None],
        every_s: float,
    ) -> None:
        self._sink = sink
        self._standing = standing
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None
        self.call_id = call_id
        self.has_begun = False
        # Most answers begin before that, and need no task.
        self._timer = asyncio.get_running_loop().call_later(every_s, self._begin)

    def stop(self) -> bool:
        """The answer begins, or never will. Returns whether the stream has begun by comments."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        return self.has_begun

    def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        self.has_begun = True
        headers: Headers = [("x-request-id", self.call_id)]
        await self._sink.start_stream(headers)
        while True:
            await self._sink.send(comment(self._standing(self.call_id)))
            await asyncio.sleep(self._every_s)


def comment(standing: Standing | None) -> bytes:
    """``: queued place=3 eta_ms=1200``, or ``: running`` for a call that waits for its worker."""
    if standing is None:
        return b": running\n\n"
    return b": queued place=%d eta_ms=%d\n\n" % (standing.place, round(standing.eta_s * 1e3))
