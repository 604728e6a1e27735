"""Answers for operators: whether the router is alive and ready, its state, and its metrics."""

import asyncio
import contextlib
import hmac
from collections.abc import Callable, Iterable

from router.domain.errors import CredentialInvalid, RouterBusy, SnapshotUnavailable
from router.ingress.http.exchange import Exchange
from router.ingress.operations.metrics import CONTENT_TYPE, Exposition, RouterCollector
from router.ingress.operations.state import router_state
from router.pipeline.attempts.dispatch import Dispatcher
from router.pipeline.fleet.engine_polls import EnginePolls
from router.pipeline.gateway import Gateway
from router.pipeline.recorders.meters import Meters
from router.ports.records import NO_LOSSES, Losses
from router.settings import Limits

JSON = [("content-type", "application/json")]
READINESS = ("/readyz", "/v2/health/ready", "/v2/health/live")
EVENT_STREAM = "text/event-stream"


class Operations:
    """Answers ``/healthz``, ``/readyz``, ``/metrics`` and ``/admin/state``.

    Each face counts its calls by :meth:`begin` and :meth:`end`.
    """

    def __init__(
        self,
        gateway: Gateway,
        dispatcher: Dispatcher,
        meters: Meters,
        *,
        limits: Limits,
        router_id: str,
        admin_token: str,
        unsettled: Callable[[], int],
        routers: Callable[[], Iterable[str]],
        polls: EnginePolls,
        losses: Callable[[], Losses] = lambda: NO_LOSSES,
    ) -> None:
        self._gateway = gateway
        self._scheduler = dispatcher.scheduler
        self.meters = meters
        self._limits = limits
        self._router_id = router_id
        self._admin_token = admin_token
        self._unsettled = unsettled
        self._routers = routers
        self._polls = polls
        self._watchers = 0
        self.running = 0
        self.draining = False
        self._drained = asyncio.Event()
        self._exposition = Exposition(
            RouterCollector(
                meters,
                gateway,
                dispatcher,
                running=lambda: self.running,
                unsettled=unsettled,
                losses=losses,
            )
        )

    def begin(self) -> None:
        """A call runs, until :meth:`end`."""
        self.running += 1

    def end(self) -> None:
        """A call has ended."""
        self.running -= 1
        if self.draining and not self.running:
            self._drained.set()

    async def drain(self, timeout_s: float) -> None:
        """Fail ``/readyz`` from now on, and wait until no call runs or the time is up."""
        self.draining = True
        if self.running:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._drained.wait()

    async def answered(self, exchange: Exchange) -> bool:
        """Answer a ``GET`` if its path is one of these."""
        path = exchange.path
        if path == "/healthz":
            await exchange.answer(200, JSON, b'{"status":"ok"}')
        elif path in READINESS:
            await self._readiness(exchange)
        elif path == "/metrics":
            self._check_admin(exchange)
            await exchange.answer(200, [("content-type", CONTENT_TYPE)], self._exposition.render())
        elif path == "/admin/state":
            self._check_admin(exchange)
            if EVENT_STREAM in exchange.header(b"accept"):
                await self._watch(exchange)
            else:
                await exchange.answer(200, JSON, self._state())
        else:
            return False
        return True

    @property
    def is_ready(self) -> bool:
        """Whether the router has a catalog and is not stopping."""
        return not self.draining and self._gateway.table.version > 0

    async def _readiness(self, exchange: Exchange) -> None:
        if not self.is_ready:
            why = "draining" if self.draining else "the catalog is not loaded yet"
            raise SnapshotUnavailable(f"not ready: {why}", retry_after_s=1)
        await exchange.answer(200, JSON, b'{"status":"ready"}')

    async def _watch(self, exchange: Exchange) -> None:
        """Send the state repeatedly until the client leaves or the router stops."""
        if self._watchers >= self._limits.watchers_max:
            raise RouterBusy(
                f"{self._watchers} watch this router already; close one, or ask without streaming"
            )
        self._watchers += 1
        try:
            await exchange.start_stream([])
            while not self.draining:
                await exchange.send(b"data: " + self._state() + b"\n\n")
                await asyncio.sleep(self._limits.watch_interval_s)
            await exchange.end_stream()
        finally:
            self._watchers -= 1

    def _state(self) -> bytes:
        return router_state(
            self._gateway,
            self._scheduler,
            self.meters,
            router_id=self._router_id,
            draining=self.draining,
            unsettled=self._unsettled(),
            routers=self._routers(),
            polls=self._polls,
        )

    def _check_admin(self, exchange: Exchange) -> None:
        """Raises ``CredentialInvalid`` unless the header carries the (non-empty) admin token."""
        sent, expected = exchange.header(b"authorization"), f"Bearer {self._admin_token}"
        if not self._admin_token or not hmac.compare_digest(sent.encode(), expected.encode()):
            raise CredentialInvalid(
                "this needs the header Authorization: Bearer <ROUTER_ADMIN_TOKEN>"
            )
