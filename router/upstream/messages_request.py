"""Anthropic's Messages API as a worker's: turns a chat call into the equivalent request."""

from typing import Any

import msgspec
from msgspec import Raw

from router.contracts.wire import UNREADABLE
from router.domain.catalog import Endpoint
from router.domain.request import InferenceRequest
from router.ports.upstream import UpstreamRefused

MAX_TOKENS = 4_096
"""The longest answer, where neither the caller nor the catalog bounds it: one must be given."""
SAME = ("temperature", "top_p", "top_k", "thinking")
"""Fields that both dialects have."""
READ = ("messages", "tools", "tool_choice", "parallel_tool_calls", "stop", "user")
CHOICES = {"auto": "auto", "none": "none", "required": "any"}
ROLES_OF_SYSTEM = frozenset({"system", "developer"})

Block = dict[str, Any]


class _Url(msgspec.Struct, gc=False):
    url: str


class _Part(msgspec.Struct, gc=False):
    type: str
    text: str | None = None
    image_url: _Url | None = None


class _Called(msgspec.Struct, gc=False):
    name: str
    arguments: str = ""


class _Call(msgspec.Struct, gc=False):
    function: _Called
    id: str = ""


class _Message(msgspec.Struct, gc=False):
    role: str
    content: str | list[_Part] | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None


class _Function(msgspec.Struct, gc=False):
    name: str
    description: str | None = None
    parameters: Raw = Raw(b'{"type":"object"}')


class _Tool(msgspec.Struct, gc=False):
    function: _Function


class _Chosen(msgspec.Struct, gc=False):
    name: str


class _Choice(msgspec.Struct, gc=False):
    function: _Chosen


class _Object(msgspec.Struct, gc=False):
    """Any object."""


class _Chat(msgspec.Struct, gc=False):
    messages: list[_Message]
    tools: list[_Tool] | None = None
    tool_choice: str | _Choice | None = None
    parallel_tool_calls: bool | None = None
    stop: str | list[str] | None = None
    user: str | None = None


_decode = msgspec.json.Decoder(_Chat).decode
_decode_object = msgspec.json.Decoder(_Object).decode
_encode = msgspec.json.Encoder().encode


def messages_body(request: InferenceRequest, endpoint: Endpoint) -> bytes:
    """The body for the endpoint. Raises ``UpstreamRefused`` for what has no equivalent."""
    fields = request.fields
    try:
        chat = _decode(_encode({name: fields[name] for name in READ if name in fields}))
    except UNREADABLE as error:
        raise UpstreamRefused(422, f"Anthropic's messages cannot say this: {error}") from error
    if request.choices_asked > 1:
        raise UpstreamRefused(422, "Anthropic's messages give one choice: leave n out", param="n")
    system = "\n\n".join(_text(one) for one in chat.messages if one.role in ROLES_OF_SYSTEM)
    body: dict[str, Any] = {
        "model": endpoint.deployment.upstream_model,
        "max_tokens": request.bound.completion_tokens or MAX_TOKENS,
        "messages": _turns(chat.messages),
        **{name: fields[name] for name in SAME if name in fields},
    }
    if system:
        body["system"] = system
    if request.stream:
        body["stream"] = True
    if chat.stop:
        body["stop_sequences"] = [chat.stop] if isinstance(chat.stop, str) else chat.stop
    if chat.user:
        body["metadata"] = {"user_id": chat.user}
    if chat.tools:
        body["tools"] = [_tool(tool.function) for tool in chat.tools]
        body["tool_choice"] = _choice(chat)
    return _encode(body)


def _tool(function: _Function) -> Block:
    made: Block = {"name": function.name, "input_schema": function.parameters}
    return made | ({"description": function.description} if function.description else {})


def _choice(chat: _Chat) -> Block:
    wanted = chat.tool_choice
    if isinstance(wanted, _Choice):
        made: Block = {"type": "tool", "name": wanted.function.name}
    else:
        made = {"type": CHOICES.get(wanted or "auto", "auto")}
    if chat.parallel_tool_calls is False and made["type"] != "none":
        made["disable_parallel_tool_use"] = True
    return made


def _turns(messages: list[_Message]) -> list[Block]:
    """The conversation without its system prompt; neighbours of one role become one turn."""
    turns: list[Block] = []
    for message in messages:
        if message.role in ROLES_OF_SYSTEM:
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(message: _Message) -> list[Block]:
    if message.role == "tool":
        result = {"type": "tool_result", "tool_use_id": message.tool_call_id or ""}
        return [result | {"content": _text(message)}]
    content = message.content
    if isinstance(content, str):
        blocks: list[Block] = [{"type": "text", "text": content}] if content else []
    else:
        blocks = [_block(part) for part in content or ()]
    return blocks + [
        {
            "type": "tool_use",
            "id": call.id,
            "name": call.function.name,
            "input": _arguments(call.function.arguments),
        }
        for call in message.tool_calls or ()
    ]


def _block(part: _Part) -> Block:
    if part.text is not None:
        return {"type": "text", "text": part.text}
    if part.image_url is None:
        raise UpstreamRefused(
            422, f"Anthropic's messages take text and images, not {part.type!r}", param="messages"
        )
    url = part.image_url.url
    head, _, data = url.partition(",")
    if not url.startswith("data:"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    media_type = head.removeprefix("data:").partition(";")[0]
    return {
        "type": "image",
        "source": {"type": "base64", "media_type": media_type, "data": data},
    }


def _text(message: _Message) -> str:
    content = message.content or ""
    if isinstance(content, str):
        return content
    return "\n".join(part.text or "" for part in content)


def _arguments(text: str) -> Raw:
    """The arguments of a tool; what is no object becomes an empty one."""
    given = text.encode()
    try:
        _decode_object(given)
    except UNREADABLE:
        return Raw(b"{}")
    return Raw(given)
