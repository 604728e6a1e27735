"""The lines of a batch's file: read one by one, and checked before any of them is sent. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import IO, TYPE_CHECKING, Any

import msgspec

from marketplace.batches.formats.results import Result, answered, broken
from marketplace.catalog.models import Task
from marketplace.presets.naming import NameInvalid, meant_by
from router.domain.request import AUTO

if TYPE_CHECKING:
    from marketplace.inference.router_client import Answer
    from marketplace.presets.models import Preset

LINE_BYTES_MAX = 10 * 1024 * 1024
"""As long as a call's body may be."""
LINES_MAX = 50_000
CUSTOM_ID_CHARACTERS_MAX = 256
MODELS_MAX = 50
"""How many models the lines of one file may name."""
ERRORS_SHOWN = 50
"""After so many the rest of the file is not read."""
MESSAGE_CHARACTERS_MAX = 500
"""Of an error: the values in it are the customer's."""
TASKS = {
    "/v1/chat/completions": Task.CHAT,
    "/v1/completions": Task.CHAT,
    "/v1/embeddings": Task.EMBEDDINGS,
    "/v1/rerank": Task.RERANK,
    "/v1/moderations": Task.MODERATION,
    "/v1/images/generations": Task.IMAGE,
}
"""Endpoints whose lines name a model, and the task that it has."""
INFER = re.compile(r"/v2/models/(?P<model>[^/]+/[^/]+)(?:/versions/[^/]+)?/infer")


@dataclass(frozen=True, slots=True)
class LineError:
    """One error, in OpenAI's format; ``line`` counts from 1, None: the whole file."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "message": self.message,
            "line": self.line,
            "param": self.param,
        }


class LineInvalid(Exception):
    """What is wrong with one line."""

    def __init__(
        self, code: str, message: str, param: str | None = None, line: int | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.param, self.line = code, param, line


@dataclass(frozen=True, slots=True)
class Line:
    """A line that can be sent: its number in the file, its id of the customer's, and the body."""

    number: int
    custom_id: str
    body: bytes
    model: str

    @property
    def headers(self) -> Mapping[str, str]:
        """None in addition to the usual ones."""
        return {}

    def answered(self, id_: str, answer: Answer) -> Result:
        """The answer as a line."""
        return answered(
            id_=id_,
            custom_id=self.custom_id,
            status=answer.status,
            request_id=answer.headers.get("x-request-id", ""),
            body=answer.body,
        )

    def broken(self, id_: str, code: str, message: str) -> Result:
        """An error as a line."""
        return broken(id_, self.custom_id, code, message)


class _Text(msgspec.Struct):
    custom_id: Any = None
    method: Any = None
    url: Any = None
    body: msgspec.Raw = msgspec.Raw()


class _Body(msgspec.Struct):
    model: Any = None
    stream: Any = None


_text_of = msgspec.json.Decoder(_Text).decode
_body_of = msgspec.json.Decoder(_Body).decode


def endpoint_is_served(endpoint: str) -> bool:
    """Whether batches may call it."""
    return endpoint in TASKS or INFER.fullmatch(endpoint) is not None


def model_of(endpoint: str) -> str:
    """The model that the endpoint itself names; "" where each line does."""
    found = INFER.fullmatch(endpoint)
    return found["model"] if found else ""


def rows_endpoint(model: str) -> str:
    """Where rows of a model are sent."""
    return f"/v2/models/{model}/infer"


