"""The fields that the router reads of an OpenAI-shaped answer or chunk. The rest passes through."""

from typing import Annotated, cast

import msgspec
from msgspec import Raw, Struct

from router.contracts.lenient import (
    Fields,
    count_of,
    fields_of,
    object_of,
    objects_of,
    rendered,
    text_of,
)

Count = Annotated[int, msgspec.Meta(le=1 << 31)]


class Function(Struct, frozen=True, gc=False):
    """The function that a tool call names; in a chunk, a piece of it."""

    name: str | None = None
    arguments: str | None = ""


class ToolCall(Struct, frozen=True, gc=False):
    """A tool call or a piece of one. ``index`` says which, if the worker gives it."""

    index: int | None = None
    id: str | None = None
    function: Function = msgspec.field(default_factory=Function)


class Message(Struct, frozen=True, gc=False):
    """A message, or what a chunk adds to it."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = None

    @property
    def thought(self) -> str:
        """The reasoning text, which engines give under two names."""
        return self.reasoning_content or self.reasoning or ""


NO_MESSAGE = Message()


class Logprobs(Struct, frozen=True, gc=False):
    """The probabilities of an answer's tokens, as they come."""

    content: list[Raw] | None = None


class Choice(Struct, frozen=True, gc=False):
    """A whole chat has ``message``, a chunk has ``delta``, a completion has ``text``.

    ``stop_reason`` is vLLM's: the stop sequence that ended the answer.
    """

    index: int = 0
    message: Message = NO_MESSAGE
    delta: Message = NO_MESSAGE
    text: str = ""
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    logprobs: Logprobs | None = None


class PromptDetails(Struct, frozen=True, gc=False):
    """Details of the prompt's tokens."""

    cached_tokens: Count | None = 0


class CompletionDetails(Struct, frozen=True, gc=False):
    """Details of the generated tokens."""

    reasoning_tokens: Count | None = 0


class TokenCounts(Struct, frozen=True, gc=False):
    """``usage`` as workers report it: ``prompt`` includes cached, ``completion`` reasoning.

    ``cost`` is the router's, in dollars, None before the call is settled.
    """

    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    cost: float | None = None


class Failure(Struct, frozen=True, gc=False):
    """An error instead of an answer."""

    message: str = "the worker failed"


class Completion(Struct, frozen=True, gc=False):
    """``route`` is what the router adds when the caller asks it to explain."""

    model: str | None = None
    choices: list[Choice] = []
    usage: TokenCounts | None = None
    error: Failure | None = None
    route: Raw | None = None


_decode = msgspec.json.Decoder(Completion).decode


def decode_completion(body: bytes) -> Completion:
    """Read a completion, also when its shape is only nearly right.

    Raises one of :data:`router.contracts.wire.UNREADABLE` when the body is not a JSON object.
    """
    try:
        return _decode(body)
    except msgspec.MsgspecError:
        return completion_of(fields_of(body))


def completion_of(fields: Fields) -> Completion:
    """Read what is there of an object that does not have the shape of a completion."""
    model, route, error = (fields.get(name) for name in ("model", "route", "error"))
    failure = None
    if error is not None:
        failure = Failure(text_of(object_of(error).get("message", error)) or Failure().message)
    return Completion(
        model=text_of(model),
        choices=[
            _choice(place, choice) for place, choice in enumerate(objects_of(fields.get("choices")))
        ],
        usage=_usage(object_of(fields.get("usage"))),
        error=failure,
        route=Raw(rendered(object_of(route))) if route is not None else None,
    )


def _choice(place: int, fields: Fields) -> Choice:
    stop_reason = fields.get("stop_reason")
    return Choice(
        index=index if (index := count_of(fields.get("index", place))) is not None else place,
        message=_message(object_of(fields.get("message"))),
        delta=_message(object_of(fields.get("delta"))),
        text=text_of(fields.get("text")) or "",
        finish_reason=text_of(fields.get("finish_reason")),
        stop_reason=stop_reason if isinstance(stop_reason, str | int) else None,
    )


def _message(fields: Fields) -> Message:
    content, calls = fields.get("content"), fields.get("tool_calls")
    if not isinstance(content, str | list | None) or not isinstance(calls, list | None):
        raise msgspec.DecodeError("content is no text, or tool_calls are no list")
    return Message(
        content=text_of(cast("object", content)),
        refusal=text_of(fields.get("refusal")),
        reasoning_content=text_of(fields.get("reasoning_content")),
        reasoning=text_of(fields.get("reasoning")),
        tool_calls=[_tool_call(call) for call in objects_of(cast("object", calls))],
    )


def _tool_call(fields: Fields) -> ToolCall:
    function = object_of(fields.get("function"))
    arguments = function.get("arguments")
    if isinstance(arguments, dict):
        arguments = rendered(object_of(cast("object", arguments))).decode()
    index = fields.get("index")
    return ToolCall(
        index=count_of(index) if index is not None else None,
        id=text_of(fields.get("id")),
        function=Function(text_of(function.get("name")), text_of(arguments)),
    )


def _usage(fields: Fields) -> TokenCounts | None:
    """None if there are no valid counts; then the router's own counts are used."""
    prompt, completion = (
        count_of(fields.get(f"{part}_tokens")) for part in ("prompt", "completion")
    )
    if not fields or prompt is None or completion is None:
        return None
    prompts, completions = (
        object_of(fields.get(f"{part}_tokens_details")) for part in ("prompt", "completion")
    )
    return TokenCounts(
        prompt,
        completion,
        PromptDetails(count_of(prompts.get("cached_tokens"))),
        CompletionDetails(count_of(completions.get("reasoning_tokens"))),
        cost if isinstance(cost := fields.get("cost"), int | float) else None,
    )
