"""The HTTP API: paths to handlers, errors to answers. Other exceptions are logged and give 500."""

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Coroutine

import msgspec

from router.domain.errors import (
    CallError,
    CredentialInvalid,
    DeadlineExceeded,
    InternalError,
    ModelUnknown,
    NothingEligible,
    QueueFull,
    RequestInvalid,
    RouterBusy,
    WorkerFailed,
)
from router.domain.ids import uuid7
from router.domain.protocols import KINDS
from router.domain.request import (
    InferenceRequest,
    Priority,
    fallen_back,
    prioritised,
    traced,
)
from router.ingress import description, listing, presets, quote
from router.ingress.account import Account
from router.ingress.attribution import Attribution
from router.ingress.errors import error_headers
from router.ingress.faces.face import Answering, Arrival, Face
from router.ingress.faces.messages import face as messages
from router.ingress.faces.responses import face as responses
from router.ingress.faces.responses.background import MADE, key_of
from router.ingress.faces.responses.turns import BELOW, Turns
from router.ingress.faces.table import FACES, face_of, speaker_of
from router.ingress.http.content_coding import decoded
from router.ingress.http.exchange import Exchange, Headers, Sink
from router.ingress.http.inflow import Inflow
from router.ingress.idempotency import CANCEL, HEADER, Idempotency
from router.ingress.oip import oip_http
from router.ingress.operations.operations import JSON, Operations
from router.ingress.progress import HEADER as PROGRESS
from router.ingress.progress import Progress
from router.ingress.proxy.forward import Forwarder
from router.ingress.proxy.pass_through import PassThrough, is_job, no_such
from router.pipeline.client import Client
from router.pipeline.gateway import Gateway
from router.pipeline.plans.auto import is_auto
from router.pipeline.plans.naming import find_route, named, own_first, whole_name
from router.pipeline.plans.routing_table import Grant
from router.pipeline.recorders.history import Histories
from router.settings import Limits

OPENAI_MODEL_PREFIX = "/v1/models/"
ENDPOINTS = "/endpoints"
OIP_PREFIX = "/v2"
PRIORITY = b"x-route-priority"
TRACEPARENT = b"traceparent"
CODING = b"content-encoding"

ENDED, NOT_ENDED = (listing.encode({"cancelled": ended}) for ended in (True, False))
"""What a cancel is answered."""

NOW = frozenset({CANCEL, MADE, quote.HEADER})
"""Headers of calls that are not put off, though they ask for the background."""

PRIORITIES = {priority.value: priority for priority in Priority}

FALLS_BACK = (DeadlineExceeded, ModelUnknown, NothingEligible, QueueFull, WorkerFailed)
"""After these errors the request's next model is tried: nothing has reached the client yet."""

log = logging.getLogger(__name__)


