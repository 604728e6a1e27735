"""What a router answered: the output, and where and at what cost it came about. Pure.

The output of a chat is a chat completion, that of tensors nested lists by name: the shape in which
the input is given.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from marketplace.predictions.calls.tensors import outputs_by_name

TOGETHER = frozenset({"content", "reasoning_content", "reasoning", "refusal", "arguments", "text"})
"""Fields whose pieces are texts that follow each other."""
CHUNK = "chat.completion.chunk"
COMPLETION = "chat.completion"
TOOL_CALLS_MAX = 128
"""Calls of tools in one message; a worker numbers them."""
_HALF = re.compile("[\ud800-\udfff]")
_QUEUED = re.compile(rb"^: queued place=(?P<place>[0-9]{1,9}) eta_ms=(?P<eta_ms>[0-9]{1,12})$")


@dataclass(frozen=True, slots=True)
class Served:
    """What the router says of a call: where it went, how long it took, what it cost.

    ``cost_nano`` is None while it is not known: a stream says so at its end.
    """

    request_id: str = ""
    worker: str = ""
    pool: str = ""
    attempts: int = 0
    queue_ms: float | None = None
    predict_ms: float | None = None
    cost_nano: int | None = None
    emulated: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a call stands in the router's queue, and in how long it can expect to begin."""

    place: int
    eta_s: float


class AnswerBroken(Exception):
    """The answer is missing, or ends with an error; the message is for the caller.

    ``code`` is the error's, "" where the answer cannot be read.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


def served_by_headers(headers: Mapping[str, str]) -> Served:
    """What the head of an answer says."""
    timing = dict(_timings(headers.get("server-timing", "")))
    cost = headers.get("x-cost-nano-usd", "")
    return Served(
        request_id=headers.get("x-request-id", ""),
        worker=headers.get("x-route-worker", ""),
        pool=headers.get("x-route-worker-pool", ""),
        attempts=int(headers.get("x-route-attempts") or 0),
        queue_ms=timing.get("queue"),
        predict_ms=timing.get("upstream"),
        cost_nano=int(cost) if cost.isdigit() else None,
        emulated=headers.get("x-route-emulated") == "true",
    )


def served_by_route(served: Served, route: Mapping[str, Any]) -> Served:
    """The same as a stream's last chunk says it, which knows the whole time and the cost."""
    return Served(
        request_id=str(route.get("request_id", served.request_id)),
        worker=str(route.get("worker", served.worker)),
        pool=str(route.get("pool", served.pool)),
        attempts=len(route.get("attempts", ())) or served.attempts,
        queue_ms=route.get("queue_ms", served.queue_ms),
        predict_ms=route.get("upstream_ms", served.predict_ms),
        cost_nano=route.get("cost_nano_usd", served.cost_nano),
        emulated=bool(route.get("emulated", served.emulated)),
    )


def json_text(output: Any) -> str:
    """An output as it is kept: half of a surrogate pair, which no answer can carry, is U+FFFD."""
    text = json.dumps(output, separators=(",", ":"))
    if "\\ud" not in text:
        return text
    # Halves that came in two pieces are one character once they are read.
    whole = json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
    return _HALF.sub("\ufffd", whole)


def whole_output(path: str, body: bytes) -> Any:
    """The output in a whole answer. Raises :class:`AnswerBroken`."""
    try:
        answer = _read(body)
        return outputs_by_name(answer["outputs"]) if path.startswith("/v2/") else answer
    except (ValueError, KeyError, TypeError) as error:
        raise AnswerBroken("the answer cannot be read") from error


def error_message(body: bytes) -> tuple[str, str]:
    """The message and the code of an error in OpenAI's or the Open Inference Protocol's shape."""
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        error = body[:200].decode("utf-8", "replace")
    if isinstance(error, dict):
        return _kept(error.get("message", "")), str(error.get("code", ""))
    return _kept(error), ""


