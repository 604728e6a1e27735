"""Workers that speak OpenAI's Responses API: what they get, and what their streams become."""

import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from router.domain.pricing import Usage
from router.domain.request import InferenceRequest
from router.ingress.faces.chat import SHAPE
from router.ingress.faces.face import Arrival
from router.ingress.faces.openai import parse_call
from router.ingress.faces.responses.request import read_request
from router.ports.upstream import StreamPart, UpstreamFailed
from router.upstream.responses import ResponseEvents, responses_body
from tests.unit.router.ingress.faces.responses.speaking import (
    SEARCH,
    THOUGHT,
    Speaker,
    event,
    item_events,
    text_events,
)
from tests.unit.router.upstream.workers import endpoint

PLACE = endpoint("http://x", upstream_model="up")


def call(**fields: Any) -> InferenceRequest:
    read = read_request(msgspec.json.encode({"model": "a/m", "input": "hi", **fields}))
    made = parse_call(SHAPE, read.chat, Arrival("r", 0.0, 0))
    return structs.replace(made, as_response=read.as_response)


def body(*, deployment: int = 1, **fields: Any) -> dict[str, Any]:
    made = call(**fields)
    assert made.as_response is not None
    place = structs.replace(PLACE, deployment=structs.replace(PLACE.deployment, id=deployment))
    told: dict[str, Any] = json.loads(responses_body(made, made.as_response, place))
    return told


def end(status: str = "completed", **fields: Any) -> bytes:
    speaker = Speaker(THOUGHT, SEARCH)
    made = speaker.response([THOUGHT, SEARCH], status) | fields
    return event(f"response.{status}", response=made)


STREAM = (
    event("response.created", response={})
    + event("response.in_progress", response={})
    + b": a comment\n\n"
    + event("ping")
    + b'data: {"type":"response.x\\ndata: y"}\n\n'
    + b"".join(item_events(SEARCH) + text_events("hello", 1))
    + end()
)


def fed(chunks: list[bytes], *, event_bytes_max: int = 10_000) -> list[StreamPart]:
    events = ResponseEvents(call(), PLACE, event_bytes_max)
    return [part for chunk in chunks if (part := events.feed(chunk)) is not None]


@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=12), st.booleans())
def test_any_cutting_forwards_the_same(cuts: list[int], is_crlf: bool) -> None:
    stream = STREAM.replace(b"\n", b"\r\n") if is_crlf else STREAM
    edges = [0, *sorted(set(cuts)), len(stream)]
    parts = fed([stream[a:b] for a, b in itertools.pairwise(edges)])
    text = b"".join(part.chunk for part in parts)
    first, _, rest = text.partition(b"\n\n")
    told = {"type": "response.created", "response": {"model": "a/m"}}
    assert json.loads(first.partition(b"data: ")[2]) == told
    assert rest == b"".join(item_events(SEARCH) + text_events("hello", 1))
    assert sum(part.tokens for part in parts) == 5
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].usage == Usage(4, 5, 2, 2)
    assert json.loads(parts[-1].usage_chunk)["model"] == "a/m"


def test_nothing_comes_before_the_model_says_something() -> None:
    begun = [event("response.created", response={}), event("response.in_progress", response={})]
    assert fed(begun) == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (event("error", message="no"), "error_event"),
        (event("response.failed", response={}), "error_event"),
        (b"data: {\n\n", "bad_event"),
        (event("response.completed"), "bad_event"),
        (event("response.completed", response={"output": [5]}), "bad_event"),
        (event("response.output_item.done", item=5), "bad_event"),
        (b"data: " + b"x" * 20_000, "event_too_large"),
    ],
)
def test_what_is_no_answer_is_the_workers_failure(data: bytes, reason: str) -> None:
    with pytest.raises(UpstreamFailed) as failed:
        fed([data])
    assert failed.value.reason == reason


def test_a_call_goes_out_in_its_own_words_but_for_what_routers_do() -> None:
    made = body(
        store=True,
        background=True,
        metadata={"a": "b"},
        stream=True,
        stream_options={"include_obfuscation": False},
        instructions="be brief",
        text={"format": {"type": "grammar", "syntax": "lark"}},
        provider={"sort": "price"},
        max_output_tokens=9,
    )
    assert made == {
        "model": "up",
        "input": "hi",
        "stream": True,
        "instructions": "be brief",
        "text": {"format": {"type": "grammar", "syntax": "lark"}},
        "max_output_tokens": 9,
        "store": False,
    }


def test_what_is_encrypted_goes_back_to_its_deployment_alone() -> None:
    (part,) = fed([b"".join(item_events(THOUGHT))])
    item = json.loads(part.chunk.split(b"\n\n")[-2].partition(b"data: ")[2])["item"]
    last = json.loads(fed([end()])[-1].usage_chunk)
    assert item == last["output"][0]
    assert item["encrypted_content"] != THOUGHT["encrypted_content"]
    item["id"] = "rs_ours"
    said = {"role": "user", "content": "hi"}
    assert body(input=[item, said])["input"] == [THOUGHT, said]
    assert body(input=[item, said], deployment=2)["input"] == [said]
    # What was encrypted elsewhere is the client's to send, and nobody's thought tells nothing.
    foreign = THOUGHT | {"encrypted_content": "gAAAA"}
    empty = {"type": "reasoning", "id": "rs_1", "summary": []}
    assert body(input=[foreign, empty, said])["input"] == [foreign, said]
