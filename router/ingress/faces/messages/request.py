"""Anthropic's Messages API: turns a request into the equivalent chat call.

Text, images, tools and their results become OpenAI's shapes. An error names what has no equivalent.
Fields that neither API knows pass through to the worker, as everywhere.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from router.contracts.wire import UNREADABLE
from router.domain.errors import RequestInvalid
from router.ingress.unfit import missing, unfit

OpenAIObject = dict[str, Any]
"""A message, part, tool or tool call in OpenAI's shape."""

NEEDED = {
    "text": ("text",),
    "image": ("source",),
    "tool_use": ("id", "name", "input"),
    "tool_result": ("tool_use_id",),
}
"""The fields that a content block must have, by its type."""

_TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


class _Object(msgspec.Struct, gc=False):
    """Any object."""


class _Source(msgspec.Struct, gc=False):
    type: str | None = None
    url: str | None = None
    media_type: str | None = None
    data: str | None = None


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    source: _Source | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: "str | list[_Block] | None" = None
    is_error: bool | None = None


class _Message(msgspec.Struct, gc=False):
    role: str
    content: str | list[_Block]


class _Tool(msgspec.Struct, gc=False):
    name: str
    type: str | None = None
    description: str | None = None
    input_schema: Raw = Raw(b"null")


class _Choice(msgspec.Struct, gc=False):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Metadata(msgspec.Struct, gc=False):
    user_id: str | None = None


class _Request(msgspec.Struct, gc=False):
    """The fields that are translated. All others pass through unread."""

    messages: list[_Message]
    max_tokens: int | None = None
    system: str | list[_Block] | None = None
    tools: list[_Tool] | None = None
    tool_choice: _Choice | None = None
    stop_sequences: list[str] | None = None
    metadata: _Metadata | None = None
    stream: bool | None = None


_decode = msgspec.json.Decoder(_Request).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_object = msgspec.json.Decoder(_Object).decode
_encode = msgspec.json.Encoder().encode


def chat_body(body: bytes, *, counting: bool = False) -> bytes:
    """The body of the chat call. Raises ``RequestInvalid`` that names the field at fault.

    ``max_tokens`` may be missing when the tokens are only counted.
    """
    try:
        asked = _decode(body)
        fields: dict[str, Any] = _decode_fields(body)
    except msgspec.ValidationError as error:
        raise unfit(error) from None
    except UNREADABLE as unreadable:
        raise RequestInvalid(f"the body is not a JSON object: {unreadable}") from None
    if not counting and asked.max_tokens is None:
        raise RequestInvalid("max_tokens must be given, as a whole number", param="max_tokens")
    for name in ("system", "tools", "tool_choice", "stop_sequences", "metadata"):
        fields.pop(name, None)
    fields["messages"] = _messages(asked)
    if asked.tools is not None:
        fields["tools"] = [_tool(tool, n) for n, tool in enumerate(asked.tools)]
    if asked.tool_choice is not None:
        _choose(fields, asked.tool_choice)
    if asked.stop_sequences is not None:
        fields["stop"] = asked.stop_sequences
    if asked.metadata is not None and asked.metadata.user_id is not None:
        fields["user"] = asked.metadata.user_id
    if asked.stream:
        fields["stream_options"] = {"include_usage": True}
    return _encode(fields)


def _messages(asked: _Request) -> list[OpenAIObject]:
    found: list[OpenAIObject] = []
    if asked.system:
        if not isinstance(asked.system, str):
            _check(asked.system, "system")
        found.append({"role": "system", "content": _text(asked.system)})
    if not asked.messages:
        raise RequestInvalid("messages must be a list of at least one", param="messages")
    for number, message in enumerate(asked.messages):
        content = message.content
        if isinstance(content, str):
            found.append({"role": message.role, "content": content})
            continue
        path = f"messages[{number}].content"
        if not content:
            raise RequestInvalid(f"{path} must not be an empty list", param="messages")
        _check(content, path)
        if message.role == "assistant":
            found.append(_assistant(content))
        else:
            found += _user(message.role, content)
    return found


