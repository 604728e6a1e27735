"""Responses that are kept: what a call goes on from, and what can be asked about them later.

Only calls that name a kept response or item read the store. A response is kept after its call is
settled and before its client gets the last byte, so that the next turn finds it, on any router.
"""

import asyncio
import logging
import re
from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import parse_qs

import msgspec
from msgspec import Raw, Struct

from router.contracts.wire import UNREADABLE
from router.domain.errors import (
    BodyTooLarge,
    CredentialInvalid,
    LedgerUnavailable,
    PreviousResponseUnknown,
    RequestInvalid,
    ResponseUnknown,
)
from router.domain.request import InferenceRequest
from router.ingress.faces.face import Answering
from router.ingress.faces.responses.background import Background
from router.ingress.faces.responses.items import (
    NOTHING_EARLIER,
    REFERENCE,
    Earlier,
    decode_items,
)
from router.ingress.http.exchange import Exchange, Headers, Sink
from router.ingress.progress import Progress
from router.ingress.proxy.pass_through import PassThrough, no_such
from router.pipeline.client import Client
from router.pipeline.gateway import Gateway
from router.pipeline.plans.routing_table import Grant
from router.ports.responses import ResponseStore, Turn
from router.settings import Limits

BELOW = "/v1/responses/"
INPUT_ITEMS = "/input_items"
CANCEL = "/cancel"
REFERENCES_MAX = 1_000
"""The most references to items that are looked up."""
TURNS_MAX = 1_000
"""The most turns that a call goes on from."""
KEEP_S = 2.0
"""The longest that a client waits for the last byte because its response is being kept."""
LISTED = 20
LISTED_MAX = 100
JSON: Headers = [("content-type", "application/json")]
ENDED = re.compile(rb"^event: response\.(?:completed|incomplete)\ndata: (.*)$", re.MULTILINE)
ITEM_ID = re.compile(r"^[a-z]+_([0-9a-f]+)_\d+$")

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class _Reference(Struct, gc=False):
    type: str | None = None
    id: str | None = None


class _Asked(Struct, gc=False):
    """What decides on keeping. Whether the body fits otherwise is read later."""

    previous_response_id: str | None = None
    store: bool | None = None
    background: bool | None = None
    input: Raw = Raw(b"[]")


class _Response(Struct, gc=False):
    """What is read of a response."""

    id: str
    output: list[Raw]


class _Ended(Struct, gc=False):
    response: Raw


_decode = msgspec.json.Decoder(_Asked).decode
_decode_references = msgspec.json.Decoder(list[_Reference]).decode
_decode_response = msgspec.json.Decoder(_Response).decode
_decode_ended = msgspec.json.Decoder(_Ended).decode
_decode_reference = msgspec.json.Decoder(_Reference).decode


class Before(Struct, frozen=True, gc=False):
    """What is known of a call before it is read: what it goes on from, and what becomes of it."""

    earlier: Earlier = NOTHING_EARLIER
    is_kept: bool = False
    in_background: bool = False


