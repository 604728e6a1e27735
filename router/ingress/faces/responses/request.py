"""OpenAI's Responses API: turns a request into the equivalent chat call.

Fields that neither API knows pass through to the worker, as everywhere.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from router.contracts.wire import UNREADABLE
from router.domain.errors import RequestInvalid
from router.domain.request import AsResponse
from router.ingress.faces.responses.items import (
    NOTHING_EARLIER,
    NULL,
    ChatMessage,
    Earlier,
    Unsaid,
    decode_items,
    messages_of,
    shortened,
)
from router.ingress.unfit import missing, unfit

LOGPROBS = "message.output_text.logprobs"
"""The value of ``include`` that asks for the probabilities of an answer's tokens."""

MODES = frozenset({"none", "auto", "required"})
ELSEWHERE = ("conversation", "prompt")
"""Fields for what only OpenAI keeps."""


class _Object(msgspec.Struct, gc=False):
    """Any object."""


class Tool(msgspec.Struct, gc=False):
    """A tool of a request."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: Raw = Raw(NULL)
    strict: bool | None = None


class Choice(msgspec.Struct, gc=False):
    """A choice among tools: of one function, or of those that are allowed."""

    type: str
    name: str | None = None
    mode: str | None = None
    tools: "list[Choice] | None" = None


class Format(msgspec.Struct, gc=False):
    """The format of an answer's text."""

    type: str
    name: str | None = None
    description: str | None = None
    schema: Raw = Raw(NULL)
    strict: bool | None = None


class TextSettings(msgspec.Struct, gc=False):
    """``text``."""

    format: Format | None = None
    verbosity: str | None = None


class Reasoning(msgspec.Struct, gc=False):
    """``reasoning``."""

    effort: str | None = None
    summary: str | None = None


class Request(msgspec.Struct, gc=False):
    """The fields that are translated, or told again in the answer."""

    model: str | None = None
    input: Raw = Raw(NULL)
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    background: bool | None = None
    stream: bool | None = None
    include: list[str] | None = None
    metadata: dict[str, str] | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    parallel_tool_calls: bool | None = None
    tools: list[Tool] | None = None
    tool_choice: str | Choice | None = None
    text: TextSettings | None = None
    reasoning: Reasoning | None = None
    truncation: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    user: str | None = None


TRANSLATED = (
    *("input", "instructions", "previous_response_id", "store", "background", "include"),
    *("metadata", "max_output_tokens", "max_tool_calls", "text", "reasoning", "truncation"),
    *("tools", "tool_choice", "stream_options", "top_logprobs", *ELSEWHERE),
)
"""Fields that a chat does not have, or not so."""

OURS = frozenset({"background", "metadata", "previous_response_id", "store", "stream_options"})
"""Fields that no worker gets: routers keep responses, and write the end of a stream."""


class Read(msgspec.Struct, frozen=True, gc=False):
    """A request as it was ``asked``, as the body of a ``chat``, and as a response for workers."""

    asked: Request
    chat: bytes
    as_response: AsResponse


def _unknown(_model: str) -> int:
    return 0


_decode = msgspec.json.Decoder(Request).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_object = msgspec.json.Decoder(_Object).decode
_encode = msgspec.json.Encoder().encode


def read_request(
    body: bytes,
    earlier: Earlier = NOTHING_EARLIER,
    context_of: Callable[[str], int] = _unknown,
) -> Read:
    """What is asked, as a chat and as a response.

    ``context_of`` says how many tokens a model takes, 0 if that is not known.

    Raises ``RequestInvalid`` that names the field at fault.
    """
    try:
        asked = _decode(body)
        given = _decode_fields(body)
    except msgspec.ValidationError as error:
        raise unfit(error) from None
    except UNREADABLE as unreadable:
        raise RequestInvalid(f"the body is not a JSON object: {unreadable}") from None
    for name in ELSEWHERE:
        if bytes(given.get(name, Raw(NULL))) != NULL:
            raise RequestInvalid(f"{name} is not kept here; send what it stands for", param=name)
    fields: dict[str, Any] = {
        name: value for name, value in given.items() if name not in TRANSLATED
    }
    unsaid = Unsaid()
    messages, whole = messages_of(asked.input, asked.instructions, earlier, unsaid)
    fields["messages"] = _fitting(messages, asked, context_of)
    if asked.tools:
        _equip(fields, asked.tools, given["tools"], unsaid)
    if asked.tool_choice is not None:
        _choose(fields, asked.tool_choice, unsaid)
    if asked.text is not None:
        _shape(fields, asked.text, unsaid)
    _settle(fields, asked)
    told = {name: value for name, value in given.items() if name not in OURS}
    told["input"] = whole
    return Read(asked, _encode(fields), AsResponse(told, unsaid.why, unsaid.param))