def _check(blocks: list[_Block], path: str) -> None:
    """Raises ``RequestInvalid`` if a block lacks a field that its type needs."""
    for number, block in enumerate(blocks):
        at = f"{path}[{number}]"
        for name in NEEDED.get(block.type, ()):
            if getattr(block, name) is None:
                raise missing(f"{at}.{name}")
        if block.type == "tool_result" and isinstance(block.content, list):
            _check(block.content, f"{at}.content")
        if block.source is not None:
            for name in SOURCES.get(block.source.type or "", ((), None))[0]:
                if getattr(block.source, name) is None:
                    raise missing(f"{at}.source.{name}")


SOURCES: dict[str, tuple[tuple[str, ...], Callable[[_Source], str]]] = {
    "url": (("url",), lambda source: source.url or ""),
    "base64": (
        ("media_type", "data"),
        lambda source: f"data:{source.media_type};base64,{source.data}",
    ),
}
"""By a source's type: the field that it must have, and its URL."""


def _assistant(blocks: list[_Block]) -> OpenAIObject:
    """What the model said before, without its thinking."""
    made: OpenAIObject = {"role": "assistant", "content": _text(blocks)}
    calls = [
        {
            "id": block.id,
            "type": "function",
            "function": {"name": block.name, "arguments": _encode(block.input).decode()},
        }
        for block in blocks
        if block.type == "tool_use"
    ]
    if calls:
        made["content"] = made["content"] or None
        made["tool_calls"] = calls
    return made


def _user(role: str, blocks: list[_Block]) -> list[OpenAIObject]:
    """Results of tools become messages of their own. Everything else, their images too, follows."""
    results = [block for block in blocks if block.type == "tool_result"]
    shown = [
        inner
        for block in results
        if isinstance(block.content, list)
        for inner in block.content
        if inner.type != "text"
    ]
    others = [block for block in blocks if block.type != "tool_result"]
    parts = [_part(block) for block in (*shown, *others)]
    tool_messages = [
        {"role": "tool", "tool_call_id": block.tool_use_id, "content": _result(block)}
        for block in results
    ]
    if all(part["type"] == "text" for part in parts):
        text = "\n".join(part["text"] for part in parts)
        return [*tool_messages, {"role": role, "content": text}] if parts else tool_messages
    return [*tool_messages, {"role": role, "content": parts}]


def _part(block: _Block) -> OpenAIObject:
    if block.type == "text":
        return {"type": "text", "text": block.text}
    source = block.source
    if block.type == "image" and source is not None and source.type in SOURCES:
        url = SOURCES[source.type][1](source)
        return {"type": "image_url", "image_url": {"url": url}}
    raise RequestInvalid(
        f"a content block of type {block.type!r} in messages cannot be sent to this model; use "
        "text or image (base64 or url)",
        param="messages",
    )


def _result(block: _Block) -> str:
    text = _text(block.content or "")
    return f"Error: {text}" if block.is_error else text


def _text(content: str | list[_Block]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block.text or "" for block in content if block.type == "text")


def _choose(fields: dict[str, Any], choice: _Choice) -> None:
    if choice.type == "tool":
        if choice.name is None:
            raise missing("tool_choice.name")
        fields["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    elif choice.type in _TOOL_CHOICES:
        fields["tool_choice"] = _TOOL_CHOICES[choice.type]
    else:
        raise RequestInvalid(f"tool_choice {choice.type!r} is not known", param="tool_choice")
    if choice.disable_parallel_tool_use:
        fields["parallel_tool_calls"] = False


def _tool(tool: _Tool, number: int) -> OpenAIObject:
    if tool.type not in (None, "custom"):
        raise RequestInvalid(
            f"the server tool {tool.type!r} in tools is not there; give tools with an input_schema",
            param="tools",
        )
    path = f"tools[{number}].input_schema"
    if bytes(tool.input_schema) == b"null":
        raise missing(path)
    try:
        _decode_object(tool.input_schema)
    except msgspec.ValidationError as error:
        raise unfit(error, path) from None
    function = {"name": tool.name, "parameters": tool.input_schema}
    if tool.description is not None:
        function["description"] = tool.description
    return {"type": "function", "function": function}