class Turns:
    """Finds what calls name, keeps responses, and answers for them."""

    def __init__(
        self,
        gateway: Gateway,
        store: ResponseStore,
        limits: Limits,
        jobs: PassThrough | None = None,
    ) -> None:
        self._gateway = gateway
        self._store = store
        self._limits = limits
        self.background = Background(jobs)

    async def before(self, exchange: Exchange) -> Before:
        """What a call goes on from, whether its response is to be kept, and made later.

        Raises ``PreviousResponseUnknown``, ``BodyTooLarge`` or ``LedgerUnavailable``.
        """
        try:
            asked = _decode(exchange.body)
        except UNREADABLE:
            return Before()
        grant = _grant(exchange)
        keeps = grant.organisation_id not in self._gateway.table.unkept
        items: list[Raw] = []
        if asked.previous_response_id is not None:
            items = await self._items_before(grant, asked.previous_response_id, keeps=keeps)
        names: list[str | None] = []
        for item in map(_decode_reference, items):
            names += [item.id] if item.type == REFERENCE else []
        if REFERENCE.encode() in exchange.body:
            names += _named(asked.input)
        referred = await self._referred(grant, names)
        is_kept = keeps and asked.store is not False
        return Before(Earlier(items, referred), is_kept, bool(asked.background))

    def keeping(self, exchange: Exchange, answering: Answering) -> Answering:
        """The same, but the response is kept before its last byte goes out."""
        grant, body = _grant(exchange), exchange.body

        def kept(sink: Sink, call: InferenceRequest, progress: Progress | None) -> Client:
            return answering(_Keeping(sink, self, grant, body), call, progress)

        return kept

    async def keep(self, grant: Grant, asked: bytes, response: bytes) -> None:
        """Keep a whole response. If the store is away, it is not kept."""
        found, made = _decode(asked), _decode_response(response)
        turn = Turn(
            id=made.id,
            organisation_id=grant.organisation_id,
            previous_id=found.previous_response_id or "",
            items=_encode(_listed(found.input, made.id)).decode(),
            body=response.decode(),
        )
        try:
            async with asyncio.timeout(KEEP_S):
                await self._store.keep(turn, self._limits.response_ttl_s)
        except (LedgerUnavailable, TimeoutError):
            log.warning("the response %s could not be kept", made.id)

    async def answered(self, exchange: Exchange) -> None:
        """Answer for a kept response. Raises ``ResponseUnknown`` or ``RouteNotFound``."""
        grant = self._gateway.authenticate(exchange.credential)
        asked, method = exchange.path[len(BELOW) :], exchange.method
        id_ = asked.removesuffix(INPUT_ITEMS if method == "GET" else CANCEL)
        if "/" in id_ or (method == "POST" and id_ == asked):
            raise no_such(exchange)
        turn = await self._turn(grant, id_)
        if turn is None:
            return await self._answered_in_background(exchange, grant, id_, is_whole=id_ == asked)
        if method == "POST":
            raise _over(id_)
        body = turn.body.encode()
        if method == "DELETE":
            # What is kept goes last: a prediction that is not over yet is refused.
            await self.background.forget(exchange, id_)
            await self._store.forget(grant.organisation_id, id_)
            body = _deleted(id_)
        elif id_ != asked:
            body = _page(turn.items, exchange.query)
        await exchange.answer(200, JSON, body)

    async def _answered_in_background(
        self, exchange: Exchange, grant: Grant, id_: str, *, is_whole: bool
    ) -> None:
        """The same for one that is not kept yet, or will never be."""
        found, background = None, self.background
        if grant.organisation_id not in self._gateway.table.unkept:
            cancels = exchange.method == "POST"
            found = await (background.cancelled if cancels else background.found)(exchange, id_)
        if found is None:
            raise ResponseUnknown(f"your organisation keeps no response {id_[:80]!r}")
        if exchange.method == "POST" and found.status != "cancelled":
            raise _over(id_)
        if exchange.method == "DELETE":
            await background.forget(exchange, id_)
            body = _deleted(id_)
        elif exchange.method == "GET" and not is_whole:
            body = _page(_encode(_listed(found.input, id_)).decode(), exchange.query)
        else:
            body = _encode(found.fields)
        await exchange.answer(200, JSON, body)

    async def _turn(self, grant: Grant, id_: str) -> Turn | None:
        if grant.organisation_id in self._gateway.table.unkept:
            return None
        found = await self._store.turns(
            grant.organisation_id, id_, turns_max=1, characters_max=self._limits.body_bytes_max
        )
        return found[-1] if found else None

    async def _items_before(self, grant: Grant, id_: str, *, keeps: bool) -> list[Raw]:
        found: Sequence[Turn] = ()
        if keeps:
            found = await self._store.turns(
                grant.organisation_id,
                id_,
                turns_max=TURNS_MAX,
                characters_max=self._limits.body_bytes_max,
            )
        size = sum(len(turn.items) + len(turn.body) for turn in found)
        if size > self._limits.body_bytes_max:
            raise BodyTooLarge(
                f"the turns up to {id_!r} have over {self._limits.body_bytes_max} characters; "
                "begin another conversation",
                param="previous_response_id",
            )
        if not found or found[0].previous_id:
            raise PreviousResponseUnknown(
                f"the response {id_[:80]!r}, or one before it, is not over, is not kept, or no "
                "longer; send its items as input",
                param="previous_response_id",
            )
        items: list[Raw] = []
        for turn in found:
            items += decode_items(turn.items)
            items += _decode_response(turn.body).output
        return items

    async def _referred(self, grant: Grant, names: Sequence[str | None]) -> dict[str, Raw]:
        """Kept items by their ids; those of a response take one look-up.

        Raises ``BodyTooLarge`` if they have too many bytes, each as often as it is named.
        """
        found: dict[str, Raw] = {}
        matches = [ITEM_ID.match(name or "") for name in names[:REFERENCES_MAX]]
        for key in dict.fromkeys(match[1] for match in matches if match):
            turn = await self._turn(grant, f"resp_{key}")
            if turn is not None:
                for item in _decode_response(turn.body).output:
                    found[_decode_reference(item).id or ""] = item
        size = sum(len(memoryview(found.get(name or "", b""))) for name in names)
        if size > self._limits.body_bytes_max:
            raise BodyTooLarge(
                f"the items that input refers to have over {self._limits.body_bytes_max} bytes; "
                "refer to fewer, and to each once",
                param="input",
            )
        return found