def first_url(file: IO[bytes]) -> str:
    """The endpoint that the first line names; "" where it names none. The file is at its start."""
    try:
        _, text = next(numbered(file))
        url = _text_of(text).url
    except (StopIteration, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        url = ""
    finally:
        file.seek(0)
    return url if isinstance(url, str) else ""


def numbered(file: IO[bytes], bytes_max: int = 0) -> Iterator[tuple[int, bytes]]:
    """The lines with their numbers from 1, empty ones left out.

    One of more than ``bytes_max`` (``LINE_BYTES_MAX``) is cut off one byte after it.
    """
    most = bytes_max or LINE_BYTES_MAX
    number = 0
    while text := file.readline(most + 1):
        number += 1
        is_too_long = len(text) > most
        if is_too_long or text.strip():
            yield number, text
        rest = text
        while is_too_long and rest and not rest.endswith(b"\n"):
            rest = file.readline(most)


def line_read(number: int, text: bytes, endpoint: str) -> Line:
    """Raises :class:`LineInvalid` for the first thing that is wrong."""
    if len(text) > LINE_BYTES_MAX:
        raise LineInvalid("line_too_long", f"A line may have {LINE_BYTES_MAX:,} bytes.")
    try:
        line = _text_of(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LineInvalid("invalid_json_line", f"This is not one JSON object: {error}.") from error
    custom_id = line.custom_id
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= CUSTOM_ID_CHARACTERS_MAX:
        most = CUSTOM_ID_CHARACTERS_MAX
        text_wanted = f"custom_id must be a text of 1 to {most} characters."
        raise LineInvalid("invalid_custom_id", text_wanted, "custom_id")
    if line.method != "POST":
        raise LineInvalid(
            "invalid_method", f"method must be 'POST', got {line.method!r}.", "method"
        )
    if line.url != endpoint:
        raise LineInvalid(
            "mismatched_url",
            f"url must be the batch's endpoint {endpoint!r}, got {line.url!r}.",
            "url",
        )
    model = _body_checked(line.body, endpoint)
    return Line(number, custom_id, bytes(line.body), model)


def _body_checked(content: msgspec.Raw, endpoint: str) -> str:
    """The name of the model that is asked for."""
    try:
        body = _body_of(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LineInvalid("invalid_body", "body must be a JSON object.", "body") from error
    if body.stream:
        raise LineInvalid("invalid_body", "A batch has no streams: leave it out.", "body.stream")
    named = model_of(endpoint)
    if named:
        return named
    if not isinstance(body.model, str) or not body.model:
        raise LineInvalid("invalid_model", "body.model must name a model.", "body.model")
    return body.model


@dataclass(slots=True)
class Models:
    """The models that an endpoint is asked for: ``callable_`` with their tasks are possible.

    ``forbidden`` are those that only this key may not call, ``presets`` the organisation's.
    """

    endpoint: str
    callable_: Mapping[str, str]
    forbidden: frozenset[str] = frozenset()
    presets: Mapping[str, Preset] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)

    def want(self, named: str) -> None:
        """Raises :class:`LineInvalid` for one that cannot be called."""
        param = None if model_of(self.endpoint) else "body.model"
        try:
            model = meant_by(named, self.presets).model if param else named
        except NameInvalid as error:
            raise LineInvalid(error.code, f"{error}.", param) from error
        if model in self.named:
            return
        if model != AUTO or param is None:
            self._check(model, param)
        if len(self.named) >= MODELS_MAX:
            raise LineInvalid("too_many_models", f"A file may name {MODELS_MAX} models.", param)
        self.named.add(model)

    def _check(self, model: str, param: str | None) -> None:
        if model in self.forbidden:
            said = f"This key may not call the model {model!r}."
            raise LineInvalid("model_not_allowed", said, param)
        if model not in self.callable_:
            raise LineInvalid("model_not_found", f"There is no model {model!r}.", param)
        task = TASKS.get(self.endpoint)
        if task is not None and self.callable_[model] != task:
            said = f"The model {model!r} is for {self.callable_[model]}, not for {self.endpoint}."
            raise LineInvalid("invalid_model", said, param)


@dataclass(slots=True)
class Checked:
    """What was read of a file of calls: how many there are, and what is wrong."""

    endpoint: str
    models: Models
    lines: int = 0
    errors: list[LineError] = field(default_factory=list)
    _ids: set[bytes] = field(default_factory=set)

    def add(self, number: int, text: bytes) -> bool:
        """Check the next line; False where reading on is useless."""
        self.lines += 1
        if self.lines > LINES_MAX:
            self._wrong("too_many_lines", f"A file may have {LINES_MAX:,} lines.", number)
            return False
        try:
            line = line_read(number, text, self.endpoint)
            self._check_id(line)
            self.models.want(line.model)
        except LineInvalid as error:
            self._wrong(error.code, str(error), number, error.param)
        return len(self.errors) < ERRORS_SHOWN

    def end(self) -> None:
        """After the last line."""
        if not self.lines:
            self._wrong("empty_file", "The file has no lines.", None)

    def _wrong(self, code: str, message: str, line: int | None, param: str | None = None) -> None:
        self.errors.append(LineError(code, message[:MESSAGE_CHARACTERS_MAX], line, param))

    def _check_id(self, line: Line) -> None:
        # A digest has one size, however long the id is.
        digest = blake2b(line.custom_id.encode(errors="replace"), digest_size=16).digest()
        if digest in self._ids:
            said = f"custom_id {line.custom_id!r} is that of an earlier line."
            raise LineInvalid("duplicate_custom_id", said, "custom_id")
        self._ids.add(digest)
