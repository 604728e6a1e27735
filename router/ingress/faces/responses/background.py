"""Responses that are made in the background: each is a prediction, told in a response's words.

The web process keeps the prediction and has a router make it, which keeps the response under the
id that its client got at once. From then on the store has it, and no prediction is asked for.
"""

from datetime import datetime
from http import HTTPStatus
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Raw, Struct

from router.contracts.wire import UNREADABLE
from router.domain.errors import RequestInvalid
from router.domain.request import PRESET_MARK, InferenceRequest, Priority
from router.ingress.faces.responses.request import Request
from router.ingress.faces.responses.resource import Fields, Resource
from router.ingress.http.exchange import Exchange, Headers
from router.ingress.proxy.pass_through import PassThrough, Reply
from router.pipeline.plans.auto import is_auto
from router.pipeline.plans.fit import check_said
from router.pipeline.plans.naming import find_route, whole_name
from router.pipeline.plans.routing_table import NOBODY, RoutingTable

MADE = b"x-route-response"
"""Which response this call makes, by the id of its prediction: it is made now."""
ID = "resp_"
PREDICTIONS = "/v1/predictions"
CANCEL_WAIT_S = 10
"""The longest that a cancelled call takes to end."""
JSON: Headers = [("content-type", "application/json")]
STATUSES = {
    "starting": "queued",
    "processing": "in_progress",
    "failed": "failed",
    "canceled": "cancelled",
    "aborted": "cancelled",
}
"""Of a prediction that has no output."""
OPEN = frozenset({"queued", "in_progress"})
RANDOM = 4
"""The version of their UUIDs."""
NULL = Raw(b"null")
NOT_INPUT = ("model", "stream", "stream_options")
"""Fields that a prediction has elsewhere, or not."""


class _Prediction(Struct, gc=False):
    id: str
    model: str
    status: str
    created_at: str
    error: str | None = None
    input: Raw = NULL
    output: Raw = NULL


class _Named(Struct, gc=False):
    model: str | None = None


_decode = msgspec.json.Decoder(_Prediction).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_named = msgspec.json.Decoder(_Named).decode
_decode_request = msgspec.json.Decoder(Request).decode
_decode_any = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class Response:
    """A response that is made in the background, as far as it is."""

    def __init__(self, prediction: _Prediction) -> None:
        self._prediction = prediction
        self.status = STATUSES.get(prediction.status, "completed")

    @property
    def input(self) -> Raw:
        """What was asked of it."""
        return _decode_fields(self._prediction.input).get("input", NULL)

    @property
    def fields(self) -> Fields:
        """As its client gets it."""
        made = self._prediction
        if self.status == "completed":
            return _decode_any(made.output)
        asked = _decode_request(made.input)
        created_s = int(datetime.fromisoformat(made.created_at).timestamp())
        key = UUID(made.id).hex
        told = Resource(key, made.model, created_s, asked, is_kept=True).standing(self.status)
        if self.status == "failed":
            told["error"] = {"code": "server_error", "message": made.error or ""}
        return told


class Background:
    """Begins them and asks for them, where there is a web process."""

    def __init__(self, jobs: PassThrough | None) -> None:
        self._jobs = jobs

    async def begin(
        self, exchange: Exchange, table: RoutingTable, call: InferenceRequest, *, is_kept: bool
    ) -> None:
        """Have a call that was read be made later. Raises what is wrong with it now."""
        jobs, grant = self._jobs, exchange.grant or NOBODY
        if jobs is None:
            raise RequestInvalid(
                "nothing is made in the background here: ROUTER_JOBS_URL is not set",
                param="background",
            )
        if not is_kept:
            raise RequestInvalid(
                "a response in the background is kept: leave store out, and let your organisation "
                "keep responses",
                param="background",
            )
        if call.stream:
            raise RequestInvalid(
                "a response in the background is not streamed: leave stream out, and get the "
                "response by its id",
                param="stream",
            )
        name = _decode_named(exchange.body).model or call.model
        if not is_auto(call):
            call, route = find_route(table, grant, call)
            check_said(route, call)
        if PRESET_MARK not in name:
            # Only routers know a model without its author.
            bare, colon, suffix = name.partition(":")
            name = whole_name(table, grant, bare) + colon + suffix
        fields = _decode_fields(exchange.body)
        asked = {
            "model": name,
            "input": {field: fields[field] for field in fields if field not in NOT_INPUT},
            "priority": exchange.header(b"x-route-priority") or Priority.STANDARD,
        }
        reply = await jobs.ask(exchange, "POST", PREDICTIONS, _encode(asked))
        if reply.status >= HTTPStatus.BAD_REQUEST:
            return await exchange.answer(reply.status, reply.headers, reply.body)
        await exchange.answer(200, JSON, _encode(_response(reply).fields))

    async def found(self, exchange: Exchange, id_: str, *, wait_s: int = 0) -> Response | None:
        """The one of this id, if the caller's organisation has it."""
        path = _path(id_)
        if self._jobs is None or path is None:
            return None
        reply = await self._jobs.ask(exchange, "GET", path, wait_s=wait_s)
        if reply.status != HTTPStatus.OK:
            return None
        try:
            return _response(reply)
        except UNREADABLE:
            return None  # A prediction of another kind.

    async def cancelled(self, exchange: Exchange, id_: str) -> Response | None:
        """The same once it is cancelled, or as it ended before."""
        found = await self.found(exchange, id_)
        path = _path(id_)
        if found is None or found.status not in OPEN or self._jobs is None or path is None:
            return found
        await self._jobs.ask(exchange, "POST", f"{path}/cancel")
        return await self.found(exchange, id_, wait_s=CANCEL_WAIT_S)

    async def forget(self, exchange: Exchange, id_: str) -> bool:
        """Delete one that is over; returns whether there was one. Raises for one that runs."""
        found, path = await self.found(exchange, id_), _path(id_)
        if found is None or self._jobs is None or path is None:
            return False
        if found.status in OPEN:
            raise RequestInvalid(f"the response {id_!r} is {found.status}; cancel it first")
        await self._jobs.ask(exchange, "DELETE", path)
        return True


def key_of(exchange: Exchange) -> str:
    """The key of the response that a call makes for a prediction, "" for other calls."""
    named = exchange.header(MADE)
    if not named:
        return ""
    try:
        return UUID(named).hex
    except ValueError:
        raise RequestInvalid(
            f"x-route-response must be a UUID, not {named[:40]!r}", param="x-route-response"
        ) from None


def _path(id_: str) -> str | None:
    """Of the prediction, if the id may be one's: theirs are random, those of calls are not."""
    try:
        uid = UUID(id_.removeprefix(ID))
    except ValueError:
        return None
    return f"{PREDICTIONS}/{uid}" if uid.version == RANDOM else None


def _response(reply: Reply) -> Response:
    """Raises ``msgspec.DecodeError`` if it is none that is made in the background."""
    made = _decode(reply.body)
    if not _decode_request(made.input).background:
        raise msgspec.DecodeError("no response")
    return Response(made)
