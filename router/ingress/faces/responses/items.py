"""The items of a response's input, and the messages of the chat that they are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import msgspec
from msgspec import Raw, Struct

from router.contracts.wire import UNREADABLE
from router.domain.errors import RequestInvalid
from router.domain.request import BYTES_PER_TOKEN
from router.ingress.unfit import missing, unfit

ChatMessage = dict[str, Any]
ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
"""The role of a message in a chat: templates know no developer."""

SPOKEN = frozenset({"input_text", "output_text", "text"})
REFERENCE = "item_reference"
INPUT = "input"
NULL = b"null"

T = TypeVar("T")


class Part(Struct, gc=False):
    """A part of a message, or of what a tool returned."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None
    input_audio: Raw = Raw(NULL)


class Item(Struct, gc=False):
    """What every item of the input has. Its other fields are read by its type."""

    type: str = "message"
    id: str | None = None
    role: str | None = None
    content: Raw = Raw(NULL)


class _Call(Struct, gc=False):
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class _Returned(Struct, gc=False):
    call_id: str | None = None
    output: str | list[Part] | None = None


class Earlier(Struct, frozen=True, gc=False):
    """What was kept: the ``items`` of earlier turns, and items by the ids that stand for them."""

    items: Sequence[Raw] = ()
    referred: Mapping[str, Raw] = {}


NOTHING_EARLIER = Earlier()


class Unsaid:
    """The first thing that a chat cannot say, and in which field of the request it is."""

    def __init__(self) -> None:
        self.why = ""
        self.param = ""

    def note(self, why: str, param: str) -> None:
        """Remember it, if it is the first."""
        if not self.why:
            self.why, self.param = why, param


def messages_of(
    given: Raw, instructions: str | None, earlier: Earlier, unsaid: Unsaid
) -> tuple[list[ChatMessage], Raw]:
    """The messages of a chat, and the whole input: with what was kept in it.

    What is ``unsaid`` stands in the messages as a text, which says how large it is. Raises
    ``RequestInvalid`` that names the item at fault.
    """
    chat = _Chat(unsaid)
    if instructions:
        chat.say("system", instructions)
    _fitting(_decode_any, given, INPUT)  # What is not read here is kept, and read later.
    asked = _fitting(_decode_given, given, INPUT)
    whole = [
        _itself(raw, earlier, chat, f"the kept input[{n}]") for n, raw in enumerate(earlier.items)
    ]
    if isinstance(asked, str):
        chat.say("user", asked)
        whole.append(Raw(_encode({"role": "user", "content": asked})))
    else:
        whole += [_itself(raw, earlier, chat, f"input[{n}]") for n, raw in enumerate(asked or ())]
    chat.end()
    if not chat.messages:
        raise RequestInvalid(
            "input is missing; give a text, or a list of at least one item", param="input"
        )
    is_whole = not earlier.items and not earlier.referred
    return chat.messages, given if is_whole else Raw(_encode(whole))


def shortened(messages: list[ChatMessage], tokens_max: int) -> list[ChatMessage]:
    """Without the oldest messages, until the others have so many tokens by estimate.

    System messages and the last one stay. A tool's result does not stay without its call.
    """
    sizes = [_tokens(message) for message in messages]
    over = sum(sizes) - tokens_max
    kept: list[ChatMessage] = []
    is_oldest = True  # Only messages of the system are kept so far.
    for number, message in enumerate(messages):
        is_system = message["role"] == "system"
        is_orphan = message["role"] == "tool" and is_oldest
        may_go = not is_system and number + 1 < len(messages) and is_oldest
        if may_go and (over > 0 or is_orphan):
            over -= sizes[number]
        else:
            kept.append(message)
            is_oldest = is_oldest and is_system
    return kept


def _tokens(message: ChatMessage) -> int:
    """By its text: what an image has is not known here."""
    content: object = message["content"]
    parts = cast("list[ChatMessage]", content) if isinstance(content, list) else ()
    unseen = sum(len(_encode(part)) for part in parts if part["type"] != "text")
    return (len(_encode(message)) - unseen) // BYTES_PER_TOKEN


def _itself(raw: Raw, earlier: Earlier, chat: "_Chat", path: str) -> Raw:
    """The item, or the kept one that it refers to. It is added to the chat."""
    item = _fitting(_decode_item, raw, path)
    if item.type == REFERENCE:
        kept = earlier.referred.get(item.id or "")
        if kept is None:
            raise RequestInvalid(
                f"{path} refers to the item {item.id!r}, which is not kept; send the item itself",
                param=INPUT,
            )
        raw, item = kept, _decode_item(kept)
    chat.add(item, raw, path)
    return raw


