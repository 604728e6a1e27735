"""Answers as values. ``raw`` is always the whole JSON as it came, with what has no name here."""

from __future__ import annotations

import sys
from array import array
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from waypost.errors import AnswerInvalid
from waypost.operations import mapping

Json = Mapping[str, Any]
Priority = Literal["interactive", "standard", "batch"]

OPEN_BATCH = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
OPEN_PREDICTION = frozenset({"starting", "processing"})


@dataclass(frozen=True)
class Routing:
    """Wishes about where a call goes: the field ``provider`` of its body.

    ``max_price`` has ``prompt`` and ``completion`` in dollars per million tokens, ``request`` and
    ``image`` in dollars each; ``max_fallback_price`` is the same for models that a call falls back
    to. ``preferred_max_latency`` is in seconds and ``preferred_min_throughput`` in tokens a second:
    a number is about the median, a mapping about ``p50``, ``p75``, ``p90`` and ``p99``.
    ``deadline_ms`` counts from the call's arrival.
    """

    order: Sequence[str] | None = None
    only: Sequence[str] | None = None
    ignore: Sequence[str] | None = None
    allow_fallbacks: bool | None = None
    require_parameters: bool | None = None
    data_collection: Literal["allow", "deny"] | None = None
    quantizations: Sequence[str] | None = None
    sort: Literal["price", "latency", "throughput"] | None = None
    max_price: Mapping[str, float] | None = None
    max_fallback_price: Mapping[str, float] | None = None
    preferred_max_latency: float | Mapping[str, float] | None = None
    preferred_min_throughput: float | Mapping[str, float] | None = None
    deadline_ms: int | None = None
    priority: Priority | None = None

    def as_json(self) -> dict[str, Any]:
        """Those that are set."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Route:
    """What the headers of an answer tell of its call. What they do not tell is None or "".

    ``cost_nano_usd`` is billionths of a dollar; of a stream it is not known at its beginning.
    ``asked`` and ``why`` are of a call that named a preset or ``auto``. ``masked`` counts personal
    data that was masked, like ``card=1, email=2``. ``guarded`` is what guardrails found, like
    ``input=passed``. ``explained`` is the whole record, where it was asked for.
    """

    request_id: str = ""
    model: str = ""
    asked: str = ""
    why: str = ""
    masked: str = ""
    guarded: str = ""
    pool: str = ""
    worker: str = ""
    queue_ms: float | None = None
    attempts: int | None = None
    cost_nano_usd: int | None = None
    is_emulated: bool = False
    is_replayed: bool = False
    explained: Json | None = None


def route_of(headers: Mapping[str, str], explained: Any = None) -> Route:
    """The route that an answer's headers tell."""
    return Route(
        request_id=headers.get("x-request-id", ""),
        model=headers.get("x-route-model", ""),
        asked=headers.get("x-route-asked", ""),
        why=headers.get("x-route-why", ""),
        masked=headers.get("x-route-masked", ""),
        guarded=headers.get("x-route-guarded", ""),
        pool=headers.get("x-route-worker-pool", ""),
        worker=headers.get("x-route-worker", ""),
        queue_ms=_number(headers.get("x-route-queue-ms")),
        attempts=_whole(headers.get("x-route-attempts")),
        cost_nano_usd=_whole(headers.get("x-cost-nano-usd")),
        is_emulated=headers.get("x-route-emulated") == "true",
        is_replayed=headers.get("idempotent-replayed") == "true",
        explained=explained if isinstance(explained, dict) else None,
    )


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _whole(text: str | None) -> int | None:
    number = _number(text)
    return None if number is None else int(number)


# --- text -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Usage:
    """Tokens of a call."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


def usage_of(value: Any) -> Usage | None:
    """None where the answer has none."""
    if not isinstance(value, dict):
        return None
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    return Usage(*(int(value.get(name) or 0) for name in names))


@dataclass(frozen=True)
class ChatAnswer:
    """A whole answer. ``text`` is that of the first choice."""

    text: str
    finish_reason: str | None
    model: str
    usage: Usage | None
    route: Route
    raw: Json = field(repr=False)

    @property
    def message(self) -> Json:
        """The first choice's message, with its ``tool_calls``."""
        return _first_choice(self.raw).get("message") or {}


@dataclass(frozen=True)
class ChatChunk:
    """A piece of a streamed answer. The last ones have ``usage`` and, if asked for, the route."""

    text: str
    finish_reason: str | None
    usage: Usage | None
    route: Route
    raw: Json = field(repr=False)


def chat_answer_of(body: Any, headers: Mapping[str, str]) -> ChatAnswer:
    """Raises :class:`AnswerInvalid`."""
    raw = mapping(body)
    choice = _first_choice(raw)
    message = choice.get("message") or {}
    return ChatAnswer(
        str(message.get("content") or ""),
        choice.get("finish_reason"),
        str(raw.get("model") or ""),
        usage_of(raw.get("usage")),
        route_of(headers, raw.get("route")),
        raw,
    )


def chat_chunk_of(body: Any, headers: Mapping[str, str]) -> ChatChunk:
    """Raises :class:`AnswerInvalid`."""
    raw = mapping(body)
    choice = _first_choice(raw)
    return ChatChunk(
        str((choice.get("delta") or {}).get("content") or ""),
        choice.get("finish_reason"),
        usage_of(raw.get("usage")),
        route_of(headers, raw.get("route")),
        raw,
    )


def _first_choice(raw: Json) -> Json:
    choices = raw.get("choices")
    return choices[0] if isinstance(choices, list) and choices else {}


