"""What a router answers, in whatever pieces it comes, is the output and what it cost."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.predictions.calls.answers import (
    AnswerBroken,
    Served,
    Standing,
    StreamedAnswer,
    error_message,
    json_text,
    served_by_headers,
    served_by_route,
    whole_output,
)
from marketplace.predictions.calls.tensors import nested

HEAD = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
ROUTE = {"request_id": "r1", "worker": "w", "pool": "p", "cost_nano_usd": 12, "queue_ms": 1.5}


def event(body: Any) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def chunk(*choices: dict[str, Any], **more: Any) -> bytes:
    return event({**HEAD, "choices": list(choices), **more})


def delta(index: int = 0, finish: str | None = None, **pieces: Any) -> dict[str, Any]:
    return {"index": index, "delta": pieces, "finish_reason": finish}


STREAM = b"".join(
    [
        chunk(delta(role="assistant", content="")),
        b": a comment\n\n",
        chunk(delta(content="Hé"), delta(1, content="B")),
        chunk(delta(content="llo")),
        chunk(delta(finish="stop"), delta(1, "length")),
        chunk(usage=USAGE),
        event({**HEAD, "choices": [], "route": ROUTE}),
        b"data: [DONE]\n\n",
    ]
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_a_stream_is_put_together_however_it_is_cut(cuts: list[int]) -> None:
    streamed = StreamedAnswer()
    edges = [0, *sorted(cuts), len(STREAM)]
    texts = [text for start, end in pairwise(edges) for text in streamed.feed(STREAM[start:end])]
    assert streamed.is_whole
    assert len(texts) == 5
    assert streamed.output == {
        **HEAD,
        "object": "chat.completion",
        "usage": USAGE,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Héllo"},
                "finish_reason": "stop",
            },
            {
                "index": 1,
                "message": {"role": "assistant", "content": "B"},
                "finish_reason": "length",
            },
        ],
    }
    served = served_by_route(Served(), streamed.route)
    assert (served.request_id, served.worker, served.cost_nano) == ("r1", "w", 12)


def test_calls_of_tools_are_put_together() -> None:
    def tool(**function: Any) -> dict[str, Any]:
        return delta(tool_calls=[{"index": 0, "function": function}])

    streamed = StreamedAnswer()
    first = {"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": ""}}
    streamed.feed(chunk(delta(tool_calls=[first])))
    streamed.feed(chunk(tool(arguments='{"a"')) + chunk(tool(arguments=":1}")))
    assert streamed.output is not None
    assert streamed.output["choices"][0]["message"]["tool_calls"] == [
        {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    ]


@pytest.mark.parametrize("index", [10**9, -1, "0", 1.5])
def test_a_call_of_a_tool_that_nobody_can_count_to_is_broken(index: Any) -> None:
    """The list that it was to be a place of would fill the memory of all jobs of the process."""
    streamed = StreamedAnswer()
    with pytest.raises(AnswerBroken, match="numbered"):
        streamed.feed(chunk(delta(tool_calls=[{"index": index, "function": {}}])))


def test_calls_of_tools_without_numbers_count_by_their_place() -> None:
    streamed = StreamedAnswer()
    streamed.feed(chunk(delta(tool_calls=[{"id": "a"}, {"id": "b", "index": None}])))
    assert streamed.output is not None
    assert streamed.output["choices"][0]["message"]["tool_calls"] == [{"id": "a"}, {"id": "b"}]


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_what_is_no_number_in_json_is_null(number: str) -> None:
    choice = f'{{"index": 0, "delta": {{}}, "logprobs": {{"content": [{number}, 0.5]}}}}'
    streamed = StreamedAnswer()
    (text,) = streamed.feed(f'data: {{"choices": [{choice}], "id": "c1"}}\n\n'.encode())
    assert json.loads(text)["choices"][0]["logprobs"] == {"content": [None, 0.5]}
    assert streamed.output is not None
    assert streamed.output["choices"][0]["logprobs"] == {"content": [None, 0.5]}
    body = f'{{"outputs": [{{"name": "P", "shape": [2], "data": [{number}, 1]}}]}}'
    assert whole_output("/v2/models/a/b/infer", body.encode()) == {"P": [None, 1]}


@pytest.mark.parametrize(
    ("halves", "kept"),
    [
        (["\ud83d", "\ude00 wide"], "\U0001f600 wide"),
        (["cut \ud83d"], "cut \ufffd"),
        (["\ude00", "\ud83d"], "\ufffd\ufffd"),
        (["Ol\u00e1 \0 \U0001f600"], "Ol\u00e1 \0 \U0001f600"),
    ],
)
def test_halves_of_surrogate_pairs_are_kept_as_characters(halves: list[str], kept: str) -> None:
    streamed = StreamedAnswer()
    for half in halves:
        streamed.feed(chunk(delta(content=half)))
    text = json_text(streamed.output)
    text.encode()
    assert "\0" not in text
    assert json.loads(text)["choices"][0]["message"]["content"] == kept


def test_texts_of_a_completion_are_put_together() -> None:
    streamed = StreamedAnswer()
    for text in ("Once ", "upon"):
        streamed.feed(event({"object": "text_completion", "choices": [{"index": 0, "text": text}]}))
    assert streamed.output == {
        "object": "text_completion",
        "choices": [{"index": 0, "text": "Once upon"}],
    }


def test_comments_of_a_stream_that_waits_say_where_it_stands() -> None:
    streamed = StreamedAnswer()
    assert streamed.feed(b": queued place=3 eta_ms=1200\n\n") == []
    assert streamed.standing == Standing(3, 1.2)
    streamed.feed(b": running\n\n")
    assert streamed.standing is None
    assert streamed.output is None


def test_an_error_in_a_stream_ends_it() -> None:
    streamed = StreamedAnswer()
    streamed.feed(chunk(delta(content="a")))
    with pytest.raises(AnswerBroken, match="the worker failed"):
        streamed.feed(event({"error": {"message": "the worker failed", "code": "x"}}))
    assert streamed.output is not None
    assert not streamed.is_whole


@pytest.mark.parametrize("event", [b"data: {oops\n\n", b"data: 5\n\n", b'data: "text"\n\n'])
def test_an_answer_that_is_no_stream_is_broken(event: bytes) -> None:
    with pytest.raises(AnswerBroken):
        StreamedAnswer().feed(event)


def test_tensors_come_nested_by_name() -> None:
    outputs = [{"name": "P", "datatype": "FP32", "shape": [2, 1], "data": [0.1, 0.9]}]
    body = json.dumps({"outputs": outputs}).encode()
    assert whole_output("/v2/models/a/b/infer", body) == {"P": [[0.1], [0.9]]}


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"outputs": 5}'])
def test_an_inference_without_outputs_is_broken(body: bytes) -> None:
    with pytest.raises(AnswerBroken):
        whole_output("/v2/models/a/b/infer", body)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_values_are_nested_as_their_shape_says(shape: list[int]) -> None:
    count = 1
    for size in shape:
        count *= size
    value: Any = nested(shape, list(range(count)))
    for size in shape:
        assert len(value) == size
        value = value[0]
    assert value == 0


@pytest.mark.parametrize("shape", [[2], [3, 2], [0, 7], [10**9, 0]])
def test_values_that_do_not_fill_their_shape_stay_flat(shape: list[int]) -> None:
    assert nested(shape, [1, 2, 3]) == [1, 2, 3]
    assert nested([10**9, 0], []) == []


def test_headers_say_where_it_ran() -> None:
    headers = {
        "x-request-id": "r1",
        "x-route-worker": "w",
        "x-route-worker-pool": "p",
        "x-route-attempts": "2",
        "x-cost-nano-usd": "12",
        "x-route-emulated": "true",
        "server-timing": "queue;dur=1.5, hedge;dur=0, upstream;dur=20.25, total;dur=22",
    }
    assert served_by_headers(headers) == Served("r1", "w", "p", 2, 1.5, 20.25, 12, True)
    assert served_by_headers({}) == Served()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "no", "code": "c"}}', ("no", "c")),
        (b'{"error": "no"}', ("no", "")),
        (b"<html>", ("<html>", "")),
        (b'{"error": "a\\u0000b"}', ("ab", "")),
        (b'{"error": "a\\ud83d"}', ("a?", "")),
    ],
)
def test_an_error_is_read_in_either_shape(body: bytes, message: tuple[str, str]) -> None:
    assert error_message(body) == message
