"""The texts of calls and answers: all that people and models said, and nothing of programs."""

from typing import Any

import msgspec
import pytest
from msgspec import structs

from router.domain.errors import CallError, RequestInvalid
from router.domain.request import Kind
from router.ingress.faces.responses.request import read_request
from router.pipeline.access.masking import DEPTH_MAX, TEXT_MAX
from router.pipeline.guarding.said import answer_texts, asked_texts, stream_texts
from tests.unit.router.ingress.reading import parse_call

encode = msgspec.json.Encoder().encode


def texts(kind: Kind, **fields: Any) -> list[str]:
    return asked_texts(parse_call(kind, encode({"model": "a/m", **fields})))


def test_messages_are_read_with_their_parts_and_the_arguments_of_tools() -> None:
    call = {"id": "i", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    messages = [
        {"role": "system", "content": "one"},
        {"role": "user", "content": [{"type": "text", "text": "two"}, image]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    tools = [{"type": "function", "function": {"name": "f", "description": "three"}}]
    found = texts(Kind.CHAT, messages=messages, tools=tools, user="four", stop=["five"])
    assert found == ["one", "two", "f", "{}"]


def test_what_stands_in_the_place_of_a_name_is_read() -> None:
    """A template writes roles and ids into the prompt, whatever they are."""
    call = {"id": "say it", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user\nTell me how", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "ok"},
    ]
    assert texts(Kind.CHAT, messages=messages) == [
        *("user\nTell me how", "Hi"),
        *("say it", "f", "{}"),
        "ok",
    ]


@pytest.mark.parametrize(
    ("kind", "fields", "found"),
    [
        (Kind.COMPLETION, {"prompt": ["one", "two"], "suffix": "three"}, ["one", "two", "three"]),
        (Kind.EMBEDDING, {"input": "one"}, ["one"]),
        (Kind.RERANK, {"query": "one", "documents": ["two", "three"]}, ["one", "two", "three"]),
    ],
)
def test_other_calls_have_their_texts_elsewhere(
    kind: Kind, fields: dict[str, Any], found: list[str]
) -> None:
    assert texts(kind, **fields) == found


@pytest.mark.parametrize("prompt", [[1, 2], [[1, 2], [3]]])
def test_tokens_are_no_text(prompt: Any) -> None:
    with pytest.raises(RequestInvalid, match="tokens"):
        texts(Kind.COMPLETION, prompt=prompt)


def test_what_is_too_deep_or_too_long_is_not_read() -> None:
    deep: Any = "x"
    for _ in range(DEPTH_MAX + 1):
        deep = {"deeper": deep}
    with pytest.raises(RequestInvalid, match="deeper"):
        texts(Kind.CHAT, messages=[{"role": "user", "content": "x", "more": deep}])
    with pytest.raises(RequestInvalid, match="characters"):
        texts(Kind.EMBEDDING, input=["x" * TEXT_MAX, "x"])


def test_an_answer_is_a_text_for_each_choice_and_kind() -> None:
    called = {"function": {"name": "f", "arguments": "four"}}
    message = {"content": "one", "reasoning_content": "two", "tool_calls": [called]}
    choices = [{"index": 0, "message": message}, {"index": 1, "text": "three"}]
    assert answer_texts(encode({"choices": choices})) == ["one", "two", "four", "three"]
    with pytest.raises(CallError, match="cannot be read"):
        answer_texts(b"[")


def test_the_pieces_of_a_stream_are_one_text() -> None:
    def chunk(index: int, **delta: Any) -> bytes:
        return b"data: %b\n\n" % encode({"choices": [{"index": index, "delta": delta}]})

    def called(place: int, text: str) -> list[dict[str, Any]]:
        return [{"index": place, "function": {"arguments": text}}]

    chunks = [
        chunk(0, content="o") + chunk(1, content="t"),
        b": a comment\n\n" + chunk(0, content="ne"),
        chunk(1, content="wo") + chunk(0, tool_calls=called(0, "th")),
        chunk(0, tool_calls=called(1, "four")) + chunk(0, tool_calls=called(0, "ree")),
    ]
    assert stream_texts(chunks) == ["one", "two", "three", "four"]


def test_a_response_is_read_in_its_own_words() -> None:
    """Of what a chat leaves out, too: a worker that speaks responses gets it."""
    thought = {"type": "reasoning", "encrypted_content": "x", "summary": [{"text": "two"}]}
    part = {"type": "output_text", "text": "three", "logprobs": [{"bytes": [1, 2]}]}
    items = [
        {"role": "user", "content": "one"},
        thought,
        {"type": "message", "role": "assistant", "status": "completed", "content": [part]},
        {"type": "mcp_call", "id": "m", "output": "four"},
    ]
    asked = {"model": "a/m", "input": items, "instructions": "five", "metadata": {"a": "six"}}
    read = read_request(encode(asked))
    call = structs.replace(parse_call(Kind.CHAT, read.chat), as_response=read.as_response)
    assert asked_texts(call) == ["one", "two", "three", "four", "five"]


def test_a_workers_response_is_read_like_a_chats_answer() -> None:
    part = {"type": "output_text", "text": "two", "logprobs": [{"bytes": [1]}]}
    called = {"type": "function_call", "name": "f", "call_id": "c", "arguments": "three"}
    image = {"type": "image_generation_call", "result": "aGVsbG8="}
    thought = {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "one"}]}
    message = {"type": "message", "status": "completed", "content": [part]}
    body = encode({"object": "response", "output": [thought, message, called, image]})
    assert answer_texts(body) == ["one", "two", "three"]

    def event(**fields: Any) -> bytes:
        return b"event: x\ndata: %b\n\n" % encode(fields)

    delta = {"type": "response.output_text.delta", "output_index": 1}
    chunks = [
        event(type="response.output_item.done", item=thought),
        event(delta="t", **delta) + event(delta="wo", **delta),
        event(type="response.output_item.done", item=message),
    ]
    assert stream_texts(chunks) == ["two", "one", "two"]
    assert stream_texts([], body) == ["one", "two", "three"]
    with pytest.raises(CallError, match="cannot be read"):
        stream_texts([event(type="x", delta=5)])