@dataclass(frozen=True)
class Embeddings:
    """``vectors``: one a text, in the texts' order, all of one length."""

    vectors: Sequence[Sequence[float]] = field(repr=False)
    model: str
    usage: Usage | None
    route: Route
    raw: Json = field(repr=False)


def embeddings_of(body: Any, headers: Mapping[str, str]) -> Embeddings:
    """Raises :class:`AnswerInvalid`."""
    raw = mapping(body)
    try:
        rows = sorted(raw["data"], key=lambda row: row["index"])
        vectors = [_vector(row["embedding"]) for row in rows]
    except (KeyError, TypeError, ValueError, Base64Error) as error:
        raise AnswerInvalid(f"these are no embeddings: {error!r}") from error
    model, usage = str(raw.get("model") or ""), usage_of(raw.get("usage"))
    return Embeddings(vectors, model, usage, route_of(headers, raw.get("route")), raw)


def _vector(value: Any) -> list[float]:
    """Base64 is of little-endian 32-bit floats."""
    if not isinstance(value, str):
        return [float(number) for number in value]
    numbers = array("f", b64decode(value, validate=True))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


# --- models -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """A model that the key may call. ``pricing`` is in dollars, as decimal texts."""

    id: str
    name: str
    context_length: int | None
    pricing: Mapping[str, str]
    raw: Json = field(repr=False)


def model_of(body: Any) -> Model:
    """Raises :class:`AnswerInvalid`."""
    raw = mapping(body)
    return Model(
        str(raw.get("id") or ""),
        str(raw.get("name") or raw.get("id") or ""),
        raw.get("context_length"),
        raw.get("pricing") or {},
        raw,
    )


# --- predictions ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prediction:
    """A call that is not waited for. ``status`` is ``starting``, ``processing``, ``succeeded``,
    ``failed``, ``canceled`` or ``aborted``. Listed ones have no ``output``.
    """

    id: str
    model: str
    status: str
    output: Any = field(repr=False)
    error: str | None
    cost_usd: float | None
    request_id: str | None
    raw: Json = field(repr=False)

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status not in OPEN_PREDICTION


def prediction_of(body: Any) -> Prediction:
    """Raises :class:`AnswerInvalid`."""
    raw = mapping(body)
    try:
        return Prediction(
            str(raw["id"]),
            str(raw["model"]),
            str(raw["status"]),
            raw.get("output"),
            raw.get("error"),
            (raw.get("metrics") or {}).get("cost"),
            raw.get("request_id"),
            raw,
        )
    except (KeyError, AttributeError) as error:
        raise AnswerInvalid(f"this is no prediction: {error!r} is missing") from error


@dataclass(frozen=True)
class PredictionEvent:
    """``kind`` is ``start``, ``output``, ``logs`` or ``completed``. ``data`` is its JSON.

    A second ``start`` says that the output begins again.
    """

    kind: str
    data: Any

    @property
    def text(self) -> str:
        """What an ``output`` of a chat or a completion adds to the answer; "" for all others."""
        if self.kind != "output" or not isinstance(self.data, dict):
            return ""
        choice = _first_choice(self.data)
        return str((choice.get("delta") or {}).get("content") or choice.get("text") or "")


# --- files and batches ------------------------------------------------------------------------


@dataclass(frozen=True)
class File:
    """A file of the organisation. ``size_bytes`` is its length."""

    id: str
    filename: str
    purpose: str
    size_bytes: int
    created_at: int
    """Unix time, seconds."""
    raw: Json = field(repr=False)


def file_of(body: Any) -> File:
    """Raises :class:`AnswerInvalid`."""
    raw = mapping(body)
    try:
        return File(
            str(raw["id"]),
            str(raw["filename"]),
            str(raw["purpose"]),
            int(raw["bytes"]),
            int(raw["created_at"]),
            raw,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise AnswerInvalid(f"this is no file: {error!r}") from error


@dataclass(frozen=True)
class Batch:
    """A file of calls or rows. Counted are calls of a file of calls, else rows.

    ``status`` is ``validating``, ``in_progress``, ``finalizing``, ``cancelling``, ``completed``,
    ``failed``, ``expired`` or ``cancelled``. ``expected_at`` is Unix time, when the last of them
    ends at this pace.
    """

    id: str
    status: str
    endpoint: str
    total: int
    completed: int
    failed: int
    lines_per_second: float
    expected_at: int | None
    output_file_id: str | None
    error_file_id: str | None
    raw: Json = field(repr=False)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is done for it."""
        return self.status not in OPEN_BATCH

    @property
    def is_all_answered(self) -> bool:
        """Whether it completed without a failed line."""
        return self.status == "completed" and not self.failed

    @property
    def errors(self) -> Sequence[Json]:
        """What is wrong with its file, each with ``line``, ``code``, ``message`` and ``param``."""
        return (self.raw.get("errors") or {}).get("data") or ()


def batch_of(body: Any) -> Batch:
    """Raises :class:`AnswerInvalid`."""
    raw = mapping(body)
    try:
        counts = raw["request_counts"]
        return Batch(
            str(raw["id"]),
            str(raw["status"]),
            str(raw["endpoint"]),
            int(counts["total"]),
            int(counts["completed"]),
            int(counts["failed"]),
            float(raw.get("lines_per_second") or 0.0),
            raw.get("expected_at"),
            raw.get("output_file_id"),
            raw.get("error_file_id"),
            raw,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise AnswerInvalid(f"this is no batch: {error!r}") from error
