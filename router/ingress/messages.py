"""Anthropic's Messages API: a request in, as the chat call that it means.

Text, images, tools and their results become OpenAI's shapes; what has no counterpart is named in
the error. Fields that neither API knows pass through to the worker, as everywhere.
"""

from collections.abc import Callable
from typing import Any, cast

import msgspec

from router.contracts.wire import UNREADABLE
from router.domain.errors import RequestInvalid

PATH = "/v1/messages"
COUNT_PATH = PATH + "/count_tokens"
Block = dict[str, Any]
Message = dict[str, Any]

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode
_TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def chat_body(body: bytes, *, counting: bool = False) -> bytes:
    """The body of the chat call. Raises ``RequestInvalid`` naming the field that does not fit.

    A body whose tokens are only counted need not say how many may follow.
    """
    try:
        fields = _decode(body)
    except UNREADABLE as unreadable:
        raise RequestInvalid(f"the body is not a JSON object: {unreadable}") from None
    if not counting and not isinstance(fields.get("max_tokens"), int):
        raise RequestInvalid("max_tokens must be given, as a whole number", param="max_tokens")
    messages: Any = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestInvalid("messages must be a list of at least one", param="messages")
    try:
        translated = _messages(fields.pop("system", None), cast("list[Message]", messages))
        _tools(fields)
    except (AttributeError, KeyError, TypeError) as error:
        raise RequestInvalid(f"messages or tools are not as they should be: {error!r}") from None
    fields["messages"] = translated
    if "stop_sequences" in fields:
        fields["stop"] = fields.pop("stop_sequences")
    metadata: Any = fields.pop("metadata", None)
    if isinstance(metadata, dict) and "user_id" in metadata:
        fields["user"] = metadata["user_id"]
    if fields.get("stream"):
        fields["stream_options"] = {"include_usage": True}
    return _encode(fields)


def _messages(system: Any, messages: list[Message]) -> list[Message]:
    found: list[Message] = []
    if system:
        found.append({"role": "system", "content": _text(system)})
    for message in messages:
        role, content = message["role"], message["content"]
        if isinstance(content, str):
            found.append({"role": role, "content": content})
        elif role == "assistant":
            found.append(_assistant(content))
        else:
            found += _user(role, content)
    return found


def _assistant(blocks: list[Block]) -> Message:
    """What the model said before. Its thinking is not told to it again."""
    made: Message = {"role": "assistant", "content": _text(blocks) or None}
    calls = [
        {
            "id": block["id"],
            "type": "function",
            "function": {"name": block["name"], "arguments": _encode(block["input"]).decode()},
        }
        for block in blocks
        if block["type"] == "tool_use"
    ]
    if calls:
        made["tool_calls"] = calls
    return made


def _user(role: str, blocks: list[Block]) -> list[Message]:
    """Results of tools are messages of their own, before the rest and what is no text in them."""
    results = [block for block in blocks if block["type"] == "tool_result"]
    shown = [
        inner
        for block in results
        if isinstance(block.get("content"), list)
        for inner in block["content"]
        if inner["type"] != "text"
    ]
    others = [block for block in blocks if block["type"] != "tool_result"]
    parts = [_part(block) for block in (*shown, *others)]
    told = [
        {"role": "tool", "tool_call_id": block["tool_use_id"], "content": _result(block)}
        for block in results
    ]
    if all(part["type"] == "text" for part in parts):
        text = "\n".join(part["text"] for part in parts)
        return [*told, {"role": role, "content": text}] if parts else told
    return [*told, {"role": role, "content": parts}]


def _part(block: Block) -> Block:
    if block["type"] == "text":
        return {"type": "text", "text": block["text"]}
    if block["type"] == "image":
        source = block["source"]
        sources: dict[str, Callable[[], str]] = {
            "url": lambda: source["url"],
            "base64": lambda: f"data:{source['media_type']};base64,{source['data']}",
        }
        url = sources.get(source["type"])
        if url is not None:
            return {"type": "image_url", "image_url": {"url": url()}}
    raise RequestInvalid(
        f"a content block of type {block['type']!r} cannot be sent to this model; use text or "
        "image (base64 or url)",
        param="messages",
    )


def _result(block: Block) -> str:
    text = _text(block.get("content") or "")
    return f"Error: {text}" if block.get("is_error") else text


def _text(content: str | list[Block]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block["text"] for block in content if block["type"] == "text")


def _tools(fields: dict[str, Any]) -> None:
    if "tools" in fields:
        fields["tools"] = [_tool(tool) for tool in fields["tools"]]
    choice = fields.pop("tool_choice", None)
    if choice is None:
        return
    if choice["type"] == "tool":
        fields["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
    elif choice["type"] in _TOOL_CHOICES:
        fields["tool_choice"] = _TOOL_CHOICES[choice["type"]]
    else:
        raise RequestInvalid(f"tool_choice {choice['type']!r} is not known", param="tool_choice")
    if choice.get("disable_parallel_tool_use"):
        fields["parallel_tool_calls"] = False


def _tool(tool: Block) -> Block:
    if tool.get("type", "custom") != "custom":
        raise RequestInvalid(
            f"the server tool {tool['type']!r} is not there; give tools with an input_schema",
            param="tools",
        )
    function = {"name": tool["name"], "parameters": tool["input_schema"]}
    if "description" in tool:
        function["description"] = tool["description"]
    return {"type": "function", "function": function}
