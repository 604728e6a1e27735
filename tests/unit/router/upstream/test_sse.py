"""Streams of workers: cut anywhere, forwarded whole, counted and cleaned."""

import itertools
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.pricing import Usage
from router.ports.upstream import StreamPart, UpstreamFailed
from router.upstream.sse import EventStream, TokenCounts, usage_of


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps({"id": "x", "model": "up", **fields}).encode() + b"\n\n"


def token(text: str) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": None}])


FINISH = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
USAGE = event(choices=[], usage={"prompt_tokens": 5, "completion_tokens": 3})
DONE = b"data: [DONE]\n\n"
STREAM = token("a") + token("b") + token("c") + FINISH + USAGE + DONE


def feed(stream: EventStream, chunks: list[bytes]) -> list[StreamPart]:
    return [part for chunk in chunks if (part := stream.feed(chunk)) is not None]


def opened(*, model: str = "", keep_usage: bool = False, event_bytes_max: int = 10_000):
    return EventStream(model=model, keep_usage=keep_usage, event_bytes_max=event_bytes_max)


@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=12), st.booleans())
def test_any_cutting_forwards_the_same(cuts: list[int], keep_usage: bool) -> None:
    edges = [0, *sorted(set(cuts)), len(STREAM)]
    chunks = [STREAM[a:b] for a, b in itertools.pairwise(edges)]
    parts = feed(opened(keep_usage=keep_usage), chunks)
    kept = STREAM.removesuffix(DONE)
    assert b"".join(p.chunk for p in parts) == kept.replace(USAGE, b"")
    held_back = [p.usage_chunk for p in parts if p.usage_chunk]
    assert held_back == ([USAGE.removeprefix(b"data: ").strip()] if keep_usage else [])
    assert sum(p.tokens for p in parts) == 3
    assert [p.usage for p in parts if p.usage] == [Usage(prompt_tokens=5, completion_tokens=3)]
    assert [p.finish_reason for p in parts if p.finish_reason] == ["stop"]
    assert [p.done for p in parts] == [False] * (len(parts) - 1) + [True]


def test_what_an_event_says_is_not_another_event() -> None:
    parts = feed(opened(), [token("data: data:"), token("data:") + token("c")])
    assert [part.tokens for part in parts] == [1, 2]


def test_lines_that_end_in_crlf_are_understood() -> None:
    parts = feed(opened(), [STREAM.replace(b"\n", b"\r\n")])
    assert parts[-1].done
    assert sum(p.tokens for p in parts) == 3


def test_every_event_gets_the_public_name() -> None:
    (part,) = feed(opened(model="author/slug", keep_usage=True), [STREAM])
    events = [*part.chunk.strip().split(b"\n\n"), part.usage_chunk]
    names = [json.loads(line.removeprefix(b"data: "))["model"] for line in events]
    assert names == ["author/slug"] * 5


def test_an_error_within_a_stream_is_a_failure() -> None:
    with pytest.raises(UpstreamFailed, match="error_event"):
        feed(opened(), [token("a") + event(error={"message": "CUDA out of memory"})])


def test_rubbish_that_claims_usage_is_a_failure() -> None:
    with pytest.raises(UpstreamFailed, match="bad_event"):
        feed(opened(), [b'data: {"usage": {oops\n\n'])


def test_an_endless_event_is_cut_off() -> None:
    with pytest.raises(UpstreamFailed, match="event_too_large"):
        feed(opened(event_bytes_max=100), [b"data: " + b"x" * 200])


def test_comments_pass_through() -> None:
    (part,) = feed(opened(), [b": keep-alive\n\n"])
    assert part == StreamPart(b": keep-alive\n\n", 0)


counts = st.integers(-5, 10**6)


@given(counts, counts, counts, counts)
def test_usage_classes_are_disjoint_and_sum_up(p: int, c: int, cached: int, thought: int) -> None:
    body = {
        "prompt_tokens": p,
        "completion_tokens": c,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }
    usage = usage_of(msgspec.convert(body, TokenCounts))
    assert usage.prompt_tokens + usage.cached_tokens == max(p, 0)
    assert usage.completion_tokens + usage.reasoning_tokens == max(c, 0)
    assert min(usage.prompt_tokens, usage.cached_tokens, usage.reasoning_tokens) >= 0
