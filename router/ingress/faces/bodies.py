"""The shapes of OpenAI's bodies, as far as they are checked before a call is placed.

A worker would refuse a body that does not fit, or fail on it. Fields that are not declared here are
not checked, nor are unknown kinds of parts, tools and formats: they pass on to the worker.
"""

from collections.abc import Iterable
from typing import Annotated, cast

import msgspec
from msgspec import Meta, Raw

from router.domain.errors import RequestInvalid
from router.domain.request import MODALITIES, Modality
from router.ingress.unfit import missing

CHARACTERS_PER_TOKEN_MAX = 128
"""The longest tokens of common vocabularies, which are runs of spaces."""

SPEAKERS = frozenset({"developer", "system", "user"})
"""Roles whose messages must have content, since they hold nothing else."""

TRUNCATED = "truncate_prompt_tokens"
"""With this field of vLLM's, a prompt may be of any length."""

FUNCTION = "function"


class _Object(msgspec.Struct, gc=False):
    """Any object."""


class StreamOptions(msgspec.Struct, gc=False):
    """``stream_options``."""

    include_usage: bool | None = False


class Body(msgspec.Struct, gc=False):
    """The fields read of every call. ``provider`` is decoded separately, since it is rare."""

    model: str | None = None
    models: list[str] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    provider: Raw = Raw(b"null")


class _ImageURL(msgspec.Struct, gc=False):
    url: str