class API:
    """What :class:`router.ingress.http.http_server.HTTPServer` serves."""

    def __init__(
        self,
        gateway: Gateway,
        operations: Operations,
        account: Account,
        idempotency: Idempotency,
        turns: Turns,
        histories: Histories,
        *,
        limits: Limits,
        forwarder: Forwarder | None = None,
        jobs: PassThrough | None = None,
        trace_share: float | None = None,
    ) -> None:
        self._gateway = gateway
        self._operations = operations
        self._account = account
        self._idempotency = idempotency
        self._turns = turns
        self._histories = histories
        self._limits = limits
        self._forwarder = forwarder
        self._jobs = jobs
        self._trace_share = trace_share
        self._attribution = Attribution()
        # Ids must differ but may be guessed: asking about a call takes its owner's key.
        self._random_bits = random.Random(secrets.randbits(256)).getrandbits

    def admit(self, exchange: Exchange) -> None:
        """Refuse a request early if that can be done without its body."""
        if self._operations.running >= self._limits.calls_max:
            raise RouterBusy(
                f"{self._limits.calls_max} calls are running here, try again", retry_after_s=1
            )
        if exchange.path not in FACES and is_job(exchange) and self._jobs is not None:
            exchange.inflow = self._jobs.inflow_of(exchange)
            if exchange.inflow.has_body:
                exchange.grant = self._gateway.authenticate(exchange.credential)
        elif exchange.method == "POST":
            exchange.grant = self._gateway.authenticate(exchange.credential)
        else:
            exchange.wants_body = False  # A client without a key must not fill memory.

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one call."""
        request_id, _, now_ms = self.new_call()
        self._operations.begin()
        try:
            if exchange.inflow is not None:
                await self._pass_on(exchange, exchange.inflow, request_id)
            else:
                await self._handle(exchange, request_id, now_ms)
        except CallError as error:
            self._tell(exchange, error, request_id)
        except asyncio.CancelledError:
            pass  # The client left, so there is nobody to answer.
        except Exception:
            log.exception("call %s failed by a fault of the router", request_id)
            fault = InternalError(f"internal error; quote the request id {request_id}")
            self._tell(exchange, fault, request_id)
        finally:
            self._operations.end()

    def new_call(self) -> tuple[str, float, int]:
        """A new request id, and the current monotonic seconds and Unix milliseconds."""
        now_ms = time.time_ns() // 1_000_000
        return uuid7(now_ms, self._random_bits(74)), time.monotonic(), now_ms

    def refusal(
        self, exchange: Exchange, error: CallError, request_id: str = ""
    ) -> tuple[int, Headers, bytes]:
        """Status, headers and body of an error, in the dialect of the path."""
        self._operations.meters.errors[error.counted_code] += 1
        headers = [*error_headers(error), ("x-request-id", request_id or self.new_call()[0])]
        return error.status, headers, speaker_of(exchange.path).error(error)

    async def drain(self, timeout_s: float) -> None:
        """See :meth:`Operations.drain`. Calls that are ended elsewhere meanwhile end here."""
        watching = asyncio.ensure_future(self._idempotency.watch())
        try:
            await self._operations.drain(timeout_s)
        finally:
            watching.cancel()
        self._gateway.stopping = True

    async def _handle(self, exchange: Exchange, request_id: str, now_ms: int) -> None:
        method, path = exchange.method, exchange.path
        if method == "POST":
            if CODING in exchange.headers:
                coding = exchange.headers.pop(CODING).decode("latin-1")
                exchange.body = decoded(exchange.body, coding, self._limits.body_bytes_max)
            if path == messages.COUNT_PATH:
                return await self._count_tokens(exchange)
            face = face_of(path)
            if face is not None:
                forwarder = self._forwarder
                arrival = Arrival(
                    request_id,
                    time.monotonic(),
                    now_ms,
                    exchange.header(b"x-route-explain") == "1",
                    face.is_root and forwarder is not None and forwarder.streams(exchange),
                    self._gateway.table,
                )
                if path == responses.PATH:
                    return await self._respond(exchange, arrival)
                return await self._serve(exchange, *self._read(face, exchange, arrival))
            if path.startswith(BELOW):
                return await self._turns.answered(exchange)
        elif method == "GET":
            return await self._get(exchange)
        elif method == "DELETE" and path.startswith(BELOW):
            return await self._turns.answered(exchange)
        elif method == "OPTIONS":
            return await exchange.allow_cross_origin()
        raise no_such(exchange)

    async def _pass_on(self, exchange: Exchange, inflow: Inflow, request_id: str) -> None:
        if exchange.grant is None:
            exchange.grant = self._gateway.authenticate(exchange.credential)
        if self._jobs is not None:
            await self._jobs.pass_on(exchange, inflow, request_id)

    async def _respond(self, exchange: Exchange, arrival: Arrival) -> None:
        """Serve a response, which may go on from earlier ones and may be kept."""
        before = await self._turns.before(exchange)
        arrival = msgspec.structs.replace(
            arrival, earlier=before.earlier, is_kept=before.is_kept, response_key=key_of(exchange)
        )
        call, answering = self._read(responses.FACE, exchange, arrival)
        if before.in_background and NOW.isdisjoint(exchange.headers):
            background, table = self._turns.background, self._gateway.table
            return await background.begin(exchange, table, call, is_kept=before.is_kept)
        if before.is_kept:
            answering = self._turns.keeping(exchange, answering)
        await self._serve(exchange, call, answering)

    def _read(
        self, face: Face, exchange: Exchange, arrival: Arrival
    ) -> tuple[InferenceRequest, Answering]:
        """The call, with what its preset says, if it names one."""
        given, grant = exchange.body, exchange.grant
        if grant is None or face.is_root or presets.MARK_BYTES not in given:
            return face.read(exchange, arrival)
        exchange.body, asked = presets.applied(arrival.table, grant, exchange.path, given)
        try:
            call, answering = face.read(exchange, arrival)
        finally:
            exchange.body = given  # Forwarded as it came, and so known to an Idempotency-Key.
        return msgspec.structs.replace(call, asked=asked), answering

    async def _count_tokens(self, exchange: Exchange) -> None:
        """Estimate the tokens of a message's prompt. Nothing runs and nothing is charged."""
        grant = self._gateway.authenticate(exchange.credential)
        body, _ = presets.applied(self._gateway.table, grant, exchange.path, exchange.body)
        call = messages.counted(body, Arrival("", 0.0, 0))
        if not is_auto(call):
            find_route(self._gateway.table, grant, call)
        await exchange.answer(200, JSON, listing.encode({"input_tokens": call.prompt_tokens}))

    async def _serve(
        self, exchange: Exchange, call: InferenceRequest, answering: Answering
    ) -> None:
        if self._trace_share is not None or TRACEPARENT in exchange.headers:
            call = traced(call, exchange.header(TRACEPARENT), self._trace_share)
        if PRIORITY in exchange.headers:
            call = prioritised(call, _priority(exchange.header(PRIORITY)))
        if exchange.grant is None:
            raise CredentialInvalid("this needs the header Authorization: Bearer <API key>")
        key = exchange.headers.get(HEADER)  # All clients would share an empty one.
        if key and CANCEL in exchange.headers:
            return await self._cancel(exchange, exchange.grant)
        call = self._attribution.attributed(exchange.grant, call, exchange.headers)
        if is_auto(call):
            call = self._gateway.chosen(exchange.grant, call)
        call = own_first(self._gateway.table, exchange.grant, call)
        forwarder = self._forwarder
        if forwarder is not None:
            table = self._gateway.table
            owned = named(table, exchange.grant, call).model
            # Else how long a refusal takes would tell that another organisation has the model.
            is_there = table.route_for(exchange.grant, owned) is not None
            if is_there and await forwarder.forwarded(exchange, owned):
                return
        if quote.HEADER in exchange.headers:
            body = quote.quote_of(*self._gateway.quoted(exchange.grant, call))
            return await exchange.answer(200, JSON, body)
        if not key:
            return await self._running(exchange, exchange.grant, call, answering, exchange)
        grant = exchange.grant
        await self._idempotency.once(
            exchange, grant, lambda sink: self._running(exchange, grant, call, answering, sink)
        )

    async def _cancel(self, exchange: Exchange, grant: Grant) -> None:
        """End the call under the key, on whichever router: its model need not tell which."""
        ended = self._idempotency.cancel(exchange, grant)
        if not ended and self._forwarder is not None:
            ended = ENDED in await self._forwarder.told(exchange)
        # One that drains may serve it still, and answers no other router.
        ended = ended or await self._idempotency.cancel_anywhere(exchange, grant)
        await exchange.answer(200, JSON, ENDED if ended else NOT_ENDED)

    def _running(
        self,
        exchange: Exchange,
        grant: Grant,
        call: InferenceRequest,
        answering: Answering,
        sink: Sink,
    ) -> Coroutine[None, None, None]:
        """The coroutine that serves a call."""
        progress = self._progress(exchange, call, sink)
        client = answering(sink, call, progress)
        if progress is not None:
            return self._told(exchange, grant, call, client, progress)
        if call.fallbacks:
            return self._first_of(exchange, grant, call, client)
        return self._gateway.serve(grant, call, client)

    def _progress(self, exchange: Exchange, call: InferenceRequest, sink: Sink) -> Progress | None:
        """Comments for a stream of text until its answer begins."""
        asked = exchange.headers.get(PROGRESS) == b"1"
        every_s = self._limits.progress_s if asked else self._limits.quiet_s
        if not call.stream or not KINDS[call.kind].generates or not every_s:
            return None
        return Progress(sink, call.id, self._gateway.standing, every_s)

    async def _told(
        self,
        exchange: Exchange,
        grant: Grant,
        call: InferenceRequest,
        client: Client,
        progress: Progress,
    ) -> None:
        refused: CallError | None = None
        try:
            if call.fallbacks:
                await self._first_of(exchange, grant, call, client, progress)
            else:
                await self._gateway.serve(grant, call, client)
        except CallError as error:
            if not progress.stop():
                raise
            refused = error
        finally:
            progress.stop()
        if refused is not None:  # Its status is 200: the head went with a comment.
            await client.end_stream(refused)

    async def _first_of(
        self,
        exchange: Exchange,
        grant: Grant,
        call: InferenceRequest,
        client: Client,
        progress: Progress | None = None,
    ) -> None:
        """Serve by the first of the request's models that can."""
        while call.fallbacks:
            try:
                return await self._gateway.serve(grant, call, client)
            except FALLS_BACK:
                # The books have a call for each model tried.
                id_ = uuid7(call.created_at_ms, self._random_bits(74))
                call = fallen_back(call, id_)
                if progress is not None:
                    progress.call_id = id_
                call = traced(call, exchange.header(TRACEPARENT), self._trace_share)
        await self._gateway.serve(grant, call, client)

    async def _get(self, exchange: Exchange) -> None:
        if await self._operations.answered(exchange) or await self._account.answered(exchange):
            return
        path, table = exchange.path, self._gateway.table
        if path == "/v1/models":
            grant = self._gateway.authenticate(exchange.credential)
            return await exchange.answer(200, JSON, listing.model_list(table, grant))
        if path == description.PATH:
            return await exchange.answer(200, JSON, description.BODY)
        if path == OIP_PREFIX:
            return await exchange.answer(200, JSON, oip_http.server_metadata())
        if path.startswith(OPENAI_MODEL_PREFIX):
            grant = self._gateway.authenticate(exchange.credential)
            asked = path[len(OPENAI_MODEL_PREFIX) :]
            wanted = asked.removesuffix(ENDPOINTS)
            name = whole_name(table, grant, wanted)
            route = oip_http.find_route(table, oip_http.ModelPath(name, "", ""), grant)
            if wanted != asked:
                listed = listing.endpoint_list(route, self._gateway.service_s, self._histories.of)
                return await exchange.answer(200, JSON, listed)
            entry = listing.model_entry(route)
            return await exchange.answer(200, JSON, listing.encode(entry))
        if path.startswith(BELOW):
            return await self._turns.answered(exchange)
        target = oip_http.parse_path(path)
        if target is not None and target.action != "infer":
            return await self._model_status(exchange, target)
        raise no_such(exchange)

    async def _model_status(self, exchange: Exchange, target: oip_http.ModelPath) -> None:
        table = self._gateway.table
        if target.action == "ready":
            ready = oip_http.route_is_ready(oip_http.find_route(table, target))
            return await exchange.answer(200 if ready else 503, JSON, b"")
        grant = self._gateway.authenticate(exchange.credential)
        if target.action == oip_http.STATISTICS:
            models = self._operations.meters.models
            body = oip_http.model_statistics(table, grant, models, target)
        else:
            body = oip_http.model_metadata(oip_http.find_route(table, target, grant))
        await exchange.answer(200, JSON, body)

    def _tell(self, exchange: Exchange, error: CallError, request_id: str) -> None:
        if exchange.started:
            return  # The answer has begun, so all that is left is to close the connection.
        exchange.answer_now(*self.refusal(exchange, error, request_id))


def _priority(asked: str) -> Priority:
    if asked not in PRIORITIES:
        raise RequestInvalid(
            f"X-Route-Priority is {asked!r}; it must be one of {', '.join(PRIORITIES)}",
            param="X-Route-Priority",
        )
    return PRIORITIES[asked]