class _Keeping:
    """A client whose response is kept before the last byte goes out to it."""

    def __init__(self, client: Sink, turns: Turns, grant: Grant, asked: bytes) -> None:
        self._client = client
        self._turns = turns
        self._grant = grant
        self._asked = asked

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """See :class:`router.ingress.http.exchange.Sink`."""
        await self._turns.keep(self._grant, self._asked, body)
        await self._client.answer(status, headers, body)

    async def start_stream(self, headers: Headers) -> None:
        """See :class:`router.ingress.http.exchange.Sink`."""
        await self._client.start_stream(headers)

    async def send(self, chunk: bytes) -> None:
        """See :class:`router.ingress.http.exchange.Sink`."""
        await self._client.send(chunk)

    async def end_stream(self, last: bytes = b"") -> None:
        """See :class:`router.ingress.http.exchange.Sink`."""
        ended = ENDED.search(last)
        if ended is not None:
            response = bytes(_decode_ended(ended[1]).response)
            await self._turns.keep(self._grant, self._asked, response)
        await self._client.end_stream(last)


def _grant(exchange: Exchange) -> Grant:
    if exchange.grant is None:
        raise CredentialInvalid("this needs the header Authorization: Bearer <API key>")
    return exchange.grant


def _over(id_: str) -> RequestInvalid:
    return RequestInvalid(f"the response {id_!r} is over; only a running one is cancelled")


def _deleted(id_: str) -> bytes:
    return _encode({"id": id_, "object": "response", "deleted": True})


def _named(given: Raw) -> list[str | None]:
    """The ids of the items that an input refers to."""
    try:
        return [item.id for item in _decode_references(given) if item.type == REFERENCE]
    except UNREADABLE:
        return []


def _listed(given: Raw, response_id: str) -> list[Any]:
    """The items of an input as they are listed: each has an id and a type, a message parts."""
    decoded: object = msgspec.json.decode(given)
    items = [{"role": "user", "content": decoded}] if isinstance(decoded, str) else decoded or []
    key = response_id.removeprefix("resp_")
    listed: list[Any] = []
    for number, item in enumerate(cast("list[dict[str, Any]]", items)):
        whole: dict[str, Any] = {"id": f"in_{key}_{number}", "type": "message", **item}
        if isinstance(whole.get("content"), str) and whole["type"] == "message":
            kind = "output_text" if whole.get("role") == "assistant" else "input_text"
            whole["content"] = [{"type": kind, "text": whole["content"]}]
        listed.append(whole)
    return listed


def _page(items: str, query: str) -> bytes:
    """``?after=``, ``?limit=``, ``?order=``: some items as a list, the last first by default."""
    asked = {name: values[-1] for name, values in parse_qs(query).items()}
    limit = asked.get("limit", str(LISTED))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:4]) <= LISTED_MAX):
        raise RequestInvalid(
            f"limit is {limit[:20]!r}; it must be 1 to {LISTED_MAX}", param="limit"
        )
    listed: list[dict[str, Any]] = msgspec.json.decode(items)
    if asked.get("order", "desc") != "asc":
        listed.reverse()
    ids = [str(item["id"]) for item in listed]
    begin = ids.index(asked["after"]) + 1 if asked.get("after") in ids else 0
    end = begin + int(limit)
    return _encode(
        {
            "object": "list",
            "data": listed[begin:end],
            "first_id": next(iter(ids[begin:end]), None),
            "last_id": next(reversed(ids[begin:end]), None),
            "has_more": end < len(listed),
        }
    )