class _Part(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    image_url: _ImageURL | str | None = None
    input_audio: _Object | None = None
    file: _Object | None = None

    def check(self, path: str) -> Modality | None:
        """Its modality, None for text. Raises ``RequestInvalid`` if its type's field is missing."""
        if self.type in PARTS and getattr(self, self.type) is None:
            raise missing(f"{path}.{self.type}")
        if self.image_url is not None:
            return Modality.IMAGE
        if self.input_audio is not None:
            return Modality.AUDIO
        if self.file is not None:
            return Modality.FILE
        return MODALITIES.get(self.type or "")


PARTS = frozenset({"text", "image_url", "input_audio", "file"})


class _Named(msgspec.Struct, gc=False):
    name: str


class _ToolCall(msgspec.Struct, gc=False):
    function: _Named | None = None


class _Message(msgspec.Struct, gc=False):
    role: str
    content: str | list[_Part | str] | None = None
    tool_calls: list[_ToolCall] | None = None


class _Function(msgspec.Struct, gc=False):
    name: str
    description: str | None = None
    parameters: _Object | None = None


class _Tool(msgspec.Struct, gc=False):
    type: str = FUNCTION
    function: _Function | None = None


class _Choice(msgspec.Struct, gc=False):
    type: str = FUNCTION
    function: _Named | None = None


class _Format(msgspec.Struct, gc=False):
    type: str
    json_schema: _Object | None = None


class ChatBody(Body, gc=False):
    """``/v1/chat/completions``."""

    messages: list[_Message] | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _Choice | None = None
    response_format: _Format | None = None


Token = Annotated[int, Meta(ge=0)]
Text = str | list[str | Token | list[Token]]
"""One text or several, or one token array or several; not a mixture."""


class CompletionBody(Body, gc=False):
    """``/v1/completions``."""

    prompt: Text | None = None


class EmbeddingBody(Body, gc=False):
    """``/v1/embeddings``."""

    input: Text | None = None


class Chat(msgspec.Struct, frozen=True, gc=False):
    """What a chat's messages hold: characters of text, addresses of images, modalities."""

    characters: int
    images: list[str]
    modalities: frozenset[Modality]


TEXT_ALONE: frozenset[Modality] = frozenset()


def check_chat(body: ChatBody) -> Chat:
    """Raises ``RequestInvalid`` that names the field at fault."""
    if body.messages is None:
        raise RequestInvalid("the field 'messages' is missing", param="messages")
    if not body.messages:
        raise RequestInvalid("messages must be a list of at least one", param="messages")
    if body.tools is not None or body.tool_choice is not None:
        _check_choice(body.tool_choice, _check_tools(body.tools or []))
    wanted = body.response_format
    if wanted is not None and wanted.type == "json_schema" and wanted.json_schema is None:
        raise missing("response_format.json_schema")
    characters = 0
    images: list[str] = []
    modalities = TEXT_ALONE
    for number, message in enumerate(body.messages):
        content = message.content
        if isinstance(content, str):
            characters += len(content)
        elif content is not None:
            parts = _check_parts(content, f"messages[{number}].content")
            characters += parts.characters
            images += parts.images
            modalities |= parts.modalities
        elif message.role in SPEAKERS:
            raise missing(f"messages[{number}].content")
    return Chat(characters, images, modalities)


def _check_parts(parts: list[_Part | str], path: str) -> Chat:
    characters = 0
    images: list[str] = []
    found: set[Modality] = set()
    for number, part in enumerate(parts):
        if isinstance(part, str):
            characters += len(part)
            continue
        if (modality := part.check(f"{path}[{number}]")) is not None:
            found.add(modality)
        characters += len(part.text or "")
        if (image := part.image_url) is not None:
            images.append(image if isinstance(image, str) else image.url)
    return Chat(characters, images, frozenset(found))


def _check_tools(tools: list[_Tool]) -> set[str]:
    """Check the tools and return the names of the functions."""
    names: set[str] = set()
    for number, tool in enumerate(tools):
        if tool.function is not None:
            names.add(tool.function.name)
            if not tool.function.name:
                raise missing(f"tools[{number}].function.name")
        elif tool.type == FUNCTION:
            raise missing(f"tools[{number}].function")
    return names


def _check_choice(choice: str | _Choice | None, names: set[str]) -> None:
    if choice is None:
        return
    if isinstance(choice, str):
        if choice not in CHOICES and choice not in names:
            raise RequestInvalid(
                f"tool_choice is {choice!r}; it must be one of {', '.join(sorted(CHOICES))}, or an "
                "object that names a tool",
                param="tool_choice",
            )
    elif choice.function is None:
        if choice.type == FUNCTION:
            raise missing("tool_choice.function")
    elif choice.function.name not in names:
        raise RequestInvalid(
            f"tool_choice names the tool {choice.function.name!r}, which is not among tools",
            param="tool_choice",
        )


CHOICES = frozenset({"any", "auto", "none", "required"})
"""OpenAI's values, and ``any``, which is Mistral's word for ``required``."""


def check_texts(path: str, text: Text | None) -> list[str | list[int]]:
    """The texts or token arrays of a prompt or an input: at least one, and not mixed.

    Raises ``RequestInvalid``.
    """
    if text is None:
        raise RequestInvalid(f"the field {path!r} is missing", param=path)
    if isinstance(text, str):
        return [text]
    kinds = set(map(type, text))
    if not kinds or (kinds == {list} and not all(text)):
        raise RequestInvalid(f"{path} must not be an empty list", param=path)
    if len(kinds) > 1:
        raise RequestInvalid(
            f"{path} must be a text, a list of texts, a list of tokens or a list of such lists, "
            "not a mixture",
            param=path,
        )
    if kinds == {int}:
        return [cast("list[int]", text)]
    return cast("list[str | list[int]]", text)


def fewest_tokens(prompts: Iterable[str | list[int]]) -> int:
    """The least number of tokens that the longest prompt has in any vocabulary."""
    return max(
        tokens_of(len(prompt)) if isinstance(prompt, str) else len(prompt) for prompt in prompts
    )


def tokens_listed(prompts: Iterable[str | list[int]]) -> int:
    """The number of tokens that prompts list, 0 for text."""
    return sum(len(prompt) for prompt in prompts if not isinstance(prompt, str))


def tokens_of(characters: int) -> int:
    """The least number of tokens in this many characters."""
    return -(-characters // CHARACTERS_PER_TOKEN_MAX)