class _Chat:
    """Messages, to which items are added one by one."""

    def __init__(self, unsaid: Unsaid) -> None:
        self.messages: list[ChatMessage] = []
        self._unsaid = unsaid
        self._system: list[ChatMessage] = []
        """Messages of the system, each with a list of texts until the end."""
        self._shown: list[ChatMessage] = []
        """Images of tools' results, which follow in a message of the user."""

    def add(self, item: Item, raw: Raw, path: str) -> None:
        kind = item.type
        if kind == "function_call_output":
            returned = _fitting(_decode_returned, raw, path)
            if returned.call_id is None:
                raise missing(f"{path}.call_id")
            if returned.output is None:
                raise missing(f"{path}.output")
            self._returned(returned.call_id, returned.output, path)
            return
        self.show()
        if kind == "message":
            self._message(item, path)
        elif kind == "function_call":
            self._call(_fitting(_decode_call, raw, path), path)
        elif kind != "reasoning":  # What a model thought before is not sent to it again.
            self._unsaid.note(
                f"{path} is of type {kind!r}, which cannot be sent to this model; use message, "
                "function_call, function_call_output or reasoning",
                INPUT,
            )
            self.say("user", bytes(raw).decode())

    def say(self, role: str, text: str) -> None:
        """Templates take one system message, at the beginning."""
        if role != "system":
            self.messages.append({"role": role, "content": text})
        elif self._system and self.messages[-1] is self._system[-1]:
            self._system[-1]["content"].append(text)
        else:
            self._system.append({"role": role, "content": [text]})
            self.messages.append(self._system[-1])

    def show(self) -> None:
        """No more results of tools follow: show the images among them."""
        if self._shown:
            self.messages.append({"role": "user", "content": self._shown})
            self._shown = []

    def end(self) -> None:
        """Nothing more is added."""
        self.show()
        for message in self._system:
            message["content"] = "\n\n".join(message["content"])

    def _message(self, item: Item, path: str) -> None:
        role = ROLES.get(item.role or "")
        if role is None:
            raise RequestInvalid(
                f"{path}.role is {item.role!r}; it must be one of {', '.join(ROLES)}", param="input"
            )
        if bytes(item.content) == NULL:
            raise missing(f"{path}.content")
        content = _fitting(_decode_content, item.content, f"{path}.content")
        if isinstance(content, str):
            return self.say(role, content)
        parts = self._parts(content, f"{path}.content")
        if all(part["type"] == "text" for part in parts):
            return self.say(role, "\n".join(part["text"] for part in parts))
        self.messages.append({"role": role, "content": parts})

    def _call(self, called: _Call, path: str) -> None:
        """Calls of one turn are one message, with what was said before them."""
        for name in ("call_id", "name", "arguments"):
            if getattr(called, name) is None:
                raise missing(f"{path}.{name}")
        function = {"name": called.name, "arguments": called.arguments}
        call = {"id": called.call_id, "type": "function", "function": function}
        last = self.messages[-1] if self.messages else None
        if last is None or last["role"] != "assistant":
            last = ChatMessage(role="assistant", content=None)
            self.messages.append(last)
        last.setdefault("tool_calls", []).append(call)

    def _returned(self, call_id: str, output: str | list[Part], path: str) -> None:
        text = output if isinstance(output, str) else ""
        if not isinstance(output, str):
            parts = self._parts(output, f"{path}.output")
            text = "\n".join(part["text"] for part in parts if part["type"] == "text")
            self._shown += [part for part in parts if part["type"] != "text"]
        self.messages.append({"role": "tool", "tool_call_id": call_id, "content": text})

    def _parts(self, parts: list[Part], path: str) -> list[ChatMessage]:
        return [self._part(part, f"{path}[{number}]") for number, part in enumerate(parts)]

    def _part(self, part: Part, path: str) -> ChatMessage:
        if part.type in SPOKEN:
            if part.text is None:
                raise missing(f"{path}.text")
            return {"type": "text", "text": part.text}
        if part.type == "refusal":
            return {"type": "text", "text": part.refusal or ""}
        if part.type == "input_image" and part.image_url is not None:
            image = {"url": part.image_url}
            return {"type": "image_url", "image_url": image | _given(part, "detail")}
        if part.type == "input_file" and (part.file_data or part.file_id):
            return {"type": "file", "file": _given(part, "file_data", "file_id", "filename")}
        if part.type == "input_audio" and bytes(part.input_audio) != NULL:
            return {"type": "input_audio", "input_audio": part.input_audio}
        self._unsaid.note(
            f"{path} of type {part.type!r} cannot be sent to this model; use input_text, "
            "input_image with an image_url, input_file with file_data or input_audio",
            INPUT,
        )
        return {"type": "text", "text": _encode(part).decode()}


def _given(part: Part, *names: str) -> dict[str, str]:
    return {name: value for name in names if (value := getattr(part, name)) is not None}


def _fitting(decode: Callable[[Raw], T], raw: Raw, path: str) -> T:
    """The decoded part of a body. Raises ``RequestInvalid`` that names what does not fit."""
    try:
        return decode(raw)
    except UNREADABLE as error:
        raise unfit(error, path) from None


_encode = msgspec.json.Encoder().encode
_decode_any = msgspec.json.Decoder(Any).decode
_decode_given = msgspec.json.Decoder(str | list[Raw] | None).decode
decode_items = msgspec.json.Decoder(list[Raw]).decode
_decode_item = msgspec.json.Decoder(Item).decode
_decode_content = msgspec.json.Decoder(str | list[Part]).decode
_decode_call = msgspec.json.Decoder(_Call).decode
_decode_returned = msgspec.json.Decoder(_Returned).decode
