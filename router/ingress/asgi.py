"""The ASGI application: paths to handlers, errors to answers. The only broad ``except`` is here."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable

from router.domain.errors import CallError, RouteNotFound, SnapshotUnavailable
from router.domain.ids import uuid7
from router.domain.request import InferenceRequest
from router.ingress import oip_http, openai
from router.ingress.errors import error_headers, oip_error, openai_error, status_of
from router.ingress.exchange import Exchange, Receive, Scope, Send
from router.ingress.forward import Forwarder
from router.ingress.state import check_admin, router_state
from router.pipeline.authenticate import Grant
from router.pipeline.gateway import Gateway
from router.scheduling.scheduler import Scheduler
from router.settings import Limits

JSON = [("content-type", "application/json")]
OPENAI_MODEL_PREFIX = "/v1/models/"
OIP_PREFIX = "/v2"

log = logging.getLogger(__name__)


class InternalError(CallError):
    """A fault of ours. The log has the rest; the client gets the request id."""

    code = "internal_error"


class Application:
    """Callable as ASGI."""

    def __init__(
        self,
        gateway: Gateway,
        scheduler: Scheduler,
        *,
        limits: Limits,
        cors_origins: tuple[str, ...],
        admin_token: str,
        unsettled: Callable[[], int],
        forwarder: Forwarder | None = None,
    ) -> None:
        self._gateway = gateway
        self._scheduler = scheduler
        self._limits = limits
        self._cors_origins = frozenset(cors_origins)
        self._admin_token = admin_token
        self._unsettled = unsettled
        self._forwarder = forwarder
        self._draining = False
        self._running = 0
        self._idle = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP exchange."""
        exchange = Exchange(scope, receive, send, cors_origins=self._cors_origins)
        now_ms = time.time_ns() // 1_000_000
        request_id = uuid7(now_ms, secrets.randbits(74))
        self._running += 1
        self._idle.clear()
        try:
            await self._handle(exchange, request_id, now_ms)
        except CallError as error:
            await self._refuse(exchange, error, request_id)
        except asyncio.CancelledError:
            pass  # The client left: there is nobody to answer.
        except Exception:
            log.exception("call %s failed by a fault of the router", request_id)
            fault = InternalError(f"internal error; quote the request id {request_id}")
            await self._refuse(exchange, fault, request_id)
        finally:
            exchange.unwatch()
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def drain(self, timeout_s: float) -> None:
        """Fail ``/readyz`` from now on, and wait until no call runs or the time is up."""
        self._draining = True
        if self._running:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), timeout_s)

    async def _handle(self, exchange: Exchange, request_id: str, now_ms: int) -> None:
        method, path = exchange.method, exchange.path
        if method == "POST":
            kind = openai.PATHS.get(path)
            if kind is not None:
                grant = self._gateway.authenticate(exchange.header(b"authorization"))
                body = await exchange.read_body(self._limits.body_bytes_max)
                call = openai.parse_call(
                    kind,
                    body,
                    request_id=request_id,
                    explain=exchange.header(b"x-route-explain") == "1",
                    arrived_s=time.monotonic(),
                    created_at_ms=now_ms,
                )
                return await self._serve(exchange, grant, call, body)
            if path.startswith(OIP_PREFIX):
                return await self._infer(exchange, request_id, now_ms)
        elif method == "GET":
            return await self._get(exchange)
        elif method == "OPTIONS":
            return await exchange.allow_cross_origin()
        raise RouteNotFound(f"there is no {method} {path}; see the API reference")

    async def _infer(self, exchange: Exchange, request_id: str, now_ms: int) -> None:
        target = oip_http.parse_path(exchange.path)
        if target is None or target.action != "infer":
            raise RouteNotFound(f"there is no POST {exchange.path}; see the API reference")
        grant = self._gateway.authenticate(exchange.header(b"authorization"))
        body = await exchange.read_body(self._limits.body_bytes_max)
        oip_http.find_route(self._gateway.table, target)
        call = oip_http.parse_infer(
            target.model,
            body,
            exchange.headers,
            request_id=request_id,
            explain=exchange.header(b"x-route-explain") == "1",
            arrived_s=time.monotonic(),
            created_at_ms=now_ms,
        )
        await self._serve(exchange, grant, call, body)

    async def _serve(
        self, exchange: Exchange, grant: Grant, call: InferenceRequest, body: bytes
    ) -> None:
        exchange.watch()
        forwarder = self._forwarder
        if forwarder is not None and await forwarder.forwarded(exchange, call.model, body):
            return
        await self._gateway.serve(grant, call, exchange)

    async def _get(self, exchange: Exchange) -> None:
        path, table = exchange.path, self._gateway.table
        if path == "/healthz":
            return await exchange.answer(200, JSON, b'{"status":"ok"}')
        if path in ("/readyz", "/v2/health/ready", "/v2/health/live"):
            return await self._readiness(exchange)
        if path == "/v1/models":
            self._gateway.authenticate(exchange.header(b"authorization"))
            return await exchange.answer(200, JSON, openai.model_list(table))
        if path == "/admin/state":
            check_admin(exchange.header(b"authorization"), self._admin_token)
            routers = self._forwarder.routers if self._forwarder is not None else ()
            body = router_state(self._gateway, self._scheduler, self._unsettled(), routers)
            return await exchange.answer(200, JSON, body)
        if path == OIP_PREFIX:
            return await exchange.answer(200, JSON, oip_http.server_metadata())
        if path.startswith(OPENAI_MODEL_PREFIX):
            self._gateway.authenticate(exchange.header(b"authorization"))
            name = path[len(OPENAI_MODEL_PREFIX) :]
            route = oip_http.find_route(table, oip_http.ModelPath(name, "", ""))
            entry = openai.model_entry(route)
            return await exchange.answer(200, JSON, openai.encode(entry))
        target = oip_http.parse_path(path)
        if target is not None and target.action in ("ready", "metadata"):
            return await self._model_status(exchange, target)
        raise RouteNotFound(f"there is no GET {path}; see the API reference")

    async def _readiness(self, exchange: Exchange) -> None:
        if self._draining or self._gateway.table.version == 0:
            why = "draining" if self._draining else "the catalog is not loaded yet"
            raise SnapshotUnavailable(f"not ready: {why}", retry_after_s=1)
        await exchange.answer(200, JSON, b'{"status":"ready"}')

    async def _model_status(self, exchange: Exchange, target: oip_http.ModelPath) -> None:
        route = oip_http.find_route(self._gateway.table, target)
        if target.action == "ready":
            ready = oip_http.route_is_ready(route)
            return await exchange.answer(200 if ready else 503, JSON, b"")
        self._gateway.authenticate(exchange.header(b"authorization"))
        await exchange.answer(200, JSON, oip_http.model_metadata(route))

    async def _refuse(self, exchange: Exchange, error: CallError, request_id: str) -> None:
        if exchange.started:
            return  # The answer is under way; the connection's end is all that can be said.
        shape = oip_error if exchange.path.startswith(OIP_PREFIX) else openai_error
        headers = [*error_headers(error), ("x-request-id", request_id)]
        await exchange.answer(status_of(error), headers, shape(error))
