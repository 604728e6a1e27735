"""The items of a response's input, and the messages of the chat that they are."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
from msgspec import Raw, Struct

from router.domain.errors import RequestInvalid
from router.domain.request import BYTES_PER_TOKEN
from router.ingress.unfit import missing

ChatMessage = dict[str, Any]
ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
"""The role of a message in a chat: templates know no developer."""

SPOKEN = frozenset({"input_text", "output_text", "text"})


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
    input_audio: Raw = Raw(b"null")


class Item(Struct, gc=False):
    """An item of the input. ``output`` is what a tool returned."""

    type: str = "message"
    id: str | None = None
    role: str | None = None
    content: str | list[Part] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[Part] | None = None


class Earlier(Struct, frozen=True, gc=False):
    """What was kept: the ``items`` of earlier turns, and items by the ids that stand for them."""

    items: Sequence[Item] = ()
    referred: Mapping[str, Item] = {}


NOTHING_EARLIER = Earlier()


def messages_of(
    given: str | list[Item] | None, instructions: str | None, earlier: Earlier
) -> list[ChatMessage]:
    """The messages of a chat. Raises ``RequestInvalid`` that names the item at fault."""
    chat = _Chat()
    if instructions:
        chat.say("system", instructions)
    for number, item in enumerate(earlier.items):
        chat.add(_itself(item, earlier, "a kept input"), f"the kept input[{number}]")
    if isinstance(given, str):
        chat.say("user", given)
    for number, item in enumerate([] if given is None or isinstance(given, str) else given):
        path = f"input[{number}]"
        chat.add(_itself(item, earlier, path), path)
    chat.show()
    if not chat.messages:
        raise RequestInvalid(
            "input is missing; give a text, or a list of at least one item", param="input"
        )
    return chat.messages


def shortened(messages: list[ChatMessage], tokens_max: int) -> list[ChatMessage]:
    """Without the oldest messages, until the others have so many tokens by estimate.

    System messages and the last one stay. A tool's result does not stay without its call.
    """
    sizes = [_tokens(message) for message in messages]
    over = sum(sizes) - tokens_max
    kept: list[ChatMessage] = []
    for number, message in enumerate(messages):
        is_oldest = len(kept) == sum(each["role"] == "system" for each in kept)
        is_orphan = message["role"] == "tool" and is_oldest
        may_go = message["role"] != "system" and number + 1 < len(messages) and is_oldest
        if may_go and (over > 0 or is_orphan):
            over -= sizes[number]
        else:
            kept.append(message)
    return kept


def _tokens(message: ChatMessage) -> int:
    """By its text: what an image has is not known here."""
    content: object = message["content"]
    parts = cast("list[ChatMessage]", content) if isinstance(content, list) else ()
    unseen = sum(len(_encode(part)) for part in parts if part["type"] != "text")
    return (len(_encode(message)) - unseen) // BYTES_PER_TOKEN


def _itself(item: Item, earlier: Earlier, path: str) -> Item:
    """The item, or the kept one that it refers to."""
    if item.type != "item_reference":
        return item
    kept = earlier.referred.get(item.id or "")
    if kept is None:
        raise RequestInvalid(
            f"{path} refers to the item {item.id!r}, which is not kept; send the item itself",
            param="input",
        )
    return kept


class _Chat:
    """Messages, to which items are added one by one."""

    def __init__(self) -> None:
        self.messages: list[ChatMessage] = []
        self._shown: list[ChatMessage] = []
        """Images of tools' results, which follow in a message of the user."""

    def add(self, item: Item, path: str) -> None:
        kind = item.type
        if kind == "function_call_output":
            if item.call_id is None:
                raise missing(f"{path}.call_id")
            if item.output is None:
                raise missing(f"{path}.output")
            self._returned(item.call_id, item.output, path)
            return
        self.show()
        if kind == "message":
            self._message(item, path)
        elif kind == "function_call":
            self._call(item, path)
        elif kind != "reasoning":  # What a model thought before is not sent to it again.
            raise RequestInvalid(
                f"{path} is of type {kind!r}, which cannot be sent to this model; use message, "
                "function_call, function_call_output or reasoning",
                param="input",
            )

    def say(self, role: str, text: str) -> None:
        """Templates take one system message, at the beginning."""
        last = self.messages[-1] if self.messages else None
        if role == "system" and last is not None and last["role"] == role:
            last["content"] += "\n\n" + text
        else:
            self.messages.append({"role": role, "content": text})

    def show(self) -> None:
        """No more results of tools follow: show the images among them."""
        if self._shown:
            self.messages.append({"role": "user", "content": self._shown})
            self._shown = []

    def _message(self, item: Item, path: str) -> None:
        role = ROLES.get(item.role or "")
        if role is None:
            raise RequestInvalid(
                f"{path}.role is {item.role!r}; it must be one of {', '.join(ROLES)}", param="input"
            )
        if item.content is None:
            raise missing(f"{path}.content")
        if isinstance(item.content, str):
            return self.say(role, item.content)
        parts = [_part(part, f"{path}.content[{n}]") for n, part in enumerate(item.content)]
        if all(part["type"] == "text" for part in parts):
            return self.say(role, "\n".join(part["text"] for part in parts))
        self.messages.append({"role": role, "content": parts})

    def _call(self, item: Item, path: str) -> None:
        """Calls of one turn are one message, with what was said before them."""
        for name in ("call_id", "name", "arguments"):
            if getattr(item, name) is None:
                raise missing(f"{path}.{name}")
        function = {"name": item.name, "arguments": item.arguments}
        call = {"id": item.call_id, "type": "function", "function": function}
        last = self.messages[-1] if self.messages else None
        if last is None or last["role"] != "assistant":
            last = ChatMessage(role="assistant", content=None)
            self.messages.append(last)
        last["tool_calls"] = [*last.get("tool_calls", ()), call]

    def _returned(self, call_id: str, output: str | list[Part], path: str) -> None:
        text = output if isinstance(output, str) else ""
        if not isinstance(output, str):
            parts = [_part(part, f"{path}.output[{n}]") for n, part in enumerate(output)]
            text = "\n".join(part["text"] for part in parts if part["type"] == "text")
            self._shown += [part for part in parts if part["type"] != "text"]
        self.messages.append({"role": "tool", "tool_call_id": call_id, "content": text})


def _part(part: Part, path: str) -> ChatMessage:
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
    if part.type == "input_audio" and bytes(part.input_audio) != b"null":
        return {"type": "input_audio", "input_audio": part.input_audio}
    raise RequestInvalid(
        f"{path} of type {part.type!r} cannot be sent to this model; use input_text, input_image "
        "with an image_url, input_file with file_data or input_audio",
        param="input",
    )


def _given(part: Part, *names: str) -> dict[str, str]:
    return {name: value for name in names if (value := getattr(part, name)) is not None}


_encode = msgspec.json.Encoder().encode
decode_items = msgspec.json.Decoder(list[Item]).decode
