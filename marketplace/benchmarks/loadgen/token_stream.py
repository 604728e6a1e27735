"""Reading a streamed chat: when its first token came, and how many there were. No Django."""

import time
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from marketplace.benchmarks.loadgen.samples import Sample

ERROR_CHARACTERS = 200


class _Delta(Struct):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(Struct):
    delta: _Delta | None = None


class _Details(Struct):
    cached_tokens: int | None = None


class _Usage(Struct):
    completion_tokens: int | None = None
    prompt_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class _Event(Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_event_of = msgspec.json.Decoder(_Event).decode


class TokenStream:
    """Reads a stream of OpenAI's chat chunks.

    It counts events that carry text. Where the engine sends its own count, that one holds.
    """

    def __init__(self, started: float, on_first: Callable[[], None]) -> None:
        self._started = started
        self._on_first = on_first
        self._rest = b""
        self._events = 0
        self._usage = 0
        self._prompt_tokens = self._cached_tokens = 0
        self.ttft_ms = 0.0
        self.text = b""
        self.error = ""

    def feed(self, chunk: bytes) -> None:
        if len(self.text) < ERROR_CHARACTERS:
            self.text += chunk
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:") and not line.endswith(b"[DONE]"):
                self._event(line[5:])

    def fill(self, sample: Sample) -> None:
        sample.ttft_ms = self.ttft_ms
        sample.tokens = self._usage or self._events
        sample.prompt_tokens = self._prompt_tokens
        sample.cached_tokens = self._cached_tokens
        sample.events = self._events
        sample.error = self.error or ("" if self._events else "the stream carried no text")

    def _event(self, text: bytes) -> None:
        try:
            event = _event_of(text)
        except msgspec.MsgspecError:
            return
        if event.error:
            self.error = str(event.error)[:ERROR_CHARACTERS]
        if event.usage:
            self._usage = event.usage.completion_tokens or 0
            self._prompt_tokens = event.usage.prompt_tokens or 0
            details = event.usage.prompt_tokens_details
            self._cached_tokens = (details.cached_tokens or 0) if details else 0
        for choice in event.choices or ():
            if choice.delta and (choice.delta.content or choice.delta.reasoning_content):
                self._events += 1
                if not self.ttft_ms:
                    self.ttft_ms = (time.monotonic() - self._started) * 1e3
                    self._on_first()