def _fitting(
    messages: list[ChatMessage], asked: Request, context_of: Callable[[str], int]
) -> list[ChatMessage]:
    if asked.truncation in (None, "disabled"):
        return messages
    if asked.truncation != "auto":
        raise RequestInvalid(
            f"truncation is {asked.truncation!r}; it must be auto or disabled", param="truncation"
        )
    context = context_of(asked.model or "")
    return shortened(messages, context - (asked.max_output_tokens or 0)) if context else messages


def _settle(fields: dict[str, Any], asked: Request) -> None:
    """The settings that a chat has under other names."""
    length = asked.max_output_tokens
    if length is not None:
        if length < 1:
            raise RequestInvalid(
                f"max_output_tokens is {length}; it must be at least 1", param="max_output_tokens"
            )
        fields["max_tokens"] = length
    if asked.reasoning is not None and asked.reasoning.effort is not None:
        fields["reasoning_effort"] = asked.reasoning.effort
    if asked.top_logprobs or LOGPROBS in (asked.include or ()):
        fields |= {"logprobs": True, "top_logprobs": asked.top_logprobs or 0}
    if asked.stream:
        fields["stream_options"] = {"include_usage": True}


def _equip(fields: dict[str, Any], tools: list[Tool], given: Raw, unsaid: Unsaid) -> None:
    """The tools of a chat. One that it cannot have stays as it is."""
    raws = decode_items(given)
    fields["tools"] = made = [
        _tool(tool, f"tools[{number}]") if tool.type == "function" else raws[number]
        for number, tool in enumerate(tools)
    ]
    for number, tool in enumerate(tools):
        if made[number] is raws[number]:
            unsaid.note(
                f"tools[{number}] is of type {tool.type!r}, which is not there; give tools of "
                "type 'function'",
                "tools",
            )


def _tool(tool: Tool, path: str) -> dict[str, Any]:
    if not tool.name:
        raise missing(f"{path}.name")
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if bytes(tool.parameters) != NULL:
        function["parameters"] = _object(tool.parameters, f"{path}.parameters")
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _choose(fields: dict[str, Any], choice: str | Choice, unsaid: Unsaid) -> None:
    if isinstance(choice, str):
        if choice not in MODES:
            raise RequestInvalid(
                f"tool_choice is {choice!r}; it must be one of {', '.join(sorted(MODES))}, or an "
                "object that names a tool",
                param="tool_choice",
            )
        fields["tool_choice"] = choice
    elif choice.type == "function":
        if choice.name is None:
            raise missing("tool_choice.name")
        fields["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    elif choice.type == "allowed_tools":
        allowed = {tool.name for tool in choice.tools or ()}
        tools: list[dict[str, Any] | Raw] = fields.get("tools", [])
        fields["tools"] = [
            tool for tool in tools if isinstance(tool, Raw) or tool["function"]["name"] in allowed
        ]
        fields["tool_choice"] = choice.mode or "auto"
    else:
        unsaid.note(
            f"tool_choice of type {choice.type!r} is not known; use 'function' or 'allowed_tools'",
            "tool_choice",
        )


def _shape(fields: dict[str, Any], text: TextSettings, unsaid: Unsaid) -> None:
    if text.verbosity is not None:
        fields["verbosity"] = text.verbosity
    wanted = text.format
    if wanted is None or wanted.type == "text":
        return
    if wanted.type == "json_object":
        fields["response_format"] = {"type": "json_object"}
        return
    if wanted.type != "json_schema":
        return unsaid.note(
            f"text.format is of type {wanted.type!r}; it must be text, json_object or json_schema",
            "text",
        )
    if not wanted.name:
        raise missing("text.format.name")
    if bytes(wanted.schema) == NULL:
        raise missing("text.format.schema")
    schema: dict[str, Any] = {
        "name": wanted.name,
        "schema": _object(wanted.schema, "text.format.schema"),
    }
    if wanted.description is not None:
        schema["description"] = wanted.description
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    fields["response_format"] = {"type": "json_schema", "json_schema": schema}


def _object(raw: Raw, path: str) -> Raw:
    """The same. Raises ``RequestInvalid`` if it is no object."""
    try:
        _decode_object(raw)
    except msgspec.ValidationError as error:
        raise unfit(error, path) from None
    return raw