class StreamedAnswer:
    """Puts a stream of chunks together to the answer that the call would have had whole."""

    def __init__(self) -> None:
        self.route: Mapping[str, Any] = {}
        self.is_whole = False
        self.standing: Standing | None = None
        """What the last comment said, while it waits."""
        self._buffer = b""
        self._answer: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}

    def feed(self, data: bytes) -> list[str]:
        """The chunks that this completes, as JSON texts. Raises :class:`AnswerBroken`."""
        *events, self._buffer = (self._buffer + data).split(b"\n\n")
        chunks = [self._event(event) for event in events]
        return [chunk for chunk in chunks if chunk]

    @property
    def output(self) -> dict[str, Any] | None:
        """What has come so far; None before the first chunk."""
        if not self._answer:
            return None
        return {**self._answer, "choices": [self._choices[at] for at in sorted(self._choices)]}

    def _event(self, event: bytes) -> str:
        if found := _QUEUED.match(event):
            self.standing = Standing(int(found["place"]), int(found["eta_ms"]) / 1e3)
            return ""
        self.standing = None
        lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
        text = b"\n".join(lines)
        if not text:
            return ""
        if text == b"[DONE]":
            self.is_whole = True
            return ""
        try:
            chunk = _read(text)
        except ValueError as error:
            raise AnswerBroken("the stream cannot be read") from error
        if not isinstance(chunk, dict):
            raise AnswerBroken("the stream cannot be read")
        if "error" in chunk:
            raise AnswerBroken(*error_message(text))
        if route := chunk.pop("route", None):
            self.route = route
            return ""
        self._take(chunk)
        return json.dumps(chunk)

    def _take(self, chunk: dict[str, Any]) -> None:
        for name in ("id", "object", "created", "model", "system_fingerprint"):
            if name in chunk:
                self._answer.setdefault(name, chunk[name])
        if self._answer.get("object") == CHUNK:
            self._answer["object"] = COMPLETION
        if chunk.get("usage"):
            self._answer["usage"] = chunk["usage"]
        for choice in chunk.get("choices", ()):
            at = choice.get("index", 0)
            kept = self._choices.setdefault(at, {"index": at})
            delta = choice.get("delta")
            if delta is not None:
                _merge(kept.setdefault("message", {"role": "assistant", "content": None}), delta)
            _merge(kept, {k: v for k, v in choice.items() if k not in ("index", "delta")})


def _merge(kept: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        before = kept.get(name)
        if value is None:
            kept.setdefault(name, None)
        elif name in TOGETHER and isinstance(value, str):
            kept[name] = (before or "") + value
        elif name == "tool_calls" and isinstance(value, list):
            kept[name] = _tools(before or [], value)
        elif isinstance(value, dict) and isinstance(before, dict):
            _merge(before, value)
        elif isinstance(value, list) and isinstance(before, list):
            kept[name] = before + value
        else:
            kept[name] = value


def _tools(kept: list[dict[str, Any]], more: list[Any]) -> list[dict[str, Any]]:
    for place, piece in enumerate(more):
        at = piece.get("index")
        at = place if at is None else at
        if not isinstance(at, int) or not 0 <= at < TOOL_CALLS_MAX:
            raise AnswerBroken(f"the answer has a call of a tool numbered {at!r:.20}")
        while len(kept) <= at:
            kept.append({})
        _merge(kept[at], {name: value for name, value in piece.items() if name != "index"})
    return kept


def _read(text: bytes) -> Any:
    """JSON; what is a number in Python alone (``NaN``, ``1e999``) is null, as it has no text."""
    return json.loads(text, parse_constant=lambda _name: None, parse_float=_number)


def _number(text: str) -> float | None:
    number = float(text)
    return number if isfinite(number) else None


def _timings(header: str) -> list[tuple[str, float]]:
    found = []
    for entry in header.split(","):
        name, _, duration = entry.strip().partition(";dur=")
        if duration:
            found.append((name, float(duration)))
    return found


def _kept(text: Any) -> str:
    """As PostgreSQL can keep it."""
    return str(text).replace("\0", "").encode(errors="replace").decode()
