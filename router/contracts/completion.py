"""An OpenAI-shaped answer, whole or a chunk of one: what is read of it. All else passes through."""

from typing import Annotated

import msgspec
from msgspec import Raw, Struct

Count = Annotated[int, msgspec.Meta(le=1 << 31)]


class Function(Struct, frozen=True, gc=False):
    """What a tool call calls; in a chunk a piece of it."""

    name: str | None = None
    arguments: str | None = ""


class ToolCall(Struct, frozen=True, gc=False):
    """One of a message, or a piece of one by ``index``."""

    index: int = 0
    id: str | None = None
    function: Function = msgspec.field(default_factory=Function)


class Said(Struct, frozen=True, gc=False):
    """A message, or what a chunk adds to it."""

    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None


NOTHING_SAID = Said()


class Choice(Struct, frozen=True, gc=False):
    """``message`` is of a whole chat, ``delta`` of a chunk, ``text`` of a completion.

    ``stop_reason`` is vLLM's: the stop sequence that was met.
    """

    message: Said = NOTHING_SAID
    delta: Said = NOTHING_SAID
    text: str = ""
    finish_reason: str | None = None
    stop_reason: str | int | None = None


class PromptDetails(Struct, frozen=True, gc=False):
    """Of the prompt's tokens."""

    cached_tokens: Count | None = 0


class CompletionDetails(Struct, frozen=True, gc=False):
    """Of the generated tokens."""

    reasoning_tokens: Count | None = 0


class TokenCounts(Struct, frozen=True, gc=False):
    """``usage`` as workers report it: ``prompt`` includes cached, ``completion`` reasoning."""

    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


class Failure(Struct, frozen=True, gc=False):
    """An error in the place of an answer."""

    message: str = "the worker failed"


class Completion(Struct, frozen=True, gc=False):
    """``route`` is what the router adds when it is asked to explain."""

    model: str | None = None
    choices: list[Choice] = []
    usage: TokenCounts | None = None
    error: Failure | None = None
    route: Raw | None = None


decode_completion = msgspec.json.Decoder(Completion).decode
"""Raises one of :data:`router.contracts.wire.UNREADABLE`."""
