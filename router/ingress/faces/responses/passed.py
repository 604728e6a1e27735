"""The response of a worker that speaks OpenAI's Responses API, as the router's own.

Its items and events stay as they are, in their order. Ids and numbers become the router's, so that
what is kept is found by them, and what the router does itself is told in its words.
"""

import time

import msgspec
from msgspec import Raw, Struct

from router.contracts.wire import UNREADABLE
from router.ingress.faces.responses.resource import Fields, Resource, usage_of
from router.pipeline.settlement.route_report import Report
from router.ports.upstream import UpstreamFailed

PASSED = b"event: response."
"""What an event of a response begins with; chunks of a chat are not named."""
CREATED = "response.created"
ENDS = frozenset({"response.completed", "response.incomplete"})
OF_PARTS = ("content_part", "output_text", "refusal", "reasoning_text")
"""Events of a part of an item: the second word of their types."""
OWN = frozenset(
    {"id", "object", "created_at", "background", "previous_response_id", "store"}
    | {
        "status",
        "metadata",
        "user",
        "safety_identifier",
        "prompt_cache_key",
        "output",
        "completed_at",
    }
)
"""Fields of a response that the router knows better than its worker."""
NULL = b"null"
ITEM_IDS = {"message": "msg", "reasoning": "rs", "function_call": "fc"}


class _Object(Struct, gc=False):
    object: str = ""


class _Model(Struct, gc=False):
    model: str


class _Named(Struct, gc=False):
    type: str = ""
    id: str | None = None


_decode_object = msgspec.json.Decoder(_Object).decode
_decode_model = msgspec.json.Decoder(_Model).decode
_decode_named = msgspec.json.Decoder(_Named).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_items = msgspec.json.Decoder(list[Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_count = msgspec.json.Decoder(int).decode
_encode = msgspec.json.Encoder().encode


def is_response(body: bytes) -> bool:
    """Whether a worker's whole answer is a response, and no completion."""
    try:
        return _decode_object(body).object == "response"
    except UNREADABLE:
        return False


class Passed:
    """What a worker says of one response."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self._places: dict[str, int] = {}
        self._ids: dict[str, str] = {}
        self._last = b""
        self.has_begun = False

    def event(self, data: bytes) -> tuple[str, Fields] | None:
        """The type and the fields of an event for the client; None for the first and the last.

        Raises ``UpstreamFailed`` for what is no event.
        """
        self.has_begun = True
        try:
            fields: Fields = {**_decode_fields(data)}
            type_ = _decode_text(fields.pop("type"))
            if type_ == CREATED:
                self._resource.model = _decode_model(fields["response"]).model
                return None
            if type_ in ENDS:
                self._last = bytes(fields["response"])
                return None
            fields.pop("sequence_number", None)
            if "item" in fields:
                self._take_item(type_, fields)
            elif "item_id" in fields:
                self._take_id(type_, fields)
        except (KeyError, *UNREADABLE) as error:
            raise UpstreamFailed("bad_event", str(error)) from error
        return type_, fields

    def ended(self, body: bytes, report: Report | None) -> Fields:
        """The whole response, by what its worker says of it at its end."""
        theirs = _decode_fields(body or self._last)
        status = _decode_text(theirs["status"]) if "status" in theirs else "completed"
        items = _decode_items(theirs.get("output", b"[]"))
        if items:
            self._resource.output = [self._item(item, place) for place, item in enumerate(items)]
        made = self._resource.standing(status)
        made |= {name: value for name, value in theirs.items() if name not in OWN}
        if made.get("usage") is not None and bytes(made["usage"]) != NULL:
            made["usage"] = _with_details(made["usage"])
        made["completed_at"] = int(time.time()) if status == "completed" else None
        if report is not None:
            made["route"] = report
        return made

    def _take_item(self, type_: str, fields: Fields) -> None:
        theirs = _decode_named(fields["item"]).id or ""
        place = len(self._resource.output)
        if "output_index" in fields:
            place = _decode_count(fields["output_index"])
        self._places[theirs] = place
        fields["output_index"] = place
        fields["item"] = item = self._item(fields["item"], place)
        self._ids[theirs] = item["id"]
        if type_ == "response.output_item.done":
            self._resource.output.append(item)

    def _take_id(self, type_: str, fields: Fields) -> None:
        """Some workers leave out what can be known."""
        theirs = _decode_text(fields["item_id"])
        if theirs in self._ids:
            fields["item_id"] = self._ids[theirs]
            fields.setdefault("output_index", self._places[theirs])
        kind = type_.split(".")[1]
        if kind in OF_PARTS:
            fields.setdefault("content_index", 0)
        if type_ in ("response.output_text.delta", "response.output_text.done"):
            fields.setdefault("logprobs", [])
        if "part" in fields and _decode_named(fields["part"]).type == "output_text":
            fields["part"] = {"annotations": [], "logprobs": [], **_decode_fields(fields["part"])}

    def _item(self, item: Raw, place: int) -> Fields:
        named = _decode_named(item)
        theirs = (named.id or "").partition("_")[0]
        kind = theirs if theirs.isascii() and theirs.isalpha() and theirs.islower() else "item"
        kind = ITEM_IDS.get(named.type, kind)
        return {**_decode_fields(item), "id": f"{kind}_{self._resource.key}_{place}"}


def _with_details(usage: Raw) -> Fields:
    """Usage with all of its details, which clients expect and some workers leave out."""
    theirs: Fields = {**_decode_fields(usage)}
    for name, known in usage_of(None).items():
        if not isinstance(known, dict):
            theirs.setdefault(name, known)
        elif bytes(theirs.get(name, NULL)) == NULL:
            theirs[name] = known
        else:
            theirs[name] = {**known, **_decode_fields(theirs[name])}
    return theirs
