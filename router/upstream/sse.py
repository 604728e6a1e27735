"""Cuts, counts and cleans the server-sent events of OpenAI-compatible workers.

Nearly every event is a token and passes through as bytes. Only events that mention usage, a finish
reason or an error are decoded.
"""

import re

import msgspec
from msgspec import Raw

from router.contracts.bodies.completion import TokenCounts, completion_of
from router.contracts.lenient import fields_of, rendered
from router.contracts.wire import UNREADABLE
from router.domain.pricing import Usage
from router.ports.upstream import StreamPart, UpstreamFailed

DATA = b"data:"
END = b"\n\n"
NEXT = END + DATA
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
DONE = b"[DONE]"
NULL = Raw(b"null")
# Each pattern begins with a fixed word: 1.0 us for all four on an event of vLLM. One pattern with
# four alternatives takes 1.9.
_finishes = re.compile(rb'"finish_reason"\s*:\s*"').search
_has_usage = re.compile(rb'"usage"\s*:\s*\{').search
_has_error = re.compile(rb'"error"\s*:').search
_is_done = re.compile(rb"\[DONE\]").search


class _Choice(msgspec.Struct):
    index: int = 0
    finish_reason: str | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice] = []
    usage: TokenCounts | None = None
    error: Raw = NULL


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode


def usage_of(counts: TokenCounts) -> Usage:
    """Disjoint token classes from the overlapping ones; negative counts become zero."""
    prompt = max(counts.prompt_tokens, 0)
    completion = max(counts.completion_tokens, 0)
    cached = reasoning = 0
    if counts.prompt_tokens_details is not None:
        cached = min(max(counts.prompt_tokens_details.cached_tokens or 0, 0), prompt)
    if counts.completion_tokens_details is not None:
        details = counts.completion_tokens_details
        reasoning = min(max(details.reasoning_tokens or 0, 0), completion)
    return Usage(prompt - cached, cached, completion - reasoning, reasoning)


def _is_noteworthy(events: bytes) -> bool:
    found = _finishes(events) or _has_usage(events) or _has_error(events) or _is_done(events)
    return found is not None


class EventStream:
    """Takes bytes and gives whole events. ``model`` renames every event unless it is "".

    Follows the standard (WHATWG, server-sent events): lines end in LF, CR or both, fields come in
    any order, and several data lines are one text.
    """

    def __init__(
        self, *, model: str, keep_usage: bool, event_bytes_max: int, choices: int = 1
    ) -> None:
        self._model = model
        self._name = Raw(_encode(model))
        self._keep_usage = keep_usage
        self._event_bytes_max = event_bytes_max
        self._choices = choices
        self._ended: set[int] = set()
        self._rest = b""
        self._after_cr = False

    @property
    def finished(self) -> bool:
        """Whether every choice had a finish reason; then ``[DONE]`` may be missing."""
        return len(self._ended) >= self._choices

    def feed(self, data: bytes) -> StreamPart | None:
        """The whole events that ``data`` completes, or None. Raises ``UpstreamFailed``."""
        if self._after_cr or b"\r" in data:
            data = self._with_line_feeds(data)
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if not data.endswith(END):
            end = data.rfind(END) + 2
            self._rest = data[end:] if end > 1 else data
            if len(self._rest) > self._event_bytes_max:
                raise UpstreamFailed("event_too_large", f"over {self._event_bytes_max} bytes")
            if end == 1:
                return None
            data = data[:end]
        if not self._model and not _is_noteworthy(data):
            count = data.count(NEXT) + 1
            # Then every line is the data of one event, as from nearly all workers.
            if data.startswith(DATA) and data.count(b"\n") == 2 * count:
                return StreamPart(data, count)
        return self._read(data)

    def _with_line_feeds(self, data: bytes) -> bytes:
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _read(self, data: bytes) -> StreamPart:
        kept: list[bytes] = []
        tokens = 0
        usage: Usage | None = None
        finish_reason = ""
        usage_chunk = b""
        for event in data.split(END):
            payload = payload_of(event)
            if payload == DONE:
                chunk = b"".join(kept)
                return StreamPart(chunk, tokens, usage, finish_reason, True, usage_chunk)
            if not payload:
                if event.strip(b"\n"):
                    kept.append(event + END)  # A comment, which keeps connections open.
                continue
            parsed, rendered = self._parsed(event, payload)
            if parsed.usage is not None:
                usage = usage_of(parsed.usage)
            if not parsed.choices and parsed.usage is not None:
                if self._keep_usage:
                    usage_chunk = payload_of(rendered.removesuffix(END))
                continue
            goes_on = False
            for choice in parsed.choices:
                if choice.finish_reason:
                    self._ended.add(choice.index)
                    finish_reason = choice.finish_reason
                else:
                    goes_on = True
            tokens += goes_on
            kept.append(rendered)
        return StreamPart(b"".join(kept), tokens, usage, finish_reason, usage_chunk=usage_chunk)

    def _parsed(self, event: bytes, payload: bytes) -> tuple[_Event, bytes]:
        """The content of an event, and the event for the client. Raises ``UpstreamFailed``."""
        try:
            parsed = _decode_event(payload)
            if self._model:
                fields = _decode_fields(payload)
                fields["model"] = self._name
                rendered = b"data: " + _encode(fields) + END
            else:
                rendered = event + END
        except msgspec.MsgspecError:
            parsed, rendered = self._nearly(payload)
        except UNREADABLE as error:
            raise UpstreamFailed("bad_event", str(error)) from error
        if bytes(parsed.error) != b"null":
            raise UpstreamFailed("error_event")
        return parsed, rendered

    def _nearly(self, payload: bytes) -> tuple[_Event, bytes]:
        """The same for an event whose shape is only nearly right."""
        try:
            fields = fields_of(payload)
            found = completion_of(fields)
        except UNREADABLE as error:
            raise UpstreamFailed("bad_event", str(error)) from error
        if self._model:
            fields["model"] = self._model
        choices = [_Choice(choice.index, choice.finish_reason) for choice in found.choices]
        parsed = _Event(choices, found.usage, NULL if found.error is None else Raw(b"{}"))
        return parsed, b"data: %b\n\n" % rendered(fields)


def payload_of(event: bytes) -> bytes:
    """The data of an event. Raises ``UpstreamFailed`` for an event that is named an error."""
    if event.startswith(DATA) and b"\n" not in event:
        return event[len(DATA) :].strip()
    lines: list[bytes] = []
    for line in event.removeprefix(BYTE_ORDER_MARK).split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
        elif name == b"event" and value.strip() == b"error":
            raise UpstreamFailed("error_event")
    return b" ".join(lines).strip()  # The standard joins by line feeds; JSON does not care.
